//! From INIT to the end of a mount.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};

use super::parked::Parked;
use super::read_write::{self, Buffers, Next};
use super::rings::{Ring, Rings};
use crate::fuse::flags::init;
use crate::fuse::{Filesystem, Session};
use crate::work::Pool;

/// Why serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nobody uses the mount any more.
    Unmounted,
    /// The connection was aborted; the mount may still be there, and answers `ENOTCONN`.
    Aborted,
}

/// By what requests come.
pub struct Carriage {
    /// Descriptors of the device, for a thread each that reads and writes it.
    pub devices: Vec<OwnedFd>,
    /// Rings, if the kernel agrees to use them: everything but INIT, FORGET and INTERRUPT then
    /// comes by these.
    pub rings: Option<Rings>,
}

/// Threads for requests that came by a ring and wait for storage, at most.
const WAITING: usize = 16;

/// Serves a mounted device until its end. Calls `ready` when the mount is usable.
///
/// # Errors
/// A thread cannot be made, or the device fails in an unexpected way.
pub fn serve<F: Filesystem + 'static>(
    session: &Arc<Session<F>>,
    carriage: Carriage,
    ready: impl FnOnce(),
) -> io::Result<End> {
    let devices: Vec<_> = carriage.devices.into_iter().map(Arc::new).collect();
    let device = devices.first().ok_or(io::ErrorKind::InvalidInput)?;
    let parked = Arc::new(Parked::new(session));
    // Made before INIT is answered: from then on nothing is served until all of them are there.
    let pool = Arc::new(Pool::new(WAITING));
    let rings = carriage.rings.map(|rings| rings.split(device, &pool)).transpose()?;
    let gate = Gate::default();
    let ended = thread::scope(|scope| {
        let start = |name: &str| thread::Builder::new().name(name.into());
        let (gate, parked) = (&gate, &parked);
        // All threads are there before anything is promised: what cannot be had is an error then.
        let ring = |ring: Ring| {
            start("ring").spawn_scoped(scope, move || match gate.pass() {
                Some(Way::Rings) => ring.serve(session, parked),
                Some(Way::ReadWrite) | None => Ok(()),
            })
        };
        let worker = |device| {
            start("fuse").spawn_scoped(scope, move || match gate.pass() {
                Some(_) => read_write::work(session, device, parked),
                None => Ok(End::Unmounted),
            })
        };
        let rings: io::Result<Vec<_>> = rings.into_iter().flatten().map(ring).collect();
        let workers: io::Result<Vec<_>> = devices.iter().map(worker).collect();
        let begun = match (&rings, &workers) {
            (Ok(_), Ok(_)) => begin(session, device, parked),
            _ => Ok(Next::Served),
        };
        let way = match begun {
            Ok(Next::Served) if session.has_agreed(init::OVER_IO_URING) => Some(Way::Rings),
            Ok(Next::Served) if session.has_begun() => Some(Way::ReadWrite),
            _ => None,
        };
        gate.open(way);
        let (rings, workers) = (rings?, workers?);
        if let Next::Ended(end) = begun? {
            return Ok(end);
        }
        ready();
        let ended = workers.into_iter().map(join).fold(Ok(End::Unmounted), worst);
        // A ring ends when all its requests are back.
        parked.clear();
        rings.into_iter().map(join).fold(ended, |ended, ring| ring.and(ended))
    });
    session.reset();
    ended
}

/// Serves INIT, which comes before everything else: what is agreed on says how the rest comes.
fn begin<F: Filesystem + 'static>(
    session: &Session<F>,
    device: &Arc<OwnedFd>,
    parked: &Parked<F>,
) -> io::Result<Next> {
    match Buffers::new(session.scratch()).serve_one(session, device, parked)? {
        Next::Served if !session.has_begun() => {
            Err(io::Error::other("this kernel does not offer what is needed"))
        }
        next => Ok(next),
    }
}

/// How requests come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Rings,
    ReadWrite,
}

/// Where threads wait for INIT.
#[derive(Default)]
struct Gate {
    /// Open, and to which way; to none if there is nothing to serve.
    state: Mutex<Option<Option<Way>>>,
    changed: Condvar,
}

impl Gate {
    fn open(&self, way: Option<Way>) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = Some(way);
        self.changed.notify_all();
    }

    fn pass(&self) -> Option<Way> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(way) = *state {
                return way;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn join<T>(worker: ScopedJoinHandle<'_, io::Result<T>>) -> io::Result<T> {
    worker.join().unwrap_or_else(|_| Err(io::Error::other("a worker thread panicked")))
}

/// Of two ends, the one to tell of.
fn worst(one: io::Result<End>, other: io::Result<End>) -> io::Result<End> {
    match (one?, other?) {
        (End::Unmounted, End::Unmounted) => Ok(End::Unmounted),
        _ => Ok(End::Aborted),
    }
}
