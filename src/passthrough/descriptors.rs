//! How many inodes may hold a descriptor, and which has to give its one up.

use std::sync::{Mutex, PoisonError};

use super::inodes::Inode;
use crate::fuse::NodeId;
use crate::mem::Slab;

/// A budget of descriptors, kept by a clock: the hand goes round those that were opened and
/// closes the first that was not looked at since its last round.
pub(super) struct Descriptors {
    budget: usize,
    clock: Mutex<Clock>,
}

#[derive(Default)]
struct Clock {
    /// Inodes that got a descriptor by their handle; perhaps without one by now, or forgotten.
    inodes: Vec<NodeId>,
    hand: usize,
}

impl Descriptors {
    /// At most `budget` inodes hold a descriptor that they could do without.
    pub(super) fn new(budget: usize) -> Self {
        Descriptors { budget: budget.max(1), clock: Mutex::default() }
    }

    /// An inode with a handle got a descriptor: another one may have to close its.
    pub(super) fn admit(&self, node: NodeId, inodes: &Slab<Inode>) {
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        if clock.inodes.len() < self.budget {
            clock.inodes.push(node);
            return;
        }
        // Two rounds: the first may only find that all were looked at.
        for _ in 0..2 * clock.inodes.len() {
            let hand = clock.hand;
            clock.hand = (hand + 1) % clock.inodes.len();
            let inode = inodes.get(clock.inodes[hand].0);
            if inode.is_none_or(|inode| inode.retire() || !inode.is_pinned()) {
                clock.inodes[hand] = node;
                return;
            }
        }
        clock.inodes.push(node);
    }
}
