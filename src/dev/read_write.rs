//! Requests by read(2), replies by write(2).

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::parked::Parked;
use super::serve::End;
use super::slots::Slots;
use crate::fuse::{Carrier, Filesystem, Patience, Scratch, Served, Session, Wait};
use crate::mem::{Input, Output, Segment};

/// Room for the longest request or reply: the largest WRITE or READ, and what goes with it.
pub(super) const BUFFER: usize = (Carrier::DEV.max_write as usize) + 8192;

/// What one thread needs to serve.
pub(super) struct Buffers {
    scratch: Scratch,
    request: Vec<u8>,
    reply: Vec<u8>,
}

/// What came of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// A request of this length.
    Request(usize),
    /// There will be none any more.
    Ended(End),
}

/// Serves requests until the end.
pub(super) fn work<F: Filesystem + 'static>(
    session: &Session<F>,
    device: &Arc<OwnedFd>,
    parked: &Parked<F>,
    slots: &Slots,
) -> io::Result<End> {
    slots.take();
    // Most of those who stand in for others never have to, and need none until the end.
    let mut buffers = Buffers::new(session.scratch());
    let ended = loop {
        match buffers.read(device) {
            Ok(Read::Request(len)) => buffers.serve(len, session, device, parked, slots),
            Ok(Read::Ended(end)) => break Ok(end),
            Err(error) => break Err(error),
        }
    };
    slots.end();
    ended
}

impl Buffers {
    pub(super) fn new(scratch: Scratch) -> Self {
        Buffers { scratch, request: vec![0; BUFFER], reply: vec![0; BUFFER] }
    }

    /// Waits for a request.
    pub(super) fn read(&mut self, device: &OwnedFd) -> io::Result<Read> {
        let request = &mut self.request[..];
        loop {
            match rustix::io::read(device, &mut *request) {
                Ok(len) => return Ok(Read::Request(len)),
                Err(Errno::NODEV) => return Ok(Read::Ended(End::Unmounted)),
                Err(Errno::CONNABORTED) => return how_it_ended(device, request).map(Read::Ended),
                // Interrupted, or the request was before it was read.
                Err(Errno::INTR | Errno::AGAIN | Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Serves the request of this length that was read, without its slot if it has to wait.
    pub(super) fn serve<F: Filesystem + 'static>(
        &mut self,
        len: usize,
        session: &Session<F>,
        device: &Arc<OwnedFd>,
        parked: &Parked<F>,
        slots: &Slots,
    ) {
        let Buffers { scratch, request, reply } = self;
        if parked.interrupts(&request[..len]) {
            return;
        }
        let mut serve = |patience| {
            let (readable, writable) =
                ([Segment::from(&mut request[..len])], [Segment::from(&mut reply[..])]);
            let (input, output) = (Input::new(&readable), Output::new(&writable));
            match session.serve(scratch, input, output, patience) {
                Served::Reply(size) => {
                    send(session, device, &request[..len], &reply[..size as usize]);
                    None
                }
                Served::Silent | Served::Unanswerable => None,
                Served::Later(wait) => Some(wait),
            }
        };
        let Some(wait) = serve(Patience::None) else { return };
        if wait == Wait::Event || slots.lend(|| serve(Patience::Storage)).is_some() {
            parked.keep_copy(device, &request[..len], wait);
        }
    }
}

/// The end of a connection that has aborted a read. That alone does not tell an unmount from an
/// abort: a request that the end finds half read is always answered so (fs/fuse/dev.c,
/// `fuse_dev_do_read`). A read after the end tells.
fn how_it_ended(device: &OwnedFd, request: &mut [u8]) -> io::Result<End> {
    let mut ended = [PollFd::new(device, PollFlags::empty())];
    while !ended[0].revents().contains(PollFlags::ERR) {
        match poll(&mut ended, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    match rustix::io::read(device, request) {
        Err(Errno::CONNABORTED) => Ok(End::Aborted),
        _ => Ok(End::Unmounted),
    }
}

/// Sends a reply, on the descriptor by which its request came.
pub(super) fn send<F: Filesystem>(
    session: &Session<F>,
    device: &OwnedFd,
    request: &[u8],
    reply: &[u8],
) {
    match rustix::io::write(device, reply) {
        // Unmounted: nobody waits for it any more.
        Ok(_) | Err(Errno::NODEV | Errno::CONNABORTED) => {}
        // The caller was interrupted and will never know what it was given.
        Err(Errno::NOENT) => session.take_back(request, reply),
        Err(error) => log::error!("The kernel refuses a reply: {error}"),
    }
}
