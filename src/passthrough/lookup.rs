//! From a name to an inode.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, Statx};

use super::Passthrough;
use super::attributes::to_attr;
use super::identity::{FileHandle, FileId, stat_fd, stat_name};
use super::inodes::{Anchor, Inode};
use super::mounts::Mount;
use crate::fuse::{Entry, Errno, Name, NodeId, Result};
use crate::mem::Pin;

/// How often a name may be replaced on the host while we look at it.
const TRIES: usize = 16;

/// What is done with a known inode that has no descriptor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// Open it: it was asked for by name, so it will be used.
    Pin,
    /// Only make sure that it is the one: there may be a million in a directory.
    Compare,
}

impl Passthrough {
    pub(super) fn look_up(&self, parent: NodeId, name: &Name) -> Result<Entry> {
        match self.find(parent, name.as_c_str(), Known::Pin) {
            Err(Errno::ENOENT) if !self.config.negative_valid.is_zero() => {
                Ok(Entry::negative(self.config.negative_valid))
            }
            found => found,
        }
    }

    /// Looks a checked name up; the inode counts as looked up once more.
    pub(super) fn find(&self, parent: NodeId, name: &CStr, known: Known) -> Result<Entry> {
        let dir = self.directory(parent)?;
        let fd = self.inodes.fd(parent, &dir)?;
        self.find_in(fd.as_fd(), name, known)
    }

    /// [`find`](Self::find) in an open directory.
    pub(super) fn find_in(&self, dir: BorrowedFd<'_>, name: &CStr, known: Known) -> Result<Entry> {
        for _ in 0..TRIES {
            let stat = stat_name(dir, name)?;
            let is_it = |node, inode: &Inode| self.is_still(node, inode, (dir, name), known);
            if let Some(node) = self.inodes.known(FileId::of(&stat), is_it) {
                return Ok(self.entry(node, &stat));
            }
            match self.meet(dir, name, &stat) {
                Ok(node) => return Ok(self.entry(node, &stat)),
                Err(Errno::ESTALE) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Errno::ESTALE)
    }

    /// The inode, if it is a directory.
    pub(super) fn directory(&self, node: NodeId) -> Result<Pin<'_, Inode>> {
        let inode = self.inodes.get(node)?;
        if inode.is_dir() { Ok(inode) } else { Err(Errno::ENOTDIR) }
    }

    pub(super) fn entry(&self, node: NodeId, stat: &Statx) -> Entry {
        Entry {
            node,
            attr: to_attr(stat),
            attr_valid: self.config.attr_valid,
            entry_valid: self.config.entry_valid,
        }
    }

    /// True if the inode whose number was just seen under a name still exists: then no other
    /// inode can have had that number.
    fn is_still(
        &self,
        node: NodeId,
        inode: &Inode,
        (dir, name): (BorrowedFd<'_>, &CStr),
        known: Known,
    ) -> bool {
        match (inode.pinned(), inode.handle(), known) {
            (Some(_), ..) => true,
            (None, Some((handle, _)), Known::Compare) => {
                FileHandle::of(dir, name).is_ok_and(|now| now == *handle)
            }
            (None, ..) => self.inodes.fd(node, inode).is_ok(),
        }
    }

    /// Gives an inode its nodeid. `ESTALE` if the name means another one by now.
    fn meet(&self, dir: BorrowedFd<'_>, name: &CStr, stat: &Statx) -> Result<NodeId> {
        let open =
            |flags| -> Result<OwnedFd> { Ok(rustix::fs::openat(dir, name, flags, Mode::empty())?) };
        let mount = self.mounts.of(stat, open)?;
        let (id, kind) = (FileId::of(stat), u32::from(stat.stx_mode));
        if mount.by_handle().is_some()
            && let Some(handle) = supported(FileHandle::of(dir, name))?
        {
            return self.inodes.add(Inode::new(id, kind, mount, Anchor::Handle(handle, false)));
        }
        let fd = open(OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC)?;
        if FileId::of(&stat_fd(fd.as_fd())?) != id {
            return Err(Errno::ESTALE);
        }
        self.inodes.add(Inode::new(id, kind, mount, Anchor::Descriptor(fd)))
    }

    /// Gives the inode of a file that we have just made and hold open its nodeid.
    pub(super) fn adopt(
        &self,
        file: BorrowedFd<'_>,
        mount: &Arc<Mount>,
        stat: &Statx,
    ) -> Result<NodeId> {
        let handle = match mount.by_handle() {
            Some(_) => supported(FileHandle::of(file, c""))?,
            None => None,
        };
        let anchor = match handle {
            Some(handle) => Anchor::Handle(handle, true),
            None => Anchor::Descriptor(self.open_again(file, OFlags::PATH)?),
        };
        let (id, kind) = (FileId::of(stat), u32::from(stat.stx_mode));
        self.inodes.add(Inode::new(id, kind, mount.clone(), anchor))
    }
}

/// Some inodes have no handle although others on their mount do.
fn supported(handle: Result<FileHandle>) -> Result<Option<FileHandle>> {
    match handle {
        Ok(handle) => Ok(Some(handle)),
        Err(Errno::EOPNOTSUPP | Errno::EOVERFLOW) => Ok(None),
        Err(Errno::ENOENT) => Err(Errno::ESTALE),
        Err(error) => Err(error),
    }
}
