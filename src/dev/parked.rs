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
    storage: Line<F>,
    servers: Line<F>,
    notes: Arc<Mutex<Notes>>,
}

/// Those that came by a ring and wait for storage or for a server, and all that wait for an event
/// there. A silent server holds up none of the other line.
struct Line<F: Filesystem + 'static> {
    pool: Pool,
    retry: Retry<Job<F>>,
}

/// For requests that are on their way here, or are just being tried.
#[derive(Default)]
struct Notes {
    /// To be interrupted, and not found: perhaps they come later.
    early: VecDeque<u64>,
    /// Nobody is to wait any more.
    ended: bool,
}

impl Notes {
    /// Why a request must not wait, if so.
    fn forbid(&mut self, unique: u64) -> Option<Errno> {
        if let Some(at) = self.early.iter().position(|early| *early == unique) {
            self.early.remove(at);
            return Some(Errno::EINTR);
        }
        self.ended.then_some(Errno::ENOLCK)
    }
}

fn lock(notes: &Mutex<Notes>) -> MutexGuard<'_, Notes> {
    notes.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<F: Filesystem + 'static> Line<F> {
    fn new(notes: &Arc<Mutex<Notes>>) -> Self {
        let notes = notes.clone();
        let attempt = move |job: Job<F>| {
            let job = job.serve()?;
            match lock(&notes).forbid(job.unique) {
                Some(why) => job.give_up(why),
                None => return Some(job),
            }
            None
        };
        Line { pool: Pool::new(WAITING), retry: Retry::new(attempt) }
    }
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
        let notes = Arc::default();
        let (storage, servers) = (Line::new(&notes), Line::new(&notes));
        Parked { session: session.clone(), storage, servers, notes }
    }

    /// Keeps a request that came by a ring and has to wait.
    pub(super) fn keep(self: &Arc<Self>, carried: Carried, wait: Wait) {
        let job = Job { session: self.session.clone(), unique: carried.unique(), carried };
        match wait {
            Wait::Event => self.park(job, wait),
            Wait::Storage | Wait::Server => {
                let parked = self.clone();
                self.line(wait).pool.run(move || {
                    if let Some(job) = job.serve() {
                        parked.park(job, wait);
                    }
                });
            }
        }
    }

    /// Keeps a request from the device, which waits for others; `wait` tells where it had to wait
    /// before, if it had.
    pub(super) fn keep_copy(&self, device: &Arc<OwnedFd>, request: &[u8], wait: Wait) {
        let carried = Carried::Device(device.clone(), request.into());
        self.park(Job { session: self.session.clone(), unique: carried.unique(), carried }, wait);
    }

    fn line(&self, wait: Wait) -> &Line<F> {
        if wait == Wait::Server { &self.servers } else { &self.storage }
    }

    fn park(&self, job: Job<F>, wait: Wait) {
        // Looked at under the lock under which they are made, so that none is missed.
        let mut notes = lock(&self.notes);
        if let Some(why) = notes.forbid(job.unique) {
            return job.give_up(why);
        }
        if let Err(job) = self.line(wait).retry.add(job) {
            job.give_up(Errno::ENOLCK);
        }
    }

    /// Ends the waiting of all for ever, when nobody waits for the replies any more.
    pub(super) fn clear(&self) {
        lock(&self.notes).ended = true;
        self.take(|_| true).into_iter().for_each(|job| job.give_up(Errno::ENOLCK));
    }

    /// Those that `which` names. One that is being tried just now is not waited for, as its server
    /// may be silent: it finds a note when it has been.
    fn take(&self, which: impl Fn(&Job<F>) -> bool) -> Vec<Job<F>> {
        let lines = [&self.storage, &self.servers];
        lines.into_iter().flat_map(|line| line.retry.take_resting(&which)).collect()
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
        let mut notes = lock(&self.notes);
        let found = self.take(|job| job.unique == unique);
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
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::{Duration, Instant};

    use zerocopy::{FromZeros, IntoBytes};

    use super::*;
    use crate::fuse::abi::{InitIn, LkIn, OutHeader};
    use crate::fuse::flags::init;
    use crate::fuse::{Carrier, Handle, Lock, NodeId, Result};

    const LONG: Duration = Duration::from_secs(30);

    /// Somebody else has all the locks. Of those of node [`FAR`] a server tells once, and then
    /// only when it is let.
    struct Locked {
        asked: AtomicUsize,
        server: Mutex<Receiver<()>>,
    }

    const FAR: u64 = 2;

    impl Filesystem for Locked {
        fn wanted(&self) -> u64 {
            init::POSIX_LOCKS
        }

        fn setlk(&self, node: NodeId, _: Handle, _: &Lock) -> Result<()> {
            if node.0 == FAR && self.asked.fetch_add(1, Ordering::Relaxed) > 0 {
                let _ = self.server.lock().unwrap().recv();
            }
            Err(Errno::EAGAIN)
        }
    }

    fn request(opcode: Opcode, (unique, nodeid): (u64, u64), arg: &[u8]) -> Vec<u8> {
        let len = u32::try_from(size_of::<InHeader>() + arg.len()).unwrap();
        let opcode = opcode as u32;
        let head = InHeader { len, opcode, unique, nodeid, ..InHeader::new_zeroed() };
        [head.as_bytes(), arg].concat()
    }

    struct Scene {
        parked: Arc<Parked<Locked>>,
        /// What stands for the device, and its other end.
        device: Arc<OwnedFd>,
        kernel: UnixStream,
        /// Lets the server tell.
        tell: Sender<()>,
    }

    impl Scene {
        fn expect(&mut self, unique: u64, error: i32) {
            let mut reply = OutHeader::new_zeroed();
            self.kernel.read_exact(reply.as_mut_bytes()).unwrap();
            assert_eq!((reply.unique, reply.error), (unique, -error));
        }
    }

    fn scene() -> Scene {
        let (tell, server) = channel();
        let fs = Locked { asked: AtomicUsize::new(0), server: Mutex::new(server) };
        let session = Arc::new(Session::new(fs, Carrier::DEV));
        let flags = u32::try_from(init::POSIX_LOCKS).unwrap();
        let arg = InitIn { major: 7, minor: 31, max_readahead: 0, flags };
        let (mut begin, mut reply) = (request(Opcode::Init, (7, 1), arg.as_bytes()), [0; 256]);
        let (input, output) = ([Segment::from(&mut begin[..])], [Segment::from(&mut reply[..])]);
        let (input, output) = (Input::new(&input), Output::new(&output));
        session.serve(&mut session.scratch(), input, output, Patience::Storage);
        assert!(session.has_begun());

        let parked = Arc::new(Parked::new(&session));
        let (device, kernel) = UnixStream::pair().unwrap();
        kernel.set_read_timeout(Some(LONG)).unwrap();
        let device = Arc::new(OwnedFd::from(device));
        Scene { parked, device, kernel, tell }
    }

    fn setlkw(unique: u64, node: u64) -> Vec<u8> {
        request(Opcode::Setlkw, (unique, node), LkIn::new_zeroed().as_bytes())
    }

    #[test]
    fn who_comes_to_wait_when_all_waiting_was_ended_does_not_wait() {
        let mut scene = scene();
        // Waiting when it is ended, and on the way from its server.
        scene.parked.keep_copy(&scene.device, &setlkw(7, 1), Wait::Event);
        scene.parked.clear();
        scene.expect(7, libc::ENOLCK);
        let carried = Carried::Device(scene.device.clone(), setlkw(8, 1).into());
        scene.parked.keep(carried, Wait::Server);
        scene.expect(8, libc::ENOLCK);
    }

    #[test]
    fn a_silent_server_holds_up_neither_other_locks_nor_their_interruption() {
        let mut scene = scene();
        let parked = scene.parked.clone();
        let interrupt = |unique: u64| {
            let arg = InterruptIn { unique };
            assert!(parked.interrupts(&request(Opcode::Interrupt, (0, 0), arg.as_bytes())));
        };
        let carried = Carried::Device(scene.device.clone(), setlkw(7, FAR).into());
        parked.keep(carried, Wait::Server);
        let end = Instant::now() + LONG;
        while parked.session.filesystem().asked.load(Ordering::Relaxed) < 2 {
            assert!(Instant::now() < end);
            std::thread::yield_now();
        }
        parked.keep_copy(&scene.device, &setlkw(8, 1), Wait::Event);
        interrupt(7);
        interrupt(8);
        scene.expect(8, libc::EINTR);
        // And the one that the server was asked for, once it tells.
        scene.tell.send(()).unwrap();
        scene.expect(7, libc::EINTR);
    }
}
