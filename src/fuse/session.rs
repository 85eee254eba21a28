//! One request in, one reply out.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use zerocopy::FromBytes;

use super::abi::{ForgetOne, InHeader, OutHeader};
use super::account::{Account, Ledger, Totals};
use super::args::Args;
use super::dispatch::{Request, Room, call};
use super::ends::Ends;
use super::errno::{Errno, Result};
use super::filesystem::{Filesystem, NodeId};
use super::init::Carrier;
use super::opcode::Opcode;
use crate::mem::{Input, Output};

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// A reply of this many bytes was put at the front of the output.
    Reply(u32),
    /// The request has no reply.
    Silent,
    /// There was no room for even a reply's header.
    Unanswerable,
    /// Nothing was done and nothing put: serve the request once more.
    Later(Wait),
}

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Storage: serve it on a thread that has [`Patience::Storage`].
    Storage,
    /// A server, as of a network file system: the same, but it may never answer, and those who wait
    /// for storage must not wait for that.
    Server,
    /// Something that others do, as giving up a lock: try again after a while.
    Event,
}

impl Wait {
    /// By which a file system says so.
    fn errno(self) -> Errno {
        match self {
            Wait::Storage => Errno::WAITS,
            Wait::Server => Errno::WAITS_FOR_SERVER,
            Wait::Event => Errno::NOT_YET,
        }
    }

    fn of(error: Errno) -> Option<Self> {
        [Wait::Storage, Wait::Server, Wait::Event].into_iter().find(|wait| wait.errno() == error)
    }
}

/// How long serving a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// No longer than the work itself: other requests are behind it.
    None,
    /// As long as storage takes.
    Storage,
}

/// Private memory of one worker: what is judged is copied here, once.
pub struct Scratch {
    request: Box<[u8]>,
    value: Box<[u8]>,
    pub(super) account: Arc<Account>,
}

impl Scratch {
    /// Longest request that is copied, without WRITE data: an extended attribute of 64 KiB, its
    /// name, and some more.
    const REQUEST: usize = 72 << 10;
    /// `XATTR_SIZE_MAX`, which is more than `PATH_MAX`.
    const VALUE: usize = 64 << 10;

    /// Memory for one worker, whose work counts for no session's [`Totals`].
    #[must_use]
    pub fn new() -> Self {
        Self::with(Arc::new(Account::new()))
    }

    fn with(account: Arc<Account>) -> Self {
        Scratch {
            request: vec![0; Self::REQUEST].into_boxed_slice(),
            value: vec![0; Self::VALUE].into_boxed_slice(),
            account,
        }
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// A guest's session with a file system, over whatever carrier.
pub struct Session<F> {
    pub(super) fs: F,
    pub(super) carrier: Carrier,
    /// What was agreed on, with [`STARTED`] set; 0 before INIT and after DESTROY.
    pub(super) agreed: AtomicU64,
    /// Held while a session starts, ends or moves, so that two do not mix.
    pub(super) turn: Mutex<()>,
    ends: Ends,
    ledger: Ledger,
}

/// Bit 31 of INIT's flags is reserved for ever.
pub(super) const STARTED: u64 = 1 << 31;

impl<F: Filesystem> Session<F> {
    /// A session that waits for its INIT.
    pub fn new(fs: F, carrier: Carrier) -> Self {
        Session {
            fs,
            carrier,
            agreed: AtomicU64::new(0),
            turn: Mutex::new(()),
            ends: Ends::default(),
            ledger: Ledger::default(),
        }
    }

    /// The file system.
    pub fn filesystem(&self) -> &F {
        &self.fs
    }

    /// True from INIT on.
    pub fn has_begun(&self) -> bool {
        self.agreed().is_some()
    }

    /// True if a session is going on in which all these [`init`](super::flags::init) bits were
    /// agreed on.
    pub fn has_agreed(&self, flags: u64) -> bool {
        self.agreed().is_some_and(|agreed| agreed & flags == flags)
    }

    /// Memory for one worker of this session.
    pub fn scratch(&self) -> Scratch {
        Scratch::with(self.ledger.account())
    }

    /// What its workers have served.
    pub fn totals(&self) -> Totals {
        self.ledger.totals()
    }

    /// The accepted [`flags::init`](super::flags::init), while there is a guest.
    pub fn agreed(&self) -> Option<u64> {
        match self.agreed.load(Ordering::Acquire) {
            0 => None,
            word => Some(word & !STARTED),
        }
    }

    /// Ends the session as if the guest had never been there: after a device reset, or when its
    /// carrier is gone.
    pub fn reset(&self) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.end();
    }

    /// Ends what there was, for who has the turn. No request begins in it any more when its end is
    /// counted.
    pub(super) fn end(&self) {
        self.agreed.store(0, Ordering::Release);
        self.ends.count();
        self.fs.end();
    }

    /// Serves one request: takes it from `input`, does it, and puts the reply into `output`.
    ///
    /// Exactly one reply is put for every request that has one, and its length in the header is
    /// what is returned; unless the request has to wait.
    pub fn serve(
        &self,
        scratch: &mut Scratch,
        mut input: Input<'_>,
        output: Output<'_>,
        patience: Patience,
    ) -> Served {
        let arrived = input.len();
        let mut head = [0; size_of::<InHeader>()];
        if input.take(&mut head).is_err() {
            return answer(0, output, |_| Err(Errno::EINVAL));
        }
        let head: InHeader = zerocopy::transmute!(head);
        let opcode = Opcode::from_wire(head.opcode);
        let body = (head.len as usize)
            .checked_sub(size_of::<InHeader>())
            .filter(|body| size_of::<InHeader>() + body <= arrived);
        if let Some(body) = body {
            input.truncate(body);
        }
        let entry = scratch.account.open(opcode, patience);
        let mut failed = None;
        let served = match (opcode, body) {
            (Some(opcode), _) if opcode.is_silent() => {
                if body.is_some() {
                    let _ = or_eio(|| {
                        self.silent(opcode, &head, input);
                        Ok(())
                    });
                }
                Served::Silent
            }
            (opcode, body) => answer(head.unique, output, |room| {
                let judged = match (opcode, body) {
                    (None, _) => Err(Errno::ENOSYS),
                    (_, None) => Err(Errno::EINVAL),
                    (Some(opcode), Some(_)) => {
                        self.judge(opcode, &head, scratch, (input, patience), room)
                    }
                };
                judged.inspect_err(|error| {
                    failed = Some(*error);
                    log::trace!("{opcode:?} of node {}: {error:?}", head.nodeid);
                })
            }),
        };
        if !matches!(served, Served::Later(_)) {
            scratch.account.close(&entry, failed);
        }
        served
    }

    /// Takes back what a reply handed out that could not be delivered: the other side will never
    /// forget or release it.
    pub fn take_back(&self, request: &[u8], reply: &[u8]) {
        let (Ok((head, _)), Ok((answer, body))) =
            (InHeader::read_from_prefix(request), OutHeader::read_from_prefix(reply))
        else {
            return;
        };
        if let (0, Some(opcode)) = (answer.error, Opcode::from_wire(head.opcode)) {
            super::undo::undo(&self.fs, opcode, NodeId(head.nodeid), body);
        }
    }

    fn judge(
        &self,
        opcode: Opcode,
        head: &InHeader,
        scratch: &mut Scratch,
        (mut input, patience): (Input<'_>, Patience),
        reply: &mut Output<'_>,
    ) -> Result<()> {
        // In this order: a session that is found here has not ended before.
        let since = self.ends.watch();
        let agreed = self.agreed();
        if agreed.is_none() && opcode != Opcode::Init {
            return Err(Errno::EIO);
        }
        if reply.room() < opcode.reply_len() || input.len() < opcode.fixed_len() {
            return Err(Errno::EINVAL);
        }
        if patience == Patience::None {
            self.fs.waits(opcode, NodeId(head.nodeid)).map_or(Ok(()), |wait| Err(wait.errno()))?;
        }
        let judged = opcode.copied_len(size_of::<InHeader>() + input.len()) - size_of::<InHeader>();
        let copy = scratch.request.get_mut(..judged).ok_or(Errno::E2BIG)?;
        input.take(copy)?;
        let mut args = Args::new(copy);
        let extensions = args.tail(usize::from(head.total_extlen) * 8)?;
        let agreed = agreed.unwrap_or_default();
        let account = &*scratch.account;
        let request = Request { opcode, head, agreed, extensions, patience, account, since };
        let room = Room { data: input, reply, value: &mut scratch.value };
        match opcode {
            Opcode::Init => self.start(&mut args, room.reply),
            Opcode::Destroy => {
                self.fs.mappings().inspect(|mappings| mappings.clear());
                self.reset();
                Ok(())
            }
            _ => call(&self.fs, &request, args, room),
        }
    }

    fn start(&self, args: &mut Args<'_>, reply: &mut Output<'_>) -> Result<()> {
        let (offer, more) = (args.fixed()?, args.fixed().ok());
        super::init::is_spoken(&offer)?;
        // What is wanted depends on what the window can do.
        self.fs.mappings().inspect(|mappings| mappings.begin());
        let (answer, agreed) =
            super::init::negotiate(&offer, more.as_ref(), self.fs.wanted(), &self.carrier)?;
        // Not over the above, in which the window is asked for what may take long.
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.end();
        self.fs.start(&agreed)?;
        self.agreed.store(agreed.flags | STARTED, Ordering::Release);
        drop(turn);
        log::info!(
            "FUSE 7.{} session, guest offers {:#x}, agreed on {:#x}",
            agreed.minor,
            u64::from(offer.flags) | more.map_or(0, |more| u64::from(more.flags2) << 32),
            agreed.flags,
        );
        Ok(reply.put(&answer)?)
    }

    /// Requests without a reply; what is malformed in them is skipped.
    fn silent(&self, opcode: Opcode, head: &InHeader, mut input: Input<'_>) {
        let forget = |node, lookups| {
            if self.agreed().is_some() {
                self.fs.forget(NodeId(node), lookups);
            }
        };
        match opcode {
            Opcode::Forget => {
                if let Some(lookups) = word(&mut input) {
                    forget(head.nodeid, lookups);
                }
            }
            Opcode::BatchForget => {
                // The count is the lower half of the first word; the items say it as well.
                let Some(count) = word(&mut input) else {
                    return;
                };
                for _ in 0..count & u64::from(u32::MAX) {
                    let mut item = [0; size_of::<ForgetOne>()];
                    if input.take(&mut item).is_err() {
                        return;
                    }
                    let item: ForgetOne = zerocopy::transmute!(item);
                    forget(item.nodeid, item.nlookup);
                }
            }
            _ => {}
        }
    }
}

/// Puts the reply to a request that was given up while it had to wait.
pub fn give_up(mut request: Input<'_>, reply: Output<'_>, error: Errno) -> Served {
    let mut head = [0; size_of::<InHeader>()];
    match request.take(&mut head) {
        Ok(()) => {
            let head: InHeader = zerocopy::transmute!(head);
            answer(head.unique, reply, |_| Err(error))
        }
        Err(_) => answer(0, reply, |_| Err(error)),
    }
}

fn word(input: &mut Input<'_>) -> Option<u64> {
    let mut word = [0; 8];
    input.take(&mut word).ok()?;
    Some(u64::from_ne_bytes(word))
}

/// A bug of ours must not stop the device: the request that met it fails.
pub(super) fn or_eio<T>(serve: impl FnOnce() -> Result<T>) -> Result<T> {
    // What a request changes is behind locks that overlook a panic, or is left by its guards as
    // after any other error.
    catch_unwind(AssertUnwindSafe(serve)).unwrap_or(Err(Errno::EIO))
}

/// Puts one reply: its body by `fill`, then its header, which knows how that ended.
pub(super) fn answer(
    unique: u64,
    mut output: Output<'_>,
    fill: impl FnOnce(&mut Output<'_>) -> Result<()>,
) -> Served {
    let Ok(mut head) = output.split_off(size_of::<OutHeader>()) else {
        return Served::Unanswerable;
    };
    let (error, body) = match or_eio(|| fill(&mut output)) {
        Ok(()) => (0, output.filled()),
        Err(error) => match Wait::of(error) {
            Some(wait) => return Served::Later(wait),
            None => (-error.raw(), 0),
        },
    };
    let Ok(len) = u32::try_from(size_of::<OutHeader>() + body) else {
        return Served::Unanswerable;
    };
    match head.put(&OutHeader { len, error, unique }) {
        Ok(()) => Served::Reply(len),
        Err(_) => Served::Unanswerable,
    }
}
