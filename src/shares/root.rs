//! The directory in which the shares are. It is on no disk, and no guest changes it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use zerocopy::FromZeros;

use crate::fuse::abi::{Attr, Kstatfs, Statx, SxTime};
use crate::fuse::{Attributes, Errno, Handle, Result, StatxAttributes};

/// A listing can be answered at any time: what is open of the directory is nothing.
pub(super) const HANDLE: u64 = 0;

/// For longer than this a guest does not believe that a share is there, or that it is not.
pub(super) const VALID: Duration = Duration::from_secs(1);

const MODE: u32 = libc::S_IFDIR | 0o555;

pub(super) struct Root {
    /// When a share came or went last, in nanoseconds since 1970.
    changed: AtomicU64,
    pub(super) valid: Duration,
}

impl Root {
    pub(super) fn new(valid: Duration) -> Self {
        let root = Root { changed: AtomicU64::new(0), valid: valid.min(VALID) };
        root.change();
        root
    }

    /// A share has come, or gone: a guest that keeps listings learns of it by the time.
    pub(super) fn change(&self) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_nanos()).unwrap_or_default();
        // No two changes are at the same time, however coarse the clock is.
        let later = |last: u64| Some(now.max(last + 1));
        let _ = self.changed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
    }

    /// Seconds since 1970, and nanoseconds.
    fn time(&self) -> (i64, u32) {
        let time = Duration::from_nanos(self.changed.load(Ordering::Relaxed));
        (time.as_secs().cast_signed(), time.subsec_nanos())
    }

    pub(super) fn attributes(&self) -> Attributes {
        let mut attr = Attr::new_zeroed();
        let (secs, nanos) = self.time();
        (attr.ino, attr.mode, attr.nlink, attr.blksize) = (1, MODE, 2, 4096);
        (attr.atime, attr.mtime, attr.ctime) = (secs, secs, secs);
        (attr.atimensec, attr.mtimensec, attr.ctimensec) = (nanos, nanos, nanos);
        Attributes { attr, valid: self.valid }
    }

    pub(super) fn statx(&self) -> StatxAttributes {
        let mut stat = Statx::new_zeroed();
        let mut time = SxTime::new_zeroed();
        let (secs, nanos) = self.time();
        (time.tv_sec, time.tv_nsec) = (secs, nanos);
        (stat.ino, stat.nlink, stat.blksize) = (1, 2, 4096);
        stat.mode = u16::try_from(MODE).unwrap_or_default();
        stat.mask = libc::STATX_BASIC_STATS;
        (stat.atime, stat.mtime, stat.ctime) = (time, time, time);
        StatxAttributes { stat, valid: self.valid }
    }

    pub(super) fn statfs() -> Kstatfs {
        let mut fs = Kstatfs::new_zeroed();
        (fs.bsize, fs.frsize, fs.namelen) = (4096, 4096, 255);
        fs
    }

    pub(super) fn access(mask: u32) -> Result<()> {
        if mask & libc::W_OK.cast_unsigned() != 0 { Err(Errno::EROFS) } else { Ok(()) }
    }
}

/// True of what OPENDIR gave.
pub(super) fn is_open(handle: Handle) -> Result<()> {
    if handle.0 == HANDLE { Ok(()) } else { Err(Errno::EBADF) }
}
