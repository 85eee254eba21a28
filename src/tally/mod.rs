//! Floor 0: counters for what happens too often to be logged. They do not know what they count.
//!
//! One thread writes a counter, so that a plain load and store are enough; others may read it at
//! any time and see some recent number.

mod histogram;

use std::sync::atomic::{AtomicU64, Ordering};

pub use histogram::{BOUNDS, Histogram};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds to it. What two threads add at once may be lost.
    pub fn add(&self, more: u64) {
        let sum = self.0.load(Ordering::Relaxed).wrapping_add(more);
        self.0.store(sum, Ordering::Relaxed);
    }

    /// The number.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
