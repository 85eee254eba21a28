//! Serving one virtqueue.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use vhost_user_backend::VringT;
use virtio_queue::QueueT;

use super::deferred::{Away, Finished, WaitingRoom};
use super::memory::{Kept, Regions};
use super::ring::{BadChain, Broken, Ring, RingSetup};
use super::vring::Vring;
use crate::fuse::{Filesystem, Patience, Scratch, Served, Session};
use crate::mem::{Input, Output, Segment, SegmentList};

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
    /// Requests that wait elsewhere.
    pub(super) away: Away,
    /// The ring, known from its first request on.
    vring: OnceLock<Vring>,
}

/// What all queues of a device share.
pub(super) struct Shared<F> {
    pub(super) session: Arc<Session<F>>,
    pub(super) terms: CurrentTerms,
    pub(super) waiting: WaitingRoom<F>,
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

/// What becomes of the replies that are ready when a ring comes to rest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Replies {
    /// They are given: the guest goes on with this ring.
    Give,
    /// They are dropped: the ring is the guest's again, and its memory may be anything.
    Drop,
}

impl Queue {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Queue {
            turn: Mutex::default(),
            pause: AtomicBool::new(false),
            away: Away::new()?,
            vring: OnceLock::new(),
        })
    }

    /// Lets requests that were begun finish, and keeps the ring at rest while the result lives.
    pub(super) fn rest<'q, F: Filesystem + 'static>(
        self: &'q Arc<Self>,
        shared: &Shared<F>,
        replies: Replies,
    ) -> MutexGuard<'q, Scratch> {
        self.pause.store(true, Ordering::Relaxed);
        let rest = self.lock();
        self.pause.store(false, Ordering::Relaxed);
        shared.waiting.clear(self);
        let finished = self.away.take_finished();
        if replies == Replies::Give
            && let Some(vring) = self.vring.get()
        {
            let terms = shared.terms.get();
            let setup = ring_setup(vring, &terms);
            if let Ok(mut ring) = Ring::new(&terms.regions, &setup) {
                give_back(&terms, vring, &mut ring, finished);
                vring.get_mut().get_queue_mut().set_next_used(ring.position().1);
            }
        }
        rest
    }

    /// Serves requests until there are none, or until the ring has to rest.
    ///
    /// # Errors
    /// The ring is broken; it is not served again until the guest sets it up anew.
    pub(super) fn serve<F: Filesystem + 'static>(
        self: &Arc<Self>,
        shared: &Shared<F>,
        vring: &Vring,
    ) -> Result<(), Broken> {
        let mut scratch = self.lock();
        self.vring.get_or_init(|| vring.clone());
        loop {
            let terms = shared.terms.get();
            if !is_running(vring) {
                return Ok(());
            }
            let mut ring = Ring::new(&terms.regions, &ring_setup(vring, &terms))?;
            ring.refuse_kicks();
            let ended = self.drain(shared, &terms, vring, &mut ring, &mut scratch);
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

    fn drain<'m, F: Filesystem + 'static>(
        self: &Arc<Self>,
        shared: &Shared<F>,
        terms: &'m Terms,
        vring: &Vring,
        ring: &mut Ring<'m>,
        scratch: &mut Scratch,
    ) -> Result<Ended, Broken> {
        let ended = loop {
            give_back(terms, vring, ring, self.away.take_finished());
            if self.pause.load(Ordering::Relaxed) || !vring.enabled() {
                break Ok(Ended::Paused);
            }
            match ring.is_empty() {
                Ok(true) => break Ok(Ended::Idle),
                // Looked at after the request was seen: the guest may rely on a change that was
                // acknowledged before it made the request.
                Ok(false) if !shared.terms.are(terms) => break Ok(Ended::Outdated),
                Ok(false) => {}
                Err(broken) => break Err(broken),
            }
            let head = match ring.pop() {
                Ok(head) => head,
                Err(broken) => break Err(broken),
            };
            let (mut readable, mut writable) = (SegmentList::new(), SegmentList::new());
            let served = match ring.gather(head, &mut readable, &mut writable) {
                Ok(()) => {
                    let (input, output) =
                        (Input::new(readable.as_slice()), Output::new(writable.as_slice()));
                    shared.session.serve(scratch, input, output, Patience::None)
                }
                Err(bad) => refuse(bad),
            };
            let written = match served {
                Served::Reply(len) => len,
                Served::Silent | Served::Unanswerable => 0,
                Served::Later(wait) => {
                    let kept = Kept::new(&terms.regions, &readable, &writable);
                    shared.waiting.admit(&shared.session, self, (head, kept), wait);
                    continue;
                }
            };
            complete(terms, vring, ring, (head, written), writable.as_slice());
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

/// Gives requests that have waited elsewhere back to the guest.
fn give_back(terms: &Terms, vring: &Vring, ring: &mut Ring<'_>, finished: Vec<Finished>) {
    for Finished { head, written, buffers } in finished {
        if terms.log_writes {
            log_writes(&buffers.regions, buffers.writable(), written as usize);
        }
        complete(terms, vring, ring, (head, written), &[]);
    }
}

/// Gives a request back, of whose `writable` buffers so many bytes were written.
fn complete(
    terms: &Terms,
    vring: &Vring,
    ring: &mut Ring<'_>,
    (head, written): (u16, u32),
    writable: &[Segment<'_>],
) {
    if terms.log_writes {
        log_writes(&terms.regions, writable, written as usize);
    }
    ring.complete(head, written);
    if terms.log_writes {
        let (addr, len) = ring.used_bytes();
        terms.regions.mark_dirty(addr, len);
    }
    // With EVENT_IDX a signal costs nothing that the guest did not ask for, so that it need not
    // wait for the last of a batch.
    if terms.event_idx && ring.wants_signal() {
        signal(vring);
    }
}

fn refuse(bad: BadChain) -> Served {
    log::debug!("A request is dropped, its descriptors are malformed: {bad:?}");
    Served::Unanswerable
}

/// True if the front-end has started and enabled the ring.
fn is_running(vring: &Vring) -> bool {
    let state = vring.get_ref();
    state.get_queue().ready() && state.is_enabled()
}

fn ring_setup(vring: &Vring, terms: &Terms) -> RingSetup {
    let state = vring.get_ref();
    let queue = state.get_queue();
    RingSetup {
        size: queue.size(),
        desc: queue.desc_table(),
        avail: queue.avail_ring(),
        used: queue.used_ring(),
        next_avail: queue.next_avail(),
        next_used: queue.next_used(),
        event_idx: terms.event_idx,
        indirect: terms.indirect,
    }
}

/// Marks what was written, after it was: a bit that is set earlier could be read and cleared
/// before the bytes are there. The guest does not look before the used ring tells it to.
fn log_writes(regions: &Regions, written: &[Segment<'_>], mut len: usize) {
    for segment in written {
        let here = len.min(segment.len());
        regions.mark_dirty(segment.addr(), here);
        len -= here;
        if len == 0 {
            break;
        }
    }
}

fn signal(vring: &Vring) {
    if let Err(error) = vring.signal_used_queue() {
        log::debug!("Cannot signal the guest: {error}");
    }
}
