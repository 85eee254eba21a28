//! FORGETs, which nobody waits for.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ferryfs::fuse::Opcode;
use ferryfs::fuse::abi::{BatchForgetIn, ForgetIn, ForgetOne};
use zerocopy::IntoBytes;

use super::message::{Message, NODE, UNIQUE};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::frame::Request;
use crate::queue::Queue;

/// The hiprio queue and messages for it.
pub(super) struct Forgets(Mutex<State>);

struct State {
    queue: Queue,
    ones: Pool,
    batches: Pool,
    /// Which message each descriptor of the ring carries; true for a batch.
    carries: Vec<Option<(bool, Message)>>,
}

type Pool = Vec<Message>;

/// FORGETs, and BATCH_FORGETs, that may be under way.
const ONES: usize = 64;
const BATCHES: usize = 16;

/// As many items as a BATCH_FORGET may have.
pub(super) const BATCH: usize = 256;

const PATIENCE: Duration = Duration::from_secs(30);

impl Forgets {
    pub(super) fn new(queue: Queue) -> Result<Self> {
        let region = queue.region().clone();
        let one = ForgetIn { nlookup: 1 };
        let one = Request {
            opcode: Opcode::Forget as u32,
            args: &[one.as_bytes()],
            ..Request::default()
        };
        let batch = batch(&[ForgetOne { nodeid: 0, nlookup: 0 }; BATCH], |request| {
            (0..BATCHES).map(|_| Message::new(&region, request)).collect::<Result<Pool>>()
        })?;
        let state = State {
            ones: (0..ONES).map(|_| Message::new(&region, &one)).collect::<Result<_>>()?,
            batches: batch,
            carries: (0..queue.ring().size()).map(|_| None).collect(),
            queue,
        };
        Ok(Forgets(Mutex::new(state)))
    }

    /// Forgets one lookup of an inode.
    pub(super) fn one(&self, node: u64) -> Result<()> {
        self.with(|state| {
            let message = state.take(false)?;
            message.patch(NODE, node);
            state.send(false, message)
        })
    }

    /// Forgets one lookup of each of these inodes.
    pub(super) fn batch(&self, nodes: &[u64]) -> Result<()> {
        self.with(|state| {
            for nodes in nodes.chunks(BATCH) {
                let mut message = state.take(true)?;
                let one = |&nodeid: &u64| ForgetOne { nodeid, nlookup: 1 };
                let items: Vec<_> = nodes.iter().map(one).collect();
                batch(&items, |request| message.replace(request))?;
                state.send(true, message)?;
            }
            Ok(())
        })
    }

    /// Waits until all are done.
    pub(super) fn drain(&self) -> Result<()> {
        self.with(|state| {
            while state.ones.len() < ONES || state.batches.len() < BATCHES {
                state.wait()?;
            }
            Ok(())
        })
    }

    fn with(&self, use_it: impl FnOnce(&mut State) -> Result<()>) -> Result<()> {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn batch<R>(items: &[ForgetOne], with: impl FnOnce(&Request<'_>) -> R) -> R {
    let head = BatchForgetIn { count: u32::try_from(items.len()).unwrap_or_default(), dummy: 0 };
    let args: &[&[u8]] = &[head.as_bytes(), items.as_bytes()];
    with(&Request { opcode: Opcode::BatchForget as u32, args, ..Request::default() })
}

impl State {
    fn pool(&mut self, batch: bool) -> &mut Pool {
        if batch { &mut self.batches } else { &mut self.ones }
    }

    fn take(&mut self, batch: bool) -> Result<Message> {
        while let Some(used) = self.queue.reap()? {
            self.put_back(used.head);
        }
        loop {
            if let Some(message) = self.pool(batch).pop() {
                return Ok(message);
            }
            self.wait()?;
        }
    }

    fn send(&mut self, batch: bool, message: Message) -> Result<()> {
        message.patch(UNIQUE, Client::next_unique());
        let head = message.submit(&mut self.queue)?;
        self.carries[usize::from(head)] = Some((batch, message));
        self.queue.kick()?;
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        let used = self.queue.spin(Instant::now() + PATIENCE)?;
        if used.len != 0 {
            return Err(Error::device("a FORGET was answered"));
        }
        self.put_back(used.head);
        Ok(())
    }

    fn put_back(&mut self, head: u16) {
        if let Some((batch, message)) = self.carries[usize::from(head)].take() {
            self.pool(batch).push(message);
        }
    }
}
