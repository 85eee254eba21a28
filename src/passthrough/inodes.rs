//! The inodes that a guest knows.
//!
//! A nodeid is a slab id: it never names another inode later. One host inode has one nodeid for
//! as long as the guest remembers it.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use rustix::fs::{Mode, OFlags};

use super::descriptors::{Descriptors, Fd};
use super::identity::{FileId, Proof, stat_fd};
use super::index::{Index, Shard};
use super::inode::{Inode, InodeFd, Place};
use super::worker;
use crate::fuse::{Errno, NodeId, Result};
use crate::mem::{Pin, Slab};

/// Directories above an inode that may have to be opened by name to get at it.
const DEEPEST: usize = 4096;

/// The table of inodes.
pub(super) struct Inodes {
    slab: Slab<Inode>,
    index: Index,
    descriptors: Descriptors,
}

impl Inodes {
    /// A table for at most `limit` inodes, with only the root, which `make` makes of the descriptor
    /// that `open` opens.
    pub(super) fn new(
        limit: usize,
        descriptors: Descriptors,
        open: impl Fn() -> Result<OwnedFd>,
        make: impl FnOnce(Fd) -> Result<Inode>,
    ) -> Result<Self> {
        let slab = Slab::with_limit(limit.max(1));
        let root = make(descriptors.admit(&slab, open)?)?;
        let id = root.id;
        let node = slab.insert(root).map_err(|_| Errno::ENOMEM)?;
        assert_eq!(NodeId(node), NodeId::ROOT);
        let index = Index::new();
        index.shard(id).insert(&slab, NodeId::ROOT);
        Ok(Inodes { slab, index, descriptors })
    }

    /// The inode of a nodeid; if its file system is a server's, the thread may ask for things of
    /// it. `ESTALE` if the guest was never given it, or forgot it.
    pub(super) fn get(&self, node: NodeId) -> Result<Pin<'_, Inode>> {
        let inode = self.slab.get(node.0).ok_or(Errno::ESTALE)?;
        if !inode.mount.is_local {
            worker::be_the_daemon()?;
        }
        Ok(inode)
    }

    /// Opens one more descriptor on the guest's behalf, within the budget.
    pub(super) fn open(&self, open: impl Fn() -> Result<OwnedFd>) -> Result<Fd> {
        self.descriptors.admit(&self.slab, open)
    }

    /// A descriptor of an inode, which is opened if need be.
    pub(super) fn fd<'a>(&self, node: NodeId, inode: &'a Inode) -> Result<InodeFd<'a>> {
        loop {
            if let Some(fd) = inode.pinned() {
                return Ok(fd);
            }
            let fd = match self.open(|| inode.open_by_handle(libc::O_PATH).ok_or(Errno::ENOSYS)?) {
                Err(Errno::ENOSYS) => self.open_by_place(inode)?,
                opened => opened?,
            };
            self.pin(node, inode, fd);
        }
    }

    /// Opens an inode by the name under which it was last seen, and the directories above it
    /// that have no descriptor either, from the top down.
    fn open_by_place(&self, inode: &Inode) -> Result<Fd> {
        let mut above = Vec::new();
        let mut place = inode.place().ok_or(Errno::ESTALE)?;
        loop {
            let parent = self.get(place.parent)?;
            if parent.is_pinned() || parent.opens_by_handle() {
                break;
            }
            if above.len() == DEEPEST {
                return Err(Errno::ESTALE);
            }
            let next = parent.place().ok_or(Errno::ESTALE)?;
            above.push(std::mem::replace(&mut place, next));
        }
        while let Some(below) = above.pop() {
            let dir = self.get(below.parent)?;
            let fd = self.open_named(&place, &dir)?;
            self.pin(below.parent, &dir, fd);
            place = below;
        }
        self.open_named(&place, inode)
    }

    /// Opens what a place names, if that is the inode. `ESTALE` if it is another one by now.
    fn open_named(&self, place: &Place, inode: &Inode) -> Result<Fd> {
        let parent = self.get(place.parent)?;
        let dir = parent.pinned().ok_or(Errno::ESTALE)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || Ok(rustix::fs::openat(dir.as_fd(), &*place.name, flags, Mode::empty())?);
        match self.open(open) {
            Ok(fd) if is_proved(fd.as_fd(), inode)? => Ok(fd),
            Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR) => Err(Errno::ESTALE),
            Err(error) => Err(error),
        }
    }

    /// Keeps a descriptor of an inode that has none.
    pub(super) fn pin(&self, node: NodeId, inode: &Inode, fd: Fd) {
        if inode.pin(fd) && inode.can_return() {
            self.descriptors.watch(node, &self.slab);
        }
    }

    /// One more lookup of a known inode with this identity. `is_it` tells whether it really is
    /// the inode meant and not an older one with the same number, which is then dropped from
    /// the index.
    pub(super) fn known(
        &self,
        id: FileId,
        is_it: impl FnOnce(NodeId, &Inode) -> bool,
    ) -> Option<(NodeId, Pin<'_, Inode>)> {
        let (node, inode) = self.find(id)?;
        if !is_it(node, &inode) {
            if node != NodeId::ROOT {
                self.disown(node, &inode);
            }
            return None;
        }
        // An inode at 0 is about to be taken out, under the lock; then it is met anew.
        let more = |lookups: u64| (lookups > 0).then_some(lookups.saturating_add(1));
        let counted = inode.lookups.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        counted.is_ok().then_some((node, inode))
    }

    /// Adds an inode with one lookup, or one lookup to it if it was added meanwhile.
    pub(super) fn add(&self, inode: Inode) -> Result<NodeId> {
        let id = inode.id;
        let (pinned, can_return) = (inode.is_pinned(), inode.can_return());
        let mut shard = self.index.shard(id);
        if let Some((node, there)) = shard.get(&self.slab)
            && there.proof == inode.proof
            && (inode.proof != Proof::None || (pinned && there.is_pinned()))
        {
            there.lookups.fetch_add(1, Ordering::Relaxed);
            return Ok(node);
        }
        let node = NodeId(self.slab.insert(inode).map_err(|_| Errno::ENFILE)?);
        shard.insert(&self.slab, node);
        drop(shard);
        if pinned && can_return {
            self.descriptors.watch(node, &self.slab);
        }
        Ok(node)
    }

    /// Adds an inode under the nodeid by which the guest knows it from another daemon; false if
    /// there cannot be such a nodeid, or there is one more.
    pub(super) fn restore(&self, node: NodeId, inode: Inode) -> bool {
        let (pinned, can_return) = (inode.is_pinned(), inode.can_return());
        let mut shard = self.index.shard(inode.id);
        if self.slab.insert_at(node.0, inode).is_err() {
            return false;
        }
        shard.insert(&self.slab, node);
        drop(shard);
        if pinned && can_return {
            self.descriptors.watch(node, &self.slab);
        }
        true
    }

    /// What tells later nodeids from all before them.
    pub(super) fn generation(&self) -> u64 {
        self.slab.generation()
    }

    /// Gives out no nodeid that another daemon with this [`generation`](Self::generation) did.
    pub(super) fn go_on_from(&self, generation: u64) {
        self.slab.go_on_from(generation);
    }

    /// Has the next lookup of an inode give it another nodeid.
    pub(super) fn disown(&self, node: NodeId, inode: &Inode) {
        self.index.shard(inode.id).remove(&self.slab, node);
    }

    /// One more lookup of an inode that the caller holds.
    pub(super) fn again(&self, inode: &Inode) {
        inode.lookups.fetch_add(1, Ordering::Relaxed);
    }

    /// The inode with this identity is known under another name now.
    pub(super) fn moved(&self, id: FileId, parent: NodeId, name: &CStr) {
        if let Some((_, inode)) = self.find(id) {
            inode.is_at(parent, name);
        }
    }

    /// The inode that was last seen to have this identity.
    pub(super) fn find(&self, id: FileId) -> Option<(NodeId, Pin<'_, Inode>)> {
        self.index.shard(id).get(&self.slab)
    }

    /// Takes lookups back; an inode without any is forgotten: then this is true.
    pub(super) fn forget(&self, node: NodeId, count: u64) -> bool {
        let Some(inode) = self.slab.get(node.0).filter(|_| node != NodeId::ROOT) else {
            return false;
        };
        let left = |lookups: u64| Some(lookups.saturating_sub(count));
        let before = inode.lookups.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
        if before.is_ok_and(|before| before > count) {
            return false;
        }
        let mut shard = self.index.shard(inode.id);
        let is_forgotten = inode.lookups.load(Ordering::Relaxed) == 0;
        if is_forgotten {
            self.remove(node, &mut shard);
        }
        is_forgotten
    }

    /// Forgets everything but the root.
    pub(super) fn clear(&self) {
        self.slab.for_each(|node, inode| {
            if NodeId(node) != NodeId::ROOT {
                self.remove(NodeId(node), &mut self.index.shard(inode.id));
            }
        });
    }

    /// All inodes that are known.
    pub(super) fn all(&self) -> Vec<NodeId> {
        let mut all = Vec::new();
        self.slab.for_each(|node, _| all.push(NodeId(node)));
        all
    }

    /// Inodes that are known, the root included.
    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(super) fn for_each(&self, mut with: impl FnMut(&Inode)) {
        self.slab.for_each(|_, inode| with(inode));
    }

    /// How many descriptors may be open on the guest's behalf.
    pub(super) fn budget(&self) -> usize {
        self.descriptors.budget().most
    }

    /// Descriptors that are open on the guest's behalf.
    pub(super) fn open_descriptors(&self) -> usize {
        self.descriptors.budget().open.load(Ordering::Relaxed)
    }

    /// Closes a descriptor of an inode that could be opened again; false if there is none.
    pub(super) fn give_up_descriptor(&self) -> bool {
        self.descriptors.evict(&self.slab)
    }

    fn remove(&self, node: NodeId, shard: &mut Shard<'_>) {
        shard.remove(&self.slab, node);
        self.slab.remove(node.0);
    }
}

/// True if `fd` is of the inode and not of a later one with its number.
fn is_proved(fd: BorrowedFd<'_>, inode: &Inode) -> Result<bool> {
    let stat = stat_fd(fd)?;
    Ok(FileId::of(&stat) == inode.id && Proof::of(fd, c"", &stat)? == inode.proof)
}
