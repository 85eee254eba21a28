//! Requests by read(2), replies by write(2).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread;

use rustix::io::Errno;

use super::parked::Parked;
use crate::fuse::{Carrier, Filesystem, Patience, Served, Session};
use crate::mem::{Input, Output, Segment};

/// Room for the longest request or reply: the largest WRITE or READ, and what goes with it.
pub(super) const BUFFER: usize = (Carrier::DEV.max_write as usize) + 8192;

/// Serves a mount by a thread for each of its `devices` until it is unmounted.
///
/// # Errors
/// A thread cannot be made, or a device fails in an unexpected way.
pub fn serve<F: Filesystem + 'static>(
    session: &Arc<Session<F>>,
    devices: Vec<OwnedFd>,
) -> io::Result<()> {
    let devices: Vec<_> = devices.into_iter().map(Arc::new).collect();
    let parked = Parked::new(session);
    let ended = thread::scope(|scope| {
        let workers: io::Result<Vec<_>> = devices
            .iter()
            .map(|device| {
                let worker = thread::Builder::new().name("fuse".into());
                worker.spawn_scoped(scope, || work(session, device, &parked))
            })
            .collect();
        let ended = workers?.into_iter().map(|worker| {
            worker.join().unwrap_or_else(|_| Err(io::Error::other("a worker thread panicked")))
        });
        ended.fold(Ok(()), Result::and)
    });
    drop(parked);
    session.reset();
    ended
}

fn work<F: Filesystem + 'static>(
    session: &Session<F>,
    device: &Arc<OwnedFd>,
    parked: &Parked<F>,
) -> io::Result<()> {
    let mut scratch = session.scratch();
    let (mut request, mut reply) = (vec![0; BUFFER], vec![0; BUFFER]);
    loop {
        let len = match rustix::io::read(device.as_fd(), &mut request) {
            Ok(len) => len,
            // Unmounted.
            Err(Errno::NODEV) => return Ok(()),
            // Interrupted, or the request was before it was read.
            Err(Errno::INTR | Errno::AGAIN | Errno::NOENT) => continue,
            Err(error) => return Err(error.into()),
        };
        if parked.interrupts(&request[..len]) {
            continue;
        }
        let served = {
            let (readable, writable) =
                ([Segment::from(&mut request[..len])], [Segment::from(&mut reply[..])]);
            let (input, output) = (Input::new(&readable), Output::new(&writable));
            session.serve(&mut scratch, input, output, Patience::Storage)
        };
        match served {
            Served::Reply(size) => send(session, device, &request[..len], &reply[..size as usize]),
            Served::Later(_) => parked.park(device, &request[..len]),
            Served::Silent | Served::Unanswerable => {}
        }
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
        Ok(_) | Err(Errno::NODEV) => {}
        // The caller was interrupted and will never know what it was given.
        Err(Errno::NOENT) => session.take_back(request, reply),
        Err(error) => log::error!("The kernel refuses a reply: {error}"),
    }
}
