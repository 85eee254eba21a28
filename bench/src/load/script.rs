//! What one slot does over and over.

use std::fs::File;
use std::num::NonZeroU64;

use ferryfs::fuse::Errno;
use ferryfs::fuse::abi::{Dirent, EntryOut};
use rustix::fs::Advice;
use zerocopy::FromBytes;

use super::forgets::Forgets;
use super::message::{ARGS, Message, NODE, UNIQUE};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::queue::Queue;

/// A cycle of steps.
pub(super) struct Script {
    steps: Vec<Step>,
    at: usize,
    unique: u64,
    /// From the replies of this cycle.
    node: u64,
    handle: u64,
    /// Bytes of the file that were read or written, over all cycles.
    offset: u64,
    /// Where it was read or written last.
    last: u64,
    reply: Vec<u8>,
    nodes: Vec<u64>,
}

/// A request of a cycle.
pub(super) struct Step {
    message: Message,
    fill: Fill,
    effect: Effect,
}

/// What of a request is known only when it is made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fill {
    Nothing,
    /// The inode that was looked up or made.
    Node,
    /// The same, and the file that was opened.
    NodeAndHandle,
    /// The open file or directory alone.
    Handle,
    /// The directory that was opened, and where to go on.
    Position,
    /// The next so many bytes of a file as long as that.
    Next(u64, u64),
}

/// What a reply means for the steps that follow.
pub(super) enum Effect {
    Nothing,
    /// It names an inode.
    Entry,
    /// It names an inode that is forgotten at once.
    EntryToForget,
    /// It names an open file or directory.
    Opened,
    /// It names an inode and an open file.
    Created,
    /// A FLUSH, which is never made again if it is not implemented.
    Flushed,
    /// This error is what is wanted.
    Fails(Errno),
    /// Entries of a directory, to be read on until its end; forgotten at once or remembered.
    Listing {
        forgets: bool,
    },
    /// The directory was listed, which counted by itself.
    Closed,
    /// After the inode is forgotten, the cycle is over.
    Forgets,
    /// So many bytes were read, or more, that are to come from storage again the next time.
    Evict(File, u64),
}

impl Step {
    pub(super) fn new(message: Message, fill: Fill, effect: Effect) -> Self {
        Step { message, fill, effect }
    }
}

impl Script {
    pub(super) fn new(steps: Vec<Step>, offset: u64) -> Self {
        Script {
            steps,
            at: 0,
            unique: 0,
            node: 0,
            handle: 0,
            offset,
            last: 0,
            reply: Vec::new(),
            nodes: Vec::new(),
        }
    }

    /// Makes the next request.
    pub(super) fn submit(&mut self, queue: &mut Queue) -> Result<u16> {
        let step = &self.steps[self.at];
        let message = &step.message;
        self.unique = Client::next_unique();
        message.patch(UNIQUE, self.unique);
        match step.fill {
            Fill::Nothing => {}
            Fill::Node => message.patch(NODE, self.node),
            Fill::NodeAndHandle => {
                message.patch(NODE, self.node);
                message.patch(ARGS, self.handle);
            }
            Fill::Handle => message.patch(ARGS, self.handle),
            Fill::Position => {
                message.patch(ARGS, self.handle);
                message.patch(ARGS + 8, self.offset);
            }
            Fill::Next(len, end) => {
                message.patch(ARGS + 8, self.offset);
                self.last = self.offset;
                self.offset = if self.offset + 2 * len > end { 0 } else { self.offset + len };
            }
        }
        message.submit(queue)
    }

    /// Takes a reply of so many bytes. Returns how much was done by it: 1 at the end of a cycle, or
    /// the entries of a directory.
    pub(super) fn reply(&mut self, used: u32, forgets: &Forgets) -> Result<Option<u64>> {
        let step = &self.steps[self.at];
        let frame = &step.message.frame;
        let checked = frame.check(used, self.unique);
        match (&step.effect, checked) {
            (Effect::Fails(wanted), Err(Error::Errno(errno))) if *wanted == errno => {}
            (Effect::Flushed, Err(Error::Errno(Errno::ENOSYS))) if self.steps.len() > 1 => {
                self.steps.remove(self.at);
                return Ok(None);
            }
            (_, Err(error)) => return Err(error),
            (Effect::Fails(_) | Effect::Nothing | Effect::Flushed | Effect::Closed, Ok(())) => {}
            (Effect::Entry, Ok(())) => self.node = field(&step.message, 0),
            (Effect::EntryToForget, Ok(())) => forgets.one(field(&step.message, 0))?,
            (Effect::Opened, Ok(())) => self.handle = field(&step.message, 0),
            (Effect::Created, Ok(())) => {
                self.node = field(&step.message, 0);
                self.handle = field(&step.message, size_of::<EntryOut>());
            }
            (Effect::Forgets, Ok(())) => forgets.one(self.node)?,
            (Effect::Evict(file, len), Ok(())) => {
                rustix::fs::fadvise(file, self.last, NonZeroU64::new(*len), Advice::DontNeed)?;
            }
            (Effect::Listing { forgets: at_once }, Ok(())) => {
                let at_once = *at_once;
                let entries = self.list(used)?;
                if at_once {
                    forgets.batch(&self.nodes)?;
                }
                if entries > 0 {
                    return Ok(Some(entries));
                }
                self.offset = 0;
                self.next();
                return Ok(None);
            }
        }
        let lists = matches!(step.effect, Effect::Closed);
        Ok((self.next() && !lists).then_some(1))
    }

    /// Goes to the next step; true if that was the last.
    fn next(&mut self) -> bool {
        self.at = (self.at + 1) % self.steps.len();
        self.at == 0
    }

    /// Takes the entries of a reply, of which there are none at the directory's end; how many.
    fn list(&mut self, used: u32) -> Result<u64> {
        let mut entries = 0;
        let frame = &self.steps[self.at].message.frame;
        self.reply.resize(used as usize - 16, 0);
        frame.read_reply(16, &mut self.reply);
        self.nodes.clear();
        let mut rest = &self.reply[..];
        let cut = || Error::device("a directory record is cut off");
        while !rest.is_empty() {
            let (entry, more) = EntryOut::read_from_prefix(rest).map_err(|_| cut())?;
            let (head, more) = Dirent::read_from_prefix(more).map_err(|_| cut())?;
            let name = (head.namelen as usize).next_multiple_of(8);
            rest = more.get(name..).ok_or_else(cut)?;
            self.offset = head.off;
            entries += 1;
            if entry.nodeid != 0 {
                self.nodes.push(entry.nodeid);
            }
        }
        Ok(entries)
    }
}

/// The number at an offset of a reply's body.
fn field(message: &Message, at: usize) -> u64 {
    let mut bytes = [0; 8];
    message.frame.read_reply(16 + at, &mut bytes);
    u64::from_ne_bytes(bytes)
}
