//! The inodes that a guest knows.
//!
//! A nodeid is a slab id: it never names another inode later. One host inode has one nodeid for
//! as long as the guest remembers it. What keeps an inode findable is its descriptor while it
//! has one, and its file handle otherwise.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError,
};

use super::descriptors::Descriptors;
use super::identity::{FileHandle, FileId, stat_fd};
use super::mounts::Mount;
use crate::fuse::{Errno, NodeId, Result};
use crate::mem::{Pin, Slab};

/// An inode of the host.
pub(super) struct Inode {
    pub(super) id: FileId,
    /// `S_IFMT` bits; they never change.
    pub(super) kind: u32,
    pub(super) mount: Arc<Mount>,
    handle: Option<FileHandle>,
    /// The handle was seen to open the inode with this `id`: it was taken by name, after the
    /// attributes, and the name may have changed in between.
    verified: AtomicBool,
    lookups: AtomicU64,
    /// An `O_PATH` descriptor. Nobody ever waits for the write lock, so that read locks may be
    /// held together in any order.
    descriptor: RwLock<Option<OwnedFd>>,
    /// Looked at since the descriptors' clock last came by.
    used: AtomicBool,
}

/// A descriptor that stays open while this lives.
pub(super) struct InodeFd<'a>(RwLockReadGuard<'a, Option<OwnedFd>>);

impl AsFd for InodeFd<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_ref().expect("checked when the guard was made").as_fd()
    }
}

/// How an inode can be found again.
pub(super) enum Anchor {
    /// By this handle, of which it is known whether it is the inode's.
    Handle(FileHandle, bool),
    /// Only by keeping this descriptor.
    Descriptor(OwnedFd),
}

impl Inode {
    pub(super) fn new(id: FileId, kind: u32, mount: Arc<Mount>, anchor: Anchor) -> Self {
        let (handle, verified, descriptor) = match anchor {
            Anchor::Handle(handle, verified) => (Some(handle), verified, None),
            Anchor::Descriptor(fd) => (None, true, Some(fd)),
        };
        Inode {
            id,
            kind: kind & libc::S_IFMT,
            mount,
            handle,
            verified: AtomicBool::new(verified),
            lookups: AtomicU64::new(1),
            descriptor: RwLock::new(descriptor),
            used: AtomicBool::new(true),
        }
    }

    pub(super) fn is_dir(&self) -> bool {
        self.kind == libc::S_IFDIR
    }

    /// The handle, if the inode can be opened by one.
    pub(super) fn handle(&self) -> Option<(&FileHandle, BorrowedFd<'_>)> {
        Some((self.handle.as_ref()?, self.mount.by_handle()?))
    }

    /// The open descriptor, if there is one now. While it is there the inode exists and no other
    /// can have its number.
    pub(super) fn pinned(&self) -> Option<InodeFd<'_>> {
        let guard = self.descriptor.read().unwrap_or_else(PoisonError::into_inner);
        guard.as_ref()?;
        self.used.store(true, Ordering::Relaxed);
        Some(InodeFd(guard))
    }

    /// Opens the inode itself, past whatever names it has now.
    pub(super) fn open_by_handle(&self, flags: i32) -> Option<Result<OwnedFd>> {
        let (handle, mount) = self.handle()?;
        Some(handle.open(mount, flags).and_then(|fd| {
            if !self.verified.load(Ordering::Relaxed) {
                if FileId::of(&stat_fd(fd.as_fd())?) != self.id {
                    return Err(Errno::ESTALE);
                }
                self.verified.store(true, Ordering::Relaxed);
            }
            Ok(fd)
        }))
    }

    /// True if the inode holds a descriptor now.
    pub(super) fn is_pinned(&self) -> bool {
        self.descriptor.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Closes the descriptor, if the inode can be opened again and nobody uses it now or did
    /// since the last time it was asked.
    pub(super) fn retire(&self) -> bool {
        if self.handle.is_none() || self.used.swap(false, Ordering::Relaxed) {
            return false;
        }
        self.try_write().is_some_and(|mut descriptor| descriptor.take().is_some())
    }

    fn try_write(&self) -> Option<RwLockWriteGuard<'_, Option<OwnedFd>>> {
        match self.descriptor.try_write() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

const SHARDS: usize = 64;

type Shard = HashMap<FileId, NodeId>;

/// The table of inodes.
pub(super) struct Inodes {
    slab: Slab<Inode>,
    by_id: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    descriptors: Descriptors,
}

impl Inodes {
    /// A table with only a root, which keeps its descriptor for ever.
    pub(super) fn new(root: Inode, descriptors: Descriptors) -> Self {
        let by_id = (0..SHARDS).map(|_| Mutex::new(Shard::new())).collect();
        let inodes = Inodes { slab: Slab::new(), by_id, hasher: RandomState::new(), descriptors };
        let id = root.id;
        let node = inodes.slab.insert(root).map_err(|_| ()).expect("the table is empty");
        assert_eq!(NodeId(node), NodeId::ROOT);
        inodes.shard(id).insert(id, NodeId::ROOT);
        inodes
    }

    /// The inode of a nodeid. `ESTALE` if the guest was never given it, or forgot it.
    pub(super) fn get(&self, node: NodeId) -> Result<Pin<'_, Inode>> {
        self.slab.get(node.0).ok_or(Errno::ESTALE)
    }

    /// A descriptor of an inode, which is opened if need be.
    pub(super) fn fd<'a>(&self, node: NodeId, inode: &'a Inode) -> Result<InodeFd<'a>> {
        loop {
            if let Some(fd) = inode.pinned() {
                return Ok(fd);
            }
            match inode.try_write() {
                Some(mut descriptor) if descriptor.is_none() => {
                    let opened = inode.open_by_handle(libc::O_PATH).ok_or(Errno::ESTALE)??;
                    *descriptor = Some(opened);
                    drop(descriptor);
                    self.descriptors.admit(node, &self.slab);
                }
                Some(_) => {}
                None => std::thread::yield_now(),
            }
        }
    }

    /// One more lookup of a known inode with this identity. `is_it` tells whether it really is
    /// the inode meant and not an older one with the same number, which is then dropped from
    /// the index.
    pub(super) fn known(
        &self,
        id: FileId,
        is_it: impl FnOnce(NodeId, &Inode) -> bool,
    ) -> Option<NodeId> {
        let node = *self.shard(id).get(&id)?;
        let inode = self.slab.get(node.0)?;
        if !is_it(node, &inode) {
            let mut shard = self.shard(id);
            if shard.get(&id) == Some(&node) && node != NodeId::ROOT {
                shard.remove(&id);
            }
            return None;
        }
        // The count is raised under the lock that takes an inode at 0 out.
        let shard = self.shard(id);
        if shard.get(&id) != Some(&node) {
            return None;
        }
        inode.lookups.fetch_add(1, Ordering::Relaxed);
        Some(node)
    }

    /// Adds an inode with one lookup, or one lookup to it if it was added meanwhile.
    pub(super) fn add(&self, inode: Inode) -> Result<NodeId> {
        let id = inode.id;
        let pinned = inode.is_pinned();
        let mut shard = self.shard(id);
        if let Some(&node) = shard.get(&id)
            && let Some(there) = self.slab.get(node.0)
            && (there.handle == inode.handle && (inode.handle.is_some() || pinned))
        {
            there.lookups.fetch_add(1, Ordering::Relaxed);
            return Ok(node);
        }
        let node = NodeId(self.slab.insert(inode).map_err(|_| Errno::ENFILE)?);
        shard.insert(id, node);
        Ok(node)
    }

    /// One more lookup of an inode that the caller holds.
    pub(super) fn again(&self, inode: &Inode) {
        inode.lookups.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes lookups back; an inode without any is forgotten.
    pub(super) fn forget(&self, node: NodeId, count: u64) {
        let Some(inode) = self.slab.get(node.0).filter(|_| node != NodeId::ROOT) else {
            return;
        };
        let left = |lookups: u64| Some(lookups.saturating_sub(count));
        let before = inode.lookups.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
        if before.is_ok_and(|before| before > count) {
            return;
        }
        let mut shard = self.shard(inode.id);
        if inode.lookups.load(Ordering::Relaxed) == 0 {
            self.remove(node, &inode, &mut shard);
        }
    }

    /// Forgets everything but the root.
    pub(super) fn clear(&self) {
        self.slab.for_each(|node, inode| {
            if NodeId(node) != NodeId::ROOT {
                self.remove(NodeId(node), inode, &mut self.shard(inode.id));
            }
        });
    }

    /// Inodes that are known, the root included.
    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    fn remove(&self, node: NodeId, inode: &Inode, shard: &mut Shard) {
        if shard.get(&inode.id) == Some(&node) {
            shard.remove(&inode.id);
            if shard.len() * 4 < shard.capacity() {
                let room = shard.len() * 2;
                shard.shrink_to(room);
            }
        }
        self.slab.remove(node.0);
    }

    fn shard(&self, id: FileId) -> MutexGuard<'_, Shard> {
        let hash = self.hasher.hash_one(id);
        let at = usize::try_from(hash % SHARDS as u64).expect("below 64");
        self.by_id[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
