//! Requests by read(2), replies by write(2).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;

use rustix::io::Errno;

use super::device;
use crate::fuse::{Carrier, Filesystem, Scratch, Served, Session};
use crate::mem::{Input, Output, Segment};

/// Room for the longest request or reply: the largest WRITE or READ, and what goes with it.
const BUFFER: usize = (Carrier::DEV.max_write as usize) + 8192;

/// Serves a mounted device with `threads` threads until it is unmounted.
///
/// # Errors
/// A thread or a descriptor for it cannot be made, or the device fails in an unexpected way.
pub fn serve<F: Filesystem>(
    session: &Session<F>,
    device: BorrowedFd<'_>,
    threads: usize,
) -> io::Result<()> {
    let devices: io::Result<Vec<OwnedFd>> =
        (0..threads.max(1)).map(|_| device::clone(device)).collect();
    let devices = devices?;
    let ended = thread::scope(|scope| {
        let workers: io::Result<Vec<_>> = devices
            .iter()
            .map(|device| {
                let worker = thread::Builder::new().name("fuse".into());
                worker.spawn_scoped(scope, || work(session, device.as_fd()))
            })
            .collect();
        let ended = workers?.into_iter().map(|worker| {
            worker.join().unwrap_or_else(|_| Err(io::Error::other("a worker thread panicked")))
        });
        ended.fold(Ok(()), Result::and)
    });
    session.reset();
    ended
}

fn work<F: Filesystem>(session: &Session<F>, device: BorrowedFd<'_>) -> io::Result<()> {
    let mut scratch = Scratch::new();
    let (mut request, mut reply) = (vec![0; BUFFER], vec![0; BUFFER]);
    loop {
        let len = match rustix::io::read(device, &mut request) {
            Ok(len) => len,
            // Unmounted.
            Err(Errno::NODEV) => return Ok(()),
            // Interrupted, or the request was before it was read.
            Err(Errno::INTR | Errno::AGAIN | Errno::NOENT) => continue,
            Err(error) => return Err(error.into()),
        };
        let served = {
            let (readable, writable) =
                ([Segment::from(&mut request[..len])], [Segment::from(&mut reply[..])]);
            session.serve(&mut scratch, Input::new(&readable), Output::new(&writable))
        };
        let Served::Reply(size) = served else { continue };
        let reply = &reply[..size as usize];
        match rustix::io::write(device, reply) {
            Ok(_) => {}
            Err(Errno::NODEV) => return Ok(()),
            // The caller was interrupted and will never know what it was given.
            Err(Errno::NOENT) => session.take_back(&request[..len], reply),
            Err(error) => log::error!("The kernel refuses a reply: {error}"),
        }
    }
}
