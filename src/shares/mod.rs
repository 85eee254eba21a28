//! Floor 3: several shares for one guest, side by side in a directory that is on no disk.
//!
//! Each share is a [`Passthrough`] of its own, with its own inodes and handles: nothing that a guest
//! says about one means anything to another. A directory or file that is shared alone does not
//! come by here.

mod filesystem;
mod root;
mod table;

use std::ffi::CStr;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::Duration;

use crate::fuse::flags::attr;
use crate::fuse::{Entry, Errno, Filesystem, Name, Negotiated, NodeId, Result};
use crate::passthrough::{Common, Holder, Passthrough, Survey};

use root::Root;
use table::{Node, Nodes, Share};

/// Serves several directories and files, each under its name.
pub struct Shares {
    nodes: Nodes,
    root: Root,
    common: Common,
    /// INIT flags that the first share wants; all are set up alike.
    wanted: OnceLock<u64>,
    list: RwLock<List>,
}

#[derive(Default)]
struct List {
    /// In the order of their numbers.
    shares: Vec<Arc<Share>>,
    last: u64,
    /// While there is a session.
    agreed: Option<Negotiated>,
}

impl Shares {
    /// No shares yet. The guest may know `inodes` inodes in them, which hold their descriptors in
    /// `common`, and may take a name to mean a share for `valid`, or a second if that is longer.
    #[must_use]
    pub fn new(inodes: usize, common: Common, valid: Duration) -> Self {
        Shares {
            nodes: Nodes::new(inodes),
            root: Root::new(valid),
            common,
            wanted: OnceLock::new(),
            list: RwLock::default(),
        }
    }

    /// One more share, beside the others from the beginning of their [`Common`] on.
    ///
    /// # Errors
    /// `EEXIST` if there is one of this name, `ENFILE` if there are too many inodes, and what the
    /// beginning of a session gives.
    pub fn add(&self, name: &Name, files: Passthrough) -> Result<()> {
        let mut list = self.change();
        if list.find(name.as_c_str()).is_some() {
            return Err(Errno::EEXIST);
        }
        if let Some(agreed) = &list.agreed {
            files.start(agreed)?;
        }
        list.last += 1;
        self.wanted.get_or_init(|| files.wanted());
        let share = Share::new(name.as_c_str(), list.last, files);
        self.nodes.of(&share, NodeId::ROOT)?;
        self.common.add(Arc::downgrade(&share) as Weak<dyn Holder>);
        list.shares.push(share);
        self.root.change();
        Ok(())
    }

    /// Takes a share away: whatever the guest knows of it is stale from now on. False if there is
    /// no such share.
    pub fn remove(&self, name: &CStr) -> bool {
        let mut list = self.change();
        let Some(at) = list.shares.iter().position(|share| *share.name == *name) else {
            return false;
        };
        let share = list.shares.remove(at);
        self.root.change();
        drop(list);
        self.nodes.close(&share);
        share.files.end();
        true
    }

    /// What is held for the guest, in all shares together.
    #[must_use]
    pub fn survey(&self) -> Survey {
        let mut sum = Survey { inodes: self.inodes(), directories: 1, ..Survey::default() };
        for share in &self.all() {
            let one = share.files.survey();
            sum.directories += one.directories;
            sum.files += one.files;
            sum.pinned += one.pinned;
            sum.by_handle += one.by_handle;
            sum.open_files += one.open_files;
            sum.open_directories += one.open_directories;
            (sum.descriptors, sum.budget) = (one.descriptors, one.budget);
        }
        sum
    }

    /// Inodes that the guest knows, the root and those of the shares included.
    #[must_use]
    pub fn inodes(&self) -> usize {
        self.nodes.len()
    }

    /// Files and directories of shares that the guest has open.
    #[must_use]
    pub fn handles(&self) -> usize {
        self.list().shares.iter().map(|share| share.files.handles()).sum()
    }

    /// Descriptors that are held for the guest, and how many may be.
    #[must_use]
    pub fn descriptors(&self) -> (usize, usize) {
        self.common.descriptors()
    }

    fn list(&self) -> RwLockReadGuard<'_, List> {
        self.list.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shares, for what may wait: nobody else shall wait for that.
    fn all(&self) -> Vec<Arc<Share>> {
        self.list().shares.clone()
    }

    fn change(&self) -> RwLockWriteGuard<'_, List> {
        self.list.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the guest shall know of a share by its name in the root.
    fn entry(&self, share: &Arc<Share>) -> Result<Entry> {
        let mut found = share.files.getattr(NodeId::ROOT, None)?;
        let is_dir = found.attr.mode & libc::S_IFMT == libc::S_IFDIR;
        if is_dir && share.files.announces_submounts() {
            found.attr.flags |= attr::SUBMOUNT;
        }
        Ok(Entry {
            node: self.nodes.of(share, NodeId::ROOT)?,
            attr: found.attr,
            attr_valid: found.valid.min(self.root.valid),
            entry_valid: self.root.valid,
        })
    }

    /// Calls `of_root` or, for an inode of a share, `inside` with that share and its own nodeid.
    fn at<T>(
        &self,
        node: NodeId,
        of_root: impl FnOnce() -> Result<T>,
        inside: impl FnOnce(&Arc<Share>, NodeId) -> Result<T>,
    ) -> Result<T> {
        match &*self.nodes.get(node)? {
            Node::Root => of_root(),
            Node::In(share, local) => inside(share, *local),
        }
    }

    /// The same for two inodes. The root is refused with `of_root`, two shares with `EXDEV`.
    fn at_both<T>(
        &self,
        nodes: (NodeId, NodeId),
        of_root: Errno,
        inside: impl FnOnce(&Arc<Share>, NodeId, NodeId) -> Result<T>,
    ) -> Result<T> {
        match (&*self.nodes.get(nodes.0)?, &*self.nodes.get(nodes.1)?) {
            (Node::In(one, first), Node::In(other, second)) if Arc::ptr_eq(one, other) => {
                inside(one, *first, *second)
            }
            (Node::In(..), Node::In(..)) => Err(Errno::EXDEV),
            (Node::Root, _) | (_, Node::Root) => Err(of_root),
        }
    }

    /// What a share says of one of its inodes, as the guest shall know it.
    fn known(&self, share: &Arc<Share>, entry: Entry) -> Result<Entry> {
        match entry.node {
            NodeId::NONE => Ok(entry),
            local => Ok(Entry { node: self.nodes.of(share, local)?, ..entry }),
        }
    }
}

impl List {
    fn find(&self, name: &CStr) -> Option<&Arc<Share>> {
        self.shares.iter().find(|share| *share.name == *name)
    }
}
