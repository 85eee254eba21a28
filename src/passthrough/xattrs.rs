//! Extended attributes, also of inodes that must not be opened.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Mode, XattrFlags};
use rustix::path::DecInt;

use super::Passthrough;
use super::acl::{self, is_acl};
use super::identity::stat_fd;
use super::worker;
use super::xattrmap::HostName;
use crate::fuse::flags::{init, setxattr};
use crate::fuse::{Errno, NodeId, Result};

/// Longest list of names (`XATTR_LIST_MAX`).
const LIST_MAX: usize = 64 << 10;

pub(super) const CAPABILITY: &CStr = c"security.capability";

impl Passthrough {
    pub(super) fn get_xattr(&self, node: NodeId, name: &CStr, value: &mut [u8]) -> Result<usize> {
        let host = self.host_name(name)?;
        let len = self.with_path(node, |_, path| {
            Ok(match value.is_empty() {
                true => rustix::fs::getxattr_query(path, host.as_c_str())?,
                false => rustix::fs::getxattr(path, host.as_c_str(), &mut *value)?,
            })
        })?;
        if is_acl(name) && self.translates() {
            // Nothing was read if the guest only asked for the size.
            if let Some(acl @ [_, ..]) = value.get_mut(..len) {
                acl::to_guest(acl, &self.config.uids, &self.config.gids)?;
            }
        }
        Ok(len)
    }

    pub(super) fn set_xattr(
        &self,
        node: NodeId,
        name: &CStr,
        value: &[u8],
        (flags, ext): (u32, u32),
    ) -> Result<()> {
        let host = self.host_name(name)?;
        let flags = XattrFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
        let mut translated;
        let value = if is_acl(name) && self.translates() {
            translated = value.to_vec();
            acl::to_host(&mut translated, &self.config.uids, &self.config.gids)?;
            &translated
        } else {
            value
        };
        let drop_sgid = is_acl(name) && ext & setxattr::ACL_KILL_SGID != 0;
        self.with_path(node, |fd, path| {
            let set = || Ok(rustix::fs::setxattr(path, host.as_c_str(), value, flags)?);
            match is_acl(name) {
                // Else the host judges us by the group that the file has.
                true => self.powers.with_fsetid(true, set)?,
                false => set()?,
            }
            if name == CAPABILITY {
                self.capabilities_set.fetch_add(1, Ordering::Relaxed);
            }
            if drop_sgid { self.drop_sgid(fd) } else { Ok(()) }
        })
    }

    pub(super) fn list_xattrs(&self, node: NodeId, names: &mut [u8]) -> Result<usize> {
        if self.config.xattrs.is_none() {
            return Err(Errno::ENOSYS);
        }
        let mut all = vec![0; LIST_MAX];
        let len = self.with_path(node, |_, path| Ok(rustix::fs::listxattr(path, &mut all[..])?))?;
        let mut listed = 0;
        for host in all[..len].split_inclusive(|byte| *byte == 0) {
            let Some(name) = self.guest_name(host) else { continue };
            if let Some(room) = names.get_mut(listed..listed + name.len()) {
                room.copy_from_slice(name);
            } else if !names.is_empty() {
                return Err(Errno::ERANGE);
            }
            listed += name.len();
        }
        Ok(listed)
    }

    pub(super) fn remove_xattr(&self, node: NodeId, name: &CStr) -> Result<()> {
        let host = self.host_name(name)?;
        self.with_path(node, |_, path| Ok(rustix::fs::removexattr(path, host.as_c_str())?))
    }

    /// Gives a new inode, which nobody can reach yet, its label; none if the host has its labels
    /// in attributes that only files and directories can have.
    pub(super) fn set_label(&self, inode: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> Result<()> {
        let host = self.host_name(name)?;
        worker::work_in(&self.proc_fds)?;
        let flags = XattrFlags::empty();
        match rustix::fs::setxattr(DecInt::from_fd(inode), host.as_c_str(), value, flags) {
            Err(rustix::io::Errno::PERM) if host.as_c_str().to_bytes().starts_with(b"user.") => {
                match u32::from(stat_fd(inode)?.stx_mode) & libc::S_IFMT {
                    libc::S_IFREG | libc::S_IFDIR => Err(Errno::EPERM),
                    _ => Ok(()),
                }
            }
            set => Ok(set?),
        }
    }

    /// Removes the capabilities of a file that is about to be changed, if they are kept under
    /// another name, where the host's kernel does not do it. `none_since` is when there were none;
    /// it saves the next call.
    pub(super) fn drop_renamed_capabilities(
        &self,
        file: BorrowedFd<'_>,
        none_since: Option<&AtomicU64>,
    ) -> Result<()> {
        let Some(host) = &self.renamed_capability else { return Ok(()) };
        let now = self.capabilities_set.load(Ordering::Relaxed);
        if none_since.is_some_and(|none_since| none_since.load(Ordering::Relaxed) == now) {
            return Ok(());
        }
        worker::work_in(&self.proc_fds)?;
        match rustix::fs::removexattr(DecInt::from_fd(file), host.as_c_str()) {
            Ok(()) | Err(rustix::io::Errno::NODATA) => {
                if let Some(none_since) = none_since {
                    none_since.store(now, Ordering::Relaxed);
                }
                Ok(())
            }
            // There can be none on this file system, or on this type of file.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::PERM) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn translates(&self) -> bool {
        !self.config.uids.is_identity() || !self.config.gids.is_identity()
    }

    /// The name on the host. ACLs act on the host behind the guest's back unless the guest takes
    /// part in them.
    fn host_name(&self, name: &CStr) -> Result<HostName> {
        let xattrs = self.config.xattrs.as_ref().ok_or(Errno::ENOSYS)?;
        if is_acl(name) {
            return match self.has_agreed(init::POSIX_ACL) {
                true => HostName::new(b"", name.to_bytes()),
                false => Err(Errno::EOPNOTSUPP),
            };
        }
        match &xattrs.map {
            Some(map) => map.to_host(name),
            None => HostName::new(b"", name.to_bytes()),
        }
    }

    /// The name in the guest, if it may see this attribute. Both with their final NUL.
    fn guest_name<'a>(&self, name: &'a [u8]) -> Option<&'a [u8]> {
        if CStr::from_bytes_with_nul(name).is_ok_and(is_acl) {
            return self.has_agreed(init::POSIX_ACL).then_some(name);
        }
        match self.config.xattrs.as_ref()?.map.as_ref() {
            Some(map) => {
                let bare = map.to_guest(name.strip_suffix(b"\0")?)?;
                name.get(name.len() - 1 - bare.len()..)
            }
            None => Some(name),
        }
    }

    fn drop_sgid(&self, fd: BorrowedFd<'_>) -> Result<()> {
        let mode = u32::from(stat_fd(fd)?.stx_mode);
        if mode & libc::S_ISGID == 0 {
            return Ok(());
        }
        let mode = Mode::from_raw_mode(mode & 0o7777 & !libc::S_ISGID);
        Ok(rustix::fs::chmodat(&self.proc_fds, DecInt::from_fd(fd), mode, AtFlags::empty())?)
    }

    /// Runs `call` with an inode's descriptor and with a path that leads to the inode itself,
    /// whatever it is: the descriptor's number, in a working directory of this thread's own.
    fn with_path<T>(
        &self,
        node: NodeId,
        call: impl FnOnce(BorrowedFd<'_>, &CStr) -> Result<T>,
    ) -> Result<T> {
        worker::work_in(&self.proc_fds)?;
        let inode = self.inodes.get(node)?;
        self.with_fd(node, &inode, |fd| call(fd, DecInt::from_fd(fd).as_c_str()))
    }
}
