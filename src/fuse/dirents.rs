//! Directory entries, straight into the reply.

use zerocopy::FromZeros;

use super::abi::{Dirent, Direntplus, EntryOut};
use super::filesystem::{Entry, NodeId};
use crate::mem::{Output, Short};

/// One entry of a directory.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Inode number, as in the inode's attributes.
    pub ino: u64,
    /// Where reading goes on after this entry.
    pub offset: u64,
    /// `DT_*` of `readdir(3)`.
    pub kind: u32,
    /// 1 to 255 bytes.
    pub name: &'a [u8],
}

/// Takes the entries of one READDIR or READDIRPLUS; a record is put whole or not at all.
pub struct DirSink<'a, 'b> {
    out: &'b mut Output<'a>,
    /// For READDIRPLUS: whether the guest is not to have an inode after all, whose lookup is taken
    /// back then.
    plus: Option<&'b dyn Fn(NodeId) -> bool>,
    nodes: Option<&'b dyn Fn(NodeId) -> Option<NodeId>>,
}

impl<'a, 'b> DirSink<'a, 'b> {
    pub(super) fn new(out: &'b mut Output<'a>, plus: Option<&'b dyn Fn(NodeId) -> bool>) -> Self {
        DirSink { out, plus, nodes: None }
    }

    /// The same, for a file system that knows inodes by other nodeids than the guest: `nodes` gives
    /// those of the guest, or none if the entry is to go without its inode.
    pub fn translated<'c>(
        &'c mut self,
        nodes: &'c dyn Fn(NodeId) -> Option<NodeId>,
    ) -> DirSink<'a, 'c> {
        DirSink { out: &mut *self.out, plus: self.plus, nodes: Some(nodes) }
    }

    /// True if the guest wants each entry looked up as well.
    #[must_use]
    pub fn is_plus(&self) -> bool {
        self.plus.is_some()
    }

    /// True if an entry with a name of this length can be put.
    #[must_use]
    pub fn fits(&self, name: usize) -> bool {
        self.head() + padded(name) <= self.out.room()
    }

    /// Puts one entry. `entry` is the looked-up inode, or none if there is none to give, as for
    /// `.` and `..`; a plain READDIR ignores it.
    ///
    /// # Errors
    /// [`Short`] if it does not [fit](Self::fits); nothing is put then.
    pub fn add(&mut self, record: &Record<'_>, entry: Option<&Entry>) -> Result<(), Short> {
        if !self.fits(record.name.len()) {
            return Err(Short);
        }
        let namelen = u32::try_from(record.name.len()).map_err(|_| Short)?;
        let dirent = Dirent { ino: record.ino, off: record.offset, namelen, kind: record.kind };
        if let Some(overtakes) = self.plus {
            let entry = entry.and_then(|entry| self.known(entry));
            let entry = entry.filter(|entry| !overtakes(entry.node));
            let entry = entry.map_or_else(EntryOut::new_zeroed, Entry::to_wire);
            self.out.put(&Direntplus { entry, dirent })?;
        } else {
            self.out.put(&dirent)?;
        }
        self.out.put_bytes(record.name)?;
        self.out.put_bytes(&[0; 7][..padded(record.name.len()) - record.name.len()])
    }

    fn known(&self, entry: &Entry) -> Option<Entry> {
        let Some(nodes) = self.nodes else { return Some(*entry) };
        Some(Entry { node: nodes(entry.node)?, ..*entry })
    }

    fn head(&self) -> usize {
        if self.is_plus() { size_of::<Direntplus>() } else { size_of::<Dirent>() }
    }
}

fn padded(name: usize) -> usize {
    name.next_multiple_of(8)
}
