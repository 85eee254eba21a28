//! Requests that are overtaken by the end of their session.
//!
//! Whoever ends a session counts that first, and then has all of it given up; a request looks at
//! the count before it looks whether there is a session, and once more when it has something for
//! the guest to keep. So that is either given up with everything else, or taken back here.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::errno::{Errno, Result};
use super::filesystem::{Created, Entry, Filesystem, NodeId, Opened};

/// How many sessions have ended.
#[derive(Default)]
pub(super) struct Ends(AtomicU64);

impl Ends {
    /// One more has, of which nothing has been given up yet.
    pub(super) fn count(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
        fence(Ordering::SeqCst);
    }

    /// From here on.
    pub(super) fn watch(&self) -> Since<'_> {
        Since { ends: self, then: self.0.load(Ordering::Acquire) }
    }
}

/// A time from which on the ends are watched.
#[derive(Clone, Copy)]
pub(super) struct Since<'a> {
    ends: &'a Ends,
    then: u64,
}

impl Since<'_> {
    fn has_ended(&self) -> bool {
        // What was made before this is seen by whoever counts after it.
        fence(Ordering::SeqCst);
        self.ends.0.load(Ordering::Acquire) != self.then
    }

    /// True if an inode is not to be given to the guest after all, whose lookup is taken back then.
    pub(super) fn overtakes<F: Filesystem>(&self, fs: &F, node: NodeId) -> bool {
        let ended = node != NodeId::NONE && self.has_ended();
        if ended {
            fs.forget(node, 1);
        }
        ended
    }

    /// An inode to be given to the guest.
    ///
    /// # Errors
    /// Here and below, `EIO` as before a session if that is over; there is nothing to give then.
    pub(super) fn entry<F: Filesystem>(&self, fs: &F, entry: Entry) -> Result<Entry> {
        if self.overtakes(fs, entry.node) { Err(Errno::EIO) } else { Ok(entry) }
    }

    /// An open file.
    pub(super) fn file<F: Filesystem>(
        &self,
        fs: &F,
        node: NodeId,
        opened: Opened,
    ) -> Result<Opened> {
        self.or_else(opened, |opened| {
            let _ = fs.release(node, opened.handle, false);
        })
    }

    /// An open directory.
    pub(super) fn dir<F: Filesystem>(
        &self,
        fs: &F,
        node: NodeId,
        opened: Opened,
    ) -> Result<Opened> {
        self.or_else(opened, |opened| {
            let _ = fs.releasedir(node, opened.handle);
        })
    }

    /// A new file, open.
    pub(super) fn created<F: Filesystem>(&self, fs: &F, created: Created) -> Result<Created> {
        self.or_else(created, |(entry, opened)| {
            let _ = fs.release(entry.node, opened.handle, false);
            fs.forget(entry.node, 1);
        })
    }

    /// What is gone already when it is taken back is what we want.
    fn or_else<T>(&self, made: T, take_back: impl FnOnce(&T)) -> Result<T> {
        if self.has_ended() {
            take_back(&made);
            return Err(Errno::EIO);
        }
        Ok(made)
    }
}
