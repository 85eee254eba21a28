//! Making inodes.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, makedev};
use rustix::path::DecInt;

use super::Passthrough;
use super::attributes::decode_dev;
use super::descriptors::Fd;
use super::identity::stat_fd;
use super::inode::Inode;
use super::lookup::TRIES;
use super::mounts::Mount;
use super::worker::Ids;
use crate::fuse::abi::Attr;
use crate::fuse::{
    Caller, Create, Created, Entry, Errno, Filesystem, Name, NewNode, NodeId, Opened, Patience,
    Result, SecurityContext,
};

impl Passthrough {
    pub(super) fn make_dir(&self, by: &Caller, at: &NewNode<'_>, mode: u32) -> Result<Entry> {
        let dir = self.directory(at.parent)?;
        let fd = self.fd(at.parent, &dir)?;
        let mode = Mode::from_raw_mode(mode & 0o7777);
        let make = |name: &CStr| Ok(rustix::fs::mkdirat(fd.as_fd(), name, mode)?);
        self.make(by, (&dir, fd.as_fd()), at, make)?;
        self.find_new(at, libc::S_IFDIR)
    }

    pub(super) fn make_symlink(
        &self,
        by: &Caller,
        at: &NewNode<'_>,
        target: &CStr,
    ) -> Result<Entry> {
        let dir = self.directory(at.parent)?;
        let fd = self.fd(at.parent, &dir)?;
        let make = |name: &CStr| Ok(rustix::fs::symlinkat(target, fd.as_fd(), name)?);
        self.make(by, (&dir, fd.as_fd()), at, make)?;
        self.find_new(at, libc::S_IFLNK)
    }

    pub(super) fn make_node(
        &self,
        by: &Caller,
        at: &NewNode<'_>,
        mode: u32,
        rdev: u32,
    ) -> Result<Entry> {
        let kind = match mode & libc::S_IFMT {
            0 => libc::S_IFREG,
            kind @ (libc::S_IFREG
            | libc::S_IFCHR
            | libc::S_IFBLK
            | libc::S_IFIFO
            | libc::S_IFSOCK) => kind,
            _ => return Err(Errno::EINVAL),
        };
        let dir = self.directory(at.parent)?;
        let fd = self.fd(at.parent, &dir)?;
        let (file_type, mode) = (FileType::from_raw_mode(kind), Mode::from_raw_mode(mode & 0o7777));
        let (major, minor) = decode_dev(rdev);
        let dev = makedev(major, minor);
        let make = |name: &CStr| {
            let make = || Ok(rustix::fs::mknodat(fd.as_fd(), name, file_type, mode, dev)?);
            self.with_mode(by, mode, make)
        };
        self.make(by, (&dir, fd.as_fd()), at, make)?;
        self.find_new(at, kind)
    }

    pub(super) fn create_file(
        &self,
        by: &Caller,
        at: &NewNode<'_>,
        how: &Create,
    ) -> Result<Created> {
        let dir = self.directory(at.parent)?;
        let fd = self.fd(at.parent, &dir)?;
        let flags = self.open_flags(how.flags)?.difference(OFlags::TRUNC);
        let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = Mode::from_raw_mode(how.mode & 0o7777);
        let open = |name: &CStr| {
            let open = || Ok(rustix::fs::openat(fd.as_fd(), name, flags, mode)?);
            self.with_mode(by, mode, || self.inodes.open(open))
        };
        for _ in 0..TRIES {
            let error = match self.make(by, (&dir, fd.as_fd()), at, open) {
                Ok(file) => {
                    let place = Some((at.parent, at.name.as_c_str()));
                    return self.created((file, flags), &dir.mount, place);
                }
                Err(error) => error,
            };
            if error != Errno::EEXIST || how.flags & libc::O_EXCL.cast_unsigned() != 0 {
                return Err(error);
            }
            match self.open_instead(by, at, how) {
                // Somebody has just removed it.
                Err(Errno::ENOENT) => {}
                opened => return opened,
            }
        }
        Err(Errno::ESTALE)
    }

    /// Opens what has come to be where the guest knew of nothing, if that is a file of the
    /// caller's own. About all else, and links above all, only the guest's kernel can decide: it
    /// takes what it makes to be the caller's and checks nothing. It looks a stale name up again.
    fn open_instead(&self, by: &Caller, at: &NewNode<'_>, how: &Create) -> Result<Created> {
        let entry = self.find(at.parent, at.name.as_c_str(), Patience::Storage)?;
        let opened = match entry.attr.mode & libc::S_IFMT {
            libc::S_IFDIR => Err(Errno::EISDIR),
            libc::S_IFREG if is_owners(by, &entry.attr, how.flags) => {
                self.open_file(entry.node, how.flags, how.kill_suidgid)
            }
            _ => Err(Errno::ESTALE),
        };
        Ok((entry, opened.inspect_err(|_| self.forget(entry.node, 1))?))
    }

    pub(super) fn create_unnamed(
        &self,
        by: &Caller,
        parent: NodeId,
        (umask, security): (u32, Option<SecurityContext<'_>>),
        how: &Create,
    ) -> Result<Created> {
        let dir = self.directory(parent)?;
        let fd = self.fd(parent, &dir)?;
        let flags = self.open_flags(how.flags)?.difference(OFlags::TRUNC) | OFlags::TMPFILE;
        let flags = flags | OFlags::from_bits_retain(how.flags) & OFlags::EXCL;
        let mode = Mode::from_raw_mode(how.mode & 0o7777);
        let open = || Ok(rustix::fs::openat(fd.as_fd(), c".", flags, mode)?);
        let make = || self.with_mode(by, mode, || self.inodes.open(open));
        let file = self.make_as(by, umask, &dir, make)?;
        if let Some(label) = security {
            self.set_label(file.as_fd(), label.name, label.value)?;
        }
        self.created((file, flags), &dir.mount, None)
    }

    pub(super) fn add_name(&self, node: NodeId, (parent, name): (NodeId, &Name)) -> Result<Entry> {
        let inode = self.inodes.get(node)?;
        let dir = self.directory(parent)?;
        let to = self.fd(parent, &dir)?;
        let stat = self.with_fd(node, &inode, |fd| {
            let (from, flags) = (DecInt::from_fd(fd), AtFlags::SYMLINK_FOLLOW);
            rustix::fs::linkat(&self.proc_fds, from, to.as_fd(), name, flags)?;
            stat_fd(fd)
        })?;
        self.inodes.again(&inode);
        Ok(self.entry(node, &inode, &stat))
    }

    /// Makes an inode by `make`, which takes the name, as the caller, and with its label if it
    /// has one.
    fn make<T>(
        &self,
        by: &Caller,
        (inode, dir): (&Inode, BorrowedFd<'_>),
        at: &NewNode<'_>,
        make: impl Fn(&CStr) -> Result<T>,
    ) -> Result<T> {
        let make = |name: &CStr| self.make_as(by, at.umask, inode, || make(name));
        match &at.security {
            None => make(at.name.as_c_str()),
            Some(label) => self.make_labelled(dir, at.name, label, make),
        }
    }

    /// Runs `make`, which makes an inode in `dir`, as the caller.
    fn make_as<T>(
        &self,
        by: &Caller,
        umask: u32,
        dir: &Inode,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let ids = Ids {
            uid: self.config.uids.to_host(by.uid)?,
            gid: self.config.gids.to_host(by.gid)?,
            group: by.group.map(|group| self.config.gids.to_host(group)).transpose()?,
        };
        self.powers.create_as(ids, umask, dir.mount.is_local, make)
    }

    /// Runs `make`, which makes something else than a directory, with this mode. Guests before 6.0
    /// leave it to us who may have set-group-id of a group that is not its own.
    fn with_mode<T>(&self, by: &Caller, mode: Mode, make: impl FnOnce() -> Result<T>) -> Result<T> {
        match mode.contains(Mode::SGID) {
            true => self.powers.with_fsetid(by.uid == 0, make),
            false => make(),
        }
    }

    /// The inode that was just made; if the name means something else by now, that is not it.
    fn find_new(&self, at: &NewNode<'_>, kind: u32) -> Result<Entry> {
        let entry = self.find(at.parent, at.name.as_c_str(), Patience::Storage)?;
        if entry.attr.mode & libc::S_IFMT == kind {
            return Ok(entry);
        }
        self.forget(entry.node, 1);
        Err(Errno::EIO)
    }

    fn created(
        &self,
        (file, open): (Fd, OFlags),
        mount: &Arc<Mount>,
        at: Option<(NodeId, &CStr)>,
    ) -> Result<Created> {
        let stat = stat_fd(file.as_fd())?;
        let node = self.adopt(file.as_fd(), mount, &stat, at)?;
        let inode = self.inodes.get(node)?;
        let opened = || -> Result<Opened> { self.opened(file, (node, &inode), open, Some(stat)) };
        let opened = opened().inspect_err(|_| self.forget(node, 1))?;
        Ok((self.entry(node, &inode, &stat), opened))
    }
}

/// True if a file belongs to the caller, who may open it in this way: ACLs do not change that.
fn is_owners(by: &Caller, attr: &Attr, flags: u32) -> bool {
    let flags = flags.cast_signed();
    let reads = match flags & libc::O_ACCMODE {
        libc::O_WRONLY => 0,
        _ => 4,
    };
    let writes = match flags & (libc::O_ACCMODE | libc::O_TRUNC) {
        libc::O_RDONLY => 0,
        _ => 2,
    };
    by.uid == attr.uid && (reads | writes) & !(attr.mode >> 6) == 0
}
