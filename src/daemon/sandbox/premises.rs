//! What is shared, as far as the sandbox has to know it.

use std::path::{Path, PathBuf};

/// Where the serving process is confined to.
#[derive(Clone, Debug)]
pub(in crate::daemon) struct Premises {
    /// The option that names the shares.
    pub(in crate::daemon) option: &'static str,
    shares: Vec<(PathBuf, bool)>,
    /// They are served side by side, and may be regular files.
    pub(in crate::daemon) are_several: bool,
    /// Others may come later.
    pub(in crate::daemon) may_grow: bool,
}

impl Premises {
    /// One directory; `writes` if it may be changed.
    pub(in crate::daemon) fn one(option: &'static str, path: &Path, writes: bool) -> Self {
        let shares = vec![(path.to_owned(), writes)];
        Premises { option, shares, are_several: false, may_grow: false }
    }

    /// Directories and files side by side.
    pub(in crate::daemon) fn several(
        option: &'static str,
        shares: Vec<(PathBuf, bool)>,
        may_grow: bool,
    ) -> Self {
        Premises { option, shares, are_several: true, may_grow }
    }

    /// Where they are on the host.
    pub(in crate::daemon) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.shares.iter().map(|(path, _)| path.as_path())
    }

    /// Whether each may be changed.
    pub(super) fn writes(&self) -> impl Iterator<Item = bool> {
        self.shares.iter().map(|(_, writes)| *writes)
    }

    /// Some may be changed, or one that comes later.
    pub(super) fn may_write(&self) -> bool {
        self.may_grow || self.writes().any(|writes| writes)
    }
}
