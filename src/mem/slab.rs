//! A table that hands out ids with generations.
//!
//! An id names one value for ever: once the value is removed the id finds nothing, also after
//! its slot is used again. Finding a value takes no lock, only one compare-and-swap on the
//! value's own slot. A removed value is dropped by its last user, so nobody waits for anybody.
//!
//! Layout of an id and of a slot's state word (a free slot's word is 0):
//! ```text
//! id     [generation 38][index 26]
//! state  [generation 38][removed 1][pins 25]      pins includes the table's own
//! ```
#![expect(unsafe_code, reason = "values are shared by pin counts that the compiler cannot see")]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::ptr;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crate::sync::atomic::{AtomicPtr, AtomicU64, fence};
use crate::sync::{Mutex, MutexGuard};

use super::free::{Free, GENERATIONS, next};

pub(super) const INDEX_BITS: u32 = 26;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;
const REMOVED: u64 = 1 << 25;
const PIN: u64 = 1;
const PINS: u64 = REMOVED - 1;

pub(super) const BLOCK: usize = if cfg!(any(loom, miri)) { 64 } else { 1024 };
pub(super) const BLOCKS: usize = match () {
    () if cfg!(loom) => 1,
    () if cfg!(miri) => 64,
    () => 1 << (INDEX_BITS - BLOCK.trailing_zeros()),
};
const PAGE: usize = 4096;

struct Slot<T> {
    state: AtomicU64,
    value: UnsafeCell<MaybeUninit<T>>,
}

/// A table of `T` by id; see the module's text.
pub struct Slab<T> {
    blocks: Box<[AtomicPtr<Slot<T>>]>,
    free: Mutex<Free>,
    limit: usize,
}

// SAFETY: the table owns its values and gives out `&T` on any thread, like Arc<T> does.
unsafe impl<T: Send + Sync> Send for Slab<T> {}
// SAFETY: as for Send; slots are claimed under a lock and read by pin counts.
unsafe impl<T: Send + Sync> Sync for Slab<T> {}

impl<T> Slab<T> {
    /// An empty table for as many values as there are ids.
    #[must_use]
    pub fn new() -> Self {
        Self::with_limit(1 << INDEX_BITS)
    }

    /// An empty table for at most `limit` values.
    #[must_use]
    pub fn with_limit(limit: usize) -> Self {
        let blocks = (0..BLOCKS).map(|_| AtomicPtr::new(ptr::null_mut())).collect();
        Slab { blocks, free: Mutex::new(Free::new()), limit }
    }

    /// Number of values that have not been removed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.free().len
    }

    /// True if the table holds no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Stores `value` under a new id, which is never 0; the first id of a table is 1.
    ///
    /// # Errors
    /// Gives `value` back if 2^26 - 1 values are stored already.
    pub fn insert(&self, value: T) -> Result<u64, T> {
        let mut free = self.free();
        if free.len >= self.limit {
            return Err(value);
        }
        let Some(index) = free.claim(|block| self.allocate(block)) else {
            return Err(value);
        };
        let id = free.next_generation() << INDEX_BITS | index;
        drop(free);
        self.fill(id, value);
        Ok(id)
    }

    /// Stores `value` under an id of another table, of which this one is the continuation: ids of
    /// later values are none that are there.
    ///
    /// # Errors
    /// Gives `value` back if no table gives out such an id, if there is one at its place, or if
    /// there are too many.
    pub fn insert_at(&self, id: u64, value: T) -> Result<(), T> {
        let mut free = self.free();
        if free.len >= self.limit || !free.claim_at(id & INDEX_MASK, |block| self.allocate(block)) {
            return Err(value);
        }
        free.generation = free.generation.max(next(id >> INDEX_BITS));
        drop(free);
        self.fill(id, value);
        Ok(())
    }

    /// What tells later ids from all before them.
    pub fn generation(&self) -> u64 {
        self.free().generation
    }

    /// Goes on where another table was with its [`generation`](Self::generation): no id that it
    /// ever gave out is given out by this one.
    pub fn go_on_from(&self, generation: u64) {
        let mut free = self.free();
        free.generation = free.generation.max(generation % GENERATIONS);
    }

    fn fill(&self, id: u64, value: T) {
        let slot = self.slot(id & INDEX_MASK).expect("who claimed it allocated the block");
        // SAFETY: the slot is free (state 0, so nobody pins it) and claimed by us alone.
        unsafe { (*slot.value.get()).write(value) };
        slot.state.store(id & !INDEX_MASK | PIN, Ordering::Release);
    }

    /// The value of `id`, kept alive while the pin lives.
    pub fn get(&self, id: u64) -> Option<Pin<'_, T>> {
        let slot = self.slot(id & INDEX_MASK)?;
        self.pin(slot, id & INDEX_MASK, |state| state >> INDEX_BITS == id >> INDEX_BITS)
    }

    /// Takes `id` out; its value is dropped when its last pin is. False if it was not there.
    pub fn remove(&self, id: u64) -> bool {
        let Some(pin) = self.get(id) else {
            return false;
        };
        let live = |state| (state & REMOVED == 0).then_some((state | REMOVED) - PIN);
        let removed = pin.slot.state.fetch_update(Ordering::AcqRel, Ordering::Relaxed, live);
        if removed.is_ok() {
            self.free().len -= 1;
        }
        removed.is_ok()
    }

    /// Takes every id out that is there now.
    pub fn clear(&self) {
        self.for_each(|id, _| {
            self.remove(id);
        });
    }

    /// Calls `with` on every value and its id; values that come or go meanwhile may be missed.
    pub fn for_each(&self, mut with: impl FnMut(u64, &T)) {
        let end = self.free().slots.len();
        let has_memory = |block: &usize| !self.blocks[*block].load(Ordering::Acquire).is_null();
        for block in (0..end).filter(has_memory) {
            for index in (block * BLOCK) as u64..((block + 1) * BLOCK) as u64 {
                let Some(slot) = self.slot(index) else {
                    continue;
                };
                if let Some(pin) = self.pin(slot, index, |state| state != 0) {
                    let state = slot.state.load(Ordering::Relaxed);
                    with(state & !INDEX_MASK | index, &pin);
                }
            }
        }
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, index: u64) -> Option<&Slot<T>> {
        let index = usize::try_from(index).ok()?;
        let block = self.blocks.get(index / BLOCK)?.load(Ordering::Acquire);
        if block.is_null() || index == 0 {
            return None;
        }
        // SAFETY: a published block has BLOCK slots and lives as long as the table.
        Some(unsafe { &*block.add(index % BLOCK) })
    }

    fn pin<'a>(
        &'a self,
        slot: &'a Slot<T>,
        index: u64,
        is_it: impl Fn(u64) -> bool,
    ) -> Option<Pin<'a, T>> {
        let live = |state| {
            (state & REMOVED == 0 && state & PINS != 0 && is_it(state)).then_some(state + PIN)
        };
        slot.state.fetch_update(Ordering::Acquire, Ordering::Relaxed, live).ok()?;
        Some(Pin { slab: self, slot, index })
    }

    fn allocate(&self, block: usize) {
        if !self.blocks[block].load(Ordering::Relaxed).is_null() {
            return;
        }
        // SAFETY: the layout is not empty, and all-zero is a valid slot: state 0, no value.
        let slots = unsafe { alloc_zeroed(Self::layout()) }.cast::<Slot<T>>();
        if slots.is_null() {
            handle_alloc_error(Self::layout());
        }
        if cfg!(loom) {
            // There an atomic is more than a number.
            for at in 0..BLOCK {
                let value = UnsafeCell::new(MaybeUninit::uninit());
                // SAFETY: inside the block, which is ours alone.
                unsafe { slots.add(at).write(Slot { state: AtomicU64::new(0), value }) };
            }
        }
        self.blocks[block].store(slots, Ordering::Release);
    }

    /// A block's own pages, so that they can be given back to the kernel.
    fn layout() -> Layout {
        let slots = Layout::array::<Slot<T>>(BLOCK).and_then(|slots| slots.align_to(PAGE));
        slots.expect("a block of slots is far below isize::MAX").pad_to_align()
    }

    /// Returns the memory of a block without values; its slots stay readable, as zeros.
    fn release(&self, block: usize) {
        let slots = self.blocks[block].load(Ordering::Relaxed);
        if cfg!(not(any(miri, loom))) {
            // SAFETY: the pages are the block's own. Every slot's state is 0 already and values
            // of free slots are never read, so that replacing the bytes by zeros changes nothing.
            unsafe { libc::madvise(slots.cast(), Self::layout().size(), libc::MADV_DONTNEED) };
        }
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for Slab<T> {
    fn drop(&mut self) {
        for block in &self.blocks {
            let slots = block.load(Ordering::Relaxed);
            if slots.is_null() {
                continue;
            }
            for at in 0..BLOCK {
                // SAFETY: inside the block; we have the table to ourselves, so there are no pins
                // and a slot with a state holds a value.
                unsafe {
                    let slot = &mut *slots.add(at);
                    if slot.state.load(Ordering::Relaxed) != 0 {
                        slot.value.get_mut().assume_init_drop();
                    }
                }
            }
            // SAFETY: allocate() made it with this layout, and nothing refers to it any more.
            unsafe { dealloc(slots.cast(), Self::layout()) };
        }
    }
}

/// A value of a [`Slab`] that cannot be dropped while this lives.
pub struct Pin<'a, T> {
    slab: &'a Slab<T>,
    slot: &'a Slot<T>,
    index: u64,
}

impl<T> Deref for Pin<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: our pin keeps the slot's value in place, and only shared references are given.
        unsafe { (*self.slot.value.get()).assume_init_ref() }
    }
}

impl<T> Drop for Pin<'_, T> {
    fn drop(&mut self) {
        if self.slot.state.fetch_sub(PIN, Ordering::Release) & PINS > 1 {
            return;
        }
        // The last pin of a removed value: nobody can find or pin it again.
        fence(Ordering::Acquire);
        // SAFETY: initialised by insert(), and ours alone now.
        unsafe { (*self.slot.value.get()).assume_init_drop() };
        self.slot.state.store(0, Ordering::Release);
        let mut free = self.slab.free();
        let index = usize::try_from(self.index).expect("an index has 26 bits");
        let block = index / BLOCK;
        free.slots[block][index % BLOCK / 64] |= 1 << (index % 64);
        if free.used[block] as usize == free.capacity(block) {
            free.open.push(block);
        }
        free.used[block] -= 1;
        if free.used[block] == 0 {
            if free.spare != block && free.used[free.spare] == 0 {
                self.slab.release(block);
            } else {
                free.spare = block;
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::sync::Arc;

    #[test]
    fn a_table_holds_no_more_than_it_may() {
        let slab = Slab::with_limit(2);
        let first = slab.insert(1).unwrap();
        slab.insert(2).unwrap();
        assert_eq!(slab.insert(3), Err(3));
        assert!(slab.remove(first));
        slab.insert(3).unwrap();
        assert_eq!(slab.insert(4), Err(4));
    }

    #[test]
    fn the_first_id_is_1_and_ids_find_their_values() {
        let slab = Slab::new();
        assert_eq!(slab.insert("a"), Ok(1));
        let b = slab.insert("b").unwrap();
        assert_eq!((*slab.get(1).unwrap(), *slab.get(b).unwrap(), slab.len()), ("a", "b", 2));
    }

    #[test]
    fn a_stale_id_finds_nothing() {
        let slab = Slab::new();
        let old = slab.insert(1).unwrap();
        assert!(slab.remove(old));
        let new = slab.insert(2).unwrap();
        assert_eq!(old & INDEX_MASK, new & INDEX_MASK, "the slot is used again");
        assert!(slab.get(old).is_none() && !slab.remove(old));
        assert_eq!(*slab.get(new).unwrap(), 2);
    }

    #[test]
    fn a_table_goes_on_with_the_ids_of_another() {
        let first = Slab::new();
        let ids: Vec<_> = (0..BLOCK + 10).map(|at| first.insert(at).unwrap()).collect();
        assert!(first.remove(ids[3]) && first.remove(ids[BLOCK + 9]));
        let second = Slab::new();
        first.for_each(|id, at| second.insert_at(id, *at).unwrap());
        second.go_on_from(first.generation());
        assert_eq!(second.len(), first.len());
        assert_eq!(second.insert_at(ids[5], 0), Err(0), "it is there");
        assert_eq!(second.insert_at(ids[5] + (1 << INDEX_BITS), 0), Err(0), "its place is taken");
        assert_eq!(second.insert_at(7 << INDEX_BITS, 0), Err(0), "no id has this index");
        for (at, id) in ids.iter().enumerate() {
            let there = ![3, BLOCK + 9].contains(&at);
            assert_eq!(second.get(*id).map(|value| *value), there.then_some(at));
        }
        let new: Vec<_> = (0..2 * BLOCK).map(|at| second.insert(at).unwrap()).collect();
        let known: HashSet<_> = ids.iter().collect();
        assert!(new.iter().all(|id| !known.contains(id)));
        for id in ids.iter().chain(&new) {
            second.remove(*id);
        }
        assert!(second.is_empty());
    }

    #[test]
    fn a_far_id_costs_no_more_than_a_near_one() {
        let slab = Slab::new();
        let far = (BLOCKS * BLOCK - 1) as u64;
        slab.insert_at(far, "far").unwrap();
        assert_eq!(slab.get(far).map(|value| *value), Some("far"));
        let mut seen = Vec::new();
        slab.for_each(|id, _| seen.push(id));
        assert_eq!(seen, [far]);
        let blocks = slab.blocks.iter().filter(|block| !block.load(Ordering::Relaxed).is_null());
        assert_eq!(blocks.count(), 1);
        assert_ne!(slab.insert("near"), Ok(far));
    }

    #[test]
    fn ids_that_were_never_given_out_find_nothing() {
        let slab = Slab::new();
        slab.insert(()).unwrap();
        for id in [0, 2, 1 << INDEX_BITS, INDEX_MASK, u64::MAX, 1 << 63 | 1] {
            assert!(slab.get(id).is_none(), "{id:#x}");
        }
    }

    #[test]
    fn a_removed_value_lives_until_its_last_pin() {
        let slab = Slab::new();
        let value = Arc::new(());
        let id = slab.insert(value.clone()).unwrap();
        let (a, b) = (slab.get(id).unwrap(), slab.get(id).unwrap());
        assert!(slab.remove(id) && !slab.remove(id) && slab.get(id).is_none());
        drop(a);
        assert_eq!(Arc::strong_count(&value), 2);
        drop(b);
        assert_eq!((Arc::strong_count(&value), slab.len()), (1, 0));
    }

    #[test]
    fn a_table_drops_what_it_holds() {
        let value = Arc::new(());
        let slab = Slab::new();
        let ids: Vec<_> = (0..10).map(|_| slab.insert(value.clone()).unwrap()).collect();
        slab.remove(ids[3]);
        drop(slab);
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn every_slot_of_an_emptied_table_is_used_again() {
        let slab = Slab::new();
        let count = if cfg!(miri) { 1100 } else { 10_000 };
        for round in 0..3 {
            let ids: Vec<_> = (0..count).map(|i| slab.insert(i).unwrap()).collect();
            let mut seen = 0;
            slab.for_each(|id, value| {
                assert_eq!(ids[*value], id);
                seen += 1;
            });
            assert_eq!((seen, slab.len()), (count, count), "round {round}");
            assert!(ids.iter().all(|id| slab.remove(*id)));
            assert_eq!(slab.free().slots.len(), count.div_ceil(BLOCK), "round {round}");
        }
    }

    #[test]
    fn threads_that_find_and_remove_never_see_a_wrong_value() {
        let slab = Slab::new();
        let rounds = if cfg!(miri) { 20 } else { 20_000 };
        let current = AtomicU64::new(slab.insert(0).unwrap());
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..rounds {
                        let id = current.load(Ordering::Relaxed);
                        if let Some(value) = slab.get(id) {
                            assert_eq!(*value, id >> INDEX_BITS);
                        }
                    }
                });
            }
            for generation in 1..rounds {
                let new = slab.insert(generation).unwrap();
                slab.remove(current.swap(new, Ordering::Relaxed));
            }
        });
        assert_eq!(slab.len(), 1);
    }
}
