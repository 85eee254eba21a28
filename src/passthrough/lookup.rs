//! From a name to an inode.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, Statx};

use super::Passthrough;
use super::identity::{Birth, FileId, Proof, glance_at, stat_fd, stat_name};
use super::inode::{Inode, Place};
use super::mounts::Mount;
use super::worker;
use crate::fuse::{Entry, Errno, Name, NodeId, Patience, Result};
use crate::mem::Pin;

/// How often a name may be replaced on the host while we look at it.
pub(super) const TRIES: usize = 16;

/// An open directory and its nodeid.
pub(super) struct Dir<'a> {
    pub(super) node: NodeId,
    pub(super) id: FileId,
    /// It is on a file system of this host.
    pub(super) is_local: bool,
    pub(super) fd: BorrowedFd<'a>,
}

/// What is done with an inode that has no descriptor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// Open it: it was asked for by name, so it will be used. Without handles nothing else
    /// follows it when the host moves it.
    Pin,
    /// Only look whether it is the one: there may be a million in a directory. Two inodes made
    /// within a tick of the clock under one number are told apart when the guest uses them.
    Compare,
}

impl Passthrough {
    pub(super) fn look_up(&self, parent: NodeId, name: &Name, patience: Patience) -> Result<Entry> {
        match self.find(parent, name.as_c_str(), patience) {
            Err(Errno::ENOENT) if !self.config.negative_valid.is_zero() => {
                Ok(Entry::negative(self.valid(self.config.negative_valid)))
            }
            found => found,
        }
    }

    /// Looks a checked name up; the inode counts as looked up once more.
    pub(super) fn find(&self, parent: NodeId, name: &CStr, patience: Patience) -> Result<Entry> {
        let inode = self.directory(parent)?;
        let fd = self.fd(parent, &inode)?;
        let (id, is_local) = (inode.id, inode.mount.is_local);
        let dir = Dir { node: parent, id, is_local, fd: fd.as_fd() };
        self.find_in(&dir, name, Known::Pin, patience)
    }

    /// [`find`](Self::find) in an open directory.
    pub(super) fn find_in(
        &self,
        dir: &Dir<'_>,
        name: &CStr,
        known: Known,
        patience: Patience,
    ) -> Result<Entry> {
        for _ in 0..TRIES {
            let stat = self.stat_in(dir, name, patience)?;
            let is_it = |node, inode: &Inode| self.is_still(node, inode, dir, (name, &stat), known);
            if let Some((node, inode)) = self.inodes.known(FileId::of(&stat), is_it) {
                return Ok(self.entry(node, &inode, &self.watched(node, &inode, stat)?));
            }
            match self.meet(dir, name, &stat, known) {
                Ok(node) => {
                    let inode = self.inodes.get(node)?;
                    return Ok(self.entry(node, &inode, &self.watched(node, &inode, stat)?));
                }
                Err(Errno::ESTALE) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Errno::ESTALE)
    }

    /// Attributes of a name. Where another mount begins, whose server may be silent, it takes
    /// patience.
    fn stat_in(&self, dir: &Dir<'_>, name: &CStr, patience: Patience) -> Result<Statx> {
        if !dir.is_local {
            return stat_name(dir.fd, name);
        }
        // What is on this mount is the same either way.
        let stat = match glance_at(dir.fd, name) {
            // Some file systems are for nobody but who has mounted them.
            Err(Errno::EACCES) => {
                worker::be_the_daemon()?;
                glance_at(dir.fd, name)?
            }
            stat => stat?,
        };
        let mount = FileId::of(&stat).mount;
        match mount == dir.id.mount || self.mounts.is_local(mount) {
            true => Ok(stat),
            false if patience == Patience::None => Err(Errno::WAITS_FOR_SERVER),
            false => {
                worker::be_the_daemon()?;
                stat_name(dir.fd, name)
            }
        }
    }

    /// The inode, if it is a directory.
    pub(super) fn directory(&self, node: NodeId) -> Result<Pin<'_, Inode>> {
        let inode = self.inodes.get(node)?;
        if inode.is_dir() { Ok(inode) } else { Err(Errno::ENOTDIR) }
    }

    /// What the guest is told of an inode that it looked up.
    pub(super) fn entry(&self, node: NodeId, inode: &Inode, stat: &Statx) -> Entry {
        Entry {
            node,
            attr: self.attr(inode, stat),
            attr_valid: self.valid(self.config.attr_valid),
            entry_valid: self.valid(self.config.entry_valid),
        }
    }

    /// True if the inode whose number was just seen under a name still exists: then no other
    /// inode can have had that number.
    fn is_still(
        &self,
        node: NodeId,
        inode: &Inode,
        dir: &Dir<'_>,
        (name, stat): (&CStr, &Statx),
        known: Known,
    ) -> bool {
        if inode.pinned().is_some() {
            inode.is_at(dir.node, name);
            return true;
        }
        if known == Known::Pin && inode.opens_by_handle() {
            return self.inodes.fd(node, inode).is_ok();
        }
        let is_it = match known == Known::Compare && inode.born.is_some() {
            true => inode.born == Birth::of(stat),
            false => Proof::of(dir.fd, name, stat).is_ok_and(|proof| proof == inode.proof),
        };
        if is_it {
            inode.is_at(dir.node, name);
            if known == Known::Pin {
                // It is the one also if there is no descriptor left for it.
                let _ = self.inodes.fd(node, inode);
            }
        }
        is_it
    }

    /// Gives an inode its nodeid. `ESTALE` if the name means another one by now.
    fn meet(&self, dir: &Dir<'_>, name: &CStr, stat: &Statx, known: Known) -> Result<NodeId> {
        self.inodes.add(self.describe(dir, name, stat, known)?)
    }

    /// An inode that is to be known from now on, as for [`meet`](Self::meet). It has a place only
    /// in a directory that the guest knows.
    pub(super) fn describe(
        &self,
        dir: &Dir<'_>,
        name: &CStr,
        stat: &Statx,
        known: Known,
    ) -> Result<Inode> {
        let open = |flags| -> Result<OwnedFd> {
            Ok(rustix::fs::openat(dir.fd, name, flags, Mode::empty())?)
        };
        let mount = self.mounts.of(stat, open)?;
        let id = FileId::of(stat);
        let mount = (mount, !id.is_beside(&dir.id));
        let proof = Proof::of(dir.fd, name, stat)?;
        let pin = || self.inodes.open(|| open(OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC));
        let (fd, by_handle) = match (&proof, mount.0.by_handle()) {
            (Proof::Handle(_), Some(_)) => (None, true),
            // It can do without if there is none left for it.
            (Proof::Handle(_), None) if known == Known::Pin => (pin().ok(), false),
            (Proof::Handle(_), None) => (None, false),
            (Proof::Birth(..) | Proof::None, _) => (Some(pin()?), false),
        };
        if let Some(fd) = &fd
            && FileId::of(&stat_fd(fd.as_fd())?) != id
        {
            return Err(Errno::ESTALE);
        }
        let has_place = !by_handle && dir.node != NodeId::NONE;
        let place = has_place.then(|| Place { parent: dir.node, name: name.into() });
        let inode = Inode::new(stat, mount, (proof, !by_handle), fd, place);
        inode.mapped.begin(self.shall_map(id, Some(name), stat));
        Ok(inode)
    }

    /// Gives the inode of a file that we have just made, in a directory on this mount, its
    /// nodeid. Without a name it has no place.
    pub(super) fn adopt(
        &self,
        file: BorrowedFd<'_>,
        mount: &Arc<Mount>,
        stat: &Statx,
        at: Option<(NodeId, &CStr)>,
    ) -> Result<NodeId> {
        let proof = Proof::of(file, c"", stat)?;
        let by_handle = matches!(proof, Proof::Handle(_)) && mount.by_handle().is_some();
        let mapped = self.shall_map(FileId::of(stat), at.map(|(_, name)| name), stat);
        let (fd, place) = match by_handle {
            true => (None, None),
            false => {
                let fd = self.inodes.open(|| self.open_again(file, OFlags::PATH))?;
                (Some(fd), at.map(|(parent, name)| Place { parent, name: name.into() }))
            }
        };
        let inode = Inode::new(stat, (mount.clone(), false), (proof, true), fd, place);
        inode.mapped.begin(mapped);
        self.inodes.add(inode)
    }
}
