//! FUSE passthrough: the kernel reads and writes a file of ours without asking.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::device::{self, BackingMap};
use crate::fuse::{Backing, BackingId};

/// The device as the place where files are registered.
pub struct BackingFiles(OwnedFd);

impl BackingFiles {
    /// For the mount of this device.
    ///
    /// # Errors
    /// Too many files are open.
    pub fn new(device: BorrowedFd<'_>) -> io::Result<Self> {
        device.try_clone_to_owned().map(BackingFiles)
    }
}

impl Backing for BackingFiles {
    fn open(&self, file: BorrowedFd<'_>) -> io::Result<BackingId> {
        let map = BackingMap { fd: file.as_raw_fd(), flags: 0, padding: 0 };
        device::control(&self.0, device::BACKING_OPEN, &map).map(BackingId)
    }

    fn close(&self, id: BackingId) {
        // It fails only if the whole connection is gone.
        let _ = device::control(&self.0, device::BACKING_CLOSE, &id.0);
    }
}
