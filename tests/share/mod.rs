//! A shared temporary directory and its file system.
#![allow(
    dead_code,
    clippy::allow_attributes,
    clippy::unwrap_used,
    reason = "part of test binaries, each of which uses its own part of this"
)]

use std::cell::Cell;
use std::ffi::CString;
use std::ops::Deref;
use std::path::Path;

use ferryfs::fuse::abi::Attr;
use ferryfs::fuse::{Caller, Filesystem, Handle, Name, NodeId, Patience, Result};
use ferryfs::mem::{Output, Segment};
use ferryfs::passthrough::{Config, Passthrough};
use tempfile::TempDir;

pub struct Share {
    dir: TempDir,
    pub fs: Passthrough,
    helpers: Cell<usize>,
}

/// A caller with this uid and gid.
pub fn user(id: u32) -> Caller {
    Caller { uid: id, gid: id, pid: 1, group: None, patience: Patience::Storage }
}

/// A name that owns its bytes.
pub struct OwnedName(CString);

impl Deref for OwnedName {
    type Target = Name;

    fn deref(&self) -> &Name {
        Name::new(&self.0).unwrap()
    }
}

pub fn name(name: &str) -> OwnedName {
    OwnedName(CString::new(name).unwrap())
}

impl Share {
    pub fn new() -> Self {
        Self::with(Config::default())
    }

    pub fn with(config: Config) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let fs = Passthrough::new(dir.path(), config).unwrap();
        Share { dir, fs, helpers: Cell::new(0) }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn root(&self) -> NodeId {
        NodeId::ROOT
    }

    /// Looks a path up, each component once.
    pub fn find(&self, path: &str) -> NodeId {
        path.split('/').fold(self.root(), |dir, component| self.find_in(dir, component))
    }

    pub fn find_in(&self, dir: NodeId, component: &str) -> NodeId {
        let entry = self.fs.lookup(&user(0), dir, &name(component)).unwrap();
        assert_ne!(entry.node, NodeId::NONE, "{component}");
        entry.node
    }

    pub fn attr(&self, node: NodeId) -> Result<Attr> {
        self.fs.getattr(node, None).map(|attributes| attributes.attr)
    }

    /// What a file begins with.
    pub fn read(&self, node: NodeId, handle: Handle) -> Vec<u8> {
        let mut bytes = vec![0; 1 << 16];
        let len = {
            let segment = [Segment::from(&mut bytes[..])];
            let mut output = Output::new(&segment);
            self.fs.read(node, handle, 0, Patience::Storage, &mut output).unwrap()
        };
        bytes.truncate(len);
        bytes
    }

    /// Looks at so many other inodes that no one before them keeps a descriptor.
    pub fn put_all_away(&self) {
        let folder = self.path().join("others");
        std::fs::create_dir_all(&folder).unwrap();
        let dir = self.find("others");
        let fresh = self.helpers.get() == 0;
        for other in 0..64 {
            if fresh {
                std::fs::write(folder.join(other.to_string()), "").unwrap();
            }
            let node = self.find_in(dir, &other.to_string());
            self.attr(node).unwrap();
        }
        self.helpers.set(65);
    }

    /// Inodes that [`put_all_away`](Self::put_all_away) has made known.
    pub fn helpers(&self) -> usize {
        self.helpers.get()
    }
}
