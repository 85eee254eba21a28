//! Floor 2: a [`Filesystem`] over a host directory. It knows files, not carriers or guests.
//!
//! Every path component is resolved by itself from a held directory descriptor, never followed
//! if it is a symbolic link; nothing is opened that is not a regular file or a directory.

mod acl;
mod attributes;
mod backing;
mod backing_rules;
mod cache;
mod common;
mod config;
mod create;
mod descriptors;
mod directories;
mod fanotify;
mod files;
mod identity;
mod ids;
mod index;
mod inode;
mod inodes;
mod ioctls;
mod labels;
mod locks;
mod lookup;
mod mappings;
mod mounts;
mod names;
mod ranges;
mod standing;
mod state;
mod survey;
mod sys;
mod watch;
mod worker;
mod xattrmap;
mod xattrs;

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{Mode, OFlags};

use crate::fuse::abi::{FileLock, Kstatfs};
use crate::fuse::flags::init;
use crate::fuse::{
    AttrChange, Attributes, Caller, CopyRange, Create, Created, DirSink, Entry, Errno, Filesystem,
    Handle, Lock, Mappings, Migration, Name, Negotiated, NewNode, NodeId, Opcode, Opened, Patience,
    Result, SecurityContext, StatxAttributes, Wait,
};
use crate::mem::{Input, Output, Slab};

pub use backing_rules::{BackingRule, BadBackingRule};
pub use common::{Common, Holder};
pub use config::{Cache, Config, FileHandles, Support, Xattrs};
pub use ids::{BadIdRule, IdMap, IdRule};
pub use mappings::DaxPolicy;
pub use state::{Migrating, MigrationMode, OnError};
pub use survey::Survey;
pub use watch::WatchGroup;
pub use xattrmap::{BadXattrMap, XattrMap};

use backing::Passing;
use descriptors::Descriptors;
use directories::{Listings, OpenDir};
use files::OpenFile;
use identity::{FileId, Proof, stat_fd};
use inode::Inode;
use inodes::Inodes;
use locks::Locks;
use mappings::Dax;
use mounts::{Mounts, reopen_root};
use standing::Standing;
use watch::Watch;
use worker::Powers;
use xattrmap::HostName;
use xattrs::CAPABILITY;

/// Serves a host directory.
pub struct Passthrough {
    config: Config,
    powers: Powers,
    /// What the session agreed on, or 0: [`init`] flags.
    agreed: AtomicU64,
    /// The host's name of `security.capability`, if it is another there.
    renamed_capability: Option<HostName>,
    /// Counts the capabilities that were set, from 1 on.
    capabilities_set: AtomicU64,
    inodes: Inodes,
    mounts: Mounts,
    locks: Locks,
    files: Slab<OpenFile>,
    dirs: Slab<OpenDir>,
    listings: Listings,
    standing: Standing,
    dax: Option<Dax>,
    /// Files that the kernel serves by itself, if it is to do that.
    passing: Option<Passing>,
    /// What others change is told to the guest, if that was asked for.
    watch: Option<Watch>,
    /// How the guest is taken to another daemon.
    migrating: Migrating,
    /// Something that the guest had open elsewhere could not be opened here.
    incomplete: AtomicBool,
    /// `/proc/self/fd`: the way from a descriptor to its inode for calls that want a path.
    proc_fds: OwnedFd,
}

impl Passthrough {
    /// Serves `directory`.
    ///
    /// # Errors
    /// Whatever opening it, or `/proc/self/fd`, gives.
    pub fn new(directory: &Path, config: Config) -> io::Result<Self> {
        let open = |path: &Path| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty())
        };
        Self::at(open(directory)?.as_fd(), open(Path::new("/proc/self/fd"))?, config)
    }

    /// Serves the directory `root`, for a process that cannot look up paths: `proc_fds` is
    /// `/proc/self/fd`.
    ///
    /// # Errors
    /// Whatever opening things in it gives.
    pub fn at(root: BorrowedFd<'_>, proc_fds: OwnedFd, config: Config) -> io::Result<Self> {
        let common = Common::alone(config.descriptors);
        Self::beside(&common, root, proc_fds, config)
    }

    /// Serves the directory or the one regular file `root`, to a guest that has other file systems
    /// as well. The limit of descriptors is that of `common`.
    ///
    /// # Errors
    /// Whatever opening things in it gives.
    pub fn beside(
        common: &Common,
        root: BorrowedFd<'_>,
        proc_fds: OwnedFd,
        config: Config,
    ) -> io::Result<Self> {
        Self::serve(common, root, proc_fds, config)
            .map_err(|error| io::Error::from_raw_os_error(error.raw()))
    }

    fn serve(
        common: &Common,
        root: BorrowedFd<'_>,
        proc_fds: OwnedFd,
        config: Config,
    ) -> Result<Self> {
        let mounts = Mounts::new(config.file_handles, common.devices.clone());
        let descriptors = Descriptors::new(common.budget.clone());
        // Others may open files and directories as well, and inodes need some.
        let room = descriptors.budget().most / 2;
        let inodes = Inodes::new(
            config.inodes,
            descriptors,
            || Ok(rustix::io::fcntl_dupfd_cloexec(root, 0)?),
            |root| {
                let stat = stat_fd(root.as_fd())?;
                let mount = mounts.of(&stat, |flags| reopen_root(root.as_fd(), &stat, flags))?;
                let id = FileId::of(&stat);
                mounts.unique_ino(id.dev, id.ino);
                // Neither proof nor place: it is never asked to give its descriptor up.
                Ok(Inode::new(&stat, (mount, false), (Proof::None, true), Some(root), None))
            },
        )?;
        let map = config.xattrs.as_ref().and_then(|xattrs| xattrs.map.as_ref());
        let capability = map.and_then(|map| map.to_host(CAPABILITY).ok());
        Ok(Passthrough {
            renamed_capability: capability.filter(|name| name.as_c_str() != CAPABILITY),
            capabilities_set: AtomicU64::new(1),
            config,
            powers: Powers::find()?,
            agreed: AtomicU64::new(0),
            inodes,
            mounts,
            locks: Locks::default(),
            files: Slab::new(),
            dirs: Slab::new(),
            listings: Listings::default(),
            standing: Standing::new(room),
            dax: None,
            passing: None,
            watch: None,
            migrating: Migrating::default(),
            incomplete: AtomicBool::new(false),
            proc_fds,
        })
    }

    /// True if new inodes belong to the guest's user who makes them, and not to the daemon's.
    #[must_use]
    pub fn makes_for_others(&self) -> bool {
        self.powers.set_ids()
    }

    /// True if the guest is told where other file systems begin.
    #[must_use]
    pub fn announces_submounts(&self) -> bool {
        self.config.announce_submounts && self.has_agreed(init::SUBMOUNTS)
    }

    fn has_agreed(&self, flags: u64) -> bool {
        self.agreed.load(Ordering::Relaxed) & flags != 0
    }
}

impl Filesystem for Passthrough {
    fn wanted(&self) -> u64 {
        init::ASYNC_READ
            | init::AUTO_INVAL_DATA
            | init::ASYNC_DIO
            | init::PARALLEL_DIROPS
            | init::CACHE_SYMLINKS
            | init::DONT_MASK
            | init::SUBMOUNTS
            | self.config.optional()
            | self.config.own()
            | self.dax_flags()
            | self.passing.as_ref().map_or(0, |_| init::PASSTHROUGH)
            | self.watch.as_ref().map_or(0, |_| init::HAS_EXPIRE_ONLY)
    }

    fn start(&self, agreed: &Negotiated) -> Result<()> {
        self.agreed.store(agreed.flags, Ordering::Relaxed);
        if !agreed.has(self.config.required()) {
            return Err(Errno::EPROTO);
        }
        let root = self.inodes.get(NodeId::ROOT)?;
        let stat = self.stat(NodeId::ROOT, &root, None)?;
        self.watched(NodeId::ROOT, &root, stat).map(drop)
    }

    fn end(&self) {
        self.files.clear();
        self.dirs.clear();
        // After the files: who locks through one meanwhile sees that it is gone.
        self.locks.clear();
        self.standing.clear();
        self.inodes.clear();
        self.incomplete.store(false, Ordering::Relaxed);
    }

    fn mappings(&self) -> Option<&dyn Mappings> {
        self.dax.as_ref().map(|_| self as &dyn Mappings)
    }

    fn migration(&self) -> Option<&dyn Migration> {
        Some(self)
    }

    fn waits(&self, opcode: Opcode, node: NodeId) -> Option<Wait> {
        self.likely_wait(opcode, node)
    }

    fn lookup(&self, by: &Caller, parent: NodeId, name: &Name) -> Result<Entry> {
        self.look_up(parent, name, by.patience)
    }

    fn forget(&self, node: NodeId, lookups: u64) {
        let inode = self.inodes.get(node);
        if self.inodes.forget(node, lookups)
            && let Ok(inode) = inode
        {
            self.unwatch(node, &inode);
            self.abandon(&inode);
        }
    }

    fn getattr(&self, node: NodeId, handle: Option<Handle>) -> Result<Attributes> {
        let inode = self.inodes.get(node)?;
        Ok(self.attributes(&inode, &self.stat(node, &inode, handle)?))
    }

    fn setattr(&self, by: &Caller, node: NodeId, change: &AttrChange) -> Result<Attributes> {
        self.may_change()?;
        self.change(by, node, change)
    }

    fn statx(&self, node: NodeId, handle: Option<Handle>, mask: u32) -> Result<StatxAttributes> {
        self.stat_more(node, handle, mask)
    }

    fn readlink(&self, node: NodeId, target: &mut [u8]) -> Result<usize> {
        self.read_link(node, target)
    }

    fn symlink(&self, by: &Caller, at: &NewNode<'_>, target: &CStr) -> Result<Entry> {
        self.may_change()?;
        self.make_symlink(by, at, target)
    }

    fn mknod(&self, by: &Caller, at: &NewNode<'_>, mode: u32, rdev: u32) -> Result<Entry> {
        self.may_change()?;
        self.make_node(by, at, mode, rdev)
    }

    fn mkdir(&self, by: &Caller, at: &NewNode<'_>, mode: u32) -> Result<Entry> {
        self.may_change()?;
        self.make_dir(by, at, mode)
    }

    fn unlink(&self, _: &Caller, parent: NodeId, name: &Name) -> Result<()> {
        self.may_change()?;
        self.remove(parent, name, false)
    }

    fn rmdir(&self, _: &Caller, parent: NodeId, name: &Name) -> Result<()> {
        self.may_change()?;
        self.remove(parent, name, true)
    }

    fn rename(
        &self,
        _: &Caller,
        from: (NodeId, &Name),
        to: (NodeId, &Name),
        flags: u32,
    ) -> Result<()> {
        self.may_change()?;
        self.move_name(from, to, flags)
    }

    fn link(&self, _: &Caller, node: NodeId, to: (NodeId, &Name)) -> Result<Entry> {
        self.may_change()?;
        self.add_name(node, to)
    }

    fn open(&self, node: NodeId, flags: u32, kill_suidgid: bool) -> Result<Opened> {
        self.open_file(node, flags, kill_suidgid)
    }

    fn read(
        &self,
        node: NodeId,
        handle: Handle,
        offset: u64,
        patience: Patience,
        out: &mut Output<'_>,
    ) -> Result<usize> {
        self.read_file(&*self.file(node, handle)?, offset, patience, out)
    }

    fn with_file(
        &self,
        node: NodeId,
        handle: Handle,
        with: &mut dyn FnMut(BorrowedFd<'_>),
    ) -> Result<()> {
        with(self.file(node, handle)?.as_fd());
        Ok(())
    }

    fn write(
        &self,
        node: NodeId,
        handle: Handle,
        offset: u64,
        flags: (u32, u32),
        data: &mut Input<'_>,
    ) -> Result<usize> {
        self.may_change()?;
        self.write_file(&*self.file(node, handle)?, offset, flags, data)
    }

    fn statfs(&self, node: NodeId) -> Result<Kstatfs> {
        self.stat_fs(node)
    }

    fn release(&self, node: NodeId, handle: Handle, unlock: bool) -> Result<()> {
        self.release_file(node, handle, unlock)
    }

    fn fsync(&self, node: NodeId, handle: Handle, data_only: bool) -> Result<()> {
        files::sync(self.file(node, handle)?.as_fd(), data_only)
    }

    fn flush(&self, node: NodeId, handle: Handle, lock_owner: u64) -> Result<()> {
        self.flush_file(node, handle, lock_owner)
    }

    fn setxattr(&self, node: NodeId, name: &CStr, value: &[u8], flags: (u32, u32)) -> Result<()> {
        self.may_change()?;
        self.set_xattr(node, name, value, flags)
    }

    fn getxattr(&self, node: NodeId, name: &CStr, value: &mut [u8]) -> Result<usize> {
        self.get_xattr(node, name, value)
    }

    fn listxattr(&self, node: NodeId, names: &mut [u8]) -> Result<usize> {
        self.list_xattrs(node, names)
    }

    fn removexattr(&self, node: NodeId, name: &CStr) -> Result<()> {
        self.may_change()?;
        self.remove_xattr(node, name)
    }

    fn opendir(&self, node: NodeId, _flags: u32) -> Result<Opened> {
        self.open_dir(node)
    }

    fn readdir(
        &self,
        _: &Caller,
        node: NodeId,
        handle: Handle,
        offset: u64,
        sink: &mut DirSink<'_, '_>,
    ) -> Result<()> {
        self.read_dir(node, handle, offset, sink)
    }

    fn releasedir(&self, node: NodeId, handle: Handle) -> Result<()> {
        self.dir(node, handle)?;
        if self.dirs.remove(handle.0) { Ok(()) } else { Err(Errno::EBADF) }
    }

    fn fsyncdir(&self, node: NodeId, handle: Handle, data_only: bool) -> Result<()> {
        files::sync(self.dir(node, handle)?.as_fd(), data_only)
    }

    fn access(&self, by: &Caller, node: NodeId, mask: u32) -> Result<()> {
        self.check_access(by, node, mask)
    }

    fn create(&self, by: &Caller, at: &NewNode<'_>, how: &Create) -> Result<Created> {
        self.may_change()?;
        self.create_file(by, at, how)
    }

    fn tmpfile(
        &self,
        by: &Caller,
        parent: NodeId,
        place: (u32, Option<SecurityContext<'_>>),
        how: &Create,
    ) -> Result<Created> {
        self.may_change()?;
        self.create_unnamed(by, parent, place, how)
    }

    fn fallocate(
        &self,
        by: &Caller,
        node: NodeId,
        handle: Handle,
        range: (u64, u64),
        mode: u32,
    ) -> Result<()> {
        self.may_change()?;
        self.allocate(by, &*self.file(node, handle)?, range, mode)
    }

    fn lseek(&self, node: NodeId, handle: Handle, offset: u64, whence: u32) -> Result<u64> {
        self.seek(self.file(node, handle)?.as_fd(), offset, whence)
    }

    fn copy_file_range(&self, by: &Caller, copy: &CopyRange) -> Result<u64> {
        self.may_change()?;
        self.copy(by, copy)
    }

    fn getlk(&self, node: NodeId, handle: Handle, lock: &Lock) -> Result<FileLock> {
        self.get_lock(node, handle, lock)
    }

    fn setlk(&self, node: NodeId, handle: Handle, lock: &Lock) -> Result<()> {
        self.set_lock(node, handle, lock)
    }

    fn ioctl(
        &self,
        node: NodeId,
        handle: (Handle, bool),
        command: u32,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<usize> {
        self.control(node, handle, command, input, output)
    }

    fn syncfs(&self, node: NodeId) -> Result<()> {
        self.sync_fs(node)
    }
}
