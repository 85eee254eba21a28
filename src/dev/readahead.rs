//! How far the kernel reads ahead (`Documentation/ABI/testing/sysfs-class-bdi`).

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::mount::Mount;

/// Where the kernel is told for one mount. Who holds it can change that and nothing else.
pub struct Readahead(OwnedFd);

impl Readahead {
    /// Of this mount.
    ///
    /// # Errors
    /// Only root may change it, where sysfs can be written; the mount is not ours and so unknown.
    pub fn of(mount: &Mount) -> io::Result<Self> {
        let (major, minor) = mount.file_system().ok_or(io::ErrorKind::NotFound)?;
        let path = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
        Ok(Readahead(openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// The kernel is to read so many bytes ahead at most, of whole pages. INIT has been answered:
    /// that sets it as well.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set(&self, bytes: u32) -> io::Result<()> {
        rustix::io::write(&self.0, (bytes >> 10).to_string().as_bytes())?;
        Ok(())
    }
}
