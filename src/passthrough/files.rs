//! Open regular files.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::AtomicU64;

use rustix::fs::{FallocateFlags, OFlags, SeekFrom, Statx};

use super::Passthrough;
use super::backing::Counted;
use super::descriptors::Fd;
use super::identity::stat_fd;
use super::inode::{Inode, InodeFd};
use super::sys;
use crate::fuse::flags::{init, write};
use crate::fuse::{
    Caller, CopyRange, Errno, Handle, NodeId, Opcode, Opened, PAGE, Patience, Result, Wait,
};
use crate::mem::{Input, Output, Pin, Slab};

/// A file that the guest has open.
pub(super) struct OpenFile {
    fd: Fd,
    pub(super) node: NodeId,
    /// It is in memory always: reading it does not wait.
    is_memory: bool,
    /// It is not kept in memory: reading it always waits.
    is_direct: bool,
    /// When the file was seen to have no capabilities under another name.
    no_capabilities: AtomicU64,
    #[expect(dead_code, reason = "counts while it lives")]
    counted: Option<Counted>,
}

impl OpenFile {
    pub(super) fn new(fd: Fd, node: NodeId, inode: &Inode) -> Self {
        let is_memory = inode.mount.is_memory;
        let no_capabilities = AtomicU64::new(0);
        OpenFile { fd, node, is_memory, is_direct: false, no_capabilities, counted: None }
    }

    pub(super) fn is_of(&self, node: NodeId) -> bool {
        self.node == node
    }
}

impl AsFd for OpenFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Passthrough {
    pub(super) fn open_file(&self, node: NodeId, flags: u32, kill: bool) -> Result<Opened> {
        self.must_open(init::NO_OPEN_SUPPORT)?;
        let inode = self.inodes.get(node)?;
        self.stop_mapping(node, &inode, OFlags::from_bits_retain(flags))?;
        let flags = self.open_flags(flags)?;
        let file = match flags.contains(OFlags::TRUNC) {
            true => self.with_privilege(!kill, || self.reopen(node, &inode, flags))?,
            false => self.reopen(node, &inode, flags)?,
        };
        let opened = self.opened(file, (node, &inode), flags, None)?;
        self.is_still_mapped(&inode).inspect_err(|_| {
            self.files.remove(opened.handle.0);
        })?;
        Ok(opened)
    }

    /// Gives a file that was just opened its handle, and says how it goes on. `stat` are its
    /// attributes, if they are known.
    pub(super) fn opened(
        &self,
        file: Fd,
        (node, inode): (NodeId, &Inode),
        open: OFlags,
        stat: Option<Statx>,
    ) -> Result<Opened> {
        let stat = || stat.map_or_else(|| stat_fd(file.as_fd()), Ok);
        let flags = self.file_flags(inode, stat)?;
        let (flags, backing, counted) = self.way(inode, file.as_fd(), (open, flags), stat)?;
        let is_direct = open.contains(OFlags::DIRECT);
        let file = OpenFile { is_direct, counted, ..OpenFile::new(file, node, inode) };
        Ok(Opened { handle: self.insert(file)?, flags, backing })
    }

    /// Opens an inode if it is a regular file. Opening anything else could block, or do things
    /// to a device; guests never ask for it.
    pub(super) fn reopen(&self, node: NodeId, inode: &Inode, flags: OFlags) -> Result<Fd> {
        match inode.kind() {
            libc::S_IFREG => {}
            libc::S_IFDIR => return Err(Errno::EISDIR),
            libc::S_IFLNK => return Err(Errno::ELOOP),
            _ => return Err(Errno::ENXIO),
        }
        if inode.opens_by_handle() {
            let flags = flags.bits().cast_signed();
            match self.inodes.open(|| inode.open_by_handle(flags).ok_or(Errno::ESTALE)?) {
                Err(Errno::ESTALE) => {}
                opened => return opened,
            }
        }
        self.with_fd(node, inode, |fd| self.inodes.open(|| self.open_again(fd, flags)))
    }

    /// Runs `call` with a descriptor of an inode.
    pub(super) fn with_fd<T>(
        &self,
        node: NodeId,
        inode: &Inode,
        call: impl FnOnce(BorrowedFd<'_>) -> Result<T>,
    ) -> Result<T> {
        call(self.fd(node, inode)?.as_fd())
    }

    /// A descriptor of an inode, which is opened if need be. What has no name, or another by now,
    /// lives on while the guest has it open.
    pub(super) fn fd<'a>(&self, node: NodeId, inode: &'a Inode) -> Result<InodeFd<'a>> {
        loop {
            match self.inodes.fd(node, inode) {
                Err(Errno::ESTALE) => self.pin_by_what_is_open(node, inode)?,
                fd => return fd,
            }
        }
    }

    #[cold]
    fn pin_by_what_is_open(&self, node: NodeId, inode: &Inode) -> Result<()> {
        let again = |fd: BorrowedFd<'_>| self.inodes.open(|| self.open_again(fd, OFlags::PATH));
        let fd = if inode.is_dir() {
            let open = any(&self.dirs, |dir| dir.node == node).ok_or(Errno::ESTALE)?;
            again(open.as_fd())?
        } else {
            let open = any(&self.files, |file| file.is_of(node)).ok_or(Errno::ESTALE)?;
            again(open.as_fd())?
        };
        self.inodes.pin(node, inode, fd);
        Ok(())
    }

    pub(super) fn insert(&self, file: OpenFile) -> Result<Handle> {
        Ok(Handle(self.files.insert(file).map_err(|_| Errno::ENFILE)?))
    }

    /// The file of this inode that the guest has open by this handle.
    pub(super) fn open_file_of(&self, node: NodeId, handle: Handle) -> Option<Pin<'_, OpenFile>> {
        self.files.get(handle.0).filter(|file| file.is_of(node))
    }

    /// An open file of this inode.
    pub(super) fn file(&self, node: NodeId, handle: Handle) -> Result<Pin<'_, OpenFile>> {
        self.open_file_of(node, handle).map_or_else(|| self.unopened_file(node, handle), Ok)
    }

    #[cold]
    fn unopened_file(&self, node: NodeId, handle: Handle) -> Result<Pin<'_, OpenFile>> {
        let files = (&self.files, |file: &OpenFile| file.is_of(node));
        self.unopened((node, handle), init::NO_OPEN_SUPPORT, files, |inode| {
            let fd = self.reopen(node, inode, OFlags::RDONLY | OFlags::CLOEXEC)?;
            self.insert(OpenFile::new(fd, node, inode))
        })
    }

    /// Reads; without patience only what is in memory.
    pub(super) fn read_file(
        &self,
        file: &OpenFile,
        offset: u64,
        patience: Patience,
        out: &mut Output<'_>,
    ) -> Result<usize> {
        if patience == Patience::Storage || file.is_memory {
            return Ok(out.fill_from(file.as_fd(), offset, 0)?);
        }
        if file.is_direct {
            // RWF_NOWAIT is not about the storage itself.
            return Err(Errno::WAITS);
        }
        let wanted = out.room();
        match out.fill_from(file.as_fd(), offset, libc::RWF_NOWAIT).map_err(Errno::from) {
            // It ends at the file's end, or where the rest is not in memory; that is at a page.
            Ok(count @ 1..) if count < wanted => {
                let end = offset + count as u64;
                let at_the_end =
                    !end.is_multiple_of(PAGE) || end >= stat_fd(file.as_fd())?.stx_size;
                if at_the_end { Ok(count) } else { Err(Errno::WAITS) }
            }
            Err(Errno::EAGAIN | Errno::EOPNOTSUPP) => Err(Errno::WAITS),
            read => read,
        }
    }

    /// What a request is likely to wait for.
    pub(super) fn likely_wait(&self, opcode: Opcode, node: NodeId) -> Option<Wait> {
        let is_remote = || {
            self.mounts.has_remote()
                && match opcode {
                    // Of all that is shared, or open.
                    Opcode::Syncfs | Opcode::Init | Opcode::Destroy => true,
                    _ => self.inodes.get(node).is_ok_and(|inode| !inode.mount.is_local),
                }
        };
        let waits = match opcode {
            Opcode::Init | Opcode::Destroy | Opcode::Setupmapping | Opcode::Removemapping => {
                self.dax.is_some()
            }
            Opcode::Fsync
            | Opcode::Fsyncdir
            | Opcode::Syncfs
            | Opcode::Fallocate
            | Opcode::CopyFileRange
            | Opcode::CopyFileRange64 => {
                self.inodes.get(node).is_ok_and(|inode| !inode.mount.is_memory)
            }
            _ => false,
        };
        if is_remote() { Some(Wait::Server) } else { waits.then_some(Wait::Storage) }
    }

    pub(super) fn release_file(&self, node: NodeId, handle: Handle, unlock: bool) -> Result<()> {
        let file = self.file(node, handle)?;
        let was_there = self.files.remove(handle.0);
        // After that: who locks through it meanwhile sees that it is gone.
        self.locks.release(node, handle);
        let unlocked = match unlock && self.has_agreed(init::FLOCK_LOCKS) {
            // Others may still use the descriptor; the lock ends now.
            true => sys::flock(file.as_fd(), libc::F_UNLCK),
            false => Ok(()),
        };
        // The file is closed in any case: no guest asks twice.
        if was_there { unlocked } else { Err(Errno::EBADF) }
    }

    /// Writes; to the very end if the guest's descriptor appends and the data does not come from
    /// its page cache, because others may have appended as well.
    pub(super) fn write_file(
        &self,
        file: &OpenFile,
        offset: u64,
        (flags, write_flags): (u32, u32),
        data: &mut Input<'_>,
    ) -> Result<usize> {
        let appends = flags & libc::O_APPEND.cast_unsigned() != 0;
        let cached = write_flags & write::CACHE != 0;
        let flags = if appends && !cached { libc::RWF_APPEND } else { 0 };
        self.drop_renamed_capabilities(file.as_fd(), Some(&file.no_capabilities))?;
        let privileged = write_flags & write::KILL_SUIDGID == 0;
        self.with_privilege(privileged, || Ok(data.drain_to(file.as_fd(), offset, flags)?))
    }

    /// Reports what close(2) would. On file systems of this host that is nothing, and a guest that
    /// is told so once never asks again, of no file: so none is told who has met a server's.
    pub(super) fn flush_file(&self, node: NodeId, handle: Handle, owner: u64) -> Result<()> {
        let file = self.file(node, handle)?;
        let locks = self.has_agreed(init::POSIX_LOCKS);
        if locks {
            self.locks.flush(node, owner);
        }
        if self.inodes.get(node)?.mount.is_local {
            let asks_on = locks || self.mounts.has_remote();
            return if asks_on { Ok(()) } else { Err(Errno::ENOSYS) };
        }
        let copy = self.inodes.open(|| Ok(rustix::io::fcntl_dupfd_cloexec(file.as_fd(), 0)?))?;
        copy.close()
    }

    /// Runs `call`, which changes a file's content, on behalf of a caller who may leave
    /// set-user-id and set-group-id as they are, or else so that the host takes them away. With
    /// HANDLE_KILLPRIV, the older protocol, they always go.
    pub(super) fn with_privilege<T>(
        &self,
        privileged: bool,
        call: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let keep = privileged && !self.has_agreed(init::HANDLE_KILLPRIV);
        self.powers.with_fsetid(keep, call)
    }

    /// Runs `call`, which changes a file's content by a request that does not say what has to go.
    /// With HANDLE_KILLPRIV_V2 that is for us to know.
    fn on_behalf<T>(
        &self,
        by: &Caller,
        file: &OpenFile,
        call: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        self.drop_renamed_capabilities(file.as_fd(), Some(&file.no_capabilities))?;
        self.with_privilege(by.uid == 0 || !self.has_agreed(init::HANDLE_KILLPRIV_V2), call)
    }

    pub(super) fn allocate(
        &self,
        by: &Caller,
        file: &OpenFile,
        (offset, length): (u64, u64),
        mode: u32,
    ) -> Result<()> {
        let mode = FallocateFlags::from_bits_retain(mode);
        let allocate = || Ok(rustix::fs::fallocate(file.as_fd(), mode, offset, length)?);
        self.on_behalf(by, file, allocate)
    }

    pub(super) fn copy(&self, by: &Caller, copy: &CopyRange) -> Result<u64> {
        if copy.flags != 0 {
            return Err(Errno::EINVAL);
        }
        let ((from_node, from, mut from_at), (to_node, to, mut to_at)) = (copy.from, copy.to);
        let (from, to) = (self.file(from_node, from)?, self.file(to_node, to)?);
        let len = usize::try_from(copy.len).unwrap_or(usize::MAX).min(MAX_COPY);
        let (from_at, to_at) = (Some(&mut from_at), Some(&mut to_at));
        let copy = || {
            let copied =
                rustix::fs::copy_file_range(from.as_fd(), from_at, to.as_fd(), to_at, len)?;
            Ok(copied as u64)
        };
        self.on_behalf(by, &to, copy)
    }

    /// Where data or a hole begins. What a guest has not written yet is a hole here or behind the
    /// end, so that one which writes back is told that this cannot be asked: then it takes all of
    /// a file for data, up to the end that it knows (fs/fuse/file.c, `fuse_lseek`).
    pub(super) fn seek(&self, fd: BorrowedFd<'_>, offset: u64, whence: u32) -> Result<u64> {
        if self.has_agreed(init::WRITEBACK_CACHE) {
            return Err(Errno::ENOSYS);
        }
        let offset = i64::try_from(offset).map_err(|_| Errno::ENXIO)?;
        let to = match whence.cast_signed() {
            libc::SEEK_DATA => SeekFrom::Data(offset.cast_unsigned()),
            libc::SEEK_HOLE => SeekFrom::Hole(offset.cast_unsigned()),
            _ => return Err(Errno::EINVAL),
        };
        Ok(rustix::fs::seek(fd, to)?)
    }
}

/// Any value that is what is looked for.
fn any<T>(table: &Slab<T>, is_it: impl Fn(&T) -> bool) -> Option<Pin<'_, T>> {
    let mut found = None;
    table.for_each(|id, value| {
        if is_it(value) {
            found = Some(id);
        }
    });
    table.get(found?)
}

/// `MAX_RW_COUNT`: the kernel does no more in one call.
const MAX_COPY: usize = 0x7fff_f000;

pub(super) fn sync(fd: BorrowedFd<'_>, data_only: bool) -> Result<()> {
    let synced = if data_only { rustix::fs::fdatasync(fd) } else { rustix::fs::fsync(fd) };
    Ok(synced?)
}
