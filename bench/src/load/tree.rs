//! The files that are worked on.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::error::Result;

/// The slots of all lanes together.
pub(super) const SLOTS: usize = 512;

/// Bytes of the file that is read.
pub(super) const DATA: u64 = 64 << 20;

/// Bytes of each file that is written.
pub(super) const TARGET: u64 = 1 << 20;

/// Bytes of a small file.
pub(super) const SMALL: usize = 3000;

/// An extended attribute of every small file.
pub(super) const XATTR: &str = "user.ferryfs-bench";

/// A directory with all that operations need, removed in the end.
pub struct Tree {
    dir: TempDir,
}

#[expect(clippy::missing_errors_doc, reason = "whatever the host's file system gives")]
impl Tree {
    /// Makes the files in a new directory in `parent`.
    pub fn new(parent: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("ferryfs-bench.").tempdir_in(parent)?;
        let tree = Tree { dir };
        tree.fill()?;
        Ok(tree)
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    fn fill(&self) -> Result<()> {
        fs::set_permissions(self.path(), Permissions::from_mode(0o755))?;
        for slot in 0..SLOTS {
            for kind in ["known", "other"] {
                File::create(self.path().join(name(kind, slot)))?;
            }
            let small = self.path().join(name("small", slot));
            fs::write(&small, [1; SMALL])?;
            let flags = rustix::fs::XattrFlags::empty();
            match rustix::fs::setxattr(&small, XATTR, b"a value", flags) {
                // An operation that needs it says so.
                Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let made = self.path().join("made");
        fs::create_dir(&made)?;
        Ok(fs::set_permissions(made, Permissions::from_mode(0o777))?)
    }

    /// The file that is read.
    pub(super) fn data(&self) -> Result<PathBuf> {
        let path = self.path().join("data");
        if !path.exists() {
            write(&path, DATA)?;
        }
        Ok(path)
    }

    /// The file that a slot writes.
    pub(super) fn target(&self, slot: usize) -> Result<()> {
        let path = self.path().join(name("target", slot));
        if !path.exists() {
            write(&path, TARGET)?;
        }
        Ok(())
    }

    /// A directory with so many files.
    pub(super) fn full(&self, count: usize) -> Result<String> {
        let name = format!("with-{count}");
        let path = self.path().join(&name);
        if !path.exists() {
            fs::create_dir(&path)?;
            for at in 0..count {
                File::create(path.join(format!("a-file-{at:06}")))?;
            }
        }
        Ok(name)
    }
}

/// Writes a file as a program would, and makes it durable, so that nobody does it meanwhile.
fn write(path: &Path, len: u64) -> io::Result<()> {
    let mut file = File::create(path)?;
    let block = vec![0x5a; 1 << 20];
    for _ in 0..len >> 20 {
        file.write_all(&block)?;
    }
    file.sync_all()
}

/// A name of one slot's own.
pub(super) fn name(kind: &str, slot: usize) -> String {
    format!("{kind}-{slot:03}")
}
