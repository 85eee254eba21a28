//! What a guest relies on, on its way to another daemon: `record.rs` is the form that it has there,
//! `save.rs` and `load.rs` are the two ends, `trail.rs` leads from the root to an inode, `links.rs`
//! and `search.rs` back to its name.

mod links;
mod load;
mod record;
mod save;
mod search;
mod trail;

use std::io::{self, Read, Write};
use std::sync::atomic::AtomicBool;

use super::Passthrough;
use crate::fuse::{Errno, Migration};

/// How inodes are described to the daemon that a guest is taken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MigrationMode {
    /// By their names, which may lead to copies of them there.
    #[default]
    FindPaths,
    /// By file handle, where there are any: the file system must be the same.
    FileHandles,
}

/// What the daemon that a guest is taken to does about an inode that it cannot open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// It does not take the guest.
    #[default]
    Abort,
    /// It answers with errors to whoever uses the inode.
    GuestError,
}

/// How a guest is taken to another daemon, and from one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Migrating {
    /// How inodes are described.
    pub mode: MigrationMode,
    /// What is done about those that cannot be opened here.
    pub on_error: OnError,
    /// By name only: what is found there must have the same file handle.
    pub verify_handles: bool,
}

impl Passthrough {
    /// Says how a guest is taken to another daemon, and from one.
    pub fn migrate_by(&mut self, how: Migrating) {
        self.migrating = how;
    }
}

impl Migration for Passthrough {
    fn save(&self, to: &mut dyn Write, given_up: &AtomicBool) -> io::Result<()> {
        save::save(self, to, given_up)
    }

    fn load(&self, from: &mut dyn Read, given_up: &AtomicBool) -> io::Result<()> {
        load::load(self, from, given_up)
    }
}

fn or_io(error: Errno) -> io::Error {
    io::Error::from_raw_os_error(error.raw())
}

/// Why whoever is given up gets no further.
fn is_given_up() -> io::Error {
    io::Error::other("it was given up")
}

fn bad(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}
