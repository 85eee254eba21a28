//! Open directories.

use std::collections::VecDeque;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{OFlags, SeekFrom};

use super::Passthrough;
use super::descriptors::Fd;
use super::inode::Inode;
use super::lookup::{Dir, Known};
use super::mounts::reopen_dir;
use super::sys::getdents;
use crate::fuse::flags::init;
use crate::fuse::{DirSink, Errno, Handle, Name, NodeId, Opened, Patience, Record, Result};
use crate::mem::Pin;

/// A directory that the guest has open.
pub(super) struct OpenDir {
    fd: Fd,
    pub(super) node: NodeId,
    stream: Mutex<Stream>,
}

/// What was read of a directory and not yet given to the guest.
#[derive(Default)]
struct Stream {
    /// Packed `linux_dirent64` records; no memory is held before the first and after the last.
    records: Vec<u8>,
    /// Start of the next record.
    next: usize,
    /// The guest's offset of the next record.
    offset: u64,
    /// The request before this one came to the end after some entries: this one is to say so.
    ended: bool,
    /// The records had to go; the directory's own position is behind them.
    lost: bool,
}

/// Directories of which something was read and not yet given, the oldest first. There are few:
/// a guest may have as many directories open as it likes.
#[derive(Default)]
pub(super) struct Listings(Mutex<VecDeque<Handle>>);

/// So many directories may hold a batch.
const MOST: usize = 256;

impl Listings {
    /// One more holds a batch. Returns the one that is to give up its own.
    fn add(&self, handle: Handle) -> Option<Handle> {
        let mut handles = self.handles();
        handles.push_back(handle);
        if handles.len() > MOST { handles.pop_front() } else { None }
    }

    fn handles(&self) -> MutexGuard<'_, VecDeque<Handle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for OpenDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Passthrough {
    pub(super) fn open_dir(&self, node: NodeId) -> Result<Opened> {
        let inode = self.directory(node)?;
        self.must_open(init::NO_OPENDIR_SUPPORT)?;
        let handle = self.new_dir(node, &inode)?;
        Ok(Opened { handle, flags: self.dir_flags(), backing: None })
    }

    fn new_dir(&self, node: NodeId, inode: &Inode) -> Result<Handle> {
        let dir = self.open_dir_of(node, inode)?;
        Ok(Handle(self.dirs.insert(dir).map_err(|_| Errno::ENFILE)?))
    }

    pub(super) fn open_dir_of(&self, node: NodeId, inode: &Inode) -> Result<OpenDir> {
        let fd = self.fd(node, inode)?;
        let fd = self.inodes.open(|| reopen_dir(fd.as_fd(), READ))?;
        Ok(OpenDir { fd, node, stream: Mutex::default() })
    }

    /// An open directory of this inode.
    pub(super) fn dir(&self, node: NodeId, handle: Handle) -> Result<Pin<'_, OpenDir>> {
        let dir = self.dirs.get(handle.0).filter(|dir| dir.node == node);
        dir.map_or_else(|| self.unopened_dir(node, handle), Ok)
    }

    #[cold]
    fn unopened_dir(&self, node: NodeId, handle: Handle) -> Result<Pin<'_, OpenDir>> {
        let dirs = (&self.dirs, |dir: &OpenDir| dir.node == node);
        self.unopened((node, handle), init::NO_OPENDIR_SUPPORT, dirs, |inode| {
            if inode.is_dir() { self.new_dir(node, inode) } else { Err(Errno::ENOTDIR) }
        })
    }

    pub(super) fn read_dir(
        &self,
        node: NodeId,
        handle: Handle,
        offset: u64,
        sink: &mut DirSink<'_, '_>,
    ) -> Result<()> {
        let dir = &*self.dir(node, handle)?;
        let mut stream = dir.stream.lock().unwrap_or_else(PoisonError::into_inner);
        if stream.offset != offset || stream.lost {
            rustix::fs::seek(dir.as_fd(), SeekFrom::Start(offset))?;
            *stream = Stream { offset, ..Stream::default() };
        }
        let held = stream.records.capacity() > 0;
        if std::mem::take(&mut stream.ended) {
            return Ok(());
        }
        let inode = self.inodes.get(node)?;
        let (id, is_local) = (inode.id, inode.mount.is_local);
        let here = Dir { node, id, is_local, fd: dir.as_fd() };
        loop {
            let Some(found) = stream.peek(dir.as_fd())? else {
                stream.ended = stream.offset != offset;
                break;
            };
            if !sink.fits(found.name.count_bytes()) {
                break;
            }
            if self.put_entry(&here, &found, sink) {
                let (len, offset) = (found.len, found.offset);
                stream.next += len;
                stream.offset = offset;
            } else {
                break;
            }
        }
        let holds = stream.records.capacity() > 0;
        drop(stream);
        if holds && !held {
            self.make_room(handle);
        }
        Ok(())
    }

    /// A directory holds a batch; another gives up its own for it if there are too many.
    fn make_room(&self, handle: Handle) {
        let Some(oldest) = self.listings.add(handle) else { return };
        let Some(dir) = self.dirs.get(oldest.0) else { return };
        match dir.stream.try_lock() {
            Ok(mut stream) if stream.records.capacity() > 0 => {
                *stream = Stream { offset: stream.offset, lost: true, ..Stream::default() };
            }
            Ok(_) => {}
            // It is being read just now, which may take long.
            Err(_) => self.listings.handles().push_back(oldest),
        }
    }

    /// Gives one entry to the guest; false if there was no room after all. An entry that is gone
    /// by now is left out, one that cannot be looked up, or only by waiting for a server while
    /// others wait for this listing, is given without its inode.
    fn put_entry(&self, dir: &Dir<'_>, found: &Found<'_>, sink: &mut DirSink<'_, '_>) -> bool {
        let name = found.name.to_bytes();
        let dots = name == b"." || name == b"..";
        // What is above the share is none of the guest's business.
        let ino = if dots && dir.node == NodeId::ROOT { dir.id.ino } else { found.ino };
        let ino = self.guest_ino(dir.id.dev, ino);
        let mut record = Record { ino, offset: found.offset, kind: found.kind, name };
        if !sink.is_plus() || dots || Name::new(found.name).is_err() {
            return sink.add(&record, None).is_ok();
        }
        let entry = match self.find_in(dir, found.name, Known::Compare, Patience::None) {
            Ok(entry) => entry,
            Err(Errno::ENOENT) => return true,
            Err(_) => return sink.add(&record, None).is_ok(),
        };
        record.ino = entry.attr.ino;
        let put = sink.add(&record, Some(&entry)).is_ok();
        if !put {
            self.inodes.forget(entry.node, 1);
        }
        put
    }
}

/// A `struct linux_dirent64`: inode number, offset of the next record, length of this one, type,
/// name with NUL.
pub(super) struct Found<'a> {
    pub(super) ino: u64,
    offset: u64,
    pub(super) len: usize,
    pub(super) kind: u32,
    pub(super) name: &'a CStr,
}

impl<'a> Found<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (ino, rest) = bytes.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (kind, _) = rest.split_first()?;
        let len = usize::from(u16::from_ne_bytes(*len));
        Some(Found {
            ino: u64::from_ne_bytes(*ino),
            offset: u64::from_ne_bytes(*offset),
            len,
            kind: u32::from(*kind),
            name: CStr::from_bytes_until_nul(bytes.get(19..len)?).ok()?,
        })
    }
}

/// How directories are opened to be read.
pub(super) const READ: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Bytes asked of the host at once.
pub(super) const BATCH: usize = 32 << 10;

impl Stream {
    /// The next record, or none at the directory's end.
    fn peek(&mut self, dir: BorrowedFd<'_>) -> Result<Option<Found<'_>>> {
        if self.next == self.records.len() {
            self.next = 0;
            if self.records.capacity() == 0 {
                self.records.reserve_exact(BATCH);
            }
            getdents(dir, &mut self.records)?;
            if self.records.is_empty() {
                self.records = Vec::new();
                return Ok(None);
            }
        }
        Found::parse(&self.records[self.next..]).ok_or(Errno::EIO).map(Some)
    }
}
