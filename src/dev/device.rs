//! Descriptors of /dev/fuse.
#![expect(unsafe_code, reason = "an ioctl that rustix does not have")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

/// `_IOR(229, 0, uint32_t)`.
const FUSE_DEV_IOC_CLONE: u32 = 0x8004_e500;

/// A new descriptor, not connected to any mount.
pub(super) fn open() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
}

/// One more descriptor of a connected device. A reply has to be written to the one that its
/// request was read from.
pub(super) fn clone(device: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let new = open()?;
    let old = u32::try_from(device.as_raw_fd()).map_err(io::Error::other)?;
    // SAFETY: the ioctl reads a u32.
    let done = unsafe {
        libc::ioctl(new.as_raw_fd(), libc::c_ulong::from(FUSE_DEV_IOC_CLONE), &raw const old)
    };
    if done == 0 { Ok(new) } else { Err(io::Error::last_os_error()) }
}
