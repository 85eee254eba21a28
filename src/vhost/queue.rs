//! One virtqueue and the thread that serves it.

use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::bounce;
use super::completion::{complete, give_back, log_writes, signal};
use super::deferred::{Away, Finished, WaitingRoom};
use super::gate::Gate;
use super::idle::{Idle, Poll};
use super::lost;
use super::memory::Kept;
use super::reads::{Landed, Reads};
use super::ring::{BadChain, Broken, Ring, RingSetup};
use super::telling::Telling;
use super::terms::{CurrentTerms, Terms};
use super::traffic::QueueCounts;
use super::unshared::Told;
use crate::dax::DaxWindow;
use crate::fuse::{Filesystem, Patience, Scratch, Served, Session, Wait};
use crate::mem::{Input, Output, Segment, SegmentList};

/// A ring as the front-end has set it up.
#[derive(Clone, Default)]
pub(super) struct Setup {
    pub(super) ring: RingSetup,
    /// Where writes to the used ring are logged, if not at its own address.
    pub(super) log_at: Option<u64>,
    pub(super) kick: Option<Arc<OwnedFd>>,
    pub(super) call: Option<Arc<OwnedFd>>,
    pub(super) error: Option<Arc<OwnedFd>>,
    pub(super) started: bool,
    pub(super) enabled: bool,
    pub(super) counts: Arc<QueueCounts>,
    pub(super) telling: Arc<Telling>,
}

/// What all queues of a device share.
pub(super) struct Shared<F> {
    /// How long an idle queue may poll.
    pub(super) poll: Duration,
    pub(super) session: Arc<Session<F>>,
    pub(super) terms: CurrentTerms,
    pub(super) waiting: WaitingRoom<F>,
    pub(super) window: Option<Arc<DaxWindow>>,
    pub(super) told: Told,
}

/// One virtqueue.
pub(super) struct Queue {
    index: usize,
    pub(super) gate: Gate,
    /// What storage reads: the thread has it while it serves, and whoever has it rest may look.
    reads: Mutex<Option<Reads>>,
    /// Requests that wait elsewhere.
    pub(super) away: Away,
}

/// Why serving a ring came to an end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// Nothing is left to do.
    Idle,
    /// Nothing, until storage has done something that was just asked of it.
    Slow,
    /// Somebody is at the gate.
    Wanted,
    /// The terms have changed.
    Outdated,
}

impl Queue {
    pub(super) fn new(index: usize, reads: Option<Reads>) -> io::Result<Self> {
        let (gate, reads) = (Gate::new()?, Mutex::new(reads));
        Ok(Queue { index, gate, reads, away: Away::default() })
    }

    /// True if the ring is started, and where `is_it` says.
    pub(super) fn is_running_at(&self, is_it: impl FnOnce(&RingSetup) -> bool) -> bool {
        self.gate.read(|setup| setup.started && is_it(&setup.ring))
    }

    /// What the queue has carried.
    pub(super) fn counts(&self) -> Arc<QueueCounts> {
        self.gate.read(|setup| setup.counts.clone())
    }

    /// Stops the ring for the guest to go on with it later: requests that were begun finish first,
    /// and their replies are given. Returns how far the guest got.
    pub(super) fn stop<F: Filesystem + 'static>(self: &Arc<Self>, shared: &Shared<F>) -> u16 {
        self.gate.at_rest(|now| {
            let mut finished = self.land(shared);
            shared.waiting.clear(self);
            finished.extend(self.away.take_finished());
            let terms = shared.terms.get();
            let setup = std::mem::take(now);
            let mut next_used = setup.ring.next_used;
            if let Ok(mut ring) = Ring::new(&terms.regions, &ring_setup(&setup, &terms)) {
                if !finished.is_empty() {
                    setup.telling.hurry(|| {
                        give_back(&terms, &setup, &mut ring, finished);
                        if ring.wants_signal() {
                            signal(&setup);
                        }
                    });
                }
                next_used = ring.position().1;
            }
            *now = Setup {
                ring: RingSetup { next_used, ..setup.ring },
                log_at: setup.log_at,
                error: setup.error,
                enabled: setup.enabled,
                counts: setup.counts,
                telling: setup.telling,
                ..Setup::default()
            };
            setup.ring.next_avail
        })
    }

    /// Disables the ring, whose memory is the guest's again when this returns: what was begun
    /// finishes first, and nothing is given any more.
    pub(super) fn reset<F: Filesystem + 'static>(self: &Arc<Self>, shared: &Shared<F>) {
        self.gate.at_rest(|setup| {
            drop(self.land(shared));
            shared.waiting.clear(self);
            drop(self.away.take_finished());
            setup.enabled = false;
            setup.counts.nothing_is_in_flight();
        });
    }

    /// Waits until storage has read all that it was asked to, while the thread rests; gives what is
    /// finished.
    fn land<F: Filesystem + 'static>(self: &Arc<Self>, shared: &Shared<F>) -> Vec<Finished> {
        let mut finished = Vec::new();
        let mut reads = self.reads();
        let Some(reads) = reads.as_mut().filter(|reads| reads.are_any()) else {
            return finished;
        };
        let scratch = shared.session.scratch();
        while reads.are_any() {
            reads.wait();
            self.take_landed(shared, reads, &scratch, |one| finished.push(one));
        }
        finished
    }

    /// Takes what storage has read.
    fn take_landed<F: Filesystem + 'static>(
        self: &Arc<Self>,
        shared: &Shared<F>,
        reads: &mut Reads,
        scratch: &Scratch,
        mut finish: impl FnMut(Finished),
    ) {
        while let Some(landed) = reads.next((&shared.session, scratch)) {
            match landed {
                Landed::Finished(finished) => finish(finished),
                Landed::Again(head, buffers) => {
                    let request = (head, buffers);
                    shared.waiting.admit(&shared.session, self, request, Wait::Storage);
                }
            }
        }
    }

    fn reads(&self) -> MutexGuard<'_, Option<Reads>> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a ring that has been started a thread, unless it has one.
    pub(super) fn serve_by<F: Filesystem + 'static>(
        self: &Arc<Self>,
        shared: &Arc<Shared<F>>,
    ) -> io::Result<()> {
        self.gate.start(|| {
            let (queue, shared) = (self.clone(), shared.clone());
            let thread = std::thread::Builder::new().name(format!("queue {}", self.index));
            thread.spawn(move || queue.work(&shared)).map(drop)
        })
    }

    fn work<F: Filesystem + 'static>(self: &Arc<Self>, shared: &Shared<F>) {
        let mut scratch = shared.session.scratch();
        // Queue 0 carries FORGETs, and the others requests.
        let mut idle =
            if self.index == 0 { Idle::Gather } else { Idle::Poll(Poll::new(shared.poll)) };
        while let Some(mut setup) = self.gate.enter() {
            let mut reads = self.reads().take();
            let serve = || self.serve(shared, &mut setup, (&mut scratch, &mut reads), &mut idle);
            let served = catch_unwind(AssertUnwindSafe(serve)).unwrap_or(Err(Broken::Bug));
            lost::report();
            if let Err(broken) = served {
                match broken {
                    Broken::NoMemory => shared.told.of_none(),
                    _ => log::error!(
                        "Queue {} is broken ({broken:?}) and stops until the guest resets the device",
                        self.index
                    ),
                }
                setup.telling.tell(setup.error.as_ref());
            }
            *self.reads() = reads;
            self.gate.leave(|now| {
                now.ring.next_avail = setup.ring.next_avail;
                now.ring.next_used = setup.ring.next_used;
                now.started &= served.is_ok();
            });
        }
    }

    /// Serves the ring until somebody is at the gate.
    ///
    /// # Errors
    /// The ring is broken; it is not served again until the guest sets it up anew.
    fn serve<F: Filesystem + 'static>(
        self: &Arc<Self>,
        shared: &Shared<F>,
        setup: &mut Setup,
        (scratch, reads): (&mut Scratch, &mut Option<Reads>),
        idle: &mut Idle,
    ) -> Result<(), Broken> {
        loop {
            let terms = shared.terms.get();
            let mut ring = Ring::new(&terms.regions, &ring_setup(setup, &terms))?;
            let mut buffers = (SegmentList::new(), SegmentList::new());
            ring.refuse_kicks();
            let mut kicked = false;
            let ended = loop {
                let begun = ring.position();
                let mine = (&mut *scratch, reads.as_mut());
                let ended = self.drain(shared, &terms, setup, (&mut ring, &mut buffers), mine);
                let is_slow = match ended {
                    Ok(Ended::Idle) => false,
                    Ok(Ended::Slow) => true,
                    _ => break ended,
                };
                let reads = reads.as_ref();
                let is_wanted = || {
                    ring.has_request()
                        || self.gate.has_call()
                        || reads.is_some_and(Reads::have_landed)
                };
                // Who waits for storage needs the processor, and what comes next takes long.
                if !is_slow && idle.look(&self.gate.wake, ring.position() != begun, is_wanted) {
                    continue;
                }
                if ring.ask_for_kick() {
                    lost::report();
                    if kicked && self.index > 0 && setup.counts.taken.get() == 0 {
                        shared.told.of_empty(self.index, &terms.regions);
                    }
                    setup.counts.sleeps.add(1);
                    let bell = reads.and_then(Reads::bell);
                    let kick = (setup.kick.as_deref(), &*setup.telling);
                    let sleep = || self.gate.wake.wait_or(kick, bell);
                    kicked |= if is_slow { sleep() } else { idle.sleep(sleep) };
                }
                ring.refuse_kicks();
            };
            (setup.ring.next_avail, setup.ring.next_used) = ring.position();
            if ended? == Ended::Wanted {
                return Ok(());
            }
        }
    }

    /// Serves what the guest has made available.
    fn drain<'m, F: Filesystem + 'static>(
        self: &Arc<Self>,
        shared: &Shared<F>,
        terms: &'m Terms,
        setup: &Setup,
        (ring, (readable, writable)): (&mut Ring<'m>, &mut (SegmentList<'m>, SegmentList<'m>)),
        (scratch, mut reads): (&mut Scratch, Option<&mut Reads>),
    ) -> Result<Ended, Broken> {
        let mut idle = Ended::Idle;
        let ended = loop {
            // Taken back before anything is looked at: who asks for it later is not overlooked.
            if self.gate.take_call() {
                give_back(terms, setup, ring, self.away.take_finished());
                if self.gate.is_wanted() {
                    break Ok(Ended::Wanted);
                }
            }
            if let Some(reads) = &mut reads {
                self.take_landed(shared, reads, scratch, |finished| {
                    give_back(terms, setup, ring, [finished]);
                });
            }
            match ring.is_empty() {
                // Looked at after the request was seen: the guest may rely on a change that was
                // acknowledged before it made the request.
                Ok(_) if !shared.terms.are(terms) => break Ok(Ended::Outdated),
                Ok(true) => break Ok(idle),
                Ok(false) => {}
                Err(broken) => break Err(broken),
            }
            let head = match ring.pop() {
                Ok(head) => head,
                Err(broken) => break Err(broken),
            };
            setup.counts.taken.add(1);
            ring.look_ahead();
            readable.clear();
            writable.clear();
            let served = match ring.gather(head, readable, writable) {
                Ok(()) => {
                    let (input, output) =
                        (Input::new(readable.as_slice()), Output::new(writable.as_slice()));
                    shared.session.serve(scratch, input, output, Patience::None)
                }
                Err(BadChain::Unmapped) => shared.window.as_ref().map_or_else(
                    || refuse(BadChain::Unmapped),
                    |window| {
                        let request = (&*ring, &*terms.regions, head);
                        let log = |list: &[Segment<'_>], len| {
                            log_writes(terms, &terms.regions, list, len);
                        };
                        let served = bounce::serve(window, &shared.session, request, scratch, log);
                        served.unwrap_or_else(refuse)
                    },
                ),
                Err(bad) => refuse(bad),
            };
            let written = match served {
                Served::Reply(len) => len,
                Served::Silent | Served::Unanswerable => 0,
                Served::Later(wait) => {
                    if wait != Wait::Event {
                        idle = Ended::Slow;
                    }
                    let request = (head, Kept::new(&terms.regions, readable, writable));
                    let begun = match reads.as_mut().filter(|_| wait == Wait::Storage) {
                        Some(reads) => {
                            reads.begin((&shared.session, scratch), &shared.waiting, request)
                        }
                        None => Err(request),
                    };
                    if let Err(request) = begun {
                        shared.waiting.admit(&shared.session, self, request, wait);
                    }
                    continue;
                }
            };
            log_writes(terms, &terms.regions, writable.as_slice(), written as usize);
            complete(terms, setup, ring, head, written);
        };
        if ring.wants_signal() {
            signal(setup);
        }
        ended
    }
}

fn refuse(bad: BadChain) -> Served {
    log::debug!("A request is dropped, its descriptors are malformed: {bad:?}");
    Served::Unanswerable
}

fn ring_setup(setup: &Setup, terms: &Terms) -> RingSetup {
    RingSetup { event_idx: terms.event_idx, indirect: terms.indirect, ..setup.ring }
}
