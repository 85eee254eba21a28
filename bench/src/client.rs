//! A FUSE client on one virtqueue: one request at a time, and every reply is checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ferryfs::fuse::Opcode;
use ferryfs::fuse::abi::OutHeader;
use zerocopy::FromBytes;

use crate::error::{Error, Result};
use crate::frame::{Frame, Layout, Request};
use crate::memory::Region;
use crate::queue::Queue;

/// Who asks, as the guest's kernel tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// File system user id.
    pub uid: u32,
    /// File system group id.
    pub gid: u32,
    /// Process id.
    pub pid: u32,
}

/// How a client waits for replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// For the device's call.
    Block,
    /// By looking all the time.
    Spin,
}

/// What came back for a raw request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The length in the used element.
    pub used: u32,
    /// As many bytes of the reply, or all that there was room for.
    pub bytes: Vec<u8>,
}

/// A FUSE client.
pub struct Client {
    queue: Queue,
    frame: Frame,
    /// Who makes the requests from now on.
    pub caller: Caller,
    /// How it waits from now on.
    pub mode: Mode,
    /// How long it waits for a reply at most.
    pub timeout: Duration,
    /// Put behind the arguments of requests that make inodes from now on; a multiple of 8 bytes.
    pub extensions: Vec<u8>,
    /// INIT flags that were accepted.
    pub(crate) agreed: u64,
}

/// Longest request and reply: 1 MiB of data, or an extended attribute, and what is around it.
const LONGEST: usize = (1 << 20) + (8 << 10);

const HEAD: usize = size_of::<OutHeader>();

impl Client {
    /// A client of `queue`, which has no request in flight.
    ///
    /// # Errors
    /// [`Error::Full`] if the queue's region has no room for a request and its reply.
    pub fn new(queue: Queue) -> Result<Self> {
        let frame = Frame::new(queue.region(), Layout::Linux, (LONGEST, LONGEST))?;
        Ok(Client {
            queue,
            frame,
            caller: Caller::default(),
            mode: Mode::Block,
            timeout: Duration::from_secs(30),
            extensions: Vec::new(),
            agreed: 0,
        })
    }

    /// Puts the requests to come, and their replies, into `region`.
    ///
    /// # Errors
    /// [`Error::Full`] if there is no room for them.
    pub fn move_to(&mut self, region: &Arc<Region>) -> Result<()> {
        self.frame = Frame::new(region, Layout::Linux, (LONGEST, LONGEST))?;
        Ok(())
    }

    /// Cuts the requests to come another way.
    pub fn set_layout(&mut self, layout: Layout) {
        self.frame.set_layout(layout);
    }

    /// The queue.
    #[must_use]
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// The queue, to do other things with.
    pub fn queue_mut(&mut self) -> &mut Queue {
        &mut self.queue
    }

    /// The most recent request and its reply in guest memory.
    #[must_use]
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// A number for the next request, different from all before it.
    #[must_use]
    pub fn next_unique() -> u64 {
        static UNIQUE: AtomicU64 = AtomicU64::new(2);
        UNIQUE.fetch_add(2, Ordering::Relaxed)
    }

    /// Makes a request that has a reply, and gives what is behind its header.
    ///
    /// # Errors
    /// The file system's error number, or whatever else went wrong.
    pub fn call(&mut self, request: &Request<'_>) -> Result<Vec<u8>> {
        let unique = Self::next_unique();
        self.frame.fill(unique, request)?;
        let used = self.exchange()?;
        self.frame.check(used, unique)?;
        let mut body = vec![0; used as usize - HEAD];
        self.frame.read_reply(HEAD, &mut body);
        Ok(body)
    }

    /// Makes a request that has no reply.
    ///
    /// # Errors
    /// [`Error::Device`] if there is one nevertheless, or whatever else went wrong.
    pub fn tell(&mut self, request: &Request<'_>) -> Result<()> {
        self.frame.fill(Self::next_unique(), request)?;
        match self.exchange()? {
            0 => Ok(()),
            len => Err(Error::Device(format!("{len} bytes for a request without a reply"))),
        }
    }

    /// Sends bytes that may be anything, with room for a reply of `room` bytes. Nothing is
    /// checked.
    ///
    /// # Errors
    /// Whatever went wrong, apart from the reply.
    pub fn raw(&mut self, request: &[u8], room: usize) -> Result<Reply> {
        self.frame.fill_raw(request, room)?;
        let used = self.exchange()?;
        let mut bytes = vec![0; room.min(used as usize)];
        self.frame.read_reply(0, &mut bytes);
        Ok(Reply { used, bytes })
    }

    /// Makes the request that is in the frame; the used length.
    fn exchange(&mut self) -> Result<u32> {
        let head = self.queue.submit(self.frame.readable(), self.frame.writable())?;
        self.queue.kick()?;
        let deadline = Instant::now() + self.timeout;
        let used = match self.mode {
            Mode::Block => self.queue.wait(deadline)?,
            Mode::Spin => self.queue.spin(deadline)?,
        };
        if used.head != head {
            return Err(Error::Device(format!("{} was used instead of {head}", used.head)));
        }
        Ok(used.len)
    }

    /// A request of the current caller.
    pub(crate) fn request(&self, opcode: Opcode, node: u64) -> Request<'static> {
        let caller = self.caller;
        Request { opcode: opcode as u32, node, caller, ..Request::default() }
    }

    /// A request whose reply is a struct.
    pub(crate) fn ask<T: FromBytes>(&mut self, request: Request<'_>) -> Result<T> {
        let reply = size_of::<T>();
        let body = self.call(&Request { reply, ..request })?;
        T::read_from_bytes(&body)
            .map_err(|_| Error::Device(format!("{} bytes instead of {reply}", body.len())))
    }

    /// A request whose reply is only a header.
    pub(crate) fn order(&mut self, request: &Request<'_>) -> Result<()> {
        match self.call(request)?.len() {
            0 => Ok(()),
            len => Err(Error::Device(format!("{len} bytes instead of none"))),
        }
    }
}
