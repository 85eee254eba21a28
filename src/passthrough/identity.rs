//! What makes an inode the one it is.

use std::ffi::CStr;
use std::fmt;
use std::num::NonZeroU64;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Statx, StatxFlags, StatxTimestamp};

use super::sys::{self, MAX_HANDLE, RawHandle};
use crate::fuse::{Errno, Result};

/// Device, mount and inode number. Unique among inodes that exist at the same time; a number
/// may be used again once its inode is gone, which an open descriptor prevents and a
/// [`FileHandle`] detects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FileId {
    pub(super) dev: u64,
    pub(super) mount: u64,
    pub(super) ino: u64,
}

impl FileId {
    pub(super) fn of(stat: &Statx) -> Self {
        let dev = u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor);
        FileId { dev, mount: stat.stx_mnt_id, ino: stat.stx_ino }
    }

    /// True if both are in one file system and one mount.
    pub(super) fn is_beside(&self, other: &FileId) -> bool {
        (self.dev, self.mount) == (other.dev, other.mount)
    }
}

/// What every answer about an inode needs, and its mount.
const MASK: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::MNT_ID).union(StatxFlags::BTIME);

/// Attributes of `name` in `dir`; a symbolic link is not followed, an automount not triggered.
pub(super) fn stat_name(dir: BorrowedFd<'_>, name: &CStr) -> Result<Statx> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    Ok(rustix::fs::statx(dir, name, flags, MASK)?)
}

/// The same without asking a server: on its file systems only identity and type are certain.
pub(super) fn glance_at(dir: BorrowedFd<'_>, name: &CStr) -> Result<Statx> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
    Ok(rustix::fs::statx(dir, name, flags, MASK)?)
}

/// Attributes of an open or `O_PATH` descriptor.
pub(super) fn stat_fd(fd: BorrowedFd<'_>) -> Result<Statx> {
    Ok(rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, MASK)?)
}

/// When an inode was made, to the nanosecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Birth(NonZeroU64);

impl Birth {
    /// None if the file system does not know it.
    pub(super) fn of(stat: &Statx) -> Option<Self> {
        let StatxTimestamp { tv_sec, tv_nsec, .. } = stat.stx_btime;
        let known = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
        let nanoseconds = tv_sec.cast_unsigned().wrapping_mul(1_000_000_000);
        let nanoseconds = NonZeroU64::new(nanoseconds.wrapping_add(tv_nsec.into()));
        nanoseconds.filter(|_| known).map(Birth)
    }
}

/// What tells an inode from a later one that has its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// Its file handle.
    Handle(FileHandle),
    /// When it was made. Weaker: a number may be used again within a tick of the clock.
    Birth(Birth),
    /// Nothing; the descriptor must stay.
    None,
}

impl Proof {
    /// The best proof there is of `name` in `dir` (or of `dir` itself if it is empty) with these
    /// attributes. `ESTALE` if the name is gone by now.
    pub(super) fn of(dir: BorrowedFd<'_>, name: &CStr, stat: &Statx) -> Result<Self> {
        match FileHandle::of(dir, name) {
            Ok(handle) => Ok(Proof::Handle(handle)),
            Err(Errno::EOPNOTSUPP | Errno::EOVERFLOW | Errno::EPERM) => {
                Ok(Birth::of(stat).map_or(Proof::None, Proof::Birth))
            }
            Err(Errno::ENOENT) => Err(Errno::ESTALE),
            Err(error) => Err(error),
        }
    }
}

/// A file system's own name of an inode, with the inode's generation in it. Two handles on one
/// mount are equal if and only if they are of the same inode.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct FileHandle {
    kind: i32,
    bytes: Bytes,
}

/// Most file systems need 8 to 22 bytes.
#[derive(Clone)]
enum Bytes {
    Few(u8, [u8; 22]),
    Many(Box<[u8]>),
}

impl FileHandle {
    /// The handle of `name` in `dir`, or of `dir` itself if `name` is empty.
    pub(super) fn of(dir: BorrowedFd<'_>, name: &CStr) -> Result<Self> {
        let raw = sys::name_to_handle(dir, name)?;
        let bytes = raw.bytes.get(..raw.len as usize).ok_or(Errno::EOVERFLOW)?;
        Ok(FileHandle { kind: raw.kind, bytes: Bytes::from(bytes) })
    }

    /// The handle that another daemon had of an inode; none if there are none of this length.
    pub(super) fn from_parts(kind: i32, bytes: &[u8]) -> Option<Self> {
        (bytes.len() <= MAX_HANDLE).then(|| FileHandle { kind, bytes: Bytes::from(bytes) })
    }

    /// Its type, and its bytes.
    pub(super) fn parts(&self) -> (i32, &[u8]) {
        (self.kind, self.bytes.as_slice())
    }

    /// Opens the inode. `ESTALE` if it is gone.
    pub(super) fn open(&self, mount: BorrowedFd<'_>, flags: i32) -> Result<OwnedFd> {
        let bytes = self.bytes.as_slice();
        let len = u32::try_from(bytes.len()).map_err(|_| Errno::EOVERFLOW)?;
        let mut raw = RawHandle { len, kind: self.kind, bytes: [0; MAX_HANDLE] };
        raw.bytes[..bytes.len()].copy_from_slice(bytes);
        sys::open_by_handle(mount, &mut raw, flags).map_err(|error| match error {
            // What ext4 says while the inode's number is being given to another one.
            Errno::ENOMEM => Errno::ESTALE,
            error => error,
        })
    }
}

impl Bytes {
    fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Few(len, bytes) => &bytes[..usize::from(*len)],
            Bytes::Many(bytes) => bytes,
        }
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        let mut few = [0; 22];
        match (few.get_mut(..bytes.len()), u8::try_from(bytes.len())) {
            (Some(room), Ok(len)) => {
                room.copy_from_slice(bytes);
                Bytes::Few(len, few)
            }
            _ => Bytes::Many(bytes.into()),
        }
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Bytes {}

impl fmt::Debug for FileHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:02x?}", self.kind, self.bytes.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_handle_finds_its_inode_and_no_later_one() {
        let dir = tempfile::tempdir().unwrap();
        let here = std::fs::File::open(dir.path()).unwrap();
        let make = || {
            std::fs::write(dir.path().join("a"), "").unwrap();
            FileHandle::of(here.as_fd(), c"a").unwrap()
        };
        let first = make();
        assert_eq!(first, FileHandle::of(here.as_fd(), c"a").unwrap());
        first.open(here.as_fd(), libc::O_PATH).unwrap();
        std::fs::remove_file(dir.path().join("a")).unwrap();
        let second = make();
        assert_ne!(first, second);
        assert_eq!(first.open(here.as_fd(), libc::O_PATH).unwrap_err(), Errno::ESTALE);
    }

    #[test]
    fn a_handle_whose_number_is_just_given_to_another_inode_is_stale() {
        let dir = tempfile::tempdir().unwrap();
        let here = std::fs::File::open(dir.path()).unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "").unwrap();
        let first = FileHandle::of(here.as_fd(), c"a").unwrap();
        let over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..50_000 {
                    std::fs::remove_file(&path).unwrap();
                    std::fs::write(&path, "").unwrap();
                }
                over.store(true, std::sync::atomic::Ordering::Relaxed);
            });
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                if let Err(error) = first.open(here.as_fd(), libc::O_PATH) {
                    assert_eq!(error, Errno::ESTALE);
                }
            }
        });
    }

    #[test]
    fn long_and_short_handles_keep_their_bytes() {
        for len in [0, 1, 22, 23, 128] {
            let bytes = vec![7; len];
            assert_eq!(Bytes::from(&bytes[..]).as_slice(), bytes);
        }
    }
}
