//! Removing and moving names.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, RenameFlags};

use super::Passthrough;
use super::identity::{FileId, stat_name};
use crate::fuse::{Errno, Name, NodeId, Result};

impl Passthrough {
    pub(super) fn remove(&self, parent: NodeId, name: &Name, directory: bool) -> Result<()> {
        let dir = self.directory(parent)?;
        let fd = self.inodes.fd(parent, &dir)?;
        let flags = if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        Ok(rustix::fs::unlinkat(fd.as_fd(), name, flags)?)
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
        let from = self.inodes.fd(old_parent, &old_dir)?;
        let to = self.inodes.fd(new_parent, &new_dir)?;
        rustix::fs::renameat_with(from.as_fd(), old_name, to.as_fd(), new_name, flags)?;
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
