//! Several shares, and a guest of them.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ferryfs::fuse::{Entry, Errno, Filesystem, Handle, NodeId, Patience};
use ferryfs::mem::{Input, Output, Segment};
use ferryfs::passthrough::{Common, Config, Passthrough};
use ferryfs::shares::Shares;
use rustix::fs::{Mode, OFlags};
use tempfile::TempDir;

use super::share::{name, user};

/// Shares, and the directories of the host that they show.
pub(super) struct Ferry {
    pub(super) host: TempDir,
    pub(super) common: Common,
    pub(super) fs: Shares,
}

impl Ferry {
    /// Shares `a` and `b`, each with a file `file` that has the share's name in it.
    pub(super) fn new() -> Self {
        Self::with(1000, 1000)
    }

    pub(super) fn with(inodes: usize, descriptors: usize) -> Self {
        let host = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            fs::create_dir(host.path().join(name)).unwrap();
            fs::write(host.path().join(name).join("file"), name).unwrap();
        }
        let common = Common::new(descriptors);
        let fs = Shares::new(inodes, common.clone(), Duration::from_secs(3600));
        let ferry = Ferry { host, common, fs };
        ferry.share("a", "a", Config::default()).unwrap();
        ferry.share("b", "b", Config::default()).unwrap();
        ferry
    }

    pub(super) fn share(&self, called: &str, path: &str, config: Config) -> Result<(), Errno> {
        let open = |path: &Path| rustix::fs::open(path, OFlags::PATH, Mode::empty()).unwrap();
        let (root, fds) = (open(&self.path(path)), open(Path::new("/proc/self/fd")));
        let files = Passthrough::beside(&self.common, root.as_fd(), fds, config)?;
        self.fs.add(&name(called), files)
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.host.path().join(path)
    }

    pub(super) fn look_up(&self, dir: NodeId, component: &str) -> Result<Entry, Errno> {
        self.fs.lookup(&user(0), dir, &name(component))
    }

    pub(super) fn find(&self, path: &str) -> NodeId {
        let step = |dir, component: &str| self.look_up(dir, component).unwrap().node;
        path.split('/').fold(NodeId::ROOT, step)
    }

    pub(super) fn open(&self, path: &str, flags: i32) -> (NodeId, Handle) {
        let node = self.find(path);
        (node, self.fs.open(node, flags.cast_unsigned(), false).unwrap().handle)
    }

    pub(super) fn read(&self, (node, handle): (NodeId, Handle)) -> Result<Vec<u8>, Errno> {
        let mut bytes = vec![0; 4096];
        let segment = [Segment::from(&mut bytes[..])];
        let mut output = Output::new(&segment);
        let len = self.fs.read(node, handle, 0, Patience::Storage, &mut output)?;
        bytes.truncate(len);
        Ok(bytes)
    }

    pub(super) fn write(
        &self,
        (node, handle): (NodeId, Handle),
        data: &str,
    ) -> Result<usize, Errno> {
        let mut bytes = data.as_bytes().to_vec();
        let segment = [Segment::from(&mut bytes[..])];
        self.fs.write(node, handle, 0, (0, 0), &mut Input::new(&segment))
    }
}
