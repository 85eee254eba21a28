//! Requests that have to wait, away from the queue they came from.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::memory::Kept;
use super::queue::Queue;
use crate::fuse::{Errno, Filesystem, Patience, Scratch, Served, Session, Wait, give_up};
use crate::mem::{Input, Output};
use crate::work::{Pool, Retry};

/// A request on its own.
pub(super) struct Job<F> {
    session: Arc<Session<F>>,
    queue: Arc<Queue>,
    head: u16,
    buffers: Kept,
    _place: Place,
}

/// Pieces of memory that waiting requests may be made of, at most; whatever a guest does, they
/// need no more than 16 MiB. Each request counts for some more than its buffers.
const MOST: usize = 1 << 20;
const LEAST: usize = 64;

/// What a request takes of the room.
pub(super) struct Place {
    taken: Arc<AtomicUsize>,
    pieces: usize,
}

impl Place {
    /// A place, and whether it is one of those that there should be.
    fn take(taken: &Arc<AtomicUsize>, buffers: &Kept) -> (Self, bool) {
        let pieces = LEAST + buffers.readable().len() + buffers.writable().len();
        let before = taken.fetch_add(pieces, Ordering::Relaxed);
        (Place { taken: taken.clone(), pieces }, before + pieces <= MOST)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.pieces, Ordering::Relaxed);
    }
}

/// A request that waits no more: to be given back on its ring.
pub(super) struct Finished {
    pub(super) head: u16,
    pub(super) written: u32,
    pub(super) buffers: Kept,
}

/// What a queue has away.
#[derive(Default)]
pub(super) struct Away {
    state: Mutex<State>,
    /// All that was away has finished.
    all_back: Condvar,
}

#[derive(Default)]
struct State {
    waiting: usize,
    /// Nothing is to begin to wait for an event: nobody would end that.
    ending: bool,
    finished: Vec<Finished>,
}

impl Away {
    /// What has finished since the last time.
    pub(super) fn take_finished(&self) -> Vec<Finished> {
        std::mem::take(&mut self.lock().finished)
    }

    /// From now on and until nothing waits any more, nothing is to wait for an event.
    fn end_waiting(&self) {
        self.lock().ending = true;
    }

    fn is_ending(&self) -> bool {
        self.lock().ending
    }

    /// Waits until nothing waits any more.
    fn wait_for_all(&self) {
        let mut state = self.lock();
        while state.waiting > 0 {
            state = self.all_back.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.ending = false;
    }

    fn leave(&self) {
        self.lock().waiting += 1;
    }

    fn come_back(&self, finished: Finished) {
        let mut state = self.lock();
        state.finished.push(finished);
        state.waiting -= 1;
        if state.waiting == 0 {
            self.all_back.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where requests wait, for all queues of a device. A silent server may take all threads of its
/// kind of line, and holds up none of the other.
pub(super) struct WaitingRoom<F> {
    storage: Line<F>,
    servers: Line<F>,
    taken: Arc<AtomicUsize>,
}

/// Those that wait for storage or for servers, and then perhaps for an event.
struct Line<F> {
    pool: Pool,
    retry: Arc<Retry<Job<F>>>,
}

impl<F: Filesystem + 'static> Line<F> {
    fn new(threads: usize) -> Self {
        Line { pool: Pool::new(threads), retry: Arc::new(Retry::new(Job::serve)) }
    }
}

impl<F: Filesystem + 'static> WaitingRoom<F> {
    pub(super) fn new(threads: usize) -> Self {
        let (storage, servers) = (Line::new(threads), Line::new(threads));
        WaitingRoom { storage, servers, taken: Arc::default() }
    }

    /// A place for a request that waits somewhere else, if there is one.
    pub(super) fn place(&self, buffers: &Kept) -> Option<Place> {
        let (place, is_free) = Place::take(&self.taken, buffers);
        is_free.then_some(place)
    }

    /// Takes a request that has to wait off its queue's hands.
    pub(super) fn admit(
        &self,
        session: &Arc<Session<F>>,
        queue: &Arc<Queue>,
        (head, buffers): (u16, Kept),
        wait: Wait,
    ) {
        queue.away.leave();
        let (place, is_free) = Place::take(&self.taken, &buffers);
        let (session, queue) = (session.clone(), queue.clone());
        let job = Job { session, queue, head, buffers, _place: place };
        match wait {
            // The room is full. Those that storage will end hold up their queue; the others, of
            // which nobody knows when they end, are turned away.
            Wait::Event if !is_free => job.give_up(),
            Wait::Storage | Wait::Server if !is_free => {
                job.serve().into_iter().for_each(Job::give_up);
            }
            Wait::Event => wait_for_event(&self.storage.retry, job),
            Wait::Storage | Wait::Server => {
                let line = if wait == Wait::Server { &self.servers } else { &self.storage };
                let retry = line.retry.clone();
                line.pool.run(move || {
                    if let Some(job) = job.serve() {
                        wait_for_event(&retry, job);
                    }
                });
            }
        }
    }

    /// Ends the waiting of a queue's requests: those that storage will end are waited for, the
    /// others are given up.
    pub(super) fn clear(&self, queue: &Arc<Queue>) {
        queue.away.end_waiting();
        for line in [&self.storage, &self.servers] {
            give_up_all(&line.retry, queue);
        }
        queue.away.wait_for_all();
    }
}

fn wait_for_event<F: Filesystem + 'static>(retry: &Retry<Job<F>>, job: Job<F>) {
    let queue = job.queue.clone();
    match retry.add(job) {
        Err(job) => job.give_up(),
        // Looked at when the job can be found: who ends the waiting may have looked for it before.
        Ok(()) if queue.away.is_ending() => give_up_all(retry, &queue),
        Ok(()) => {}
    }
}

fn give_up_all<F: Filesystem + 'static>(retry: &Retry<Job<F>>, queue: &Arc<Queue>) {
    for job in retry.take(|job| Arc::ptr_eq(&job.queue, queue)) {
        job.give_up();
    }
}

thread_local! {
    /// A thread serves one session only.
    static SCRATCH: RefCell<Option<Scratch>> = const { RefCell::new(None) };
}

impl<F: Filesystem> Job<F> {
    /// Serves the request; gives the job back if it has to be tried again.
    fn serve(self) -> Option<Self> {
        let (input, output) = self.messages();
        let served = SCRATCH.with_borrow_mut(|scratch| {
            let scratch = scratch.get_or_insert_with(|| self.session.scratch());
            self.session.serve(scratch, input, output, Patience::Storage)
        });
        match served {
            Served::Later(_) => Some(self),
            Served::Reply(len) => self.finish(len),
            Served::Silent | Served::Unanswerable => self.finish(0),
        }
    }

    /// Not EINTR: Linux would restart a call that no signal has interrupted.
    fn give_up(self) {
        let (input, output) = self.messages();
        match give_up(input, output, Errno::ENOLCK) {
            Served::Reply(len) => self.finish(len),
            Served::Silent | Served::Unanswerable | Served::Later(_) => self.finish(0),
        };
    }

    fn messages(&self) -> (Input<'_>, Output<'_>) {
        (Input::new(self.buffers.readable()), Output::new(self.buffers.writable()))
    }

    fn finish(self, written: u32) -> Option<Self> {
        let Job { queue, head, buffers, .. } = self;
        queue.away.come_back(Finished { head, written, buffers });
        queue.gate.ask_for_attention();
        None
    }
}
