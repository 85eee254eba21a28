//! Jobs that cannot be waited for, only tried again: a lock that somebody else holds.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Tries jobs again and again: soon at first, then at longer and longer intervals.
pub struct Retry<J> {
    shared: Arc<Shared<J>>,
}

struct Shared<J> {
    state: Mutex<State<J>>,
    changed: Condvar,
    attempt: Box<dyn Fn(J) -> Option<J> + Send + Sync>,
}

struct State<J> {
    waiting: Vec<Waiting<J>>,
    /// A job is being tried, and not in the list.
    trying: bool,
    /// So many want to take jobs out: nothing is tried before they have.
    takers: usize,
    running: bool,
    ended: bool,
}

struct Waiting<J> {
    job: J,
    next: Instant,
    pause: Duration,
}

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(10);

impl<J: Send + 'static> Retry<J> {
    /// Jobs are tried by `attempt`, which gives back what is to be tried again, on a thread that
    /// exists while there are any.
    pub fn new(attempt: impl Fn(J) -> Option<J> + Send + Sync + 'static) -> Self {
        let state =
            State { waiting: Vec::new(), trying: false, takers: 0, running: false, ended: false };
        let shared = Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            attempt: Box::new(attempt),
        };
        Retry { shared: Arc::new(shared) }
    }

    /// Adds a job that did not succeed just now. Gives it back if no thread can be had.
    ///
    /// # Errors
    /// The job itself.
    pub fn add(&self, job: J) -> Result<(), J> {
        let mut state = self.shared.lock();
        if !state.running {
            let shared = self.shared.clone();
            let thread = thread::Builder::new().name("retrying".into());
            if thread.spawn(move || shared.run()).is_err() {
                return Err(job);
            }
            state.running = true;
        }
        state.waiting.push(Waiting { job, next: Instant::now() + SHORTEST, pause: SHORTEST });
        drop(state);
        self.shared.changed.notify_all();
        Ok(())
    }

    /// Takes out the jobs that `which` names. One that is being tried just now is waited for; an
    /// attempt must not depend on who calls this.
    pub fn take(&self, which: impl FnMut(&J) -> bool) -> Vec<J> {
        let mut state = self.shared.lock();
        state.takers += 1;
        while state.trying {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.takers -= 1;
        self.shared.changed.notify_all();
        state.take(which)
    }

    /// The same but for one that is being tried just now.
    pub fn take_resting(&self, which: impl FnMut(&J) -> bool) -> Vec<J> {
        self.shared.lock().take(which)
    }
}

impl<J> State<J> {
    fn take(&mut self, mut which: impl FnMut(&J) -> bool) -> Vec<J> {
        let taken = self.waiting.extract_if(.., |waiting| which(&waiting.job));
        taken.map(|waiting| waiting.job).collect()
    }
}

impl<J> Drop for Retry<J> {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
    }
}

impl<J> Shared<J> {
    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut state = self.lock();
        while !state.ended {
            if state.takers > 0 {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let now = Instant::now();
            let due = state.waiting.iter().position(|waiting| waiting.next <= now);
            if let Some(due) = due {
                // Tried without the lock: it must not be in the way of those who add or take.
                let Waiting { job, pause, .. } = state.waiting.swap_remove(due);
                state.trying = true;
                drop(state);
                let again = (self.attempt)(job);
                state = self.lock();
                state.trying = false;
                self.changed.notify_all();
                if let Some(job) = again {
                    let pause = (pause * 2).min(LONGEST);
                    state.waiting.push(Waiting { job, next: Instant::now() + pause, pause });
                }
            } else if let Some(next) = state.waiting.iter().map(|waiting| waiting.next).min() {
                let pause = next.saturating_duration_since(now);
                let waited = self.changed.wait_timeout(state, pause);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            } else {
                break;
            }
        }
        state.running = false;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;

    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn a_job_is_tried_until_it_succeeds() {
        let (done, results) = channel();
        let retry = Retry::new(move |left: usize| {
            if left == 0 {
                let _ = done.send(());
            }
            left.checked_sub(1)
        });
        for tries in [5, 0, 2] {
            retry.add(tries).unwrap();
        }
        for _ in 0..3 {
            results.recv_timeout(LONG).unwrap();
        }
        assert!(retry.take(|_| true).is_empty());
    }

    #[test]
    fn a_job_that_was_taken_is_never_tried_again() {
        let tries = Arc::new(AtomicUsize::new(0));
        let counted = tries.clone();
        let retry = Retry::new(move |job: u32| {
            counted.fetch_add(1, Ordering::Relaxed);
            Some(job)
        });
        for job in 0..10 {
            retry.add(job).unwrap();
        }
        while tries.load(Ordering::Relaxed) < 20 {
            thread::yield_now();
        }
        let mut taken = retry.take(|job| job % 2 == 0);
        taken.extend(retry.take(|_| true));
        taken.sort_unstable();
        assert_eq!(taken, (0..10).collect::<Vec<_>>());
        let after = tries.load(Ordering::Relaxed);
        thread::sleep(5 * LONGEST);
        assert_eq!(tries.load(Ordering::Relaxed), after);
    }

    #[test]
    fn jobs_that_are_always_due_can_be_taken() {
        let retry = Retry::new(|job: u32| {
            thread::sleep(Duration::from_micros(100));
            Some(job)
        });
        for job in 0..1000 {
            retry.add(job).unwrap();
        }
        thread::sleep(2 * LONGEST);
        let begun = Instant::now();
        for job in 0..1000 {
            assert_eq!(retry.take(|candidate| *candidate == job), [job]);
        }
        assert!(begun.elapsed() < LONG);
    }

    #[test]
    fn there_is_no_thread_while_there_is_nothing_to_try() {
        let retry = Retry::new(|()| None);
        for _ in 0..3 {
            retry.add(()).unwrap();
            let end = Instant::now() + LONG;
            while retry.shared.lock().running {
                assert!(Instant::now() < end);
                thread::yield_now();
            }
        }
    }
}
