//! Serving one virtqueue.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vhost_user_backend::VringT;
use virtio_queue::QueueT;

use super::memory::Regions;
use super::ring::{BadChain, Broken, Ring, RingSetup};
use super::vring::Vring;
use crate::fuse::{Filesystem, Scratch, Served, Session};
use crate::mem::{Input, Output, SegmentList};

/// What was negotiated, for all queues.
#[derive(Clone)]
pub(super) struct Terms {
    /// Counts the changes.
    epoch: u64,
    pub(super) regions: Arc<Regions>,
    pub(super) event_idx: bool,
    pub(super) indirect: bool,
    /// Live migration is under way: what is written must be logged.
    pub(super) log_writes: bool,
}

impl Terms {
    fn new(regions: Regions) -> Self {
        let regions = Arc::new(regions);
        Terms { epoch: 0, regions, event_idx: false, indirect: false, log_writes: false }
    }
}

/// The terms that hold now.
pub(super) struct CurrentTerms {
    terms: Mutex<Terms>,
    epoch: AtomicU64,
}

impl CurrentTerms {
    pub(super) fn new(regions: Regions) -> Self {
        CurrentTerms { terms: Mutex::new(Terms::new(regions)), epoch: AtomicU64::new(0) }
    }

    /// Changes them; every request that the guest makes available after this is served by the
    /// new ones.
    pub(super) fn change(&self, change: impl FnOnce(&mut Terms)) {
        let mut terms = self.terms.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut terms);
        terms.epoch += 1;
        self.epoch.store(terms.epoch, Ordering::Release);
    }

    fn get(&self) -> Terms {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn are(&self, terms: &Terms) -> bool {
        self.epoch.load(Ordering::Acquire) == terms.epoch
    }
}

/// One virtqueue: a thread of its own serves it.
pub(super) struct Queue {
    /// Held while the ring is served. Whoever wants the ring to rest asks for that by `pause`
    /// and then takes this.
    turn: Mutex<Scratch>,
    pause: AtomicBool,
}

/// Why serving a ring came to an end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// Nothing is left to do; the next request comes with a kick.
    Idle,
    /// Somebody wants the ring to rest.
    Paused,
    /// The next request is to be served by other terms.
    Outdated,
}

impl Queue {
    pub(super) fn new() -> Self {
        Queue { turn: Mutex::new(Scratch::new()), pause: AtomicBool::new(false) }
    }

    /// Lets the request that is being served finish, and keeps the ring at rest while the result
    /// lives.
    pub(super) fn rest(&self) -> MutexGuard<'_, Scratch> {
        self.pause.store(true, Ordering::Relaxed);
        let rest = self.lock();
        self.pause.store(false, Ordering::Relaxed);
        rest
    }

    /// Serves requests until there are none, or until the ring has to rest.
    ///
    /// # Errors
    /// The ring is broken; it is not served again until the guest sets it up anew.
    pub(super) fn serve<F: Filesystem>(
        &self,
        session: &Session<F>,
        current: &CurrentTerms,
        vring: &Vring,
    ) -> Result<(), Broken> {
        let mut scratch = self.lock();
        loop {
            let terms = current.get();
            let Some(setup) = ring_setup(vring, &terms) else {
                return Ok(());
            };
            let mut ring = Ring::new(&terms.regions, &setup)?;
            ring.refuse_kicks();
            let ended = self.drain(session, (current, &terms), vring, &mut ring, &mut scratch);
            let (next_avail, next_used) = ring.position();
            let mut state = vring.get_mut();
            state.get_queue_mut().set_next_avail(next_avail);
            state.get_queue_mut().set_next_used(next_used);
            drop(state);
            match ended? {
                Ended::Paused => return Ok(()),
                Ended::Idle if ring.ask_for_kick() => return Ok(()),
                Ended::Idle | Ended::Outdated => {}
            }
        }
    }

    fn drain<'m, F: Filesystem>(
        &self,
        session: &Session<F>,
        (current, terms): (&CurrentTerms, &'m Terms),
        vring: &Vring,
        ring: &mut Ring<'m>,
        scratch: &mut Scratch,
    ) -> Result<Ended, Broken> {
        let ended = loop {
            if self.pause.load(Ordering::Relaxed) || !vring.enabled() {
                break Ok(Ended::Paused);
            }
            match ring.is_empty() {
                Ok(true) => break Ok(Ended::Idle),
                // Looked at after the request was seen: the guest may rely on a change that was
                // acknowledged before it made the request.
                Ok(false) if !current.are(terms) => break Ok(Ended::Outdated),
                Ok(false) => {}
                Err(broken) => break Err(broken),
            }
            let head = match ring.pop() {
                Ok(head) => head,
                Err(broken) => break Err(broken),
            };
            let mut lists = (SegmentList::new(), SegmentList::new());
            let written = match ring.gather(head, &mut lists.0, &mut lists.1) {
                Ok(()) => serve_one(session, scratch, &lists.0, &lists.1),
                Err(bad) => refuse(bad),
            };
            ring.complete(head, written);
            if terms.log_writes {
                log_writes(terms, &lists.1, written as usize, ring.used_bytes());
            }
            // With EVENT_IDX a signal costs nothing that the guest did not ask for, so that it
            // need not wait for the last of a batch.
            if terms.event_idx && ring.wants_signal() {
                signal(vring);
            }
        };
        if ring.wants_signal() {
            signal(vring);
        }
        ended
    }

    fn lock(&self) -> MutexGuard<'_, Scratch> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn serve_one<F: Filesystem>(
    session: &Session<F>,
    scratch: &mut Scratch,
    readable: &SegmentList<'_>,
    writable: &SegmentList<'_>,
) -> u32 {
    let (input, output) = (Input::new(readable.as_slice()), Output::new(writable.as_slice()));
    match session.serve(scratch, input, output) {
        Served::Reply(len) => len,
        Served::Silent | Served::Unanswerable => 0,
    }
}

fn refuse(bad: BadChain) -> u32 {
    log::debug!("A request is dropped, its descriptors are malformed: {bad:?}");
    0
}

/// The ring, if the front-end has started and enabled it.
fn ring_setup(vring: &Vring, terms: &Terms) -> Option<RingSetup> {
    let state = vring.get_ref();
    let queue = state.get_queue();
    (queue.ready() && state.is_enabled()).then(|| RingSetup {
        size: queue.size(),
        desc: queue.desc_table(),
        avail: queue.avail_ring(),
        used: queue.used_ring(),
        next_avail: queue.next_avail(),
        next_used: queue.next_used(),
        event_idx: terms.event_idx,
        indirect: terms.indirect,
    })
}

/// Marks what was written, after it was: a bit that is set earlier could be read and cleared
/// before the bytes are there.
fn log_writes(terms: &Terms, written: &SegmentList<'_>, mut len: usize, used: (usize, usize)) {
    for segment in written.as_slice() {
        let here = len.min(segment.len());
        terms.regions.mark_dirty(segment.addr(), here);
        len -= here;
        if len == 0 {
            break;
        }
    }
    terms.regions.mark_dirty(used.0, used.1);
}

fn signal(vring: &Vring) {
    if let Err(error) = vring.signal_used_queue() {
        log::debug!("Cannot signal the guest: {error}");
    }
}
