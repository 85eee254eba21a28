//! Requests that wait for what others do, and their interruption.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zerocopy::FromBytes;

use super::read_write::send;
use super::rings::Ticket;
use super::serve::WAITING;
use crate::fuse::abi::{InHeader, InterruptIn};
use crate::fuse::{Errno, Filesystem, Opcode, Patience, Served, Session, Wait, give_up};
use crate::mem::{Input, Output, Segment};
use crate::work::{Pool, Retry};

/// Room for the reply to a request that waits for others: these have none but a header.
const REPLY: usize = 64;

/// Interruptions that came before their requests were parked, at most.
const EARLY: usize = 64;

/// All requests of a mount that wait.
pub(super) struct Parked<F: Filesystem + 'static> {
    session: Arc<Session<F>>,
    retry: Retry<Job<F>>,
    /// For those that came by a ring and wait for storage.
    pool: Pool,
    /// For those that wait for a server, so that a silent one holds up no others.
    servers: Pool,
    notes: Mutex<Notes>,
}

/// For requests that are on their way here.
#[derive(Default)]
struct Notes {
    /// To be interrupted, and not found: perhaps they come later.
    early: VecDeque<u64>,
    /// Nobody is to wait any more.
    ended: bool,
}

/// A request, and the way by which it came.
pub(super) enum Carried {
    /// A copy, and the descriptor to which the reply has to go.
    Device(Arc<OwnedFd>, Box<[u8]>),
    /// In an entry of a ring.
    Ring(Ticket),
}

/// A request that waits.
struct Job<F> {
    session: Arc<Session<F>>,
    carried: Carried,
    unique: u64,
}

impl<F: Filesystem + 'static> Parked<F> {
    pub(super) fn new(session: &Arc<Session<F>>) -> Self {
        let retry = Retry::new(Job::serve);
        let (pool, servers) = (Pool::new(WAITING), Pool::new(WAITING));
        Parked { session: session.clone(), retry, pool, servers, notes: Mutex::default() }
    }

    /// Keeps a request that came by a ring and has to wait.
    pub(super) fn keep(self: &Arc<Self>, carried: Carried, wait: Wait) {
        let job = Job { session: self.session.clone(), unique: carried.unique(), carried };
        match wait {
            Wait::Event => self.park(job),
            Wait::Storage | Wait::Server => {
                let parked = self.clone();
                let pool = if wait == Wait::Server { &self.servers } else { &self.pool };
                pool.run(move || {
                    if let Some(job) = job.serve() {
                        parked.park(job);
                    }
                });
            }
        }
    }

    /// Keeps a request from the device, which waits for others.
    pub(super) fn keep_copy(&self, device: &Arc<OwnedFd>, request: &[u8]) {
        let carried = Carried::Device(device.clone(), request.into());
        self.park(Job { session: self.session.clone(), unique: carried.unique(), carried });
    }

    fn park(&self, job: Job<F>) {
        // Looked at under the lock under which they are made, so that none is missed.
        let mut notes = self.notes();
        if let Some(at) = notes.early.iter().position(|unique| *unique == job.unique) {
            notes.early.remove(at);
            return job.give_up(Errno::EINTR);
        }
        if notes.ended {
            return job.give_up(Errno::ENOLCK);
        }
        if let Err(job) = self.retry.add(job) {
            job.give_up(Errno::ENOLCK);
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the waiting of all for ever, when nobody waits for the replies any more.
    pub(super) fn clear(&self) {
        self.notes().ended = true;
        self.retry.take(|_| true).into_iter().for_each(|job| job.give_up(Errno::ENOLCK));
    }

    /// True if `request` interrupts another one; which then ends, if it is here.
    pub(super) fn interrupts(&self, request: &[u8]) -> bool {
        let Ok((head, body)) = InHeader::read_from_prefix(request) else { return false };
        if Opcode::from_wire(head.opcode) != Some(Opcode::Interrupt) {
            return false;
        }
        let Ok((InterruptIn { unique }, _)) = InterruptIn::read_from_prefix(body) else {
            return true;
        };
        let mut notes = self.notes();
        let found = self.retry.take(|job| job.unique == unique);
        if found.is_empty() {
            if notes.early.len() == EARLY {
                notes.early.pop_front();
            }
            notes.early.push_back(unique);
        }
        drop(notes);
        found.into_iter().for_each(|job| job.give_up(Errno::EINTR));
        true
    }
}

impl Carried {
    fn unique(&self) -> u64 {
        match self {
            Carried::Device(_, request) => {
                InHeader::read_from_prefix(request).map_or(0, |(head, _)| head.unique)
            }
            Carried::Ring(ticket) => ticket.entry().unique(),
        }
    }

    /// Answers by `serve`; gives itself back if that wants to be asked again.
    fn answer<F: Filesystem>(
        mut self,
        session: &Session<F>,
        serve: impl FnOnce(Input<'_>, Output<'_>) -> Served,
    ) -> Option<Self> {
        match &mut self {
            Carried::Device(device, request) => {
                let mut reply = [0; REPLY];
                let served = {
                    let readable = [Segment::from(&mut request[..])];
                    let writable = [Segment::from(&mut reply[..])];
                    serve(Input::new(&readable), Output::new(&writable))
                };
                match served {
                    Served::Later(_) => return Some(self),
                    Served::Reply(len) => send(session, device, request, &reply[..len as usize]),
                    Served::Silent | Served::Unanswerable => {}
                }
                None
            }
            Carried::Ring(ticket) => {
                let (request, reply) = (ticket.entry().request(), ticket.entry().reply());
                let len = match serve(Input::new(&request), Output::new(&reply)) {
                    Served::Later(_) => return Some(self),
                    Served::Reply(len) => len,
                    Served::Silent | Served::Unanswerable => 0,
                };
                if let Carried::Ring(ticket) = self {
                    ticket.finish(len);
                }
                None
            }
        }
    }
}

impl<F: Filesystem> Job<F> {
    /// Serves the request; gives the job back if it has to be tried again.
    fn serve(self) -> Option<Self> {
        let Job { session, carried, unique } = self;
        let carried = carried.answer(&session, |input, output| {
            session.serve(&mut session.scratch(), input, output, Patience::Storage)
        });
        carried.map(|carried| Job { session, carried, unique })
    }

    fn give_up(self, error: Errno) {
        self.carried.answer(&self.session, |input, output| give_up(input, output, error));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use zerocopy::{FromZeros, IntoBytes};

    use super::*;
    use crate::fuse::abi::{InitIn, LkIn, OutHeader};
    use crate::fuse::flags::init;
    use crate::fuse::{Carrier, Handle, Lock, NodeId, Result};

    /// Somebody else has all the locks.
    struct Locked;

    impl Filesystem for Locked {
        fn wanted(&self) -> u64 {
            init::POSIX_LOCKS
        }

        fn setlk(&self, _: NodeId, _: Handle, _: &Lock) -> Result<()> {
            Err(Errno::EAGAIN)
        }
    }

    fn request(opcode: Opcode, arg: &[u8]) -> Vec<u8> {
        let len = u32::try_from(size_of::<InHeader>() + arg.len()).unwrap();
        let opcode = opcode as u32;
        let head = InHeader { len, opcode, unique: 7, nodeid: 1, ..InHeader::new_zeroed() };
        [head.as_bytes(), arg].concat()
    }

    #[test]
    fn who_comes_to_wait_when_all_waiting_was_ended_does_not_wait() {
        let session = Arc::new(Session::new(Locked, Carrier::DEV));
        let flags = u32::try_from(init::POSIX_LOCKS).unwrap();
        let arg = InitIn { major: 7, minor: 31, max_readahead: 0, flags };
        let (mut begin, mut reply) = (request(Opcode::Init, arg.as_bytes()), [0; 256]);
        let (input, output) = ([Segment::from(&mut begin[..])], [Segment::from(&mut reply[..])]);
        let (input, output) = (Input::new(&input), Output::new(&output));
        session.serve(&mut session.scratch(), input, output, Patience::Storage);
        assert!(session.has_begun());

        let parked = Arc::new(Parked::new(&session));
        let (device, mut kernel) = UnixStream::pair().unwrap();
        kernel.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let device = Arc::new(OwnedFd::from(device));
        let lock = request(Opcode::Setlkw, LkIn::new_zeroed().as_bytes());
        let mut ends = || {
            let mut reply = OutHeader::new_zeroed();
            kernel.read_exact(reply.as_mut_bytes()).unwrap();
            assert_eq!((reply.unique, reply.error), (7, -libc::ENOLCK));
        };
        // Waiting when it is ended, and on the way from its server.
        parked.keep_copy(&device, &lock);
        parked.clear();
        ends();
        parked.keep(Carried::Device(device, lock.into()), Wait::Server);
        ends();
    }
}
