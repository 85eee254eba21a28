//! What is mapped where in a window, and what has to be said to change that.
//!
//! A guest may map over what is mapped, and unmap parts of it (virtio 1.3, section 5.11.6.5). A
//! front-end refuses a mapping over another one, and unmaps only what was mapped, as a whole
//! (vhost-user, "Shared memory"). A plan leads from the one to the other; what was done of it is
//! recorded step by step, so that the record is true wherever a plan ends.

use std::collections::BTreeMap;

use crate::fuse::{Errno, Result};

/// Mappings begin and end at multiples of this.
pub const PAGE: u64 = 4096;

/// `len` bytes of the window at `start`, which are those of `file` at `offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping<F> {
    /// Offset in the window.
    pub start: u64,
    /// Bytes.
    pub len: u64,
    /// What is mapped.
    pub file: F,
    /// Offset in the file.
    pub offset: u64,
    /// The guest may write there.
    pub writable: bool,
}

impl<F: Clone> Mapping<F> {
    fn end(&self) -> u64 {
        self.start + self.len
    }

    /// What of it is in `from..to`, which overlaps it.
    fn part(&self, from: u64, to: u64) -> Self {
        let start = self.start.max(from);
        let (len, offset) = (self.end().min(to) - start, self.offset + (start - self.start));
        Mapping { start, len, offset, file: self.file.clone(), writable: self.writable }
    }
}

/// One request to the front-end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<F> {
    /// Unmaps `len` bytes at `start`, which were mapped by one request.
    Unmap {
        /// Offset in the window.
        start: u64,
        /// Bytes.
        len: u64,
    },
    /// Maps where nothing is mapped.
    Map(Mapping<F>),
}

/// The mappings of one window.
#[derive(Debug)]
pub struct Extents<F> {
    size: u64,
    budget: usize,
    live: BTreeMap<u64, Mapping<F>>,
}

impl<F: Clone + PartialEq> Extents<F> {
    /// A window of `size` bytes with nothing in it, and at most `budget` mappings ever.
    #[must_use]
    pub fn new(size: u64, budget: usize) -> Self {
        Extents { size, budget, live: BTreeMap::new() }
    }

    /// The steps after which `wish` is mapped. What is there already stays where it is; what is
    /// in the way goes. A request to the front-end does not reach across `cut`, an offset in the
    /// file.
    ///
    /// # Errors
    /// `EINVAL` for what is not in the window, not aligned, or not in any file; `ENOMEM` if there
    /// would be too many mappings; `EACCES` if it is there already, but cannot be written: it would
    /// have to be taken away from under those who read it.
    pub fn map(&self, wish: &Mapping<F>, cut: Option<u64>) -> Result<Vec<Step<F>>> {
        let (from, to) = self.range(wish.start, wish.len)?;
        let last = wish.offset.checked_add(wish.len).ok_or(Errno::EINVAL)?;
        if !wish.offset.is_multiple_of(PAGE) || i64::try_from(last).is_err() {
            return Err(Errno::EINVAL);
        }
        let shows = |there: &&Mapping<F>| {
            let shift = |m: &Mapping<F>| m.offset.wrapping_sub(m.start);
            there.file == wish.file && shift(there) == shift(wish)
        };
        let (kept, gone): (Vec<_>, Vec<_>) = self.overlapping(from, to).partition(shows);
        if wish.writable && kept.iter().any(|kept| !kept.writable) {
            return Err(Errno::EACCES);
        }
        let mut steps = Self::clear(&gone, from, to);
        let cut = cut.map(|cut| wish.start.saturating_add(cut.saturating_sub(wish.offset)));
        let mut at = from;
        let gaps = kept.iter().map(|kept| (kept.start, kept.end())).chain([(to, to)]);
        for (next, end) in gaps {
            let next = next.max(at);
            let cut = cut.unwrap_or(at).clamp(at, next);
            for (from, to) in [(at, cut), (cut, next)] {
                if from < to {
                    steps.push(Step::Map(wish.part(from, to)));
                }
            }
            at = end;
        }
        self.afford(steps)
    }

    /// The steps after which nothing is mapped in `len` bytes at `start`; all of the window if
    /// that is `u64::MAX`.
    ///
    /// # Errors
    /// As for [`map`](Self::map).
    pub fn unmap(&self, start: u64, len: u64) -> Result<Vec<Step<F>>> {
        let (from, to) = match len {
            u64::MAX => (0, self.size),
            _ => self.range(start, len)?,
        };
        let gone: Vec<_> = self.overlapping(from, to).collect();
        self.afford(Self::clear(&gone, from, to))
    }

    /// Records what the front-end has done.
    pub fn record(&mut self, step: Step<F>) {
        match step {
            Step::Unmap { start, .. } => drop(self.live.remove(&start)),
            Step::Map(mapping) => drop(self.live.insert(mapping.start, mapping)),
        }
    }

    /// Forgets everything.
    pub fn forget(&mut self) {
        self.live.clear();
    }

    /// What is mapped at an offset in the window, and how far that is behind its beginning.
    #[must_use]
    pub fn at(&self, at: u64) -> Option<(&Mapping<F>, u64)> {
        let (_, mapping) = self.live.range(..=at).next_back()?;
        (at < mapping.end()).then(|| (mapping, at - mapping.start))
    }

    /// All that is mapped, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Mapping<F>> {
        self.live.values()
    }

    /// True if nothing is mapped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    fn range(&self, start: u64, len: u64) -> Result<(u64, u64)> {
        let end = start.checked_add(len).filter(|end| *end <= self.size).ok_or(Errno::EINVAL)?;
        let aligned = start.is_multiple_of(PAGE) && len.is_multiple_of(PAGE);
        if aligned && len > 0 { Ok((start, end)) } else { Err(Errno::EINVAL) }
    }

    fn overlapping(&self, from: u64, to: u64) -> impl Iterator<Item = &Mapping<F>> {
        let first = self.live.range(..from).next_back().filter(|(_, before)| before.end() > from);
        first.into_iter().chain(self.live.range(from..to)).map(|(_, mapping)| mapping)
    }

    /// Takes mappings out of a range; what they have outside of it is mapped again.
    fn clear(gone: &[&Mapping<F>], from: u64, to: u64) -> Vec<Step<F>> {
        let mut steps = Vec::new();
        for mapping in gone {
            steps.push(Step::Unmap { start: mapping.start, len: mapping.len });
            if mapping.start < from {
                steps.push(Step::Map(mapping.part(mapping.start, from)));
            }
            if mapping.end() > to {
                steps.push(Step::Map(mapping.part(to, mapping.end())));
            }
        }
        steps
    }

    fn afford(&self, steps: Vec<Step<F>>) -> Result<Vec<Step<F>>> {
        let mut count = self.live.len();
        for step in &steps {
            match step {
                Step::Unmap { .. } => count -= 1,
                Step::Map(_) if count >= self.budget => return Err(Errno::ENOMEM),
                Step::Map(_) => count += 1,
            }
        }
        Ok(steps)
    }
}

#[cfg(test)]
#[path = "extents_tests.rs"]
mod tests;
