//! A bounded number of threads for jobs that wait for storage.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

type Job = Box<dyn FnOnce() + Send>;

/// Threads that start when they are needed and stay; jobs that find none free wait in order.
pub struct Pool {
    shared: Arc<Shared>,
    limit: usize,
}

struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    ended: bool,
}

impl Pool {
    /// At most `limit` threads, and at least one.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let shared = Shared { state: Mutex::default(), work: Condvar::new() };
        Pool { shared: Arc::new(shared), limit: limit.max(1) }
    }

    /// Runs `job` on a thread of the pool; on the caller's if there is no other to be had.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        let mut state = self.shared.lock();
        state.jobs.push_back(Box::new(job));
        if state.jobs.len() > state.idle && state.threads < self.limit {
            let shared = self.shared.clone();
            let thread = thread::Builder::new().name("waiting".into()).spawn(move || shared.work());
            match thread {
                Ok(_) => state.threads += 1,
                Err(error) if state.threads == 0 => {
                    log::warn!("Cannot start a thread to wait in: {error}");
                    let job = state.jobs.pop_back();
                    drop(state);
                    job.into_iter().for_each(|job| job());
                    return;
                }
                // Those that there are will come to it.
                Err(_) => {}
            }
        }
        drop(state);
        self.shared.work.notify_one();
    }
}

impl Drop for Pool {
    /// Threads end after the jobs that were given to them.
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.work.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                // A job that panics must not take the thread from those behind it.
                let _ = catch_unwind(AssertUnwindSafe(job));
                state = self.lock();
            } else if state.ended {
                return;
            } else {
                state.idle += 1;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn jobs_that_wait_do_not_hold_up_others_until_the_limit() {
        let pool = Pool::new(3);
        let (done, results) = channel();
        let gates: Vec<_> = (0..4)
            .map(|job| {
                let (open, gate) = channel::<()>();
                let done = done.clone();
                pool.run(move || {
                    let _ = gate.recv();
                    let _ = done.send(job);
                });
                open
            })
            .collect();
        assert_eq!(pool.shared.lock().threads, 3);
        for job in [2, 0, 1, 3] {
            gates[job].send(()).unwrap();
            assert_eq!(results.recv_timeout(LONG), Ok(job));
        }
    }

    #[test]
    fn a_job_that_panics_takes_no_thread_with_it() {
        let pool = Pool::new(1);
        let (done, results) = channel();
        for job in 0..3 {
            let done = done.clone();
            pool.run(move || {
                let _ = done.send(job);
                panic!("job {job}");
            });
        }
        assert_eq!([0, 1, 2].map(|_| results.recv_timeout(LONG)), [Ok(0), Ok(1), Ok(2)]);
        assert_eq!(pool.shared.lock().threads, 1);
    }

    #[test]
    fn what_was_given_to_a_pool_is_done_after_its_end() {
        let (done, results) = channel();
        let pool = Pool::new(1);
        for job in 0..10 {
            let done = done.clone();
            pool.run(move || {
                let _ = done.send(job);
            });
        }
        drop((pool, done));
        assert_eq!(results.iter().collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    }
}
