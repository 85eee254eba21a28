//! Locks of the guest that hold on the host as well.
//!
//! The daemon is one process, in which locks of different owners would be one. So each owner gets
//! an open file of its own per inode, and the locks are open file description locks: they exclude
//! one another, and those of other processes of the host. flock(2) belongs to an open file
//! anyway, and the guest's open files are ours.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::OFlags;

use super::Passthrough;
use super::descriptors::Fd;
use super::ranges::{Range, Ranges};
use super::sys;
use crate::fuse::abi::FileLock;
use crate::fuse::flags::init;
use crate::fuse::{Errno, Handle, Lock, NodeId, Result};

/// Open files through which one owner may have locked an inode.
const MOST_HANDLES: usize = 1 << 10;

/// The end of a range without end.
const TO_THE_END: u64 = i64::MAX.cast_unsigned();

/// Everything that is locked.
#[derive(Default)]
pub(super) struct Locks {
    owners: Mutex<HashMap<(NodeId, u64), Owner>>,
    /// Ranges that all of them have locked.
    ranges: Arc<AtomicUsize>,
}

/// What one owner has locked of one inode.
struct Owner {
    file: Fd,
    /// Through which of the guest's open files: when one is released its locks go. Those of a
    /// process go earlier, when it closes any descriptor of the file.
    handles: Vec<Handle>,
    ranges: Ranges,
}

impl Locks {
    fn owners(&self) -> MutexGuard<'_, HashMap<(NodeId, u64), Owner>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An open file is gone.
    pub(super) fn release(&self, node: NodeId, handle: Handle) {
        let mut owners = self.owners();
        if !owners.is_empty() {
            owners.retain(|(of, _), owner| *of != node || !owner.handles.contains(&handle));
        }
    }

    /// An owner has closed a descriptor of the inode.
    pub(super) fn flush(&self, node: NodeId, owner: u64) {
        self.owners().remove(&(node, owner));
    }

    /// All owners are gone.
    pub(super) fn clear(&self) {
        self.owners().clear();
    }
}

impl Passthrough {
    pub(super) fn get_lock(&self, node: NodeId, handle: Handle, lock: &Lock) -> Result<FileLock> {
        if lock.flock || !self.has_agreed(init::POSIX_LOCKS) {
            return Err(Errno::ENOSYS);
        }
        self.file(node, handle)?;
        let mut range = to_host(&lock.range)?;
        let owners = self.locks.owners();
        if let Some(owner) = owners.get(&(node, lock.owner)) {
            sys::lock(owner.file.as_fd(), libc::F_OFD_GETLK, &mut range)?;
        } else {
            drop(owners);
            let file = self.lock_file(node)?;
            sys::lock(file.as_fd(), libc::F_OFD_GETLK, &mut range)?;
        }
        Ok(to_guest(&range))
    }

    pub(super) fn set_lock(&self, node: NodeId, handle: Handle, lock: &Lock) -> Result<()> {
        if !self.has_agreed(if lock.flock { init::FLOCK_LOCKS } else { init::POSIX_LOCKS }) {
            return Err(Errno::ENOSYS);
        }
        let file = self.file(node, handle)?;
        let kind = i32::try_from(lock.range.kind).map_err(|_| Errno::EINVAL)?;
        if lock.flock {
            return sys::flock(file.as_fd(), kind);
        }
        let mut range = to_host(&lock.range)?;
        let key = (node, lock.owner);
        // Opened without the lock on the table; somebody may have been faster.
        let known = self.locks.owners().contains_key(&key);
        let new = match (known, kind == libc::F_UNLCK) {
            (false, true) => return Ok(()),
            (false, false) => Some(self.lock_file(node)?),
            (true, _) => None,
        };
        let mut owners = self.locks.owners();
        let owner = match new {
            Some(file) => {
                let ranges = Ranges::new(&self.locks.ranges);
                owners.entry(key).or_insert(Owner { file, handles: Vec::new(), ranges })
            }
            None => owners.get_mut(&key).ok_or(Errno::ENOLCK)?,
        };
        let (start, end) = (lock.range.start, lock.range.end.min(TO_THE_END));
        let locks_by_another = kind != libc::F_UNLCK && !owner.handles.contains(&handle);
        if locks_by_another && owner.handles.len() == MOST_HANDLES {
            return Err(Errno::ENOLCK);
        }
        let set = owner.ranges.plan(Range { start, end, kind }).and_then(|change| {
            sys::lock(owner.file.as_fd(), libc::F_OFD_SETLK, &mut range)?;
            owner.ranges.make(change);
            Ok(())
        });
        if set.is_ok() && locks_by_another {
            owner.handles.push(handle);
        }
        if owner.ranges.is_empty() {
            owners.remove(&key);
        }
        set
    }

    /// An open file for the locks of one owner: writable if possible, since a write lock needs it.
    fn lock_file(&self, node: NodeId) -> Result<Fd> {
        let inode = self.inodes.get(node)?;
        let open = |flags| self.reopen(node, &inode, flags | OFlags::CLOEXEC);
        match self.config.readonly {
            true => open(OFlags::RDONLY),
            false => open(OFlags::RDWR).or_else(|error| match error {
                Errno::EACCES | Errno::EROFS | Errno::ETXTBSY => open(OFlags::RDONLY),
                error => Err(error),
            }),
        }
    }
}

fn to_host(range: &FileLock) -> Result<libc::flock64> {
    let start = i64::try_from(range.start).map_err(|_| Errno::EINVAL)?;
    let len = if range.end >= TO_THE_END {
        0
    } else {
        let bytes = range.end.checked_sub(range.start).ok_or(Errno::EINVAL)? + 1;
        i64::try_from(bytes).map_err(|_| Errno::EINVAL)?
    };
    let kind = match range.kind.cast_signed() {
        kind @ (libc::F_RDLCK | libc::F_WRLCK | libc::F_UNLCK) => {
            libc::c_short::try_from(kind).map_err(|_| Errno::EINVAL)?
        }
        _ => return Err(Errno::EINVAL),
    };
    let whence = libc::c_short::try_from(libc::SEEK_SET).map_err(|_| Errno::EINVAL)?;
    // l_pid must be 0 for open file description locks.
    Ok(libc::flock64 { l_type: kind, l_whence: whence, l_start: start, l_len: len, l_pid: 0 })
}

/// Who holds it is a process of the host, which the guest does not know.
fn to_guest(range: &libc::flock64) -> FileLock {
    let start = range.l_start.cast_unsigned();
    let end = match range.l_len {
        0 => TO_THE_END,
        len => start.saturating_add(len.cast_unsigned()) - 1,
    };
    let kind = i32::from(range.l_type).cast_unsigned();
    FileLock { start, end, kind, pid: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_survive_their_way_to_the_host_and_back() {
        for (start, end) in
            [(0, TO_THE_END), (5, TO_THE_END), (0, 0), (100, 199), (TO_THE_END - 1, TO_THE_END - 1)]
        {
            let range = FileLock { start, end, kind: 1, pid: 0 };
            let back = to_guest(&to_host(&range).unwrap());
            assert_eq!((back.start, back.end, back.kind), (start, end, 1));
        }
    }

    #[test]
    fn ranges_that_are_none_are_refused() {
        for (start, end, kind) in
            [(10, 5, 0), (1 << 63, u64::MAX, 0), (u64::MAX, u64::MAX, 0), (0, 1, 3), (0, 1, 9)]
        {
            let range = FileLock { start, end, kind, pid: 0 };
            assert_eq!(to_host(&range).err(), Some(Errno::EINVAL), "{start} {end} {kind}");
        }
    }
}
