//! How many descriptors are held for the guest, and which of them have to go.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use super::common::Budget;
use super::inode::Inode;
use super::sys;
use crate::fuse::{Errno, NodeId, Result};
use crate::mem::Slab;

/// A descriptor that counts towards the budget while it is open.
pub(super) struct Fd {
    fd: OwnedFd,
    _counted: Counted,
}

struct Counted(Arc<Budget>);

impl Fd {
    /// Closes it, and tells what that reports.
    pub(super) fn close(self) -> Result<()> {
        sys::close(self.fd)
    }
}

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Descriptors that are held for a guest. Open files and directories take what they need of the
/// budget; inodes hold descriptors in the rest, and give them up by a clock: its hand goes round
/// those that could be opened again, and takes the first that was not looked at since its last
/// round.
pub(super) struct Descriptors {
    budget: Arc<Budget>,
    clock: Mutex<Clock>,
}

/// Inodes that got a descriptor and could do without; perhaps they do by now, or are forgotten.
struct Clock {
    inodes: Vec<NodeId>,
    hand: usize,
    /// So many may be listed before those without a descriptor are struck off.
    room: usize,
}

impl Descriptors {
    /// Nothing is held yet.
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        let clock = Mutex::new(Clock { inodes: Vec::new(), hand: 0, room: 64 });
        Descriptors { budget, clock }
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Opens one more descriptor; inodes give some up for it if need be.
    ///
    /// # Errors
    /// Those of `open`; `ENFILE` if there are too many and none can be closed.
    pub(super) fn admit(
        &self,
        inodes: &Slab<Inode>,
        open: impl Fn() -> Result<OwnedFd>,
    ) -> Result<Fd> {
        let budget = &self.budget;
        let make_room = || budget.make_room().unwrap_or_else(|| self.evict(inodes));
        let before = budget.open.fetch_add(1, Ordering::Relaxed);
        let opened = if before >= budget.most && !make_room() {
            Err(Errno::ENFILE)
        } else {
            match open() {
                // Others in this process, or on this host, have taken what was left.
                Err(Errno::EMFILE | Errno::ENFILE) if make_room() => open(),
                opened => opened,
            }
        };
        match opened {
            Ok(fd) => Ok(Fd { fd, _counted: Counted(budget.clone()) }),
            Err(error) => {
                budget.open.fetch_sub(1, Ordering::Relaxed);
                // The guest's process is not the one with too many open files.
                Err(if error == Errno::EMFILE { Errno::ENFILE } else { error })
            }
        }
    }

    /// An inode got a descriptor that it can do without.
    pub(super) fn watch(&self, node: NodeId, inodes: &Slab<Inode>) {
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        if clock.inodes.len() >= clock.room {
            let holds = |node: &NodeId| inodes.get(node.0).is_some_and(|inode| inode.is_pinned());
            clock.inodes.retain(holds);
            clock.room = (2 * clock.inodes.len()).max(64);
        }
        clock.inodes.push(node);
    }

    /// Closes one inode's descriptor; false if all are needed.
    pub(super) fn evict(&self, inodes: &Slab<Inode>) -> bool {
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        // Two rounds: the first may only find that all were looked at. Inodes that only their
        // descriptors keep come last, in a third.
        let spared = 2 * clock.inodes.len();
        for step in 0..3 * clock.inodes.len() {
            clock.hand = (clock.hand + 1) % clock.inodes.len().max(1);
            let hand = clock.hand;
            let inode = clock.inodes.get(hand).and_then(|node| inodes.get(node.0));
            match inode.filter(|inode| inode.is_pinned()) {
                None if clock.inodes.is_empty() => return false,
                None => drop(clock.inodes.swap_remove(hand)),
                Some(inode) if inode.retire(step >= spared) => {
                    clock.inodes.swap_remove(hand);
                    return true;
                }
                Some(_) => {}
            }
        }
        false
    }
}
