//! System calls that rustix does not have.
#![expect(unsafe_code, reason = "raw system calls")]

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

use crate::fuse::{Errno, Result};

/// `struct file_handle` with room for the longest handle.
#[repr(C)]
pub(super) struct RawHandle {
    pub(super) len: u32,
    pub(super) kind: i32,
    pub(super) bytes: [u8; MAX_HANDLE],
}

/// `MAX_HANDLE_SZ`.
pub(super) const MAX_HANDLE: usize = 128;

/// `name_to_handle_at(2)`: the handle of `name` in `dir`, which is not followed if it is a
/// symbolic link, or of `dir` itself if the name is empty.
pub(super) fn name_to_handle(dir: BorrowedFd<'_>, name: &CStr) -> Result<RawHandle> {
    let mut handle =
        RawHandle { len: u32::try_from(MAX_HANDLE).expect("128"), kind: 0, bytes: [0; MAX_HANDLE] };
    let mut mount_id = 0;
    let flags = if name.is_empty() { libc::AT_EMPTY_PATH } else { 0 };
    // SAFETY: RawHandle has the layout of file_handle with `len` bytes of room, and the name is
    // NUL-terminated.
    let done = unsafe {
        libc::name_to_handle_at(
            dir.as_raw_fd(),
            name.as_ptr(),
            (&raw mut handle).cast(),
            &raw mut mount_id,
            flags,
        )
    };
    if done == 0 { Ok(handle) } else { Err(Errno::last()) }
}

/// `open_by_handle_at(2)`, close-on-exec.
pub(super) fn open_by_handle(
    mount: BorrowedFd<'_>,
    handle: &mut RawHandle,
    flags: i32,
) -> Result<OwnedFd> {
    // SAFETY: RawHandle has the layout of file_handle, with `len` bytes that are initialised.
    let fd = unsafe {
        libc::open_by_handle_at(
            mount.as_raw_fd(),
            (&raw mut *handle).cast(),
            flags | libc::O_CLOEXEC,
        )
    };
    if fd < 0 {
        return Err(Errno::last());
    }
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `getdents64(2)`: replaces the content of `records` by packed records from the directory's
/// position on, at most as many bytes as it has capacity for; none at the directory's end.
pub(super) fn getdents(dir: BorrowedFd<'_>, records: &mut Vec<u8>) -> Result<()> {
    records.clear();
    let room = records.spare_capacity_mut();
    // SAFETY: the kernel writes at most the room's length into it.
    let len = unsafe {
        libc::syscall(libc::SYS_getdents64, dir.as_raw_fd(), room.as_mut_ptr(), room.len())
    };
    let len = usize::try_from(len).map_err(|_| Errno::last())?;
    // SAFETY: the kernel has initialised the first `len` bytes of the room.
    unsafe { records.set_len(len) };
    Ok(())
}

/// `ioctl(2)` on `LEN` bytes, which must be what `command` reads or writes at most.
pub(super) fn ioctl<const LEN: usize>(
    fd: BorrowedFd<'_>,
    command: u32,
    data: &mut [u8],
) -> Result<()> {
    // Room for commands that take the flags' int for the long that their number says.
    let mut bytes = [0u64; 4];
    let raw: &mut [u8; 32] = zerocopy::transmute_mut!(&mut bytes);
    raw[..LEN].copy_from_slice(&data[..LEN]);
    // SAFETY: the four commands that are used read and write at most 28 bytes; there are 32,
    // aligned for any of them.
    let done =
        unsafe { libc::ioctl(fd.as_raw_fd(), libc::c_ulong::from(command), raw.as_mut_ptr()) };
    if done != 0 {
        return Err(Errno::last());
    }
    data[..LEN].copy_from_slice(&raw[..LEN]);
    Ok(())
}

/// `fcntl(2)` with `F_OFD_GETLK` or `F_OFD_SETLK`.
pub(super) fn lock(fd: BorrowedFd<'_>, command: i32, range: &mut libc::flock64) -> Result<()> {
    // SAFETY: both commands read, and the first writes, a flock64.
    let done = unsafe { libc::fcntl(fd.as_raw_fd(), command, &raw mut *range) };
    if done == 0 {
        return Ok(());
    }
    match Errno::last() {
        // Both mean that another lock is in the way (fcntl(2)).
        Errno::EACCES => Err(Errno::EAGAIN),
        error => Err(error),
    }
}

/// `flock(2)` that does not wait, by fcntl's names of the kinds of locks.
pub(super) fn flock(fd: BorrowedFd<'_>, kind: i32) -> Result<()> {
    use rustix::fs::FlockOperation;
    let operation = match kind {
        libc::F_RDLCK => FlockOperation::NonBlockingLockShared,
        libc::F_WRLCK => FlockOperation::NonBlockingLockExclusive,
        libc::F_UNLCK => FlockOperation::Unlock,
        _ => return Err(Errno::EINVAL),
    };
    Ok(rustix::fs::flock(fd, operation)?)
}

/// `close(2)`, with what it reports.
pub(super) fn close(fd: OwnedFd) -> Result<()> {
    // SAFETY: we own the descriptor, and Linux closes it also if it reports an error.
    if unsafe { libc::close(fd.into_raw_fd()) } == 0 { Ok(()) } else { Err(Errno::last()) }
}

/// Gives the calling thread a working directory and umask of its own.
pub(super) fn unshare_fs() -> Result<()> {
    // SAFETY: only what relates to file names is taken apart, not descriptors or memory.
    Ok(unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FS) }?)
}
