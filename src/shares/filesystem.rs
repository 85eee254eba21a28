//! Every request goes to the share that its inode is in, or is about the root.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use super::root::{HANDLE, Root};
use super::table::{Node, Share};
use super::{Shares, root};
use crate::fuse::abi::{FileLock, Kstatfs};
use crate::fuse::{
    AttrChange, Attributes, Caller, CopyRange, Create, Created, DirSink, Entry, Errno, Filesystem,
    Handle, Lock, Name, Negotiated, NewNode, NodeId, Opcode, Opened, Patience, Record, Result,
    SecurityContext, StatxAttributes, Wait,
};
use crate::mem::{Input, Output};
use crate::passthrough::Passthrough;

/// What is answered to whoever wants to change the root.
const FIXED: Errno = Errno::EROFS;

/// `.` and `..` come before the shares when the root is listed.
const DOTS: [&[u8]; 2] = [b".", b".."];

impl Shares {
    fn list_root(&self, offset: u64, sink: &mut DirSink<'_, '_>) -> Result<()> {
        for (at, name) in (1..).zip(DOTS).filter(|(at, _)| *at > offset) {
            let record = Record { ino: 1, offset: at, kind: libc::DT_DIR.into(), name };
            if sink.add(&record, None).is_err() {
                return Ok(());
            }
        }
        let dots = DOTS.len() as u64;
        for share in self.all().iter().filter(|share| share.number + dots > offset) {
            // It can be looked up once more when it can be reached again.
            let Ok(entry) = self.entry(share) else { continue };
            let kind = entry.attr.mode >> 12;
            let (ino, offset) = (entry.attr.ino, share.number + dots);
            let record = Record { ino, offset, kind, name: share.name.to_bytes() };
            if sink.add(&record, Some(&entry)).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn look_up(&self, name: &Name) -> Result<Entry> {
        let found = self.list().find(name.as_c_str()).cloned();
        self.entry(&found.ok_or(Errno::ENOENT)?)
    }

    fn created(&self, share: &Arc<Share>, (entry, opened): Created) -> Result<Created> {
        match self.known(share, entry) {
            Ok(known) => Ok((known, opened)),
            Err(error) => {
                // Nobody will ever release it.
                let _ = share.files.release(entry.node, opened.handle, false);
                Err(error)
            }
        }
    }

    fn made(
        &self,
        at: &NewNode<'_>,
        make: impl FnOnce(&Passthrough, &NewNode<'_>) -> Result<Entry>,
    ) -> Result<Entry> {
        self.at(
            at.parent,
            || Err(FIXED),
            |share, parent| {
                let made = make(&share.files, &NewNode { parent, ..*at })?;
                self.known(share, made)
            },
        )
    }
}

impl Filesystem for Shares {
    fn wanted(&self) -> u64 {
        self.wanted.get().copied().unwrap_or_default()
    }

    fn start(&self, agreed: &Negotiated) -> Result<()> {
        let mut list = self.change();
        list.agreed = Some(*agreed);
        list.shares.iter().try_for_each(|share| share.files.start(agreed))
    }

    fn end(&self) {
        let mut list = self.change();
        list.agreed = None;
        for share in &list.shares {
            share.files.end();
            self.nodes.clear(share);
        }
    }

    fn waits(&self, opcode: Opcode, node: NodeId) -> Option<Wait> {
        match &*self.nodes.get(node).ok()? {
            Node::In(share, local) => share.files.waits(opcode, *local),
            Node::Root => {
                // What becomes of it in the shares.
                let opcode = match opcode {
                    Opcode::Lookup | Opcode::Readdir | Opcode::Readdirplus => Opcode::Getattr,
                    Opcode::Syncfs => opcode,
                    _ => return None,
                };
                let list = self.list();
                let waits = list.shares.iter().map(|share| &share.files);
                let waits = waits.filter_map(|files| files.waits(opcode, NodeId::ROOT));
                waits.max_by_key(|wait| *wait == Wait::Server)
            }
        }
    }

    fn lookup(&self, by: &Caller, parent: NodeId, name: &Name) -> Result<Entry> {
        self.at(
            parent,
            || self.look_up(name),
            |share, parent| self.known(share, share.files.lookup(by, parent, name)?),
        )
    }

    fn forget(&self, node: NodeId, lookups: u64) {
        if let Ok(found) = self.nodes.get(node)
            && let Node::In(share, local) = &*found
        {
            share.files.forget(*local, lookups);
            self.nodes.forgotten(share, *local);
        }
    }

    fn getattr(&self, node: NodeId, handle: Option<Handle>) -> Result<Attributes> {
        self.at(
            node,
            || Ok(self.root.attributes()),
            |share, node| share.files.getattr(node, handle),
        )
    }

    fn setattr(&self, by: &Caller, node: NodeId, change: &AttrChange) -> Result<Attributes> {
        self.at(node, || Err(FIXED), |share, node| share.files.setattr(by, node, change))
    }

    fn statx(&self, node: NodeId, handle: Option<Handle>, mask: u32) -> Result<StatxAttributes> {
        self.at(node, || Ok(self.root.statx()), |share, node| share.files.statx(node, handle, mask))
    }

    fn readlink(&self, node: NodeId, target: &mut [u8]) -> Result<usize> {
        self.at(node, || Err(Errno::EINVAL), |share, node| share.files.readlink(node, target))
    }

    fn symlink(&self, by: &Caller, at: &NewNode<'_>, target: &CStr) -> Result<Entry> {
        self.made(at, |files, at| files.symlink(by, at, target))
    }

    fn mknod(&self, by: &Caller, at: &NewNode<'_>, mode: u32, rdev: u32) -> Result<Entry> {
        self.made(at, |files, at| files.mknod(by, at, mode, rdev))
    }

    fn mkdir(&self, by: &Caller, at: &NewNode<'_>, mode: u32) -> Result<Entry> {
        self.made(at, |files, at| files.mkdir(by, at, mode))
    }

    fn unlink(&self, by: &Caller, parent: NodeId, name: &Name) -> Result<()> {
        self.at(parent, || Err(FIXED), |share, parent| share.files.unlink(by, parent, name))
    }

    fn rmdir(&self, by: &Caller, parent: NodeId, name: &Name) -> Result<()> {
        self.at(parent, || Err(FIXED), |share, parent| share.files.rmdir(by, parent, name))
    }

    fn rename(
        &self,
        by: &Caller,
        (from, name): (NodeId, &Name),
        (to, new_name): (NodeId, &Name),
        flags: u32,
    ) -> Result<()> {
        self.at_both((from, to), FIXED, |share, from, to| {
            share.files.rename(by, (from, name), (to, new_name), flags)
        })
    }

    fn link(&self, by: &Caller, node: NodeId, (parent, name): (NodeId, &Name)) -> Result<Entry> {
        self.at_both((node, parent), FIXED, |share, node, parent| {
            self.known(share, share.files.link(by, node, (parent, name))?)
        })
    }

    fn open(&self, node: NodeId, flags: u32, kill_suidgid: bool) -> Result<Opened> {
        self.at(
            node,
            || Err(Errno::EISDIR),
            |share, node| share.files.open(node, flags, kill_suidgid),
        )
    }

    fn read(
        &self,
        node: NodeId,
        handle: Handle,
        offset: u64,
        patience: Patience,
        out: &mut Output<'_>,
    ) -> Result<usize> {
        self.at(
            node,
            || Err(Errno::EBADF),
            |share, node| share.files.read(node, handle, offset, patience, out),
        )
    }

    fn with_file(
        &self,
        node: NodeId,
        handle: Handle,
        with: &mut dyn FnMut(BorrowedFd<'_>),
    ) -> Result<()> {
        self.at(node, || Err(Errno::EBADF), |share, node| share.files.with_file(node, handle, with))
    }

    fn write(
        &self,
        node: NodeId,
        handle: Handle,
        offset: u64,
        flags: (u32, u32),
        data: &mut Input<'_>,
    ) -> Result<usize> {
        self.at(
            node,
            || Err(Errno::EBADF),
            |share, node| share.files.write(node, handle, offset, flags, data),
        )
    }

    fn statfs(&self, node: NodeId) -> Result<Kstatfs> {
        self.at(node, || Ok(Root::statfs()), |share, node| share.files.statfs(node))
    }

    fn release(&self, node: NodeId, handle: Handle, unlock: bool) -> Result<()> {
        self.at(node, || Err(Errno::EBADF), |share, node| share.files.release(node, handle, unlock))
    }

    fn fsync(&self, node: NodeId, handle: Handle, data_only: bool) -> Result<()> {
        self.at(
            node,
            || Err(Errno::EBADF),
            |share, node| share.files.fsync(node, handle, data_only),
        )
    }

    fn flush(&self, node: NodeId, handle: Handle, lock_owner: u64) -> Result<()> {
        let flushed = self.at(
            node,
            || Err(Errno::EBADF),
            |share, node| share.files.flush(node, handle, lock_owner),
        );
        // It means that there never is anything to do, which another share may see otherwise.
        if flushed == Err(Errno::ENOSYS) { Ok(()) } else { flushed }
    }

    fn setxattr(&self, node: NodeId, name: &CStr, value: &[u8], flags: (u32, u32)) -> Result<()> {
        self.at(node, || Err(FIXED), |share, node| share.files.setxattr(node, name, value, flags))
    }

    fn getxattr(&self, node: NodeId, name: &CStr, value: &mut [u8]) -> Result<usize> {
        self.at(node, || Err(Errno::ENODATA), |share, node| share.files.getxattr(node, name, value))
    }

    fn listxattr(&self, node: NodeId, names: &mut [u8]) -> Result<usize> {
        self.at(node, || Ok(0), |share, node| share.files.listxattr(node, names))
    }

    fn removexattr(&self, node: NodeId, name: &CStr) -> Result<()> {
        self.at(node, || Err(FIXED), |share, node| share.files.removexattr(node, name))
    }

    fn opendir(&self, node: NodeId, flags: u32) -> Result<Opened> {
        let root = Opened { handle: Handle(HANDLE), flags: 0, backing: None };
        self.at(node, || Ok(root), |share, node| share.files.opendir(node, flags))
    }

    fn readdir(
        &self,
        by: &Caller,
        node: NodeId,
        handle: Handle,
        offset: u64,
        sink: &mut DirSink<'_, '_>,
    ) -> Result<()> {
        match &*self.nodes.get(node)? {
            Node::Root => self.list_root(offset, sink),
            Node::In(share, node) => {
                let known = |local| self.nodes.of(share, local).ok();
                share.files.readdir(by, *node, handle, offset, &mut sink.translated(&known))
            }
        }
    }

    fn releasedir(&self, node: NodeId, handle: Handle) -> Result<()> {
        self.at(node, || root::is_open(handle), |share, node| share.files.releasedir(node, handle))
    }

    fn fsyncdir(&self, node: NodeId, handle: Handle, data_only: bool) -> Result<()> {
        self.at(
            node,
            || root::is_open(handle),
            |share, node| share.files.fsyncdir(node, handle, data_only),
        )
    }

    fn access(&self, by: &Caller, node: NodeId, mask: u32) -> Result<()> {
        self.at(node, || Root::access(mask), |share, node| share.files.access(by, node, mask))
    }

    fn create(&self, by: &Caller, at: &NewNode<'_>, how: &Create) -> Result<Created> {
        self.at(
            at.parent,
            || Err(FIXED),
            |share, parent| {
                let made = share.files.create(by, &NewNode { parent, ..*at }, how)?;
                self.created(share, made)
            },
        )
    }

    fn tmpfile(
        &self,
        by: &Caller,
        parent: NodeId,
        place: (u32, Option<SecurityContext<'_>>),
        how: &Create,
    ) -> Result<Created> {
        self.at(
            parent,
            || Err(FIXED),
            |share, parent| {
                let made = share.files.tmpfile(by, parent, place, how)?;
                self.created(share, made)
            },
        )
    }

    fn fallocate(
        &self,
        by: &Caller,
        node: NodeId,
        handle: Handle,
        range: (u64, u64),
        mode: u32,
    ) -> Result<()> {
        self.at(
            node,
            || Err(Errno::EBADF),
            |share, node| share.files.fallocate(by, node, handle, range, mode),
        )
    }

    fn lseek(&self, node: NodeId, handle: Handle, offset: u64, whence: u32) -> Result<u64> {
        self.at(
            node,
            || Err(Errno::EBADF),
            |share, node| share.files.lseek(node, handle, offset, whence),
        )
    }

    fn copy_file_range(&self, by: &Caller, copy: &CopyRange) -> Result<u64> {
        let ((from, source, at), (to, target, to_at)) = (copy.from, copy.to);
        self.at_both((from, to), Errno::EBADF, |share, from, to| {
            let copy = CopyRange { from: (from, source, at), to: (to, target, to_at), ..*copy };
            share.files.copy_file_range(by, &copy)
        })
    }

    fn getlk(&self, node: NodeId, handle: Handle, lock: &Lock) -> Result<FileLock> {
        self.at(node, || Err(Errno::EBADF), |share, node| share.files.getlk(node, handle, lock))
    }

    fn setlk(&self, node: NodeId, handle: Handle, lock: &Lock) -> Result<()> {
        self.at(node, || Err(Errno::EBADF), |share, node| share.files.setlk(node, handle, lock))
    }

    fn ioctl(
        &self,
        node: NodeId,
        handle: (Handle, bool),
        command: u32,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<usize> {
        self.at(
            node,
            || Err(Errno::ENOTTY),
            |share, node| share.files.ioctl(node, handle, command, input, output),
        )
    }

    fn syncfs(&self, node: NodeId) -> Result<()> {
        let all = || {
            let synced = self.all().into_iter().map(|share| share.files.syncfs(NodeId::ROOT));
            synced.fold(Ok(()), Result::and)
        };
        self.at(node, all, |share, node| share.files.syncfs(node))
    }
}
