//! Removing and moving names.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, RenameFlags};

use super::Passthrough;
use super::identity::{FileId, stat_name};
use super::inode::Inode;
use crate::fuse::flags::init;
use crate::fuse::{Errno, Name, NodeId, Result};
use crate::mem::Pin;

impl Passthrough {
    pub(super) fn remove(&self, parent: NodeId, name: &Name, directory: bool) -> Result<()> {
        let dir = self.directory(parent)?;
        let fd = self.fd(parent, &dir)?;
        let flags = if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        let kept = directory || self.has_agreed(init::WRITEBACK_CACHE);
        self.without_name((fd.as_fd(), name), kept, || {
            Ok(rustix::fs::unlinkat(fd.as_fd(), name, flags)?)
        })
    }

    /// Does what takes a name from the inode that has it, which may have to be `kept`.
    fn without_name(
        &self,
        (dir, name): (BorrowedFd<'_>, &Name),
        kept: bool,
        act: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let held = if kept { self.hold(dir, name) } else { None };
        act()?;
        if let Some(inode) = held {
            inode.lost_its_name();
        }
        Ok(())
    }

    /// Opens what is about to lose its last name, if the guest knows it: the guest may go on
    /// using it, and a descriptor is what keeps it in existence. Processes stay in removed
    /// directories, and a guest with a writeback cache writes the times of removed files. Files
    /// that are open are held by that, and others not worth the system call.
    fn hold(&self, dir: BorrowedFd<'_>, name: &Name) -> Option<Pin<'_, Inode>> {
        let stat = stat_name(dir, name.as_c_str()).ok()?;
        let last = stat.stx_nlink == 1 || u32::from(stat.stx_mode) & libc::S_IFMT == libc::S_IFDIR;
        let (node, inode) = self.inodes.find(FileId::of(&stat)).filter(|_| last)?;
        // Without room for another descriptor it is removed all the same.
        let held = self.inodes.fd(node, &inode).is_ok();
        held.then_some(inode)
    }

    pub(super) fn move_name(
        &self,
        (old_parent, old_name): (NodeId, &Name),
        (new_parent, new_name): (NodeId, &Name),
        flags: u32,
    ) -> Result<()> {
        let known = RenameFlags::NOREPLACE | RenameFlags::EXCHANGE | RenameFlags::WHITEOUT;
        let flags = RenameFlags::from_bits_retain(flags);
        if !known.contains(flags) {
            return Err(Errno::EINVAL);
        }
        let (old_dir, new_dir) = (self.directory(old_parent)?, self.directory(new_parent)?);
        let from = self.fd(old_parent, &old_dir)?;
        let to = self.fd(new_parent, &new_dir)?;
        let kept = flags.is_empty() && self.has_agreed(init::WRITEBACK_CACHE);
        self.without_name((to.as_fd(), new_name), kept, || {
            let (from, to) = (from.as_fd(), to.as_fd());
            Ok(rustix::fs::renameat_with(from, old_name, to, new_name, flags)?)
        })?;
        if new_dir.mount.by_handle().is_none() {
            self.note_place(new_parent, to.as_fd(), new_name);
            if flags.contains(RenameFlags::EXCHANGE) {
                self.note_place(old_parent, from.as_fd(), old_name);
            }
        }
        Ok(())
    }

    /// An inode has moved to this name. Where it is not known by handle, it will be looked for
    /// there; if that cannot be found out now, a lookup will tell later.
    fn note_place(&self, parent: NodeId, dir: BorrowedFd<'_>, name: &Name) {
        if let Ok(stat) = stat_name(dir, name.as_c_str()) {
            self.inodes.moved(FileId::of(&stat), parent, name.as_c_str());
        }
    }
}
