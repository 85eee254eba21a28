//! From what inodes are on the host to their nodeids.

use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::identity::FileId;
use super::inode::Inode;
use crate::fuse::NodeId;
use crate::mem::{Pin, Slab};

const SHARDS: usize = 64;

/// A shard with room for so many keeps it.
const FEW: usize = 64;

/// Nodeids by the identity of their inodes, which is not kept a second time: who is in here is in
/// the slab as well.
pub(super) struct Index {
    shards: Box<[Mutex<HashTable<NodeId>>]>,
    hasher: RandomState,
}

/// The part of the index in which an identity is, held.
pub(super) struct Shard<'a> {
    table: MutexGuard<'a, HashTable<NodeId>>,
    hasher: &'a RandomState,
    id: FileId,
    hash: u64,
}

impl Index {
    pub(super) fn new() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Index { shards, hasher: RandomState::default() }
    }

    pub(super) fn shard(&self, id: FileId) -> Shard<'_> {
        let hash = self.hasher.hash_one(id);
        // Tables use the lowest and the highest bits.
        let at = usize::try_from(hash >> 32).unwrap_or_default() % SHARDS;
        let table = self.shards[at].lock().unwrap_or_else(PoisonError::into_inner);
        Shard { table, hasher: &self.hasher, id, hash }
    }
}

impl Shard<'_> {
    /// The inode with the identity.
    pub(super) fn get<'s>(&self, slab: &'s Slab<Inode>) -> Option<(NodeId, Pin<'s, Inode>)> {
        let mut found = None;
        let node = self.table.find(self.hash, |node| {
            found = slab.get(node.0).filter(|inode| inode.id == self.id);
            found.is_some()
        })?;
        Some((*node, found?))
    }

    /// Gives the identity this nodeid, which is in the slab already.
    pub(super) fn insert(&mut self, slab: &Slab<Inode>, node: NodeId) {
        let (id, hasher) = (self.id, self.hasher);
        let is_it = |node: &NodeId| slab.get(node.0).is_some_and(|inode| inode.id == id);
        match self.table.find_mut(self.hash, is_it) {
            Some(older) => *older = node,
            None => {
                self.table.insert_unique(self.hash, node, |node| hash(slab, *node, hasher));
            }
        }
    }

    /// Takes the identity away from this nodeid, if it has it.
    pub(super) fn remove(&mut self, slab: &Slab<Inode>, node: NodeId) {
        let Ok(entry) = self.table.find_entry(self.hash, |other| *other == node) else { return };
        entry.remove();
        let capacity = self.table.capacity();
        if self.table.len() * 4 < capacity && capacity > FEW {
            let (room, hasher) = (self.table.len() * 2, self.hasher);
            self.table.shrink_to(room, |node| hash(slab, *node, hasher));
        }
    }
}

fn hash(slab: &Slab<Inode>, node: NodeId, hasher: &RandomState) -> u64 {
    slab.get(node.0).map_or(0, |inode| hasher.hash_one(inode.id))
}
