//! The form in which inodes and open files go to another daemon.
//!
//! ```text
//! ids     what tells later ids from all before them, of inodes, files and directories
//! record  inodes, sorted by path; then what is open; then the end
//! ```
//! A record is a [`Head`], the part of a path that the one before has not, and a file handle. All
//! numbers are little-endian.

use std::io::{self, Read, Write};

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::super::identity::FileHandle;
use super::super::sys::MAX_HANDLE;
use super::bad;

/// A path to an inode of a deeper tree than this cannot be told.
pub(super) const LONGEST_PATH: usize = 1 << 20;

/// The type of a handle comes before it.
const HANDLE_TYPE: usize = size_of::<i32>();

/// What tells later ids from all before them.
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
pub(super) struct Ids {
    pub(super) inodes: U64,
    pub(super) files: U64,
    pub(super) dirs: U64,
}

/// What is the same in every record.
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Head {
    what: u8,
    how: u8,
    /// Bytes of the file handle with its type, or 0.
    handle: U16,
    /// Type bits of an inode, flags of a file.
    kind: U32,
    id: U64,
    /// Lookups of an inode, the inode of what is open, at the end all records before it.
    other: U64,
    /// Bytes of the path that are those of the last path.
    kept: U32,
    /// Bytes of the path behind them.
    more: U32,
}

/// How an inode is described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum How {
    /// Not at all: it could not be found.
    Lost,
    /// By its path; a handle is that which it must have.
    Path,
    /// By its handle; the path is of any directory on its mount.
    Handle,
}

/// What a record is about.
#[derive(Debug)]
pub(super) enum Item {
    /// Its path is in the [`Reader`].
    Inode {
        node: u64,
        lookups: u64,
        kind: u32,
        how: How,
        handle: Option<FileHandle>,
    },
    File {
        handle: u64,
        node: u64,
        flags: u32,
    },
    Dir {
        handle: u64,
        node: u64,
    },
    End,
}

const INODE: u8 = 1;
const FILE: u8 = 2;
const DIR: u8 = 3;
const END: u8 = 4;

/// By their numbers.
const HOWS: [How; 3] = [How::Lost, How::Path, How::Handle];

/// Writes records.
pub(super) struct Writer<'a> {
    to: &'a mut dyn Write,
    path: Vec<u8>,
    records: u64,
}

impl<'a> Writer<'a> {
    pub(super) fn new(to: &'a mut dyn Write, ids: &Ids) -> io::Result<Self> {
        to.write_all(ids.as_bytes())?;
        Ok(Writer { to, path: Vec::new(), records: 0 })
    }

    pub(super) fn put(&mut self, item: &Item, path: &[u8]) -> io::Result<()> {
        let (what, how, kind, id, other) = match *item {
            Item::Inode { node, lookups, kind, how, .. } => (INODE, how, kind, node, lookups),
            Item::File { handle, node, flags } => (FILE, How::Lost, flags, handle, node),
            Item::Dir { handle, node } => (DIR, How::Lost, 0, handle, node),
            Item::End => (END, How::Lost, 0, 0, self.records),
        };
        let same = path.iter().zip(&self.path).take_while(|(new, old)| new == old);
        let kept = same.count();
        let more = &path[kept..];
        let mut handle = Vec::new();
        if let Item::Inode { handle: Some(of), .. } = item {
            let (kind, bytes) = of.parts();
            handle.extend_from_slice(&kind.to_le_bytes());
            handle.extend_from_slice(bytes);
        }
        let head = Head {
            what,
            how: how as u8,
            handle: u16::try_from(handle.len()).map_err(io::Error::other)?.into(),
            kind: kind.into(),
            id: id.into(),
            other: other.into(),
            kept: u32::try_from(kept).map_err(io::Error::other)?.into(),
            more: u32::try_from(more.len()).map_err(io::Error::other)?.into(),
        };
        self.to.write_all(head.as_bytes())?;
        self.to.write_all(more)?;
        self.to.write_all(&handle)?;
        self.path.truncate(kept);
        self.path.extend_from_slice(more);
        self.records += 1;
        Ok(())
    }
}

/// Reads records, which may be anything.
pub(super) struct Reader<'a> {
    from: &'a mut dyn Read,
    path: Vec<u8>,
    records: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn new(from: &'a mut dyn Read) -> io::Result<(Self, Ids)> {
        let mut ids = Ids::new_zeroed();
        from.read_exact(ids.as_mut_bytes())?;
        Ok((Reader { from, path: Vec::new(), records: 0 }, ids))
    }

    /// The path of the last record.
    pub(super) fn path(&self) -> &[u8] {
        &self.path
    }

    pub(super) fn next(&mut self) -> io::Result<Item> {
        let mut head = Head::new_zeroed();
        self.from.read_exact(head.as_mut_bytes())?;
        let (kept, more) = (head.kept.get() as usize, head.more.get() as usize);
        if kept > self.path.len() || kept.saturating_add(more) > LONGEST_PATH {
            return Err(bad("a path in it is too long"));
        }
        self.path.resize(kept + more, 0);
        self.from.read_exact(&mut self.path[kept..])?;
        let handle = self.handle(head.handle.get().into())?;
        let (id, other, kind) = (head.id.get(), head.other.get(), head.kind.get());
        let how = HOWS.get(usize::from(head.how)).copied();
        let records = self.records;
        self.records += 1;
        match (head.what, how) {
            (INODE, Some(how)) => Ok(Item::Inode { node: id, lookups: other, kind, how, handle }),
            (FILE, _) => Ok(Item::File { handle: id, node: other, flags: kind }),
            (DIR, _) => Ok(Item::Dir { handle: id, node: other }),
            (END, _) if other == records => Ok(Item::End),
            _ => Err(bad("it makes no sense")),
        }
    }

    fn handle(&mut self, len: usize) -> io::Result<Option<FileHandle>> {
        if len == 0 {
            return Ok(None);
        }
        let mut bytes = [0; HANDLE_TYPE + MAX_HANDLE];
        let bytes = bytes.get_mut(..len).ok_or_else(|| bad("a file handle in it is too long"))?;
        self.from.read_exact(bytes)?;
        let parts = bytes.split_first_chunk();
        let (kind, bytes) = parts.ok_or_else(|| bad("a file handle in it is too short"))?;
        Ok(FileHandle::from_parts(i32::from_le_bytes(*kind), bytes))
    }
}
