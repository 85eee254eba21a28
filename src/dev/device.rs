//! Descriptors of /dev/fuse.
#![expect(unsafe_code, reason = "ioctls that rustix does not have, and a descriptor by number")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::fs::{FileType, Mode, OFlags};

/// `_IOR(229, 0, uint32_t)`.
const FUSE_DEV_IOC_CLONE: u32 = 0x8004_e500;

/// `_IOW(229, 1, struct fuse_backing_map)` and `_IOW(229, 2, uint32_t)`.
pub(super) const BACKING_OPEN: u32 = 0x4010_e501;
pub(super) const BACKING_CLOSE: u32 = 0x4004_e502;

/// `struct fuse_backing_map`.
#[repr(C)]
pub(super) struct BackingMap {
    pub(super) fd: i32,
    pub(super) flags: u32,
    pub(super) padding: u64,
}

/// The major number of misc devices, and the minor one of /dev/fuse.
const FUSE_DEVICE: (u32, u32) = (10, 229);

/// A new descriptor, not connected to any mount.
pub(super) fn open() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
}

/// One more descriptor of a connected device. A reply has to be written to the one that its
/// request was read from; several threads contend less with one each.
pub(super) fn another(device: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    match open() {
        Ok(new) => {
            let old = u32::try_from(device.as_raw_fd()).map_err(io::Error::other)?;
            control(&new, FUSE_DEV_IOC_CLONE, &old)?;
            Ok(new)
        }
        // Only the helper may open it: then all threads use the same.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Ok(rustix::io::fcntl_dupfd_cloexec(device, 0)?)
        }
        Err(error) => Err(error),
    }
}

/// The device that was passed to this process as a descriptor.
///
/// # Errors
/// There is no such descriptor, or it is something else.
pub fn given(number: RawFd) -> io::Result<OwnedFd> {
    if number < 3 || !std::fs::exists(format!("/proc/self/fd/{number}"))? {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: it is open, and whoever started us passed it for us to own.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    let stat = rustix::fs::fstat(&fd)?;
    let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice || device != FUSE_DEVICE {
        return Err(io::Error::other("it is not /dev/fuse"));
    }
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    Ok(fd)
}

/// An ioctl that reads one value; its result.
pub(super) fn control<T>(device: &impl AsRawFd, command: u32, value: &T) -> io::Result<i32> {
    // SAFETY: each command here reads a T, as the kernel's header has it.
    let done = unsafe {
        libc::ioctl(device.as_raw_fd(), libc::c_ulong::from(command), std::ptr::from_ref(value))
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(done) }
}
