//! A table of ids, and threads that look for the same ones while they go.
#![expect(unsafe_code, reason = "a cell of loom says by itself who may not touch it")]

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use loom::{model, thread};

use crate::slab::Slab;

/// A value that loom watches: it must be made before it is read, and read before it is dropped.
struct Watched {
    number: u64,
    is_alive: UnsafeCell<bool>,
    drops: Arc<AtomicUsize>,
}

impl Watched {
    fn read(&self) -> u64 {
        // SAFETY: nobody changes it before the value is dropped, or loom says so.
        self.is_alive.with(|is_alive| assert!(unsafe { *is_alive }));
        self.number
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // SAFETY: as for reading.
        self.is_alive.with_mut(|is_alive| unsafe {
            assert!(*is_alive);
            *is_alive = false;
        });
        self.drops.fetch_add(1, Ordering::Relaxed);
    }
}

/// A table, and how many of its values were dropped.
struct Table {
    slab: Slab<Watched>,
    drops: Arc<AtomicUsize>,
}

impl Table {
    fn new() -> Arc<Self> {
        Arc::new(Table { slab: Slab::with_limit(2), drops: Arc::default() })
    }

    fn insert(&self, number: u64) -> u64 {
        let is_alive = UnsafeCell::new(true);
        let value = Watched { number, is_alive, drops: self.drops.clone() };
        self.slab.insert(value).unwrap_or_else(|_| panic!("there is room"))
    }

    fn find(&self, id: u64) -> Option<u64> {
        self.slab.get(id).map(|value| value.read())
    }

    /// What is to be so when nobody uses the table any more.
    fn expect(&self, len: usize, drops: usize) {
        assert_eq!((self.slab.len(), self.drops.load(Ordering::Relaxed)), (len, drops));
    }
}

#[test]
fn a_value_goes_after_who_reads_it() {
    model(|| {
        let table = Table::new();
        let id = table.insert(7);
        let reader = thread::spawn({
            let table = table.clone();
            move || assert!(table.find(id).is_none_or(|number| number == 7))
        });
        assert!(table.slab.remove(id));
        reader.join().unwrap();
        assert_eq!(table.find(id), None);
        table.expect(0, 1);
    });
}

#[test]
fn a_value_goes_once_however_many_remove_it() {
    model(|| {
        let table = Table::new();
        let id = table.insert(7);
        let remover = thread::spawn({
            let table = table.clone();
            move || table.slab.remove(id)
        });
        let here = table.slab.remove(id);
        assert!(here ^ remover.join().unwrap(), "one of them has removed it");
        table.expect(0, 1);
    });
}

#[test]
fn an_id_finds_its_value_or_nothing_while_its_slot_is_used_again() {
    model(|| {
        let table = Table::new();
        let old = table.insert(7);
        let current = Arc::new(AtomicU64::new(old));
        let reader = thread::spawn({
            let (table, current) = (table.clone(), current.clone());
            move || {
                let new = current.load(Ordering::Relaxed);
                for id in [old, new] {
                    let expected = if id == old { 7 } else { 8 };
                    assert!(table.find(id).is_none_or(|number| number == expected));
                }
            }
        });
        assert!(table.slab.remove(old));
        let new = table.insert(8);
        current.store(new, Ordering::Relaxed);
        assert_eq!((table.find(old), table.find(new)), (None, Some(8)));
        reader.join().unwrap();
        let again = table.insert(9);
        table.expect(2, 1);
        assert_eq!((table.find(new), table.find(again)), (Some(8), Some(9)));
    });
}

#[test]
fn a_slot_that_its_reader_frees_is_whole_for_the_next_value() {
    model(|| {
        let table = Table::new();
        let id = table.insert(7);
        let reader = thread::spawn({
            let table = table.clone();
            move || {
                table.find(id);
            }
        });
        let inserter = thread::spawn({
            let table = table.clone();
            move || {
                let id = table.insert(8);
                assert_eq!(table.find(id), Some(8));
                id
            }
        });
        assert!(table.slab.remove(id));
        reader.join().unwrap();
        let other = inserter.join().unwrap();
        assert_eq!((table.find(id), table.find(other)), (None, Some(8)));
        table.expect(1, 1);
        let next = table.insert(9);
        assert_eq!((table.find(next), table.find(other)), (Some(9), Some(8)));
    });
}

#[test]
fn who_walks_a_table_sees_values_with_their_own_ids() {
    model(|| {
        let table = Table::new();
        let old = table.insert(7);
        let walker = thread::spawn({
            let table = table.clone();
            move || {
                let mut seen = Vec::new();
                table.slab.for_each(|id, value| seen.push((id, value.read())));
                seen
            }
        });
        assert!(table.slab.remove(old));
        let new = table.insert(8);
        for found in walker.join().unwrap() {
            assert!(found == (old, 7) || found == (new, 8));
        }
        table.expect(1, 1);
    });
}
