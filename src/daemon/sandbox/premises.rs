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
    /// Others may come later, and be changed if this is true.
    later: Option<bool>,
}

impl Premises {
    /// One directory; `writes` if it may be changed.
    pub(in crate::daemon) fn one(option: &'static str, path: &Path, writes: bool) -> Self {
        let shares = vec![(path.to_owned(), writes)];
        Premises { option, shares, are_several: false, later: None }
    }

    /// Directories and files side by side, to which others may come `later` and be changed if that
    /// is true.
    pub(in crate::daemon) fn several(
        option: &'static str,
        shares: Vec<(PathBuf, bool)>,
        later: Option<bool>,
    ) -> Self {
        Premises { option, shares, are_several: true, later }
    }

    /// The same, of which the one directory is the working directory.
    pub(in crate::daemon) fn here(mut self) -> Self {
        for (path, _) in &mut self.shares {
            *path = PathBuf::from(".");
        }
        self
    }

    /// Where they are on the host.
    pub(in crate::daemon) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.shares.iter().map(|(path, _)| path.as_path())
    }

    /// Whether each may be changed.
    pub(super) fn writes(&self) -> impl Iterator<Item = bool> {
        self.shares.iter().map(|(_, writes)| *writes)
    }

    /// True if others may come later.
    pub(super) fn may_grow(&self) -> bool {
        self.later.is_some()
    }

    /// Whether those may be changed.
    pub(super) fn writes_later(&self) -> bool {
        self.later == Some(true)
    }
}
