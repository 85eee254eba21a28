//! Requests by read(2), replies by write(2).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::parked::Parked;
use super::serve::End;
use crate::fuse::{Carrier, Filesystem, Patience, Scratch, Served, Session};
use crate::mem::{Input, Output, Segment};

/// Room for the longest request or reply: the largest WRITE or READ, and what goes with it.
pub(super) const BUFFER: usize = (Carrier::DEV.max_write as usize) + 8192;

/// What one thread needs to serve.
pub(super) struct Buffers {
    scratch: Scratch,
    request: Vec<u8>,
    reply: Vec<u8>,
}

/// What a thread does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// There may be another request.
    Served,
    /// There will be none.
    Ended(End),
}

/// Serves requests until the end.
pub(super) fn work<F: Filesystem + 'static>(
    session: &Session<F>,
    device: &Arc<OwnedFd>,
    parked: &Parked<F>,
) -> io::Result<End> {
    let mut buffers = Buffers::new(session.scratch());
    loop {
        if let Next::Ended(end) = buffers.serve_one(session, device, parked)? {
            return Ok(end);
        }
    }
}

impl Buffers {
    pub(super) fn new(scratch: Scratch) -> Self {
        Buffers { scratch, request: vec![0; BUFFER], reply: vec![0; BUFFER] }
    }

    /// Waits for a request and serves it.
    pub(super) fn serve_one<F: Filesystem + 'static>(
        &mut self,
        session: &Session<F>,
        device: &Arc<OwnedFd>,
        parked: &Parked<F>,
    ) -> io::Result<Next> {
        let Buffers { scratch, request, reply } = self;
        let len = loop {
            match rustix::io::read(device.as_fd(), &mut *request) {
                Ok(len) => break len,
                Err(Errno::NODEV) => return Ok(Next::Ended(End::Unmounted)),
                Err(Errno::CONNABORTED) => return Ok(Next::Ended(how_it_ended(device, request)?)),
                // Interrupted, or the request was before it was read.
                Err(Errno::INTR | Errno::AGAIN | Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        };
        if parked.interrupts(&request[..len]) {
            return Ok(Next::Served);
        }
        let served = {
            let (readable, writable) =
                ([Segment::from(&mut request[..len])], [Segment::from(&mut reply[..])]);
            let (input, output) = (Input::new(&readable), Output::new(&writable));
            session.serve(scratch, input, output, Patience::Storage)
        };
        match served {
            Served::Reply(size) => send(session, device, &request[..len], &reply[..size as usize]),
            Served::Later(_) => parked.keep_copy(device, &request[..len]),
            Served::Silent | Served::Unanswerable => {}
        }
        Ok(Next::Served)
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
