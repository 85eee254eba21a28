//! A request that is made again and again.

use std::sync::Arc;

use crate::error::Result;
use crate::frame::{Frame, Layout, Request};
use crate::memory::Region;
use crate::queue::Queue;
use crate::ring::Desc;

/// A request that lies in guest memory with its indirect table: making it costs the driver one
/// descriptor, however long it is.
pub(super) struct Message {
    region: Arc<Region>,
    pub(super) frame: Frame,
    table: u64,
    descriptors: usize,
}

/// Where fields are in a request: behind the length and opcode, and behind the header.
pub(super) const UNIQUE: usize = 8;
pub(super) const NODE: usize = 16;
pub(super) const ARGS: usize = 40;

/// The most descriptors of a message: 1 MiB in pages, and the other parts.
const MOST: usize = 264;

impl Message {
    /// Puts `request` into guest memory; it may later be replaced by one that is no longer.
    pub(super) fn new(region: &Arc<Region>, request: &Request<'_>) -> Result<Self> {
        let args: usize = request.args.iter().map(|arg| arg.len()).sum();
        let lengths = (ARGS + args + request.data.len(), 16 + request.reply + request.reply_data);
        let frame = Frame::new(region, Layout::Linux, lengths)?;
        let table = region.alloc(MOST * Desc::SIZE, 16)?;
        let mut message = Message { region: region.clone(), frame, table, descriptors: 0 };
        message.replace(request)?;
        Ok(message)
    }

    pub(super) fn replace(&mut self, request: &Request<'_>) -> Result<()> {
        self.frame.fill(0, request)?;
        let table = Queue::table(self.frame.readable(), self.frame.writable());
        self.descriptors = table.len();
        assert!(self.descriptors <= MOST);
        for (desc, at) in table.iter().zip((self.table..).step_by(Desc::SIZE)) {
            self.region.write(at, &desc.to_bytes());
        }
        Ok(())
    }

    /// Writes a field of the request.
    pub(super) fn patch(&self, at: usize, value: u64) {
        self.frame.patch(at, &value.to_ne_bytes());
    }

    /// Makes it available; its name.
    pub(super) fn submit(&self, queue: &mut Queue) -> Result<u16> {
        queue.submit_table(self.table, self.descriptors)
    }
}
