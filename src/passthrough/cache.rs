//! What a guest may keep in its cache of what it opens.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{OFlags, Statx, StatxTimestamp};

use super::Passthrough;
use super::config::Cache;
use super::inode::Inode;
use crate::fuse::flags::{init, opened};
use crate::fuse::{Errno, Result};

/// A change that happened less than this ago may be followed by another with the same time.
const TICK: Duration = Duration::from_millis(20);

/// A file's state when it was last opened: 0 if that is not known well enough.
#[derive(Default)]
pub(super) struct Seen(AtomicU64);

impl Seen {
    /// Notes the state; true if it is the one that was noted before.
    fn is_unchanged(&self, stat: &Statx) -> bool {
        let now = stamp(stat, SystemTime::now());
        self.0.swap(now, Ordering::Relaxed) == now && now != 0
    }
}

/// What content, size and attributes are told apart by, or 0 right after a change.
fn stamp(stat: &Statx, now: SystemTime) -> u64 {
    let time = |time: &StatxTimestamp| {
        let seconds = u64::try_from(time.tv_sec).ok()?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, time.tv_nsec))
    };
    let settled = |time: Option<SystemTime>| {
        time.is_some_and(|time| now.duration_since(time).is_ok_and(|age| age > TICK))
    };
    if !settled(time(&stat.stx_ctime)) {
        return 0;
    }
    // Odd, so never 0; mixed by multiplication so that near values differ in all bits.
    let parts = [
        stat.stx_mtime.tv_sec.cast_unsigned(),
        stat.stx_mtime.tv_nsec.into(),
        stat.stx_ctime.tv_sec.cast_unsigned(),
        stat.stx_ctime.tv_nsec.into(),
        stat.stx_size,
    ];
    parts.iter().fold(0xcbf2_9ce4_8422_2325, |mixed: u64, part| {
        (mixed.rotate_left(29) ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }) | 1
}

impl Passthrough {
    /// What the guest is told of a file that it opens: [`opened`] bits.
    pub(super) fn file_flags(
        &self,
        inode: &Inode,
        stat: impl FnOnce() -> Result<Statx>,
    ) -> Result<u32> {
        let cache = match self.config.cache {
            Cache::Auto if inode.seen.is_unchanged(&stat()?) => opened::KEEP_CACHE,
            Cache::Auto => 0,
            Cache::Always => opened::KEEP_CACHE,
            Cache::Metadata | Cache::Never => opened::DIRECT_IO | opened::PARALLEL_DIRECT_WRITES,
        };
        // A process's locks end when it closes any descriptor, so that must be told.
        let no_flush = inode.mount.is_local && !self.has_agreed(init::POSIX_LOCKS);
        Ok(cache | if no_flush { opened::NOFLUSH } else { 0 })
    }

    /// What the guest is told of a directory that it opens.
    pub(super) fn dir_flags(&self) -> u32 {
        if self.config.keeps_listings() { opened::CACHE_DIR | opened::KEEP_CACHE } else { 0 }
    }

    /// The flags that a host file is opened with. Appending is done write by write; what is not
    /// named here is not for guests to choose.
    pub(super) fn open_flags(&self, guest: u32) -> Result<OFlags> {
        let guest = OFlags::from_bits_retain(guest);
        let access = guest & OFlags::RWMODE;
        if access == OFlags::RWMODE {
            return Err(Errno::EINVAL);
        }
        if self.config.readonly && (access != OFlags::RDONLY || guest.contains(OFlags::TRUNC)) {
            return Err(Errno::EROFS);
        }
        let mut kept = OFlags::RWMODE | OFlags::TRUNC | OFlags::SYNC | OFlags::DSYNC;
        kept.set(OFlags::DIRECT, self.config.allow_direct_io);
        kept.set(OFlags::NOATIME, self.config.preserve_noatime);
        let mut flags = guest & kept | OFlags::CLOEXEC;
        if access == OFlags::WRONLY && self.has_agreed(init::WRITEBACK_CACHE) {
            // The guest reads what surrounds a partial write.
            flags = (flags - OFlags::WRONLY) | OFlags::RDWR;
        }
        Ok(flags)
    }

    /// Refuses a change on a share that is read-only.
    pub(super) fn may_change(&self) -> Result<()> {
        if self.config.readonly { Err(Errno::EROFS) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::super::identity::stat_fd;
    use super::*;

    #[test]
    fn only_a_settled_state_is_compared() {
        let file = tempfile::tempfile().unwrap();
        let stat = stat_fd(file.as_fd()).unwrap();
        let seen = Seen::default();
        assert!(!seen.is_unchanged(&stat), "just made");
        let later = SystemTime::now() + TICK;
        let first = stamp(&stat, later);
        assert_ne!(first, 0);
        assert_eq!(stamp(&stat, later + TICK), first);
        file.set_len(1).unwrap();
        let changed = stat_fd(file.as_fd()).unwrap();
        assert_ne!(stamp(&changed, SystemTime::now() + TICK), first);
    }
}
