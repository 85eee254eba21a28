//! The records of READDIR and READDIRPLUS.

use ferryfs::fuse::abi::{Dirent, EntryOut};
use zerocopy::FromBytes;

use crate::error::{Error, Result};

/// One entry of a directory.
#[derive(Clone, Debug)]
pub struct DirEntry {
    /// Inode number.
    pub ino: u64,
    /// Where to read on after it.
    pub offset: u64,
    /// `DT_*`.
    pub kind: u32,
    /// The name.
    pub name: Vec<u8>,
    /// The inode, in a READDIRPLUS.
    pub entry: Option<EntryOut>,
}

/// Takes a reply apart.
pub(crate) fn parse(bytes: &[u8], plus: bool) -> Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (entry, later) =
            record(rest, plus).ok_or_else(|| Error::device("a directory record is cut off"))?;
        entries.push(entry);
        rest = later;
    }
    Ok(entries)
}

fn record(bytes: &[u8], plus: bool) -> Option<(DirEntry, &[u8])> {
    let (entry, rest) = match plus {
        true => EntryOut::read_from_prefix(bytes).ok().map(|(entry, rest)| (Some(entry), rest))?,
        false => (None, bytes),
    };
    let (head, rest) = Dirent::read_from_prefix(rest).ok()?;
    let len = head.namelen as usize;
    let (name, rest) = rest.split_at_checked(len)?;
    let (padding, rest) = rest.split_at_checked(len.next_multiple_of(8) - len)?;
    if name.is_empty() || name.contains(&0) || padding.iter().any(|byte| *byte != 0) {
        return None;
    }
    let Dirent { ino, off, kind, .. } = head;
    Some((DirEntry { ino, offset: off, kind, name: name.to_vec(), entry }, rest))
}
