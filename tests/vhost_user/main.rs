//! The daemon as a front-end and a guest meet it: over its socket and its virtqueues.
#![cfg(test)]

mod buffers;
mod cold;
mod control;
mod dax;
mod denied;
mod events;
mod files;
mod hostile;
mod huge;
mod limits;
mod locks;
mod migration;
mod names;
mod negotiation;
mod process;
mod replies;
mod rings;
mod sessions;
mod shares;
mod starting;
mod state;
mod storms;
mod unopened;
mod unshared;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ferryfs_bench::{Client, Daemon, Guest, LINUX_6_18, LONG, Setup, skip, wait_until};

/// The program under test.
fn ferryfs() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ferryfs"))
}

/// A guest with a queue for FORGETs and one for requests, and its daemon.
struct Machine {
    hiprio: Client,
    fs: Client,
    guest: Guest,
    // Last: the guest hangs up before the daemon is killed.
    daemon: Daemon,
}

impl Machine {
    /// A guest that has sent its INIT.
    fn new() -> Self {
        let mut machine = Self::with(&[], Setup::default());
        machine.fs.init(LINUX_6_18).unwrap();
        machine
    }

    /// A guest before its INIT.
    fn with(args: &[&str], setup: Setup) -> Self {
        let daemon = Daemon::start(ferryfs(), args).unwrap();
        let mut guest = Guest::connect(&daemon.socket(), setup).unwrap();
        let hiprio = guest.client(0).unwrap();
        let fs = guest.client(1).unwrap();
        Machine { hiprio, fs, guest, daemon }
    }

    /// A path in the shared directory.
    fn path(&self, name: &str) -> PathBuf {
        self.daemon.share().join(name)
    }

    /// Makes a file on the host.
    fn put(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Looks up a name that is there.
    fn find(&mut self, parent: u64, name: &str) -> u64 {
        let node = self.fs.lookup(parent, name).unwrap().nodeid;
        assert_ne!(node, 0, "{name} does not exist");
        node
    }

    /// The daemon's descriptors.
    fn descriptors(&self) -> usize {
        self.daemon.process().descriptors().unwrap()
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Waits until the daemon has nothing left to do, so that it has also seen every kick.
fn settle(daemon: &Daemon) {
    wait_until("the daemon sleeps", || daemon.process().is_asleep().unwrap());
}

/// Stops a queue that has nothing to do; what it would have done next.
fn stop_idle(guest: &mut Guest, daemon: &Daemon, index: usize) -> u16 {
    settle(daemon);
    guest.stop(index).unwrap()
}

/// Bytes that differ from place to place.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| ((at * 31 + at / 251) % 256).try_into().unwrap()).collect()
}
