//! What a guest relies on, taken from one daemon's core to another's, in memory.
#![cfg(test)]

mod hostile;
#[path = "../support/mod.rs"]
mod support;
mod taken;

use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use ferryfs::fuse::abi::Attr;
use ferryfs::fuse::{
    Caller, Carrier, Entry, Errno, Filesystem, Handle, Name, NodeId, Patience, Result, Session,
};
use ferryfs::mem::{Input, Output, Segment};
use ferryfs::passthrough::{Config, FileHandles, Migrating, MigrationMode, OnError, Passthrough};
use support::requests::init;
use support::serve;
use tempfile::TempDir;

const BY_PATH: Migrating =
    Migrating { mode: MigrationMode::FindPaths, on_error: OnError::Abort, verify_handles: false };
const BY_HANDLE: Migrating = Migrating { mode: MigrationMode::FileHandles, ..BY_PATH };
static NEVER: AtomicBool = AtomicBool::new(false);

fn by(id: u32) -> Caller {
    Caller { uid: id, gid: id, pid: 1, group: None, patience: Patience::Storage }
}

/// A directory with other things beside it.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("share")).unwrap();
        Place { folder }
    }

    fn share(&self) -> PathBuf {
        self.folder.path().join("share")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.share().join(name)
    }
}

/// A guest's session with a directory.
struct Guest(Session<Passthrough>);

impl Guest {
    /// Before its INIT.
    fn waiting(share: &Path, config: Config, how: Migrating) -> Self {
        let mut fs = Passthrough::new(share, config).unwrap();
        fs.migrate_by(how);
        Guest(Session::new(fs, Carrier::VIRTIO))
    }

    fn new(share: &Path, config: Config, how: Migrating) -> Self {
        let guest = Self::waiting(share, config, how);
        serve(&guest.0, &init()).unwrap();
        guest
    }

    fn saved(&self) -> Vec<u8> {
        let mut state = Vec::new();
        self.0.save(&mut state, &NEVER).unwrap();
        state
    }

    /// Goes on with this state.
    fn load(&self, state: &[u8]) -> io::Result<()> {
        self.0.load(&mut { state }, &NEVER)
    }

    /// The same guest on another daemon.
    fn moved(&self, share: &Path, config: Config, how: Migrating) -> io::Result<Guest> {
        let there = Self::waiting(share, config, how);
        there.load(&self.saved())?;
        Ok(there)
    }

    fn fs(&self) -> &Passthrough {
        self.0.filesystem()
    }

    fn lookup(&self, parent: NodeId, name: &[u8]) -> Result<Entry> {
        let name = CString::new(name).unwrap();
        self.fs().lookup(&by(0), parent, Name::new(&name).unwrap())
    }

    /// Looks a path up, each name once.
    fn find(&self, path: &str) -> NodeId {
        path.split('/').fold(NodeId::ROOT, |dir, name| {
            let node = self.lookup(dir, name.as_bytes()).unwrap().node;
            assert_ne!(node, NodeId::NONE, "{path}");
            node
        })
    }

    fn attr(&self, node: NodeId) -> Result<Attr> {
        self.fs().getattr(node, None).map(|attributes| attributes.attr)
    }

    fn open(&self, node: NodeId, flags: i32) -> Handle {
        self.fs().open(node, flags.cast_unsigned(), false).unwrap().handle
    }

    fn read(&self, node: NodeId, handle: Handle) -> Result<Vec<u8>> {
        let mut bytes = vec![0; 1 << 12];
        let len = {
            let segment = [Segment::from(&mut bytes[..])];
            let out = &mut Output::new(&segment);
            self.fs().read(node, handle, 0, Patience::Storage, out)?
        };
        bytes.truncate(len);
        Ok(bytes)
    }

    fn write(&self, node: NodeId, handle: Handle, at: u64, bytes: &[u8]) -> Result<usize> {
        let mut bytes = bytes.to_vec();
        let segment = [Segment::from(&mut bytes[..])];
        let flags = (libc::O_RDWR.cast_unsigned(), 0);
        self.fs().write(node, handle, at, flags, &mut Input::new(&segment))
    }
}

/// How inodes are kept, and how they are described.
fn ways() -> Vec<(FileHandles, Migrating)> {
    let mut ways = vec![(FileHandles::Prefer, BY_PATH), (FileHandles::Never, BY_PATH)];
    if handles_work("ways") {
        ways.push((FileHandles::Prefer, BY_HANDLE));
    }
    ways
}

/// False, and said so, if inodes cannot be opened by handle.
fn handles_work(test: &str) -> bool {
    let place = Place::new();
    let config = Config { file_handles: FileHandles::Mandatory, ..Config::default() };
    let work = Passthrough::new(&place.share(), config).is_ok();
    if !work {
        ferryfs_bench::skip(test, "file handles cannot be opened");
    }
    work
}

fn keeping(file_handles: FileHandles) -> Config {
    Config { file_handles, ..Config::default() }
}

fn ino(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&std::fs::symlink_metadata(path).unwrap())
}

fn is(error: &io::Error, part: &str) {
    assert!(error.to_string().contains(part), "{error}");
}

fn fails<T>(result: Result<T>) -> Errno {
    result.map(drop).unwrap_err()
}
