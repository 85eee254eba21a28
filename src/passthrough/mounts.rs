//! The host's mounts that the share reaches.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::fs::{Mode, OFlags, Statx};

use super::common::Devices;
use super::config::FileHandles;
use super::identity::{FileHandle, FileId, stat_fd};
use crate::fuse::{Errno, Result};

/// A mount, kept busy as long as an inode on it is known.
pub(super) struct Mount {
    /// A directory on it, through which handles are opened; none if inodes on this mount have no
    /// handles, or we may not open them.
    dir: Option<OwnedFd>,
    /// Any inode on it that may be opened, as an `O_PATH` descriptor.
    any: Option<OwnedFd>,
    /// The file system is this host's own: it asks for the caller's ids only when an inode is
    /// made, and not at every step as servers do; and it does not wait for a network.
    pub(super) is_local: bool,
    /// It keeps files in memory, and never waits for storage.
    pub(super) is_memory: bool,
    /// There is one file on it, mounted on another, and nothing else.
    pub(super) is_file: bool,
}

impl Mount {
    /// The descriptor that `open_by_handle_at` wants, if inodes here can be opened by handle.
    pub(super) fn by_handle(&self) -> Option<BorrowedFd<'_>> {
        self.dir.as_ref().map(AsFd::as_fd)
    }

    /// Any inode on the mount that may be opened.
    pub(super) fn any(&self) -> Option<BorrowedFd<'_>> {
        self.any.as_ref().map(AsFd::as_fd)
    }
}

/// All mounts that are in use.
pub(super) struct Mounts {
    handles: FileHandles,
    by_id: Mutex<HashMap<u64, Weak<Mount>>>,
    /// Some mount is of a file system that may wait for a network.
    remote: AtomicBool,
    devices: Arc<Devices>,
}

impl Mounts {
    pub(super) fn new(handles: FileHandles, devices: Arc<Devices>) -> Self {
        Mounts { handles, by_id: Mutex::default(), remote: AtomicBool::new(false), devices }
    }

    /// The mount of the inode with attributes `stat` that `open` opens with the flags it is
    /// given.
    pub(super) fn of(
        &self,
        stat: &Statx,
        open: impl Fn(OFlags) -> Result<OwnedFd>,
    ) -> Result<Arc<Mount>> {
        let id = FileId::of(stat);
        if let Some(mount) = self.known(id.mount) {
            return Ok(mount);
        }
        // Without the lock: its server may never answer, and the others have theirs.
        let dir = match self.handles {
            FileHandles::Never => None,
            FileHandles::Prefer | FileHandles::Mandatory => dir_for_handles(id, stat, &open)?,
        };
        if dir.is_none() && self.handles == FileHandles::Mandatory {
            return Err(Errno::EOPNOTSUPP);
        }
        let any = open(OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC)?;
        let magic = rustix::fs::fstatfs(&any)?.f_type;
        let (is_local, is_memory) = (LOCAL.contains(&magic), MEMORY.contains(&magic));
        let kind = u32::from(stat.stx_mode) & libc::S_IFMT;
        let any = matches!(kind, libc::S_IFDIR | libc::S_IFREG).then_some(any);
        let is_file = kind == libc::S_IFREG;
        let mount = Arc::new(Mount { dir, any, is_local, is_memory, is_file });
        if !is_local {
            self.remote.store(true, Ordering::Relaxed);
        }
        let mut by_id = self.by_id();
        if let Some(mount) = by_id.get(&id.mount).and_then(Weak::upgrade) {
            return Ok(mount);
        }
        by_id.retain(|_, mount| mount.strong_count() > 0);
        by_id.insert(id.mount, Arc::downgrade(&mount));
        Ok(mount)
    }

    /// True if a mount is in use and of a file system of this host.
    pub(super) fn is_local(&self, mount: u64) -> bool {
        self.known(mount).is_some_and(|mount| mount.is_local)
    }

    fn known(&self, mount: u64) -> Option<Arc<Mount>> {
        self.by_id().get(&mount).and_then(Weak::upgrade)
    }

    fn by_id(&self) -> MutexGuard<'_, HashMap<u64, Weak<Mount>>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if some mount was met that may wait for a network.
    pub(super) fn has_remote(&self) -> bool {
        self.remote.load(Ordering::Relaxed)
    }

    /// Those of the mounts in use that are `meant`, as any inode on each; those of which we have
    /// met nothing but special files are left out.
    pub(super) fn for_each(
        &self,
        meant: impl Fn(&Mount) -> bool,
        mut with: impl FnMut(BorrowedFd<'_>) -> Result<()>,
    ) -> Result<()> {
        let mounts: Vec<_> = self.by_id().values().filter_map(Weak::upgrade).collect();
        let meant = mounts.iter().filter(|mount| meant(mount));
        meant.filter_map(|mount| mount.any()).try_for_each(&mut with)
    }

    /// An inode number that no other inode of the share has, whatever file system it is on. Those
    /// of the first file system, which is the root's, stay as they are.
    pub(super) fn unique_ino(&self, dev: u64, ino: u64) -> u64 {
        match self.devices.number(dev) {
            0 => ino,
            at => beside(at, ino),
        }
    }

    /// An inode number for an inode that is shown among those of any other file system.
    pub(super) fn foreign_ino(&self, dev: u64, ino: u64) -> u64 {
        beside(self.devices.number(dev), ino)
    }
}

/// The inode number `ino` of the file system with this number among others.
fn beside(at: u64, ino: u64) -> u64 {
    match (at, ino >> 48) {
        (1..0x4000, 0) => 1 << 63 | at << 48 | ino,
        // Too many devices or too large a number to put them side by side: mixed.
        _ => 3 << 62 | (at ^ ino.rotate_left(17)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 2,
    }
}

/// `f_type` (`include/uapi/linux/magic.h`) of ext2/3/4, XFS, Btrfs, tmpfs, ramfs, F2FS, overlayfs,
/// bcachefs and ZFS.
const LOCAL: [i64; 9] = [
    0xef53,
    0x5846_5342,
    0x9123_683e,
    0x0102_1994,
    0x8584_58f6,
    0xf2f5_2010,
    0x794c_7630,
    0xca45_1a4e,
    0x2fc1_2fc1,
];

/// `f_type` of tmpfs and ramfs.
const MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58f6];

/// A directory for handles, if they work on this mount. The first inode met on a mount is its
/// root; where that is a file, its mount does without handles.
fn dir_for_handles(
    id: FileId,
    stat: &Statx,
    open: &impl Fn(OFlags) -> Result<OwnedFd>,
) -> Result<Option<OwnedFd>> {
    if u32::from(stat.stx_mode) & libc::S_IFMT != libc::S_IFDIR {
        return Ok(None);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = match open(flags) {
        Err(Errno::EACCES | Errno::EPERM) => return Ok(None),
        opened => opened?,
    };
    if FileId::of(&stat_fd(dir.as_fd())?) != id {
        return Err(Errno::ESTALE);
    }
    let works = FileHandle::of(dir.as_fd(), c"")
        .and_then(|handle| handle.open(dir.as_fd(), libc::O_PATH))
        .is_ok();
    Ok(works.then_some(dir))
}

/// Opens `.` of a directory descriptor.
pub(super) fn reopen_dir(dir: BorrowedFd<'_>, flags: OFlags) -> Result<OwnedFd> {
    Ok(rustix::fs::openat(dir, c".", flags, Mode::empty())?)
}

/// Opens a share's root once more: a directory, or the descriptor of a single file.
pub(super) fn reopen_root(root: BorrowedFd<'_>, stat: &Statx, flags: OFlags) -> Result<OwnedFd> {
    match u32::from(stat.stx_mode) & libc::S_IFMT {
        libc::S_IFDIR => reopen_dir(root, flags),
        libc::S_IFREG => Ok(rustix::io::fcntl_dupfd_cloexec(root, 0)?),
        _ => Err(Errno::ENOTDIR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_inodes_have_one_number() {
        let mounts = Mounts::new(FileHandles::Prefer, Arc::default());
        assert_eq!(mounts.unique_ino(7, 5), 5, "the root's own");
        let mut seen = std::collections::HashSet::new();
        for dev in [7, 8, 9] {
            for ino in [1, 2, 5, (1 << 48) - 1, 1 << 48, 1 << 52, 3 << 60] {
                assert!(seen.insert(mounts.unique_ino(dev, ino)), "{dev}:{ino}");
            }
        }
        assert_eq!(mounts.unique_ino(8, 5), mounts.unique_ino(8, 5));
    }
}
