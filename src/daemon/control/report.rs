//! What the control socket answers. Programs read it too: fields are added, not changed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What was served since the start, and what is held now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct Stats {
    pub(in super::super) version: String,
    pub(in super::super) pid: u32,
    pub(in super::super) shared_dir: String,
    /// NAME=PATH of each share, if there are several.
    #[serde(default)]
    pub(in super::super) shares: Vec<String>,
    pub(in super::super) uptime_seconds: f64,
    pub(in super::super) operations: Vec<Operation>,
    /// How often each error was the reply, by its name or number.
    pub(in super::super) errors: BTreeMap<String, u64>,
    pub(in super::super) read_bytes: u64,
    pub(in super::super) written_bytes: u64,
    /// Names of which the guest was told that it may take them not to exist.
    pub(in super::super) negative_names: u64,
    /// Files whose data the guest was told to keep when it opened them.
    pub(in super::super) kept_caches: u64,
    /// The first is for FORGETs, the others for requests.
    pub(in super::super) queues: Vec<Queue>,
    pub(in super::super) inodes: usize,
    pub(in super::super) open_files: usize,
    pub(in super::super) descriptors: usize,
    pub(in super::super) descriptor_budget: usize,
}

/// Requests of one kind.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct Operation {
    pub(in super::super) name: String,
    pub(in super::super) requests: u64,
    pub(in super::super) errors: u64,
    /// How long they took together, estimated from those that were measured.
    pub(in super::super) nanos: u64,
    /// How many took at most 250, 500, 1000, ... ns, and longer; estimated so too.
    pub(in super::super) buckets: Vec<u64>,
}

/// What one virtqueue has carried since its front-end connected.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct Queue {
    pub(in super::super) requests: u64,
    pub(in super::super) in_flight: u64,
    pub(in super::super) sleeps: u64,
    pub(in super::super) signals: u64,
}

/// What inodes are held.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct Inodes {
    pub(in super::super) inodes: usize,
    pub(in super::super) directories: usize,
    pub(in super::super) files: usize,
    pub(in super::super) with_descriptor: usize,
    pub(in super::super) by_file_handle: usize,
    pub(in super::super) open_files: usize,
    pub(in super::super) open_directories: usize,
    pub(in super::super) descriptors: usize,
    pub(in super::super) descriptor_budget: usize,
}

/// Who is served.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct Sessions {
    /// How long a front-end has been connected; null before that.
    pub(in super::super) connected_seconds: Option<f64>,
    /// Accepted INIT flags; null while no guest has mounted the share.
    pub(in super::super) agreed_flags: Option<u64>,
}

/// How much is logged.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct LogLevel {
    pub(in super::super) log_level: String,
}

/// How a share comes or goes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct Passage {
    /// Where it is mounted for the daemon, or to be; in the namespaces that come along.
    pub(in super::super) place: Option<PathBuf>,
}

/// What is shared now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct ShareList {
    pub(in super::super) shares: Vec<String>,
}

/// Why a command was not obeyed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct Failure {
    pub(in super::super) error: String,
}
