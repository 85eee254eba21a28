//! Telling the kernel of changes.

use std::cell::RefCell;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use crate::fuse::{Notice, Notify, Result};

/// The device as the place where notices go.
pub struct Notifier(OwnedFd);

impl Notifier {
    /// For the mount of this device.
    ///
    /// # Errors
    /// Too many files are open.
    pub fn new(device: BorrowedFd<'_>) -> io::Result<Self> {
        device.try_clone_to_owned().map(Notifier)
    }
}

thread_local! {
    static MESSAGE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Notify for Notifier {
    fn notify(&self, notice: Notice<'_>) -> Result<()> {
        MESSAGE.with_borrow_mut(|message| {
            notice.write(message);
            rustix::io::write(&self.0, message)?;
            Ok(())
        })
    }
}
