//! What one owner has locked of one inode, as the host's kernel keeps it: every range costs memory
//! there, and a guest can make as many as a file has bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::fuse::{Errno, Result};

/// Ranges that may be locked by all owners together, and by one of them. The host's kernel looks at
/// each of an inode's for every lock.
const MOST: usize = 1 << 14;
const MOST_OF_ONE: usize = 1 << 11;

/// A locked range, with its last byte, and the kind of lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) kind: i32,
}

/// Ranges of one owner, which count towards those of all.
pub(super) struct Ranges {
    /// In order; they do not overlap, and those that touch are of different kinds.
    list: Vec<Range>,
    all: Arc<AtomicUsize>,
}

impl Ranges {
    pub(super) fn new(all: &Arc<AtomicUsize>) -> Self {
        Ranges { list: Vec::new(), all: all.clone() }
    }

    /// True if nothing is locked.
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// True if this byte has a lock of this kind.
    pub(super) fn has(&self, at: u64, kind: i32) -> bool {
        let is_there = |range: &Range| (range.start..=range.end).contains(&at);
        self.list.iter().any(|range| range.kind == kind && is_there(range))
    }

    /// What locking, or unlocking, `new` will change.
    ///
    /// # Errors
    /// `ENOLCK` if there would be too many.
    pub(super) fn plan(&self, new: Range) -> Result<Change> {
        let unlocks = new.kind == libc::F_UNLCK;
        // One of the same kind that only touches the new one becomes a part of it.
        let reach = u64::from(!unlocks);
        let first = self.list.partition_point(|old| old.end < new.start.saturating_sub(reach));
        let after = self.list[first..].partition_point(|old| old.start <= new.end + reach);
        let mut pieces = Vec::with_capacity(3);
        let (old, end) = (&self.list[first..first + after], first + after);
        for range in old.iter().filter(|range| range.start < new.start) {
            add(&mut pieces, Range { end: range.end.min(new.start - 1), ..*range });
        }
        if !unlocks {
            add(&mut pieces, new);
        }
        for range in old.iter().filter(|range| range.end > new.end) {
            add(&mut pieces, Range { start: range.start.max(new.end + 1), ..*range });
        }
        let more = pieces.len().saturating_sub(old.len());
        let too_many =
            self.all.load(Ordering::Relaxed) + more > MOST || self.list.len() + more > MOST_OF_ONE;
        match more > 0 && too_many {
            true => Err(Errno::ENOLCK),
            false => Ok(Change { old: first..end, pieces }),
        }
    }

    /// What was planned is so.
    pub(super) fn make(&mut self, change: Change) {
        self.all.fetch_add(change.pieces.len(), Ordering::Relaxed);
        self.all.fetch_sub(change.old.len(), Ordering::Relaxed);
        self.list.splice(change.old, change.pieces);
    }
}

/// Ranges that others replace.
pub(super) struct Change {
    old: std::ops::Range<usize>,
    pieces: Vec<Range>,
}

impl Drop for Ranges {
    fn drop(&mut self) {
        self.all.fetch_sub(self.list.len(), Ordering::Relaxed);
    }
}

/// Adds a range behind the others, or makes the last one longer.
fn add(list: &mut Vec<Range>, range: Range) {
    match list.last_mut() {
        Some(last) if last.kind == range.kind && last.end.checked_add(1) == Some(range.start) => {
            last.end = range.end;
        }
        _ => list.push(range),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const R: i32 = libc::F_RDLCK;
    const W: i32 = libc::F_WRLCK;
    const U: i32 = libc::F_UNLCK;
    const END: u64 = i64::MAX.cast_unsigned();

    #[test]
    fn ranges_are_split_joined_and_replaced() {
        let mut ranges = Ranges::new(&Arc::default());
        for (start, end, kind, expected) in [
            (10, 19, W, vec![(10, 19, W)]),
            (20, 29, W, vec![(10, 29, W)]),
            (0, 9, R, vec![(0, 9, R), (10, 29, W)]),
            (15, 15, U, vec![(0, 9, R), (10, 14, W), (16, 29, W)]),
            (15, 15, W, vec![(0, 9, R), (10, 29, W)]),
            (5, 12, R, vec![(0, 12, R), (13, 29, W)]),
            (100, END, W, vec![(0, 12, R), (13, 29, W), (100, END, W)]),
            (0, 200, U, vec![(201, END, W)]),
            (0, END, R, vec![(0, END, R)]),
            (0, END, U, vec![]),
        ] {
            let change = ranges.plan(Range { start, end, kind }).unwrap();
            ranges.make(change);
            let found: Vec<_> = ranges.list.iter().map(|r| (r.start, r.end, r.kind)).collect();
            assert_eq!(found, expected, "after {start}..={end} {kind}");
            assert_eq!(ranges.all.load(Ordering::Relaxed), expected.len());
        }
    }

    #[test]
    fn there_are_not_too_many_and_those_that_go_make_room() {
        let all = Arc::default();
        let byte = |start| Range { start, end: start, kind: W };
        let mut owners: Vec<_> = (0..MOST / MOST_OF_ONE).map(|_| Ranges::new(&all)).collect();
        for owner in &mut owners {
            for at in 0..MOST_OF_ONE as u64 {
                let change = owner.plan(byte(2 * at)).unwrap();
                owner.make(change);
            }
            assert_eq!(owner.plan(Range { kind: R, ..byte(1) }).err(), Some(Errno::ENOLCK));
            assert!(owner.plan(byte(1)).is_ok(), "it joins two");
        }
        let mut another = Ranges::new(&all);
        assert_eq!(another.plan(byte(0)).err(), Some(Errno::ENOLCK));
        drop(owners);
        let change = another.plan(byte(0)).unwrap();
        another.make(change);
        assert_eq!(all.load(Ordering::Relaxed), 1);
    }
}
