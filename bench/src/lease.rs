//! Making the host's kernel wait.
#![expect(unsafe_code, reason = "fcntl(2) of leases, which rustix does not have")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use crate::error::Result;

/// `asm-generic/fcntl.h`.
const F_SETSIG: i32 = 10;

/// A write lease on a file: whoever opens it, or changes its size, waits until this is dropped
/// (or for as long as `/proc/sys/fs/lease-break-time` says). So a request can be made to take as
/// long as one likes.
pub struct Lease(File);

impl Lease {
    /// Takes a lease on a file that nobody has open.
    ///
    /// # Errors
    /// Whatever `fcntl(2)` gives: `EAGAIN` if somebody has it open.
    pub fn take(path: &Path) -> Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        // The news that somebody waits comes by a signal; by default it would end the process.
        for (command, value) in [(F_SETSIG, libc::SIGURG), (libc::F_SETLEASE, libc::F_WRLCK)] {
            // SAFETY: both commands take an int, and the descriptor is open.
            if unsafe { libc::fcntl(file.as_raw_fd(), command, value) } != 0 {
                return Err(io::Error::last_os_error().into());
            }
        }
        Ok(Lease(file))
    }

    /// True once somebody waits for the file.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        // SAFETY: the command takes nothing, and the descriptor is open.
        (unsafe { libc::fcntl(self.0.as_raw_fd(), libc::F_GETLEASE) }) != libc::F_WRLCK
    }
}
