//! The running daemon, as far as others may look at it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::report::{Inodes, Operation, Queue, Sessions, Stats};
use crate::daemon::shares::Keeper;
use crate::fuse::{Errno, Filesystem, OperationTotals, Session};
use crate::passthrough::{Passthrough, Survey};
use crate::shares::Shares;
use crate::vhost::Traffic;

/// A file system that can be looked into.
pub(in super::super) trait Surveyed: Filesystem {
    /// What is held for the guest, looking at every inode.
    fn survey(&self) -> Survey;

    /// Only what takes no looking for.
    fn counts(&self) -> Survey;

    /// The shares, if there are several.
    fn shares(&self) -> Option<&Shares>;
}

impl Surveyed for Passthrough {
    fn survey(&self) -> Survey {
        self.survey()
    }

    fn counts(&self) -> Survey {
        Survey {
            inodes: self.inodes(),
            open_files: self.handles(),
            descriptors: self.descriptors(),
            budget: self.budget(),
            ..Survey::default()
        }
    }

    fn shares(&self) -> Option<&Shares> {
        None
    }
}

impl Surveyed for Shares {
    fn survey(&self) -> Survey {
        self.survey()
    }

    fn counts(&self) -> Survey {
        let (descriptors, budget) = self.descriptors();
        let (inodes, open_files) = (self.inodes(), self.handles());
        Survey { inodes, open_files, descriptors, budget, ..Survey::default() }
    }

    fn shares(&self) -> Option<&Shares> {
        Some(self)
    }
}

/// What is shared, and by whom it is kept if there are several shares.
pub(in super::super) enum SharedAs {
    One(PathBuf),
    Several(Box<Keeper>),
}

/// The running daemon.
pub(in super::super) struct Watched<F> {
    pub(in super::super) session: Arc<Session<F>>,
    pub(in super::super) traffic: Traffic,
    pub(super) shared: SharedAs,
    /// By which others know the daemon: this process may have another number where it is.
    pid: u32,
    started: Instant,
    connected: Mutex<Option<Instant>>,
}

impl<F: Surveyed> Watched<F> {
    pub(in super::super) fn new(session: Session<F>, shared: SharedAs, pid: u32) -> Arc<Self> {
        Arc::new(Watched {
            session: Arc::new(session),
            traffic: Traffic::default(),
            shared,
            pid,
            started: Instant::now(),
            connected: Mutex::default(),
        })
    }

    /// A front-end has connected.
    pub(in super::super) fn connected(&self) {
        *self.connected.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    pub(super) fn inodes(&self) -> Inodes {
        let survey = self.session.filesystem().survey();
        Inodes {
            inodes: survey.inodes,
            directories: survey.directories,
            files: survey.files,
            with_descriptor: survey.pinned,
            by_file_handle: survey.by_handle,
            open_files: survey.open_files,
            open_directories: survey.open_directories,
            descriptors: survey.descriptors,
            descriptor_budget: survey.budget,
        }
    }

    pub(super) fn sessions(&self) -> Sessions {
        let connected = *self.connected.lock().unwrap_or_else(PoisonError::into_inner);
        Sessions {
            connected_seconds: connected.map(|since| since.elapsed().as_secs_f64()),
            agreed_flags: self.session.agreed(),
        }
    }

    pub(super) fn stats(&self) -> Stats {
        let totals = self.session.totals();
        let held = self.session.filesystem().counts();
        let shares = match &self.shared {
            SharedAs::One(_) => Vec::new(),
            SharedAs::Several(keeper) => keeper.list(),
        };
        let errors = totals.errors.iter().map(|(errno, count)| (name(*errno), *count));
        let queues = self.traffic.totals().into_iter().map(|queue| Queue {
            requests: queue.requests,
            in_flight: queue.in_flight,
            sleeps: queue.sleeps,
            signals: queue.signals,
        });
        Stats {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: self.pid,
            shared_dir: match &self.shared {
                SharedAs::One(path) => path.display().to_string(),
                SharedAs::Several(_) => shares.join(" "),
            },
            shares,
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            operations: totals.operations.iter().map(operation).collect(),
            errors: errors.collect(),
            read_bytes: totals.read,
            written_bytes: totals.written,
            negative_names: totals.negative,
            kept_caches: totals.kept,
            queues: queues.collect(),
            inodes: held.inodes,
            open_files: held.open_files,
            descriptors: held.descriptors,
            descriptor_budget: held.budget,
        }
    }
}

fn operation(totals: &OperationTotals) -> Operation {
    let name = totals.opcode.map(|opcode| format!("{opcode:?}").to_uppercase());
    Operation {
        name: name.unwrap_or_else(|| "UNKNOWN".to_owned()),
        requests: totals.requests,
        errors: totals.errors,
        nanos: totals.nanos,
        buckets: totals.buckets.to_vec(),
    }
}

fn name(errno: Errno) -> String {
    errno.name().map_or_else(|| errno.raw().to_string(), str::to_owned)
}
