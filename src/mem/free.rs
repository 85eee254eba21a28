//! Which slots of a [`Slab`](super::Slab) are free, and what their next ids are.

use super::slab::{BLOCK, BLOCKS, INDEX_BITS};

/// Which slots are free. Index 0 never is, so no id is 0 and the first id is 1.
pub(super) struct Free {
    /// Generation of the most recent id; it never repeats, not even after a block was released.
    pub(super) generation: u64,
    /// One bit a slot, set if free, in words of 64.
    pub(super) slots: Vec<[u64; BLOCK / 64]>,
    /// Values in each block.
    pub(super) used: Vec<u32>,
    /// Blocks with a free slot.
    pub(super) open: Vec<usize>,
    /// A block that was emptied and keeps its memory, for values that come and go.
    pub(super) spare: usize,
    pub(super) len: usize,
}

impl Free {
    pub(super) fn new() -> Self {
        Free {
            generation: 0,
            slots: Vec::new(),
            used: Vec::new(),
            open: Vec::new(),
            spare: 0,
            len: 0,
        }
    }

    /// Takes a slot; none if there are no more.
    pub(super) fn claim(&mut self, allocate: impl FnOnce(usize)) -> Option<u64> {
        if self.open.is_empty() && !self.grow() {
            return None;
        }
        let &block = self.open.last()?;
        let (word, bits) = self.slots[block].iter().enumerate().find(|(_, bits)| **bits != 0)?;
        let index = block * BLOCK + word * 64 + bits.trailing_zeros() as usize;
        self.take(index, allocate);
        Some(index as u64)
    }

    /// Takes one slot; false if it is none, or not free.
    pub(super) fn claim_at(&mut self, index: u64, allocate: impl FnOnce(usize)) -> bool {
        let Ok(index) = usize::try_from(index) else { return false };
        let block = index / BLOCK;
        while self.slots.len() <= block {
            if !self.grow() {
                return false;
            }
        }
        let is_free = self.slots[block][index % BLOCK / 64] & 1 << (index % 64) != 0;
        if is_free {
            self.take(index, allocate);
        }
        is_free
    }

    /// Takes a free slot, whose block gets memory if it may have none.
    fn take(&mut self, index: usize, allocate: impl FnOnce(usize)) {
        let block = index / BLOCK;
        if self.used[block] == 0 {
            allocate(block);
        }
        self.slots[block][index % BLOCK / 64] &= !(1 << (index % 64));
        self.used[block] += 1;
        // Most are taken from the last.
        if self.used[block] as usize == self.capacity(block)
            && let Some(at) = self.open.iter().rposition(|open| *open == block)
        {
            self.open.swap_remove(at);
        }
        self.len += 1;
    }

    /// One more block, which has no memory yet; false if there are as many as ids are for.
    fn grow(&mut self) -> bool {
        let block = self.slots.len();
        if block == BLOCKS {
            return false;
        }
        // Index 0 is none.
        let unused = u64::from(block == 0);
        self.slots.push([u64::MAX; BLOCK / 64]);
        self.slots[block][0] -= unused;
        self.used.push(0);
        self.open.push(block);
        true
    }

    pub(super) fn capacity(&self, block: usize) -> usize {
        if block == 0 { BLOCK - 1 } else { BLOCK }
    }

    pub(super) fn next_generation(&mut self) -> u64 {
        let now = self.generation;
        self.generation = next(now);
        now
    }
}

pub(super) const GENERATIONS: u64 = 1 << (64 - INDEX_BITS);

pub(super) fn next(generation: u64) -> u64 {
    (generation + 1) % GENERATIONS
}
