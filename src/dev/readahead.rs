//! How far the kernel reads ahead (`Documentation/ABI/testing/sysfs-class-bdi`).

use std::fs::File;
use std::io::{self, Write};

use super::mount::Mount;

/// Where the kernel is told for one mount. Who holds it can change that and nothing else.
pub struct Readahead(File);

impl Readahead {
    /// Of this mount.
    ///
    /// # Errors
    /// Only root may change it, where sysfs can be written; the mount is not ours and so unknown.
    pub fn of(mount: &Mount) -> io::Result<Self> {
        let (major, minor) = mount.file_system().ok_or(io::ErrorKind::NotFound)?;
        let path = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
        File::options().write(true).open(path).map(Readahead)
    }

    /// The kernel is to read so many bytes ahead at most, of whole pages. INIT has been answered:
    /// that sets it as well.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set(&self, bytes: u32) -> io::Result<()> {
        (&self.0).write_all((bytes >> 10).to_string().as_bytes())
    }
}
