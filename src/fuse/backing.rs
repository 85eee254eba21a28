//! Files that the carrier's other side reads and writes by itself.

use std::io;
use std::os::fd::BorrowedFd;

/// Names a file that the kernel may use instead of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackingId(pub i32);

/// A carrier whose other side can read and write files of ours by itself (FUSE passthrough).
pub trait Backing: Send + Sync {
    /// Registers a file, which the other side then uses with the rights of who has registered it,
    /// whoever opens it: a write takes set-user-id away. The id may be given in replies to OPEN and
    /// CREATE until it is closed; what was opened with it goes on after that.
    ///
    /// # Errors
    /// What the other side says.
    fn open(&self, file: BorrowedFd<'_>) -> io::Result<BackingId>;

    /// Gives an id up.
    fn close(&self, id: BackingId);
}
