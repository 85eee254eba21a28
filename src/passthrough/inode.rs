//! One inode of the host, as long as the guest knows it.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
    TryLockError,
};

use super::backing::Opens;
use super::cache::Seen;
use super::descriptors::Fd;
use super::identity::{Birth, FileId, Proof, stat_fd};
use super::mappings::Mapped;
use super::mounts::Mount;
use super::standing::Shared;
use crate::fuse::{Errno, NodeId, Result};
use rustix::fs::Statx;

/// An inode of the host.
///
/// It is found again by its descriptor while it holds one, by its file handle where those can
/// be opened, and else by the name under which it was last seen.
pub(super) struct Inode {
    pub(super) id: FileId,
    /// The mode that it had first, of which only the type counts.
    kind: u16,
    pub(super) mount: Arc<Mount>,
    /// Another file system than that of its directory, or another part of one, begins here.
    pub(super) is_mounted: bool,
    /// What tells it from a later inode with the same number.
    pub(super) proof: Proof,
    /// What almost always does, and comes with the attributes.
    pub(super) born: Option<Birth>,
    /// `proof` was seen to belong to `id`: it was taken by name, after the attributes, and the
    /// name may have changed in between.
    verified: AtomicBool,
    pub(super) lookups: AtomicU64,
    /// The content when it was last opened.
    pub(super) seen: Seen,
    /// The guest is to map it into its DAX window.
    pub(super) mapped: Mapped,
    /// Who has it open, where the kernel may serve that by itself.
    pub(super) opens: OnceLock<Arc<Opens>>,
    /// What is open for those who have not opened it.
    pub(super) shared: Shared,
    /// An `O_PATH` descriptor. Nobody ever waits for the write lock, so that read locks may be
    /// held together in any order.
    descriptor: RwLock<Option<Fd>>,
    /// What others change in it is told to the guest.
    pub(super) is_watched: AtomicBool,
    /// Looked at since the descriptors' clock last came by.
    used: AtomicBool,
    /// Only the descriptor keeps it in existence.
    nameless: AtomicBool,
    /// Kept only where handles cannot be opened.
    place: Option<Mutex<Place>>,
}

/// A name in a directory.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) parent: NodeId,
    pub(super) name: Box<CStr>,
}

/// A descriptor that stays open while this lives.
pub(super) struct InodeFd<'a>(RwLockReadGuard<'a, Option<Fd>>);

impl AsFd for InodeFd<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_ref().expect("checked when the guard was made").as_fd()
    }
}

impl Inode {
    /// An inode with these attributes that was looked up once.
    pub(super) fn new(
        stat: &Statx,
        (mount, is_mounted): (Arc<Mount>, bool),
        (proof, verified): (Proof, bool),
        descriptor: Option<Fd>,
        place: Option<Place>,
    ) -> Self {
        Inode {
            id: FileId::of(stat),
            kind: stat.stx_mode,
            mount,
            is_mounted,
            proof,
            born: Birth::of(stat),
            verified: AtomicBool::new(verified),
            lookups: AtomicU64::new(1),
            seen: Seen::default(),
            mapped: Mapped::default(),
            opens: OnceLock::new(),
            shared: Shared::default(),
            descriptor: RwLock::new(descriptor),
            is_watched: AtomicBool::new(false),
            used: AtomicBool::new(true),
            nameless: AtomicBool::new(false),
            place: place.map(Mutex::new),
        }
    }

    /// `S_IFMT` bits; they never change.
    pub(super) fn kind(&self) -> u32 {
        u32::from(self.kind) & libc::S_IFMT
    }

    pub(super) fn is_dir(&self) -> bool {
        self.kind() == libc::S_IFDIR
    }

    /// A directory on which another file system, or another part of one, begins.
    pub(super) fn is_submount(&self) -> bool {
        self.is_mounted && self.is_dir()
    }

    /// The open descriptor, if there is one now. While it is there the inode exists and no other
    /// can have its number.
    pub(super) fn pinned(&self) -> Option<InodeFd<'_>> {
        let guard = self.descriptor.read().unwrap_or_else(PoisonError::into_inner);
        guard.as_ref()?;
        self.used.store(true, Ordering::Relaxed);
        Some(InodeFd(guard))
    }

    /// True if the inode holds a descriptor now, or is just getting or losing one.
    pub(super) fn is_pinned(&self) -> bool {
        match self.descriptor.try_read() {
            Ok(descriptor) => descriptor.is_some(),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().is_some(),
            Err(TryLockError::WouldBlock) => true,
        }
    }

    /// Keeps a descriptor; false if there is one already.
    pub(super) fn pin(&self, fd: Fd) -> bool {
        loop {
            match self.try_write() {
                Some(descriptor) if descriptor.is_some() => return false,
                Some(mut descriptor) => {
                    *descriptor = Some(fd);
                    return true;
                }
                // Others only look whether there is one, or use it: then it is not for us to set.
                None if self.pinned().is_some() => return false,
                None => std::thread::yield_now(),
            }
        }
    }

    /// Closes the descriptor, unless somebody uses it, or did since the last time it was asked,
    /// or the inode could not be found again. With `nameless` it may be one without a name, which
    /// then is gone for the guest.
    pub(super) fn retire(&self, nameless: bool) -> bool {
        let spared = match self.nameless.load(Ordering::Relaxed) {
            true => !nameless,
            false => self.used.swap(false, Ordering::Relaxed),
        };
        if spared || !self.can_return() {
            return false;
        }
        self.try_write().is_some_and(|mut descriptor| descriptor.take().is_some())
    }

    /// The last name of the inode is gone; if it holds a descriptor, it keeps it as long as there
    /// are others to close.
    pub(super) fn lost_its_name(&self) {
        self.nameless.store(true, Ordering::Relaxed);
    }

    /// True if the inode can be opened again without its descriptor, as long as it has a name.
    pub(super) fn can_return(&self) -> bool {
        self.opens_by_handle() || (self.place.is_some() && !matches!(self.proof, Proof::None))
    }

    /// True if a file handle opens the inode.
    pub(super) fn opens_by_handle(&self) -> bool {
        matches!(self.proof, Proof::Handle(_)) && self.mount.by_handle().is_some()
    }

    /// Opens the inode itself, past whatever names it has now, if it has a handle for that.
    pub(super) fn open_by_handle(&self, flags: i32) -> Option<Result<OwnedFd>> {
        let (Proof::Handle(handle), Some(mount)) = (&self.proof, self.mount.by_handle()) else {
            return None;
        };
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

    /// Where the inode was last seen, if that matters.
    pub(super) fn place(&self) -> Option<Place> {
        Some(lock(self.place.as_ref()?).clone())
    }

    /// The inode was seen under this name.
    pub(super) fn is_at(&self, parent: NodeId, name: &CStr) {
        if let Some(place) = &self.place {
            let mut place = lock(place);
            if place.parent != parent || *place.name != *name {
                *place = Place { parent, name: name.into() };
            }
        }
    }

    fn try_write(&self) -> Option<RwLockWriteGuard<'_, Option<Fd>>> {
        match self.descriptor.try_write() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

fn lock(place: &Mutex<Place>) -> MutexGuard<'_, Place> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}
