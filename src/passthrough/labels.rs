//! Inodes that have a security label from the first moment at which anybody can find them.

use std::ffi::{CStr, CString};
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};

use super::Passthrough;
use crate::fuse::{Name, Result, SecurityContext};

impl Passthrough {
    /// Makes an inode under a name that nobody knows, labels it, and only then gives it `name`.
    /// Nothing is left of it if that fails.
    pub(super) fn make_labelled<T>(
        &self,
        dir: BorrowedFd<'_>,
        name: &Name,
        label: &SecurityContext<'_>,
        make: impl Fn(&CStr) -> Result<T>,
    ) -> Result<T> {
        let hidden = hidden_name();
        let made = make(&hidden)?;
        self.label(dir, &hidden, label).inspect_err(|_| remove(dir, &hidden))?;
        let error =
            match rustix::fs::renameat_with(dir, &*hidden, dir, name, RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(made),
                Err(error) => error,
            };
        remove(dir, &hidden);
        // A file system without RENAME_NOREPLACE: then there has to be a moment without a label.
        if error != rustix::io::Errno::INVAL {
            return Err(error.into());
        }
        let made = make(name.as_c_str())?;
        self.label(dir, name.as_c_str(), label).inspect_err(|_| remove(dir, name.as_c_str()))?;
        Ok(made)
    }

    fn label(&self, dir: BorrowedFd<'_>, name: &CStr, label: &SecurityContext<'_>) -> Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let inode =
            self.inodes.open(|| Ok(rustix::fs::openat(dir, name, flags, Mode::empty())?))?;
        self.set_label(inode.as_fd(), label.name, label.value)
    }
}

fn hidden_name() -> CString {
    let random = RandomState::new().hash_one(());
    CString::new(format!(".ferryfs-{random:016x}")).unwrap_or_default()
}

/// What it was is not known, nor whether it is still there.
fn remove(dir: BorrowedFd<'_>, name: &CStr) {
    if rustix::fs::unlinkat(dir, name, AtFlags::empty()).is_err() {
        let _ = rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR);
    }
}
