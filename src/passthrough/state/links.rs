//! From an open inode to its name, as `/proc/self/fd` tells it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::path::DecInt;

use super::super::Passthrough;
use crate::fuse::{Errno, NodeId, Result};

/// Names of what is below the root. They may be those of yesterday or hidden below a mount, and
/// what is not in reach is named from somewhere else: who wants to be sure goes there.
pub(super) struct Links<'a> {
    proc_fds: &'a OwnedFd,
    root: Vec<u8>,
}

/// What is behind the name of what has none any more.
const DELETED: &[u8] = b" (deleted)";

impl<'a> Links<'a> {
    pub(super) fn new(fs: &'a Passthrough) -> Result<Self> {
        let root = fs.inodes.get(NodeId::ROOT)?;
        let fd = fs.inodes.fd(NodeId::ROOT, &root)?;
        let mut links = Links { proc_fds: &fs.proc_fds, root: Vec::new() };
        links.root = links.whole(fd.as_fd())?;
        if links.root == b"/" {
            links.root.clear();
        }
        Ok(links)
    }

    /// The path of an open inode from the root on, if there is one.
    pub(super) fn path(&self, fd: BorrowedFd<'_>) -> Option<Vec<u8>> {
        let whole = self.whole(fd).ok()?;
        match whole.strip_prefix(&*self.root)? {
            [] | b"/" => Some(Vec::new()),
            [b'/', path @ ..] => Some(path.to_vec()),
            _ => None,
        }
    }

    /// True if an open inode has lost its last name, and that seems to have been below the root.
    pub(super) fn was_below(&self, fd: BorrowedFd<'_>) -> bool {
        self.path(fd).is_some_and(|path| path.len() > DELETED.len() && path.ends_with(DELETED))
    }

    fn whole(&self, fd: BorrowedFd<'_>) -> Result<Vec<u8>> {
        let link = rustix::fs::readlinkat(self.proc_fds, DecInt::from_fd(fd), Vec::new());
        link.map(std::ffi::CString::into_bytes).map_err(Errno::from)
    }
}
