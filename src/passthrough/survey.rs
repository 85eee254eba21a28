//! What is held for a guest, for whoever wants to know.

use super::Passthrough;
use crate::fuse::NodeId;

/// What is held for a guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Inodes that the guest knows, the root included.
    pub inodes: usize,
    /// Those of them that are directories.
    pub directories: usize,
    /// Those of them that are regular files.
    pub files: usize,
    /// Those of them that have a descriptor now.
    pub pinned: usize,
    /// Those of them that their file handle opens.
    pub by_handle: usize,
    /// Files that the guest has open.
    pub open_files: usize,
    /// Directories that the guest has open.
    pub open_directories: usize,
    /// Descriptors that are held for the guest.
    pub descriptors: usize,
    /// How many may be.
    pub budget: usize,
}

impl Passthrough {
    /// Inodes that the guest knows, the root included.
    #[must_use]
    pub fn inodes(&self) -> usize {
        self.inodes.len()
    }

    /// True if the guest knows an inode by this nodeid.
    #[must_use]
    pub fn knows(&self, node: NodeId) -> bool {
        self.inodes.get(node).is_ok()
    }

    /// Closes a descriptor that was not needed lately and can be opened again; false if there is
    /// none.
    pub fn give_up_descriptor(&self) -> bool {
        self.inodes.give_up_descriptor()
    }

    /// What is held for the guest. Looks at every inode.
    #[must_use]
    pub fn survey(&self) -> Survey {
        let mut survey = Survey {
            inodes: self.inodes(),
            open_files: self.files.len(),
            open_directories: self.dirs.len(),
            descriptors: self.descriptors(),
            budget: self.budget(),
            ..Survey::default()
        };
        self.inodes.for_each(|inode| {
            survey.directories += usize::from(inode.is_dir());
            survey.files += usize::from(inode.kind() == libc::S_IFREG);
            survey.pinned += usize::from(inode.is_pinned());
            survey.by_handle += usize::from(inode.opens_by_handle());
        });
        survey
    }

    /// Descriptors that are held for the guest, and for its other file systems.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        self.inodes.open_descriptors()
    }

    /// Files and directories that the guest has open.
    #[must_use]
    pub fn handles(&self) -> usize {
        self.files.len() + self.dirs.len()
    }

    /// How many descriptors may be held for the guest.
    #[must_use]
    pub fn budget(&self) -> usize {
        self.inodes.budget()
    }
}
