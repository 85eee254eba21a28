//! Extended attributes, also of inodes that must not be opened.

use std::ffi::CStr;

use rustix::fs::XattrFlags;
use rustix::path::DecInt;

use super::Passthrough;
use super::worker;
use crate::fuse::{Errno, NodeId, Result};

impl Passthrough {
    pub(super) fn get_xattr(&self, node: NodeId, name: &CStr, value: &mut [u8]) -> Result<usize> {
        allowed(name)?;
        self.with_path(node, |path| match value {
            // rustix would give 0 for an empty buffer, not the size.
            [] => Ok(rustix::fs::getxattr_query(path, name)?),
            value => Ok(rustix::fs::getxattr(path, name, value)?),
        })
    }

    pub(super) fn set_xattr(
        &self,
        node: NodeId,
        name: &CStr,
        value: &[u8],
        flags: u32,
    ) -> Result<()> {
        allowed(name)?;
        let flags = XattrFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
        self.with_path(node, |path| Ok(rustix::fs::setxattr(path, name, value, flags)?))
    }

    pub(super) fn list_xattrs(&self, node: NodeId, names: &mut [u8]) -> Result<usize> {
        self.with_path(node, |path| match names {
            [] => Ok(rustix::fs::listxattr_query(path)?),
            names => Ok(rustix::fs::listxattr(path, names)?),
        })
    }

    pub(super) fn remove_xattr(&self, node: NodeId, name: &CStr) -> Result<()> {
        allowed(name)?;
        self.with_path(node, |path| Ok(rustix::fs::removexattr(path, name)?))
    }

    /// Runs `call` with a path that leads to the inode itself, whatever it is: the number of its
    /// descriptor, in a working directory of this thread's own that is `/proc/self/fd`.
    fn with_path<T>(&self, node: NodeId, call: impl FnOnce(&CStr) -> Result<T>) -> Result<T> {
        worker::work_in(&self.proc_fds)?;
        let inode = self.inodes.get(node)?;
        self.with_fd(node, &inode, |fd| call(DecInt::from_fd(fd).as_c_str()))
    }
}

/// ACLs act on the host behind the guest's back unless the guest takes part in them.
fn allowed(name: &CStr) -> Result<()> {
    match name.to_bytes() {
        b"system.posix_acl_access" | b"system.posix_acl_default" => Err(Errno::EOPNOTSUPP),
        _ => Ok(()),
    }
}
