//! Removing and moving names.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, RenameFlags};

use super::Passthrough;
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
        Ok(rustix::fs::renameat_with(from.as_fd(), old_name, to.as_fd(), new_name, flags)?)
    }
}
