//! Requests that wait for what others do, and their interruption.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use zerocopy::FromBytes;

use super::read_write::send;
use crate::fuse::abi::{InHeader, InterruptIn};
use crate::fuse::{Errno, Filesystem, Opcode, Patience, Served, Session, give_up};
use crate::mem::{Input, Output, Segment};
use crate::work::Retry;

/// Room for the reply to a request that waits: these have none but a header.
const REPLY: usize = 64;

/// Interruptions that came before their requests were parked, at most.
const EARLY: usize = 64;

/// All requests of a mount that wait.
pub(super) struct Parked<F: Filesystem + 'static> {
    session: Arc<Session<F>>,
    retry: Retry<Job<F>>,
    /// Requests that were to be interrupted and were not here: perhaps they are on their way.
    early: Mutex<VecDeque<u64>>,
}

/// A request that waits.
struct Job<F> {
    session: Arc<Session<F>>,
    device: Arc<OwnedFd>,
    request: Box<[u8]>,
    unique: u64,
}

impl<F: Filesystem + 'static> Parked<F> {
    pub(super) fn new(session: &Arc<Session<F>>) -> Self {
        let retry = Retry::new(Job::serve);
        Parked { session: session.clone(), retry, early: Mutex::default() }
    }

    /// Keeps a request that has to wait.
    pub(super) fn park(&self, device: &Arc<OwnedFd>, request: &[u8]) {
        let Ok((head, _)) = InHeader::read_from_prefix(request) else { return };
        let job = Job {
            session: self.session.clone(),
            device: device.clone(),
            request: request.into(),
            unique: head.unique,
        };
        // Looked at under the lock under which interruptions are noted, so that none is missed.
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = early.iter().position(|unique| *unique == head.unique) {
            early.remove(at);
            return job.give_up(Errno::EINTR);
        }
        if let Err(job) = self.retry.add(job) {
            job.give_up(Errno::ENOLCK);
        }
    }

    /// True if `request` interrupts another one; which then ends, if it is here.
    pub(super) fn interrupts(&self, request: &[u8]) -> bool {
        let Ok((head, body)) = InHeader::read_from_prefix(request) else { return false };
        if Opcode::from_wire(head.opcode) != Some(Opcode::Interrupt) {
            return false;
        }
        let Ok((InterruptIn { unique }, _)) = InterruptIn::read_from_prefix(body) else {
            return true;
        };
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        let found = self.retry.take(|job| job.unique == unique);
        if found.is_empty() {
            if early.len() == EARLY {
                early.pop_front();
            }
            early.push_back(unique);
        }
        drop(early);
        found.into_iter().for_each(|job| job.give_up(Errno::EINTR));
        true
    }
}

impl<F: Filesystem + 'static> Job<F> {
    /// Serves the request; gives the job back if it has to be tried again.
    fn serve(mut self) -> Option<Self> {
        let mut reply = [0; REPLY];
        let served = {
            let readable = [Segment::from(&mut self.request[..])];
            let writable = [Segment::from(&mut reply[..])];
            let (input, output) = (Input::new(&readable), Output::new(&writable));
            self.session.serve(&mut self.session.scratch(), input, output, Patience::Storage)
        };
        match served {
            Served::Later(_) => return Some(self),
            Served::Reply(len) => {
                send(&self.session, &self.device, &self.request, &reply[..len as usize]);
            }
            Served::Silent | Served::Unanswerable => {}
        }
        None
    }

    fn give_up(mut self, error: Errno) {
        let mut reply = [0; REPLY];
        let served = {
            let readable = [Segment::from(&mut self.request[..])];
            let writable = [Segment::from(&mut reply[..])];
            give_up(Input::new(&readable), Output::new(&writable), error)
        };
        if let Served::Reply(len) = served {
            send(&self.session, &self.device, &self.request, &reply[..len as usize]);
        }
    }
}
