//! Locks of the guest that hold on the host as well.
//!
//! The daemon is one process, in which locks of different owners would be one. So each owner gets
//! an open file of its own per inode, and the locks are open file description locks: they exclude
//! one another, and those of other processes of the host. flock(2) belongs to an open file
//! anyway, and the guest's open files are ours.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
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

/// Everything that is locked. Nothing is asked of a file system while the table is held, not even
/// to close a file: the server of one may never answer.
#[derive(Default)]
pub(super) struct Locks {
    owners: Mutex<HashMap<Key, Owner>>,
    /// Ranges that all of them have locked.
    ranges: Arc<AtomicUsize>,
}

/// An inode, and who locks it.
type Key = (NodeId, u64);

/// What one owner has locked of one inode.
struct Owner {
    locked: Arc<Locked>,
    /// Through which of the guest's open files: when one is released its locks go. Those of a
    /// process go earlier, when it closes any descriptor of the file.
    handles: Vec<Handle>,
}

struct Locked {
    file: Fd,
    /// The guest's process.
    pid: u32,
    /// Held while the file's locks are changed, so that they are what is written here.
    ranges: Mutex<Ranges>,
}

impl Locks {
    fn owners(&self) -> MutexGuard<'_, HashMap<Key, Owner>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, key: Key) -> Option<Arc<Locked>> {
        self.owners().get(&key).map(|owner| owner.locked.clone())
    }

    /// Makes an owner who locks through `file`, unless somebody was faster.
    fn add(&self, key: Key, file: Fd, pid: u32) -> Arc<Locked> {
        let ranges = Mutex::new(Ranges::new(&self.ranges));
        let new = Owner { locked: Arc::new(Locked { file, pid, ranges }), handles: Vec::new() };
        self.owners().entry(key).or_insert(new).locked.clone()
    }

    /// The guest's process that has such a lock on this byte, besides the one that asks; none if it
    /// is not one of the guest's, or is just changing its locks.
    fn pid_of(&self, (node, asks): Key, at: u64, kind: i32) -> Option<u32> {
        let owners = self.owners();
        let mut others = owners.iter().filter(|((of, who), _)| *of == node && *who != asks);
        others.find_map(|(_, Owner { locked, .. })| {
            let holds = locked.ranges.try_lock().is_ok_and(|ranges| ranges.has(at, kind));
            holds.then_some(locked.pid)
        })
    }

    /// Calls `with` on an owner, unless it has gone, and perhaps another has come in its place.
    fn with<R>(&self, key: Key, of: &Arc<Locked>, with: impl FnOnce(&mut Owner) -> R) -> Option<R> {
        let mut owners = self.owners();
        owners.get_mut(&key).filter(|owner| Arc::ptr_eq(&owner.locked, of)).map(with)
    }

    /// An owner has nothing locked any more. Whoever holds it keeps its file.
    fn remove(&self, key: Key, of: &Arc<Locked>) {
        if let Entry::Occupied(owner) = self.owners().entry(key)
            && Arc::ptr_eq(&owner.get().locked, of)
        {
            owner.remove();
        }
    }

    /// An open file is gone.
    pub(super) fn release(&self, node: NodeId, handle: Handle) {
        let mut owners = self.owners();
        if owners.is_empty() {
            return;
        }
        let goes =
            |(of, _): &Key, owner: &mut Owner| *of == node && owner.handles.contains(&handle);
        let gone: Vec<_> = owners.extract_if(goes).collect();
        drop(owners);
        drop(gone);
    }

    /// An owner has closed a descriptor of the inode.
    pub(super) fn flush(&self, node: NodeId, owner: u64) {
        let gone = self.owners().remove(&(node, owner));
        drop(gone);
    }

    /// Ranges that are locked.
    pub(super) fn ranges(&self) -> usize {
        self.ranges.load(Ordering::Relaxed)
    }

    /// All owners are gone.
    pub(super) fn clear(&self) {
        let gone = std::mem::take(&mut *self.owners());
        drop(gone);
    }
}

impl Locked {
    fn ranges(&self) -> MutexGuard<'_, Ranges> {
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Passthrough {
    pub(super) fn get_lock(&self, node: NodeId, handle: Handle, lock: &Lock) -> Result<FileLock> {
        if lock.flock || !self.has_agreed(init::POSIX_LOCKS) {
            return Err(Errno::ENOSYS);
        }
        self.file(node, handle)?;
        let mut range = to_host(&lock.range)?;
        if let Some(owner) = self.locks.find((node, lock.owner)) {
            sys::lock(owner.file.as_fd(), libc::F_OFD_GETLK, &mut range)?;
        } else {
            let file = self.lock_file(node)?;
            sys::lock(file.as_fd(), libc::F_OFD_GETLK, &mut range)?;
        }
        // Nobody, where nothing is locked.
        let (key, at) = ((node, lock.owner), range.l_start.cast_unsigned());
        let pid = self.locks.pid_of(key, at, range.l_type.into());
        Ok(FileLock { pid: pid.unwrap_or(0), ..to_guest(&range) })
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
        let range = to_host(&lock.range)?;
        let key = (node, lock.owner);
        loop {
            let owner = match self.locks.find(key) {
                Some(owner) => owner,
                None if kind == libc::F_UNLCK => return Ok(()),
                None => self.locks.add(key, self.lock_file(node)?, lock.range.pid),
            };
            // Who held it before us may have been the last who needed it.
            if let Some(set) = self.set_lock_of(key, &owner, handle, (lock, range)) {
                return set;
            }
        }
    }

    /// None if the owner has gone meanwhile.
    fn set_lock_of(
        &self,
        key: Key,
        owner: &Arc<Locked>,
        handle: Handle,
        (lock, mut range): (&Lock, libc::flock64),
    ) -> Option<Result<()>> {
        let mut ranges = owner.ranges();
        let kind = i32::from(range.l_type);
        let locks = kind != libc::F_UNLCK;
        let may = self.locks.with(key, owner, |owner| {
            !locks || owner.handles.contains(&handle) || owner.handles.len() < MOST_HANDLES
        })?;
        if !may {
            return Some(Err(Errno::ENOLCK));
        }
        let (start, end) = (lock.range.start, lock.range.end.min(TO_THE_END));
        let set = ranges.plan(Range { start, end, kind }).and_then(|change| {
            sys::lock(owner.file.as_fd(), libc::F_OFD_SETLK, &mut range)?;
            ranges.make(change);
            Ok(())
        });
        // Whoever has given the owner up meanwhile has given up this lock as well.
        if ranges.is_empty() {
            self.locks.remove(key, owner);
        } else if set.is_ok() && locks {
            self.locks.with(key, owner, |owner| {
                if !owner.handles.contains(&handle) {
                    owner.handles.push(handle);
                }
            });
            // Whoever closed it before that has found no lock of it to give up.
            if self.files.get(handle.0).is_none() {
                self.locks.remove(key, owner);
                return Some(Err(Errno::EBADF));
            }
        }
        Some(set)
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

/// Who holds it may be a process of the host, which the guest does not know.
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
