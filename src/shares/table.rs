//! Which nodeid of the guest is which inode of which share.
//!
//! Every share gives nodeids of its own to its inodes. The guest gets others, all from one slab:
//! so what it says of a share that is gone finds nothing, and no nodeid leads from one share into
//! another.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;

use crate::fuse::{Errno, Filesystem, NodeId, Result};
use crate::mem::{Pin, Slab};
use crate::passthrough::{Holder, Passthrough};

/// One of the shares.
pub(super) struct Share {
    pub(super) name: CString,
    /// Where it comes when the root is listed; never used twice.
    pub(super) number: u64,
    pub(super) files: Passthrough,
    /// The guest's nodeids of inodes, by the share's. The root is in here as long as the share is
    /// there, every other inode as long as the guest knows it.
    known: [Mutex<Known>; SHARDS],
    hasher: RandomState,
    closed: AtomicBool,
}

type Known = HashMap<NodeId, NodeId, RandomState>;

const SHARDS: usize = 16;

/// What the guest means by a nodeid.
pub(super) enum Node {
    /// The directory in which the shares are.
    Root,
    /// An inode of a share, by that one's nodeid.
    In(Arc<Share>, NodeId),
}

impl Share {
    pub(super) fn new(name: &CStr, number: u64, files: Passthrough) -> Arc<Self> {
        Arc::new(Share {
            name: name.to_owned(),
            number,
            files,
            known: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::default(),
            closed: AtomicBool::new(false),
        })
    }

    fn shard(&self, local: NodeId) -> MutexGuard<'_, Known> {
        let at = usize::try_from(self.hasher.hash_one(local) >> 32).unwrap_or_default() % SHARDS;
        self.known[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Holder for Share {
    fn give_up_descriptor(&self) -> bool {
        self.files.give_up_descriptor()
    }
}

/// All nodeids of a guest.
pub(super) struct Nodes(Slab<Node>);

impl Nodes {
    /// Only the root, and room for `limit` others.
    pub(super) fn new(limit: usize) -> Self {
        let slab = Slab::with_limit(limit.saturating_add(1));
        let root = slab.insert(Node::Root).unwrap_or_default();
        assert_eq!(NodeId(root), NodeId::ROOT);
        Nodes(slab)
    }

    /// What the guest means. `ESTALE` if it does not know such an inode.
    pub(super) fn get(&self, node: NodeId) -> Result<Pin<'_, Node>> {
        self.0.get(node.0).ok_or(Errno::ESTALE)
    }

    /// The guest's nodeid of an inode that was just looked up in its share once more. The lookup is
    /// taken back if there is none for it.
    pub(super) fn of(&self, share: &Arc<Share>, local: NodeId) -> Result<NodeId> {
        let taken_back = |error| {
            share.files.forget(local, 1);
            error
        };
        let mut known = share.shard(local);
        if let Some(node) = known.get(&local) {
            return Ok(*node);
        }
        if share.closed.load(Ordering::Relaxed) {
            return Err(taken_back(Errno::ESTALE));
        }
        let node = self.0.insert(Node::In(share.clone(), local));
        let node = NodeId(node.map_err(|_| taken_back(Errno::ENFILE))?);
        // A guest may have forgotten it already, more often than it has looked it up.
        if !share.files.knows(local) {
            self.0.remove(node.0);
            return Err(Errno::ESTALE);
        }
        known.insert(local, node);
        Ok(node)
    }

    /// The guest has forgotten lookups of an inode; perhaps it does not know it any more.
    pub(super) fn forgotten(&self, share: &Share, local: NodeId) {
        let mut known = share.shard(local);
        if share.files.knows(local) {
            return;
        }
        if let Some(node) = known.remove(&local) {
            self.0.remove(node.0);
            if known.len() < known.capacity() / 4 {
                let room = known.len() * 2;
                known.shrink_to(room);
            }
        }
    }

    /// The guest knows nothing of a share any more but its root.
    pub(super) fn clear(&self, share: &Share) {
        self.forget_all(share, |local| local != NodeId::ROOT);
    }

    /// The guest knows nothing of a share any more, for ever.
    pub(super) fn close(&self, share: &Share) {
        share.closed.store(true, Ordering::Relaxed);
        self.forget_all(share, |_| true);
    }

    /// Inodes that the guest knows, the root included.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn forget_all(&self, share: &Share, which: impl Fn(NodeId) -> bool) {
        for known in &share.known {
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            known.retain(|local, node| {
                let goes = which(*local);
                if goes {
                    self.0.remove(node.0);
                }
                !goes
            });
            known.shrink_to_fit();
        }
    }
}
