//! What a DAX window is to a file system.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::errno::Result;
use super::filesystem::NodeId;

/// A file that is mapped for the guest, open for as long as it is.
pub struct Source {
    /// The inode; another one is another file.
    pub node: NodeId,
    /// It is open for writing as well.
    pub writable: bool,
    file: Box<dyn AsFd + Send + Sync>,
}

impl Source {
    /// An open file.
    pub fn new(node: NodeId, writable: bool, file: impl AsFd + Send + Sync + 'static) -> Self {
        Source { node, writable, file: Box::new(file) }
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        self.node == other.node
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.node)
    }
}

/// What SETUPMAPPING asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapRange {
    /// Offset in the file.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// Offset in the window.
    pub window: u64,
    /// The guest wants to write there.
    pub write: bool,
}

/// What the other end of a window can map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// The page in which a file ends, if it does not end with it.
    pub partial_page: bool,
    /// Pages behind a file's end, which have content once the file has grown.
    pub past_end: bool,
    /// Files that are open for reading only, so that the guest cannot write to them.
    pub read_only: bool,
}

/// A range of guest addresses in which pages of files can be shown.
///
/// All methods may wait for the virtual machine monitor, and fail if it is reset meanwhile.
pub trait Window: Send + Sync {
    /// Bytes in it.
    fn size(&self) -> u64;

    /// What can be mapped into it; nothing before [`begin`](Self::begin) was called, or if there
    /// is nobody to map it.
    fn abilities(&self) -> Option<Abilities>;

    /// The file of an inode, if some of it is mapped.
    fn source(&self, node: NodeId) -> Option<Arc<Source>>;

    /// Maps `range` of a file. No one mapping reaches across `cut`, an offset in the file.
    ///
    /// # Errors
    /// `EINVAL` for a range that is not in the window or not aligned, `ENOMEM` if there are too
    /// many, `EIO` if the monitor refuses, `EAGAIN` if the device is being stopped.
    fn map(&self, source: Arc<Source>, range: &MapRange, cut: Option<u64>) -> Result<()>;

    /// Unmaps ranges of the window, each with its length.
    ///
    /// # Errors
    /// As for [`map`](Self::map).
    fn unmap(&self, ranges: Vec<(u64, u64)>) -> Result<()>;

    /// Unmaps everything, and finds out what can be mapped for a new session.
    fn begin(&self);

    /// Unmaps everything at the end of a session.
    fn clear(&self);
}

/// What a file system with a [`Window`] does for a guest; all of it may wait as that does.
pub trait Mappings: Send + Sync {
    /// Shows a range of a file.
    ///
    /// # Errors
    /// Those of [`Window::map`], or why the file cannot be opened or shown.
    fn setup(&self, node: NodeId, range: &MapRange) -> Result<()>;

    /// Shows nothing any more in ranges of the window, each with its length.
    ///
    /// # Errors
    /// Those of [`Window::unmap`].
    fn remove(&self, ranges: Vec<(u64, u64)>) -> Result<()>;

    /// A session begins: shows nothing of an earlier one.
    fn begin(&self);

    /// A session ends by a request of the guest: shows nothing any more.
    fn clear(&self);
}
