//! From INIT to the end of a mount.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};

use super::parked::Parked;
use super::read_write::{self, Buffers, Read};
use super::rings::{Ring, Rings};
use super::slots::Slots;
use crate::fuse::flags::init;
use crate::fuse::{Filesystem, Session};

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
    /// Descriptors of the device, for a thread each that reads and writes it. Other threads stand
    /// in for those whose requests wait.
    pub devices: Vec<OwnedFd>,
    /// Rings, if the kernel agrees to use them: everything but INIT, FORGET and INTERRUPT then
    /// comes by these.
    pub rings: Option<Rings>,
}

/// So many requests may wait for storage without holding up others.
pub(super) const WAITING: usize = 16;

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
    let rings = carriage.rings.map(|rings| rings.split(device)).transpose()?;
    let (gate, slots) = (Gate::default(), Slots::new(devices.len()));
    let ended = thread::scope(|scope| {
        let start = |name: &str| thread::Builder::new().name(name.into());
        let (gate, parked, slots) = (&gate, &parked, &slots);
        // All threads are there before anything is promised: what cannot be had is an error then.
        let ring = |ring: Ring| {
            start("ring").spawn_scoped(scope, move || match gate.pass() {
                Some(Way::Rings) => ring.serve(session, parked),
                Some(Way::ReadWrite) | None => Ok(()),
            })
        };
        let worker = |(number, device)| {
            // What comes by rings and waits has threads of its own.
            let stands_in = number >= devices.len();
            start("fuse").spawn_scoped(scope, move || match gate.pass() {
                Some(Way::Rings) if stands_in => Ok(End::Unmounted),
                Some(_) => read_write::work(session, device, parked, slots),
                None => Ok(End::Unmounted),
            })
        };
        let rings: io::Result<Vec<_>> = rings.into_iter().flatten().map(ring).collect();
        let workers: io::Result<Vec<_>> =
            devices.iter().cycle().take(devices.len() + WAITING).enumerate().map(worker).collect();
        let begun = match (&rings, &workers) {
            (Ok(_), Ok(_)) => begin(session, device, parked, slots),
            _ => Ok(None),
        };
        let way = match begun {
            Ok(None) if session.has_agreed(init::OVER_IO_URING) => Some(Way::Rings),
            Ok(None) if session.has_begun() => Some(Way::ReadWrite),
            _ => None,
        };
        gate.open(way);
        let (rings, workers) = (rings?, workers?);
        if let Some(end) = begun? {
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
/// Gives the end if it came first.
fn begin<F: Filesystem + 'static>(
    session: &Session<F>,
    device: &Arc<OwnedFd>,
    parked: &Parked<F>,
    slots: &Slots,
) -> io::Result<Option<End>> {
    let mut buffers = Buffers::new(session.scratch());
    match buffers.read(device)? {
        Read::Ended(end) => return Ok(Some(end)),
        Read::Request(len) => buffers.serve(len, session, device, parked, slots),
    }
    match session.has_begun() {
        true => Ok(None),
        false => Err(io::Error::other("this kernel does not offer what is needed")),
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
