//! Open files and directories of a guest that opens none: each inode has one, from its first use
//! on. (ENOSYS for OPEN and OPENDIR: `fuse_file_open` in Linux's fs/fuse/file.c.)

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Passthrough;
use super::inode::Inode;
use crate::fuse::{Errno, Handle, NodeId, Result};
use crate::mem::{Pin, Slab};

/// What a guest names that has opened nothing. No handle is 0.
const UNOPENED: Handle = Handle(0);

/// The handle of an inode that its users share, or 0; it may be gone by now.
#[derive(Default)]
pub(super) struct Shared(AtomicU64);

/// Those that are open, the oldest first. Their number is bounded, and some may be gone.
pub(super) struct Standing {
    most: usize,
    open: Mutex<VecDeque<Open>>,
}

enum Open {
    File(Handle),
    Dir(Handle),
}

impl Open {
    fn of(inode: &Inode, handle: Handle) -> Self {
        if inode.is_dir() { Open::Dir(handle) } else { Open::File(handle) }
    }
}

impl Standing {
    /// Room for so many.
    pub(super) fn new(most: usize) -> Self {
        Standing { most, open: Mutex::default() }
    }

    /// There is one more. Returns the one that has to go for it.
    fn add(&self, one: Open) -> Option<Open> {
        let mut open = self.open();
        open.push_back(one);
        if open.len() > self.most { open.pop_front() } else { None }
    }

    /// None is open any more.
    pub(super) fn clear(&self) {
        self.open().clear();
    }

    fn open(&self) -> MutexGuard<'_, VecDeque<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Passthrough {
    /// `ENOSYS`, by which the guest learns not to open, if it agreed to that by this INIT flag.
    pub(super) fn must_open(&self, flag: u64) -> Result<()> {
        if self.has_agreed(flag) { Err(Errno::ENOSYS) } else { Ok(()) }
    }

    /// What all users of an inode share who have not opened it, which is `open`ed if need be.
    /// `is_it` tells an entry of this inode from one of another: files and directories have the
    /// same ids.
    pub(super) fn unopened<'a, T>(
        &'a self,
        (node, handle): (NodeId, Handle),
        flag: u64,
        (table, is_it): (&'a Slab<T>, impl Fn(&T) -> bool),
        open: impl FnOnce(&Inode) -> Result<Handle>,
    ) -> Result<Pin<'a, T>> {
        if handle != UNOPENED || !self.has_agreed(flag) {
            // It may be one that the guest has brought here in vain.
            let incomplete = self.incomplete.load(Ordering::Relaxed);
            return Err(if incomplete { Errno::EIO } else { Errno::EBADF });
        }
        let inode = self.inodes.get(node)?;
        let before = inode.shared.0.load(Ordering::Relaxed);
        if let Some(found) = table.get(before).filter(|found| is_it(found)) {
            return Ok(found);
        }
        let made = open(&inode)?;
        let found = table.get(made.0).ok_or(Errno::EBADF)?;
        let order = Ordering::Relaxed;
        if inode.shared.0.compare_exchange(before, made.0, order, order).is_err() {
            // Another request was quicker. This one goes on with its own, and is the only one.
            table.remove(made.0);
        } else if let Some(oldest) = self.standing.add(Open::of(&inode, made)) {
            self.put_away(&oldest);
        }
        Ok(found)
    }

    /// The guest has forgotten the inode.
    pub(super) fn abandon(&self, inode: &Inode) {
        let handle = inode.shared.0.load(Ordering::Relaxed);
        if handle != 0 {
            self.put_away(&Open::of(inode, Handle(handle)));
        }
    }

    /// Closes it; who uses it just now goes on.
    fn put_away(&self, one: &Open) {
        match one {
            Open::File(handle) => self.files.remove(handle.0),
            Open::Dir(handle) => self.dirs.remove(handle.0),
        };
    }
}
