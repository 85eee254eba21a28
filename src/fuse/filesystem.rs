//! What a file system is to the protocol.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use zerocopy::FromZeros;

use super::abi::{Attr, AttrOut, EntryOut, FileLock, Kstatfs, OpenOut, Statx, StatxOut};
use super::backing::BackingId;
use super::change::AttrChange;
use super::dirents::DirSink;
use super::errno::{Errno, Result};
use super::extensions::SecurityContext;
use super::init::Negotiated;
use super::migration::Migration;
use super::name::Name;
use super::opcode::Opcode;
use super::session::{Patience, Wait};
use super::window::Mappings;
use crate::mem::{Input, Output};

/// Names an inode for as long as the guest remembers it; never used for another one after that.
/// 0 stands for no inode, 1 for the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeId(pub u64);

impl NodeId {
    /// No inode: a name known not to exist.
    pub const NONE: NodeId = NodeId(0);
    /// The root, which is there from INIT on without a lookup.
    pub const ROOT: NodeId = NodeId(1);
}

/// Names an open file or an open directory until it is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle(pub u64);

/// Who asks. Guests check permissions themselves; this matters for what is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// File system user id.
    pub uid: u32,
    /// File system group id.
    pub gid: u32,
    /// Process id in the guest, 0 if it has none there.
    pub pid: u32,
    /// The parent directory's group, if the caller is a member of it by a supplementary group.
    pub group: Option<u32>,
    /// How long the answer may take.
    pub patience: Patience,
}

/// An inode as the guest shall know it, by name.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The inode, or [`NodeId::NONE`] for a name that does not exist.
    pub node: NodeId,
    /// Its attributes.
    pub attr: Attr,
    /// How long the guest may use the attributes.
    pub attr_valid: Duration,
    /// How long the guest may use the name.
    pub entry_valid: Duration,
}

impl Entry {
    /// A name that does not exist, and may be taken not to for `valid`.
    #[must_use]
    pub fn negative(valid: Duration) -> Self {
        Entry {
            node: NodeId::NONE,
            attr: Attr::new_zeroed(),
            attr_valid: Duration::ZERO,
            entry_valid: valid,
        }
    }

    /// Nodeids are never used twice, so that the generation is always 0.
    pub(super) fn to_wire(self) -> EntryOut {
        EntryOut {
            nodeid: self.node.0,
            generation: 0,
            entry_valid: self.entry_valid.as_secs(),
            attr_valid: self.attr_valid.as_secs(),
            entry_valid_nsec: self.entry_valid.subsec_nanos(),
            attr_valid_nsec: self.attr_valid.subsec_nanos(),
            attr: self.attr,
        }
    }
}

/// Attributes, and how long the guest may use them.
#[derive(Clone, Copy, Debug)]
pub struct Attributes {
    /// The attributes.
    pub attr: Attr,
    /// How long they may be used.
    pub valid: Duration,
}

impl Attributes {
    pub(super) fn to_wire(self) -> AttrOut {
        AttrOut {
            attr_valid: self.valid.as_secs(),
            attr_valid_nsec: self.valid.subsec_nanos(),
            dummy: 0,
            attr: self.attr,
        }
    }
}

/// Attributes as `statx(2)` gives them, and how long the guest may use them.
#[derive(Clone, Copy, Debug)]
pub struct StatxAttributes {
    /// The attributes.
    pub stat: Statx,
    /// How long they may be used.
    pub valid: Duration,
}

impl StatxAttributes {
    pub(super) fn to_wire(self) -> StatxOut {
        StatxOut {
            attr_valid: self.valid.as_secs(),
            attr_valid_nsec: self.valid.subsec_nanos(),
            flags: 0,
            spare: [0; 2],
            stat: self.stat,
        }
    }
}

/// Where a new inode goes.
#[derive(Clone, Copy, Debug)]
pub struct NewNode<'a> {
    /// The directory.
    pub parent: NodeId,
    /// The name in it, which must not exist.
    pub name: &'a Name,
    /// The caller's umask; applied to the mode already unless DONT_MASK was accepted.
    pub umask: u32,
    /// The label that the inode shall have from the beginning.
    pub security: Option<SecurityContext<'a>>,
}

/// How CREATE and TMPFILE open what they make.
#[derive(Clone, Copy, Debug)]
pub struct Create {
    /// `open(2)` flags.
    pub flags: u32,
    /// Permission bits.
    pub mode: u32,
    /// With `O_TRUNC` in `flags`: also clear set-user-id and set-group-id.
    pub kill_suidgid: bool,
}

/// An open file or directory.
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    /// Its handle.
    pub handle: Handle,
    /// [`flags::opened`](super::flags::opened) bits.
    pub flags: u32,
    /// The registered file that the other side reads and writes, if `PASSTHROUGH` is in the flags.
    pub backing: Option<BackingId>,
}

impl Opened {
    pub(super) fn to_wire(self) -> OpenOut {
        let backing_id = self.backing.map_or(0, |backing| backing.0);
        OpenOut { fh: self.handle.0, open_flags: self.flags, backing_id }
    }
}

/// What CREATE and TMPFILE return.
pub type Created = (Entry, Opened);

/// A lock as fcntl(2) or flock(2) has it.
#[derive(Clone, Copy, Debug)]
pub struct Lock {
    /// Who holds it: a process's files, or an open file.
    pub owner: u64,
    /// The bytes, to `i64::MAX` for all that will ever be, and the type: `F_RDLCK`, `F_WRLCK` or
    /// `F_UNLCK`.
    pub range: FileLock,
    /// It is an flock(2), and of the whole file.
    pub flock: bool,
}

/// What COPY_FILE_RANGE shall copy.
#[derive(Clone, Copy, Debug)]
pub struct CopyRange {
    /// Source: inode, open file, offset.
    pub from: (NodeId, Handle, u64),
    /// Target: inode, open file, offset.
    pub to: (NodeId, Handle, u64),
    /// Bytes, at most.
    pub len: u64,
    /// Flags, of which there are none yet.
    pub flags: u64,
}

/// A file system. Every method may be called from several threads at once.
///
/// A method that is not implemented answers `ENOSYS`, which Linux remembers for most requests.
/// Inodes in replies of [`lookup`](Self::lookup) and of the methods that make inodes count as
/// looked up once, and so does every entry with an inode that
/// [`readdir`](Self::readdir) puts, until [`forget`](Self::forget).
#[expect(unused_variables, reason = "the defaults ignore their arguments")]
pub trait Filesystem: Send + Sync {
    /// The [`flags::init`](super::flags::init) bits that this file system makes use of.
    fn wanted(&self) -> u64;

    /// A session begins, with what was agreed on. Everything of an earlier one is gone already.
    ///
    /// # Errors
    /// What the guest's INIT gets for an answer if it offered too little.
    fn start(&self, agreed: &Negotiated) -> Result<()> {
        Ok(())
    }

    /// The session is over: all inodes but the root, handles and locks are to be given up.
    fn end(&self) {}

    /// What maps its files into a DAX window, if there is one.
    fn mappings(&self) -> Option<&dyn Mappings> {
        None
    }

    /// What takes its state to another daemon, if that can be done.
    fn migration(&self) -> Option<&dyn Migration> {
        None
    }

    /// What a request is likely to wait for, if anything. It is then served where others do not
    /// wait behind it.
    fn waits(&self, opcode: Opcode, node: NodeId) -> Option<Wait> {
        None
    }

    /// Looks `name` up in `parent`.
    fn lookup(&self, by: &Caller, parent: NodeId, name: &Name) -> Result<Entry> {
        Err(Errno::ENOSYS)
    }

    /// Takes `lookups` lookups back; at 0 the guest no longer knows the inode.
    fn forget(&self, node: NodeId, lookups: u64) {}

    /// The inode's attributes, through `handle` if one is given.
    fn getattr(&self, node: NodeId, handle: Option<Handle>) -> Result<Attributes> {
        Err(Errno::ENOSYS)
    }

    /// Changes attributes.
    fn setattr(&self, by: &Caller, node: NodeId, change: &AttrChange) -> Result<Attributes> {
        Err(Errno::ENOSYS)
    }

    /// The inode's attributes with birth time; `mask` as in `statx(2)`.
    fn statx(&self, node: NodeId, handle: Option<Handle>, mask: u32) -> Result<StatxAttributes> {
        Err(Errno::ENOSYS)
    }

    /// Reads a symbolic link's target into `target` and returns its length, without NUL.
    fn readlink(&self, node: NodeId, target: &mut [u8]) -> Result<usize> {
        Err(Errno::ENOSYS)
    }

    /// Makes a symbolic link.
    fn symlink(&self, by: &Caller, at: &NewNode<'_>, target: &CStr) -> Result<Entry> {
        Err(Errno::ENOSYS)
    }

    /// Makes a file, device node, FIFO or socket; `rdev` in the kernel's 32-bit encoding.
    fn mknod(&self, by: &Caller, at: &NewNode<'_>, mode: u32, rdev: u32) -> Result<Entry> {
        Err(Errno::ENOSYS)
    }

    /// Makes a directory.
    fn mkdir(&self, by: &Caller, at: &NewNode<'_>, mode: u32) -> Result<Entry> {
        Err(Errno::ENOSYS)
    }

    /// Removes a name of anything but a directory.
    fn unlink(&self, by: &Caller, parent: NodeId, name: &Name) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// Removes an empty directory.
    fn rmdir(&self, by: &Caller, parent: NodeId, name: &Name) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// Renames, with the `RENAME_*` flags of `renameat2(2)`.
    fn rename(
        &self,
        by: &Caller,
        from: (NodeId, &Name),
        to: (NodeId, &Name),
        flags: u32,
    ) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// Gives the inode one more name.
    fn link(&self, by: &Caller, node: NodeId, to: (NodeId, &Name)) -> Result<Entry> {
        Err(Errno::ENOSYS)
    }

    /// Opens a file. `kill_suidgid` goes with `O_TRUNC`, as in [`Create`].
    fn open(&self, node: NodeId, flags: u32, kill_suidgid: bool) -> Result<Opened> {
        Err(Errno::ENOSYS)
    }

    /// Reads at `offset` until `out` is full or the file ends; returns what was put. Without
    /// patience, data that is not there yet is [`Errno::WAITS`].
    fn read(
        &self,
        node: NodeId,
        handle: Handle,
        offset: u64,
        patience: Patience,
        out: &mut Output<'_>,
    ) -> Result<usize> {
        Err(Errno::ENOSYS)
    }

    /// Runs `with` on the descriptor that [`read`](Self::read) reads this open file from.
    fn with_file(
        &self,
        node: NodeId,
        handle: Handle,
        with: &mut dyn FnMut(BorrowedFd<'_>),
    ) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// Writes all of `data` at `offset`; returns how much of it is in the file now.
    /// `write_flags` are [`flags::write`](super::flags::write) bits, `flags` those of the file.
    fn write(
        &self,
        node: NodeId,
        handle: Handle,
        offset: u64,
        (flags, write_flags): (u32, u32),
        data: &mut Input<'_>,
    ) -> Result<usize> {
        Err(Errno::ENOSYS)
    }

    /// Figures of the mounted file system that the inode is on.
    fn statfs(&self, node: NodeId) -> Result<Kstatfs> {
        Err(Errno::ENOSYS)
    }

    /// The last user of an open file is gone; `unlock` if it may have held an flock(2).
    fn release(&self, node: NodeId, handle: Handle, unlock: bool) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// Makes a file durable; only its data if `data_only`.
    fn fsync(&self, node: NodeId, handle: Handle, data_only: bool) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// A descriptor of an open file was closed: report errors that were put off.
    fn flush(&self, node: NodeId, handle: Handle, lock_owner: u64) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// Sets an extended attribute; `flags` as in `setxattr(2)`, `ext` are
    /// [`flags::setxattr`](super::flags::setxattr) bits.
    fn setxattr(
        &self,
        node: NodeId,
        name: &CStr,
        value: &[u8],
        (flags, ext): (u32, u32),
    ) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// Reads an extended attribute into `value` and returns its size, or only that if `value` is
    /// empty.
    fn getxattr(&self, node: NodeId, name: &CStr, value: &mut [u8]) -> Result<usize> {
        Err(Errno::ENOSYS)
    }

    /// Lists the names of extended attributes, each with its NUL, like
    /// [`getxattr`](Self::getxattr).
    fn listxattr(&self, node: NodeId, names: &mut [u8]) -> Result<usize> {
        Err(Errno::ENOSYS)
    }

    /// Removes an extended attribute.
    fn removexattr(&self, node: NodeId, name: &CStr) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// Opens a directory.
    fn opendir(&self, node: NodeId, flags: u32) -> Result<Opened> {
        Err(Errno::ENOSYS)
    }

    /// Puts the entries from `offset` on, as many as fit; none at the end.
    fn readdir(
        &self,
        by: &Caller,
        node: NodeId,
        handle: Handle,
        offset: u64,
        sink: &mut DirSink<'_, '_>,
    ) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// The last user of an open directory is gone.
    fn releasedir(&self, node: NodeId, handle: Handle) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// Makes a directory durable; only its data if `data_only`.
    fn fsyncdir(&self, node: NodeId, handle: Handle, data_only: bool) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// Checks the caller's rights; `mask` as in `access(2)`.
    fn access(&self, by: &Caller, node: NodeId, mask: u32) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// Makes and opens a file; opens the one that is there unless `O_EXCL` is in the flags.
    fn create(&self, by: &Caller, at: &NewNode<'_>, how: &Create) -> Result<Created> {
        Err(Errno::ENOSYS)
    }

    /// Makes and opens a file without a name in `parent`.
    fn tmpfile(
        &self,
        by: &Caller,
        parent: NodeId,
        (umask, security): (u32, Option<SecurityContext<'_>>),
        how: &Create,
    ) -> Result<Created> {
        Err(Errno::ENOSYS)
    }

    /// Allocates or frees space; `mode` as in `fallocate(2)`.
    fn fallocate(
        &self,
        by: &Caller,
        node: NodeId,
        handle: Handle,
        (offset, length): (u64, u64),
        mode: u32,
    ) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// Finds data or a hole (`SEEK_DATA`, `SEEK_HOLE`), or answers the other `lseek(2)` forms
    /// that do not depend on a position.
    fn lseek(&self, node: NodeId, handle: Handle, offset: u64, whence: u32) -> Result<u64> {
        Err(Errno::ENOSYS)
    }

    /// Copies between two open files; returns how many bytes.
    fn copy_file_range(&self, by: &Caller, copy: &CopyRange) -> Result<u64> {
        Err(Errno::ENOSYS)
    }

    /// The first lock that keeps `lock` from being set, as an unlocked range if there is none.
    fn getlk(&self, node: NodeId, handle: Handle, lock: &Lock) -> Result<FileLock> {
        Err(Errno::ENOSYS)
    }

    /// Sets a lock, or with `F_UNLCK` takes it away. `EAGAIN` if another one is in the way.
    fn setlk(&self, node: NodeId, handle: Handle, lock: &Lock) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// An `ioctl(2)` with data in and room for data out; returns how much of the room was used.
    /// `directory` tells which of the two kinds of handles it is.
    fn ioctl(
        &self,
        node: NodeId,
        (handle, directory): (Handle, bool),
        command: u32,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<usize> {
        Err(Errno::ENOSYS)
    }

    /// Makes everything on the inode's file system durable.
    fn syncfs(&self, node: NodeId) -> Result<()> {
        Err(Errno::ENOSYS)
    }
}
