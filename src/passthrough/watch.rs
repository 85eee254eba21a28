//! Telling the guest what others change in the share.
//!
//! Every directory that the guest knows is watched, from before it is told of it. So whatever
//! the guest may have in its cache lies in a watched directory: a file under each name by which
//! the guest knows it.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::Statx;

use super::Passthrough;
use super::fanotify::{self, Event};
use super::identity::{FileId, stat_fd, stat_name};
use super::inode::Inode;
use crate::fuse::flags::init;
use crate::fuse::{Errno, NodeId, Notice, Notify, Result};

/// Answers that were made before a change are delivered by then, so that they are not cached
/// after the guest was told of it; and what changes again and again is told once.
const SETTLE: Duration = Duration::from_millis(10);

/// How long the guest may believe what cannot be watched.
const UNWATCHED: Duration = Duration::from_secs(1);

/// A group of watches, for a process that may not make one.
pub struct WatchGroup(OwnedFd);

impl WatchGroup {
    /// A group without watches.
    ///
    /// # Errors
    /// The kernel does not let us.
    pub fn new() -> io::Result<Self> {
        let group = fanotify::group();
        Ok(WatchGroup(group.map_err(|error| io::Error::from_raw_os_error(error.raw()))?))
    }
}

/// The watched directories.
pub(super) struct Watch {
    group: OwnedFd,
    /// Held while one is added or taken out.
    dirs: Mutex<Dirs>,
    /// Some directory could not be watched.
    incomplete: AtomicBool,
}

#[derive(Default)]
struct Dirs {
    /// By what names them in events.
    nodes: HashMap<Arc<[u8]>, NodeId>,
    /// The other way round: one that is gone cannot be asked for it.
    keys: HashMap<NodeId, Arc<[u8]>>,
}

impl Dirs {
    fn insert(&mut self, key: Vec<u8>, node: NodeId) {
        let key: Arc<[u8]> = key.into();
        self.nodes.insert(key.clone(), node);
        self.keys.insert(node, key);
    }

    /// True if it was the last to have its key.
    fn remove(&mut self, node: NodeId) -> bool {
        let Some(key) = self.keys.remove(&node) else { return false };
        // Perhaps the guest has met it again.
        let is_last = self.nodes.get(&key) == Some(&node);
        if is_last {
            self.nodes.remove(&key);
        }
        is_last
    }
}

impl Watch {
    fn dirs(&self) -> MutexGuard<'_, Dirs> {
        self.dirs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_incomplete(&self, error: Errno) {
        if self.incomplete.swap(true, Ordering::Relaxed) {
            return;
        }
        let why = match error.raw() {
            libc::ENOSPC => "the limit of watches is reached, raise fs.fanotify.max_user_marks",
            libc::EMFILE => "the limit of open files is reached",
            _ => "a file system in it does not support that",
        };
        log::warn!(
            "Not all of the share can be watched: {why} ({error:?}); changes by others are seen \
             after a second"
        );
    }
}

/// What has changed, once each.
#[derive(Default)]
struct Changes {
    attributes: HashSet<NodeId>,
    content: HashSet<NodeId>,
    names: HashSet<(NodeId, CString)>,
    lost: bool,
}

impl Passthrough {
    /// Watches the share, so that changes by others can be told by
    /// [`tell_changes`](Self::tell_changes).
    pub fn watch(&mut self, group: WatchGroup) {
        let incomplete = AtomicBool::new(false);
        self.watch = Some(Watch { group: group.0, dirs: Mutex::default(), incomplete });
    }

    /// Directories that are watched.
    pub fn watches(&self) -> usize {
        self.watch.as_ref().map_or(0, |watch| watch.dirs().keys.len())
    }

    /// Tells of changes as they happen, until the other side is gone.
    pub fn tell_changes(&self, to: &dyn Notify) {
        let Some(watch) = &self.watch else { return };
        let mut buffer = vec![0; 64 << 10];
        loop {
            // Waits for the first, and takes what has come with it.
            let mut events =
                [rustix::event::PollFd::new(&watch.group, rustix::event::PollFlags::IN)];
            if rustix::event::poll(&mut events, None).is_err() {
                continue;
            }
            std::thread::sleep(SETTLE);
            let Ok(len) = rustix::io::read(&watch.group, &mut buffer) else { continue };
            let mut changes = Changes::default();
            for event in fanotify::events(&buffer[..len]) {
                self.note(watch, &event, &mut changes);
            }
            if !self.tell(&changes, to) {
                return;
            }
        }
    }

    /// Notes what an event means, if it is of somebody else.
    fn note(&self, watch: &Watch, event: &Event<'_>, changes: &mut Changes) {
        if event.mask & fanotify::LOST != 0 {
            changes.lost = true;
        }
        let ours = u32::try_from(event.pid).is_ok_and(|pid| pid == std::process::id());
        let (Some((key, name)), false) = (event.place, ours) else { return };
        let Some(dir) = watch.dirs().nodes.get(key).copied() else { return };
        if event.mask & fanotify::NAMES != 0 {
            changes.names.insert((dir, name.to_owned()));
            // What was read of the directory.
            changes.content.insert(dir);
        }
        let node = match name {
            name if name == c"." => Some(dir),
            name => self.known(dir, name),
        };
        if let Some(node) = node {
            let content = event.mask & fanotify::MODIFY != 0;
            let changed = if content { &mut changes.content } else { &mut changes.attributes };
            changed.insert(node);
        }
    }

    /// The inode that a name means now, if the guest knows it.
    fn known(&self, dir: NodeId, name: &CStr) -> Option<NodeId> {
        let inode = self.inodes.get(dir).ok()?;
        let fd = self.inodes.fd(dir, &inode).ok()?;
        let stat = stat_name(fd.as_fd(), name).ok()?;
        self.inodes.find(FileId::of(&stat)).map(|(node, _)| node)
    }

    /// Tells of changes; false if nobody hears it any more. Nothing is locked meanwhile.
    fn tell(&self, changes: &Changes, to: &dyn Notify) -> bool {
        let tell = |notice| !matches!(to.notify(notice), Err(Errno::ENODEV | Errno::ENOTCONN));
        if changes.lost {
            log::info!("Changes in the share were lost: the guest forgets all it knows");
            return tell(Notice::AllNames)
                && self.inodes.all().into_iter().all(|node| tell(Notice::Content(node)));
        }
        let names = changes.names.iter();
        changes.content.iter().all(|node| tell(Notice::Content(*node)))
            && changes.attributes.iter().all(|node| tell(Notice::Attributes(*node)))
            && names.into_iter().all(|(dir, name)| {
                let gently = self.has_agreed(init::HAS_EXPIRE_ONLY) && self.is_dir(*dir, name);
                tell(if gently { Notice::Expired(*dir, name) } else { Notice::Name(*dir, name) })
            })
    }

    /// True if a name means a directory that the guest knows: something may be mounted there.
    fn is_dir(&self, dir: NodeId, name: &CStr) -> bool {
        let inode = self.known(dir, name).map(|node| self.inodes.get(node));
        inode.is_some_and(|inode| inode.is_ok_and(|inode| inode.is_dir()))
    }

    /// Watches an inode that the guest is about to be told of, if it is a directory. Its
    /// attributes from after that, or those that are known.
    pub(super) fn watched(&self, node: NodeId, inode: &Inode, stat: Statx) -> Result<Statx> {
        let Some(watch) = &self.watch else { return Ok(stat) };
        if !inode.is_dir() || inode.is_watched.load(Ordering::Acquire) {
            return Ok(stat);
        }
        let fd = self.inodes.fd(node, inode)?;
        let mut dirs = watch.dirs();
        let marked = fanotify::key(fd.as_fd()).and_then(|key| {
            let (group, proc_fds) = (watch.group.as_fd(), self.proc_fds.as_fd());
            fanotify::mark(group, proc_fds, fd.as_fd(), true).map(|()| key)
        });
        match marked {
            Ok(key) => {
                dirs.insert(key, node);
                inode.is_watched.store(true, Ordering::Release);
            }
            Err(error) => watch.is_incomplete(error),
        }
        drop(dirs);
        stat_fd(fd.as_fd())
    }

    /// Watches no more what the guest has just forgotten.
    pub(super) fn unwatch(&self, node: NodeId, inode: &Inode) {
        let Some(watch) = self.watch.as_ref().filter(|_| inode.is_watched.load(Ordering::Acquire))
        else {
            return;
        };
        // If it cannot be opened it is gone, and what the kernel has of it as well.
        let fd = self.inodes.fd(node, inode);
        let mut dirs = watch.dirs();
        if dirs.remove(node)
            && let Ok(fd) = fd
        {
            let (group, proc_fds) = (watch.group.as_fd(), self.proc_fds.as_fd());
            let _ = fanotify::mark(group, proc_fds, fd.as_fd(), false);
        }
    }

    /// How long the guest may believe something: not so long if others may change it unseen.
    pub(super) fn valid(&self, long: Duration) -> Duration {
        match &self.watch {
            Some(watch) if watch.incomplete.load(Ordering::Relaxed) => long.min(UNWATCHED),
            _ => long,
        }
    }
}
