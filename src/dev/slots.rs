//! Who reads the device.
//!
//! The kernel gives a request to the thread that waits longest, so that a single caller's requests
//! go round all threads that read, from one cold cache to the next. So only a few do; the others
//! stand in for those whose requests wait for storage.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// So many threads read at a time.
pub(super) struct Slots {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    free: usize,
    /// Who comes now finds out from the device that it is over.
    ended: bool,
}

impl Slots {
    pub(super) fn new(count: usize) -> Self {
        let state = State { free: count.max(1), ended: false };
        Slots { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Waits for a slot.
    pub(super) fn take(&self) {
        let state = self.lock();
        let is_full = |state: &mut State| state.free == 0 && !state.ended;
        let state = self.changed.wait_while(state, is_full);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        state.free = state.free.saturating_sub(1);
    }

    /// Runs `wait` while somebody else has the caller's slot, and then waits for one.
    pub(super) fn lend<R>(&self, wait: impl FnOnce() -> R) -> R {
        self.lock().free += 1;
        self.changed.notify_one();
        let result = wait();
        self.take();
        result
    }

    /// Lets everybody go.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn those_who_wait_are_stood_in_for_and_no_more_than_that_work() {
        let (slots, working) = (Slots::new(2), AtomicUsize::new(0));
        let (come, waiting) = channel();
        std::thread::scope(|scope| {
            for _ in 0..6 {
                let (slots, working, come) = (&slots, &working, come.clone());
                scope.spawn(move || {
                    slots.take();
                    for _ in 0..100 {
                        assert!(working.fetch_add(1, Ordering::Relaxed) < 2);
                        std::thread::yield_now();
                        working.fetch_sub(1, Ordering::Relaxed);
                        slots.lend(|| {
                            let (leave, left) = channel::<()>();
                            come.send(leave).unwrap();
                            let _ = left.recv();
                        });
                    }
                    slots.end();
                });
            }
            drop(come);
            for _ in 0..100 {
                // All six can wait at the same time.
                drop((0..6).map(|_| waiting.recv_timeout(LONG).unwrap()).collect::<Vec<_>>());
            }
        });
    }

    #[test]
    fn at_the_end_nobody_waits_for_a_slot() {
        let slots = Slots::new(1);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    slots.take();
                    slots.end();
                });
            }
        });
    }
}
