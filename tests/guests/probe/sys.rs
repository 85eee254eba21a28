//! System calls that std does not have.
#![expect(unsafe_code, reason = "declarations of the C library's functions, and calls of them")]

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::fs::{File, FileType};
use std::io::{Error, Result};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

pub(super) const S_IFMT: u32 = 0o170_000;
pub(super) const S_IFSOCK: u32 = 0o140_000;
pub(super) const S_IFLNK: u32 = 0o120_000;
pub(super) const S_IFREG: u32 = 0o100_000;
pub(super) const S_IFBLK: u32 = 0o060_000;
pub(super) const S_IFDIR: u32 = 0o040_000;
pub(super) const S_IFCHR: u32 = 0o020_000;
pub(super) const S_IFIFO: u32 = 0o010_000;

pub(super) const EPERM: i32 = 1;
pub(super) const ENOENT: i32 = 2;
pub(super) const EBADF: i32 = 9;
pub(super) const EACCES: i32 = 13;
pub(super) const EEXIST: i32 = 17;
pub(super) const ENOTDIR: i32 = 20;
pub(super) const EISDIR: i32 = 21;
pub(super) const EINVAL: i32 = 22;
pub(super) const ENXIO: i32 = 6;
pub(super) const ENAMETOOLONG: i32 = 36;
pub(super) const ENOTEMPTY: i32 = 39;
pub(super) const ELOOP: i32 = 40;
pub(super) const ENODATA: i32 = 61;
pub(super) const EOPNOTSUPP: i32 = 95;

pub(super) const O_DIRECT: i32 = 0x4000;
pub(super) const O_DIRECTORY: i32 = 0x1_0000;
pub(super) const O_NOFOLLOW: i32 = 0x2_0000;
pub(super) const O_DSYNC: i32 = 0x1000;
pub(super) const O_TMPFILE: i32 = 0x40_0000 | O_DIRECTORY;

pub(super) const RENAME_NOREPLACE: u32 = 1;
pub(super) const RENAME_EXCHANGE: u32 = 2;

pub(super) const SEEK_DATA: i32 = 3;
pub(super) const SEEK_HOLE: i32 = 4;

pub(super) const FALLOC_FL_KEEP_SIZE: i32 = 1;
pub(super) const FALLOC_FL_PUNCH_HOLE: i32 = 2;

const AT_FDCWD: c_int = -100;
const AT_SYMLINK_NOFOLLOW: c_int = 0x100;
const AT_SYMLINK_FOLLOW: c_int = 0x400;
pub(super) const UTIME_NOW: i64 = 0x3fff_ffff;
pub(super) const UTIME_OMIT: i64 = 0x3fff_fffe;

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timespec {
    pub(super) seconds: i64,
    pub(super) nanoseconds: i64,
}

/// `struct statvfs` of the 64-bit GNU C library.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Statvfs {
    pub(super) bsize: u64,
    pub(super) frsize: u64,
    pub(super) blocks: u64,
    pub(super) bfree: u64,
    pub(super) bavail: u64,
    pub(super) files: u64,
    pub(super) ffree: u64,
    favail: u64,
    fsid: u64,
    flag: u64,
    pub(super) namemax: u64,
    spare: [i32; 6],
}

unsafe extern "C" {
    fn copy_file_range(
        from: c_int,
        from_at: *mut i64,
        to: c_int,
        to_at: *mut i64,
        len: usize,
        flags: c_uint,
    ) -> isize;
    fn fallocate(fd: c_int, mode: c_int, at: i64, len: i64) -> c_int;
    fn getxattr(path: *const c_char, name: *const c_char, value: *mut c_void, len: usize) -> isize;
    fn linkat(from: c_int, old: *const c_char, to: c_int, new: *const c_char, f: c_int) -> c_int;
    fn listxattr(path: *const c_char, names: *mut c_char, len: usize) -> isize;
    fn lseek(fd: c_int, at: i64, whence: c_int) -> i64;
    #[link_name = "mknod"]
    fn c_mknod(path: *const c_char, mode: u32, device: u64) -> c_int;
    fn mmap(
        at: *mut c_void,
        len: usize,
        prot: c_int,
        flags: c_int,
        fd: c_int,
        off: i64,
    ) -> *mut c_void;
    fn msync(at: *mut c_void, len: usize, flags: c_int) -> c_int;
    fn munmap(at: *mut c_void, len: usize) -> c_int;
    fn pread(fd: c_int, to: *mut c_void, len: usize, at: i64) -> isize;
    fn pwrite(fd: c_int, from: *const c_void, len: usize, at: i64) -> isize;
    fn removexattr(path: *const c_char, name: *const c_char) -> c_int;
    fn renameat2(
        from: c_int,
        old: *const c_char,
        to: c_int,
        new: *const c_char,
        f: c_uint,
    ) -> c_int;
    fn setxattr(
        path: *const c_char,
        name: *const c_char,
        value: *const c_void,
        len: usize,
        flags: c_int,
    ) -> c_int;
    #[link_name = "statvfs"]
    fn c_statvfs(path: *const c_char, to: *mut Statvfs) -> c_int;
    #[link_name = "syncfs"]
    fn c_syncfs(fd: c_int) -> c_int;
    #[link_name = "utimensat"]
    fn c_utimensat(dir: c_int, path: *const c_char, times: *const Timespec, flags: c_int) -> c_int;
}

fn text(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

fn done(result: c_int) -> Result<()> {
    if result == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}

fn count<T: TryInto<u64>>(result: T) -> Result<u64> {
    result.try_into().map_err(|_| Error::last_os_error())
}

/// The `S_IFMT` bits of a type.
pub(super) fn kind(kind: FileType) -> u32 {
    match kind {
        _ if kind.is_dir() => S_IFDIR,
        _ if kind.is_file() => S_IFREG,
        _ if kind.is_symlink() => S_IFLNK,
        _ if kind.is_fifo() => S_IFIFO,
        _ if kind.is_socket() => S_IFSOCK,
        _ if kind.is_char_device() => S_IFCHR,
        _ if kind.is_block_device() => S_IFBLK,
        _ => 0,
    }
}

pub(super) fn mknod(path: &Path, mode: u32, device: u64) -> Result<()> {
    let path = text(path);
    // SAFETY: the path ends with a NUL.
    done(unsafe { c_mknod(path.as_ptr(), mode, device) })
}

/// Sets access and modification time; a symbolic link is not followed.
pub(super) fn utimensat(path: &Path, times: [Timespec; 2]) -> Result<()> {
    let path = text(path);
    // SAFETY: the path ends with a NUL, and there are two times.
    done(unsafe { c_utimensat(AT_FDCWD, path.as_ptr(), times.as_ptr(), AT_SYMLINK_NOFOLLOW) })
}

pub(super) fn rename_with(from: &Path, to: &Path, flags: u32) -> Result<()> {
    let (from, to) = (text(from), text(to));
    // SAFETY: both paths end with a NUL.
    done(unsafe { renameat2(AT_FDCWD, from.as_ptr(), AT_FDCWD, to.as_ptr(), flags) })
}

/// Gives an open file a name.
pub(super) fn link_open(file: &File, to: &Path) -> Result<()> {
    let from = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
    let to = text(to);
    // SAFETY: both paths end with a NUL.
    done(unsafe { linkat(AT_FDCWD, from.as_ptr(), AT_FDCWD, to.as_ptr(), AT_SYMLINK_FOLLOW) })
}

pub(super) fn statvfs(path: &Path) -> Result<Statvfs> {
    let (path, mut found) = (text(path), Statvfs::default());
    // SAFETY: the path ends with a NUL, and Statvfs is what the function fills.
    done(unsafe { c_statvfs(path.as_ptr(), &raw mut found) })?;
    Ok(found)
}

pub(super) fn syncfs(file: &File) -> Result<()> {
    // SAFETY: it takes nothing but a descriptor.
    done(unsafe { c_syncfs(file.as_raw_fd()) })
}

pub(super) fn allocate(file: &File, mode: i32, (at, len): (i64, i64)) -> Result<()> {
    // SAFETY: it takes nothing but a descriptor and numbers.
    done(unsafe { fallocate(file.as_raw_fd(), mode, at, len) })
}

pub(super) fn seek(file: &File, at: i64, whence: i32) -> Result<u64> {
    // SAFETY: it takes nothing but a descriptor and numbers.
    count(unsafe { lseek(file.as_raw_fd(), at, whence) })
}

pub(super) fn copy_range(
    (from, mut from_at): (&File, i64),
    (to, mut to_at): (&File, i64),
    len: usize,
) -> Result<u64> {
    let (from, to) = (from.as_raw_fd(), to.as_raw_fd());
    // SAFETY: both offsets are ours and live until the call returns.
    count(unsafe { copy_file_range(from, &raw mut from_at, to, &raw mut to_at, len, 0) })
}

pub(super) fn set_xattr(path: &Path, name: &CStr, value: &[u8]) -> Result<()> {
    let path = text(path);
    let (value, len) = (value.as_ptr().cast(), value.len());
    // SAFETY: path and name end with a NUL, and the value has `len` bytes.
    done(unsafe { setxattr(path.as_ptr(), name.as_ptr(), value, len, 0) })
}

pub(super) fn get_xattr(path: &Path, name: &CStr) -> Result<Vec<u8>> {
    let (path, mut value) = (text(path), vec![0u8; 1 << 16]);
    let (room, len) = (value.as_mut_ptr().cast(), value.len());
    // SAFETY: path and name end with a NUL, and there is room for `len` bytes.
    let len = count(unsafe { getxattr(path.as_ptr(), name.as_ptr(), room, len) })?;
    value.truncate(usize::try_from(len).unwrap());
    Ok(value)
}

/// The names of the extended attributes, each with a NUL behind it.
pub(super) fn list_xattrs(path: &Path) -> Result<Vec<u8>> {
    let (path, mut names) = (text(path), vec![0u8; 1 << 16]);
    // SAFETY: the path ends with a NUL, and there is room for as many bytes as are allowed.
    let len = count(unsafe { listxattr(path.as_ptr(), names.as_mut_ptr().cast(), names.len()) })?;
    names.truncate(usize::try_from(len).unwrap());
    Ok(names)
}

pub(super) fn remove_xattr(path: &Path, name: &CStr) -> Result<()> {
    let path = text(path);
    // SAFETY: path and name end with a NUL.
    done(unsafe { removexattr(path.as_ptr(), name.as_ptr()) })
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// A file in memory, shared with everybody else who has it.
pub(super) struct Mapping {
    base: *mut c_void,
    len: usize,
}

impl Mapping {
    pub(super) fn new(file: &File, len: usize, writable: bool) -> Result<Self> {
        const MAP_SHARED: c_int = 1;
        let protection = if writable { 3 } else { 1 };
        let (nowhere, fd) = (std::ptr::null_mut(), file.as_raw_fd());
        // SAFETY: a new mapping replaces no other.
        let base = unsafe { mmap(nowhere, len, protection, MAP_SHARED, fd, 0) };
        if base.addr() == usize::MAX {
            return Err(Error::last_os_error());
        }
        Ok(Mapping { base, len })
    }

    /// A copy of what is there now.
    pub(super) fn read(&self, at: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.read_into(at, &mut bytes);
        bytes
    }

    /// Copies what is there now.
    pub(super) fn read_into(&self, at: usize, bytes: &mut [u8]) {
        assert!(at + bytes.len() <= self.len);
        // SAFETY: the mapping has these bytes, by the check above, and is no Rust object.
        unsafe { self.base.cast::<u8>().add(at).copy_to(bytes.as_mut_ptr(), bytes.len()) };
    }

    /// Looks at each cache line once: the sum of their first words.
    pub(super) fn sum_of_lines(&self, at: usize, len: usize) -> u64 {
        assert!(at + len <= self.len && at.is_multiple_of(LINE) && len.is_multiple_of(LINE));
        // SAFETY: the mapping has these bytes, by the check above, aligned as the mapping is, and
        // is no Rust object.
        let line = |at| unsafe { self.base.cast::<u8>().add(at).cast::<u64>().read_volatile() };
        (at..at + len).step_by(LINE).fold(0, |sum, at| sum.wrapping_add(line(at)))
    }

    /// Writes; the mapping must be writable.
    pub(super) fn write(&self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.len);
        // SAFETY: as in `read`.
        unsafe { self.base.cast::<u8>().add(at).copy_from(bytes.as_ptr(), bytes.len()) };
    }

    /// Has the kernel read a file's first bytes into it.
    pub(super) fn fill_from(&self, file: &File, len: usize) {
        assert!(len <= self.len);
        // SAFETY: the mapping has these bytes, by the check above, and is no Rust object.
        let count = unsafe { pread(file.as_raw_fd(), self.base, len, 0) };
        assert_eq!(usize::try_from(count), Ok(len), "{}", Error::last_os_error());
    }

    /// Has the kernel write its first bytes into a file.
    pub(super) fn drain_to(&self, file: &File, len: usize) {
        assert!(len <= self.len);
        // SAFETY: as in `fill_from`.
        let count = unsafe { pwrite(file.as_raw_fd(), self.base, len, 0) };
        assert_eq!(usize::try_from(count), Ok(len), "{}", Error::last_os_error());
    }

    /// Waits until what was written is in the file.
    pub(super) fn sync(&self) -> Result<()> {
        const MS_SYNC: c_int = 4;
        // SAFETY: the mapping is ours.
        done(unsafe { msync(self.base, self.len, MS_SYNC) })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nothing points into it.
        let unmapped = done(unsafe { munmap(self.base, self.len) });
        assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}
