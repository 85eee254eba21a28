//! How many guests run at once.

use std::sync::{Condvar, Mutex, PoisonError};

/// More would only wait for each other on a small machine, and run into their timeouts.
const MOST: usize = 3;

static FREE: Mutex<usize> = Mutex::new(MOST);
static CHANGED: Condvar = Condvar::new();

/// The right to run some guests.
pub(super) struct Slots(usize);

impl Slots {
    /// Waits until no other guest runs.
    pub(super) fn all() -> Self {
        Self::take(MOST)
    }

    /// Waits for its turn; `count` guests at once or none, so that nobody waits for each other.
    pub(super) fn take(count: usize) -> Self {
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free =
            CHANGED.wait_while(free, |free| *free < count).unwrap_or_else(PoisonError::into_inner);
        *free -= count;
        Slots(count)
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        *FREE.lock().unwrap_or_else(PoisonError::into_inner) += self.0;
        CHANGED.notify_all();
    }
}
