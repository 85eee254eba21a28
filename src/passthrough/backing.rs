//! Which opens the kernel serves by itself.
//!
//! It wants all opens of an inode at one time to agree (`fs/fuse/iomode.c`): as long as one goes
//! through its page cache none may pass through, and the other way round, and all that pass
//! through have to name the same registration. What it does not like, it answers with `EIO`.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{OFlags, Statx};

use super::Passthrough;
use super::backing_rules::{BackingRule, Open};
use super::inode::Inode;
use crate::fuse::flags::{init, opened};
use crate::fuse::{Backing, BackingId, Errno, NodeId, Result};

/// Which opens are to pass through, and by what.
pub(super) struct Passing {
    backing: Arc<dyn Backing>,
    rules: Vec<BackingRule>,
    /// The kernel does not let us; asking again would not help.
    refused: AtomicBool,
    /// Errors that were told of already, a bit each.
    told: [AtomicU64; 2],
}

/// The opens of one inode, as the kernel counts them. Ours are never fewer: it takes one away
/// before it sends the RELEASE.
#[derive(Default)]
pub(super) struct Opens(Mutex<Count>);

#[derive(Default)]
struct Count {
    /// There while opens pass through.
    registered: Option<Registered>,
    passing: usize,
    asking: usize,
}

struct Registered {
    backing: Arc<dyn Backing>,
    id: BackingId,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.backing.close(self.id);
    }
}

impl Opens {
    fn lock(&self) -> MutexGuard<'_, Count> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One open, counted until this is dropped.
pub(super) struct Counted {
    opens: Arc<Opens>,
    passes: bool,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut count = self.opens.lock();
        if self.passes {
            count.passing -= 1;
            if count.passing == 0 {
                count.registered = None;
            }
        } else {
            count.asking -= 1;
        }
    }
}

/// How an open goes on: its flags, its registration, and what counts it.
pub(super) type Way = (u32, Option<BackingId>, Option<Counted>);

impl Passing {
    pub(super) fn new(backing: Arc<dyn Backing>, rules: Vec<BackingRule>) -> Self {
        Passing {
            backing,
            rules,
            refused: AtomicBool::new(false),
            told: [AtomicU64::new(0), AtomicU64::new(0)],
        }
    }

    fn register(&self, file: BorrowedFd<'_>) -> Option<Registered> {
        if self.refused.load(Ordering::Relaxed) {
            return None;
        }
        match self.backing.open(file) {
            Ok(id) => Some(Registered { backing: self.backing.clone(), id }),
            Err(error) => {
                let number = error.raw_os_error().unwrap_or_default();
                let for_all = matches!(number, libc::EPERM | libc::EOPNOTSUPP | libc::ENOTTY);
                self.refused.fetch_or(for_all, Ordering::Relaxed);
                let number = u32::try_from(number).unwrap_or_default() % 128;
                let told = self.told[(number / 64) as usize]
                    .fetch_or(1 << (number % 64), Ordering::Relaxed);
                if told & 1 << (number % 64) == 0 {
                    let which = if for_all { "All files go" } else { "Some files go" };
                    // Other processes of the user have too many descriptors on their way.
                    let passes = error.raw_os_error() == Some(libc::ETOOMANYREFS);
                    log::log!(
                        if passes { log::Level::Info } else { log::Level::Warn },
                        "{which} through the daemon: the kernel does not pass them through \
                         ({error}){}",
                        if for_all { ", which needs CAP_SYS_ADMIN" } else { "" },
                    );
                }
                None
            }
        }
    }
}

impl Passthrough {
    /// Lets the kernel serve files by itself, as these rules say.
    pub fn pass_through(&mut self, backing: Arc<dyn Backing>, rules: Vec<BackingRule>) {
        self.passing = Some(Passing::new(backing, rules));
    }

    /// Decides how a file that was just opened goes on.
    pub(super) fn way(
        &self,
        inode: &Inode,
        file: BorrowedFd<'_>,
        (open, flags): (OFlags, u32),
        stat: impl FnOnce() -> Result<Statx>,
    ) -> Result<Way> {
        let Some(passing) = &self.passing else { return Ok((flags, None, None)) };
        if !self.has_agreed(init::PASSTHROUGH) {
            return Ok((flags, None, None));
        }
        let wanted = self.wants_to_pass(passing, file, open, stat)?;
        let opens = inode.opens.get_or_init(Arc::default).clone();
        let mut count = opens.lock();
        if wanted && count.registered.is_none() && count.asking == 0 {
            count.registered = passing.register(file);
        }
        let Some(id) = count.registered.as_ref().map(|registered| registered.id) else {
            count.asking += 1;
            drop(count);
            return Ok((flags, None, Some(Counted { opens, passes: false })));
        };
        count.passing += 1;
        drop(count);
        // The others pass through, so this one has to say that it does. It goes past the page
        // cache, so with DIRECT_IO every read and write comes here nevertheless.
        let observed = if wanted { 0 } else { opened::DIRECT_IO };
        let flags = flags & opened::NOFLUSH | opened::PASSTHROUGH | observed;
        Ok((flags, Some(id), Some(Counted { opens, passes: true })))
    }

    fn wants_to_pass(
        &self,
        passing: &Passing,
        file: BorrowedFd<'_>,
        open: OFlags,
        stat: impl FnOnce() -> Result<Statx>,
    ) -> Result<bool> {
        let writable = open & OFlags::RWMODE != OFlags::RDONLY;
        if writable && self.renamed_capability.is_some() {
            // The kernel would leave a capability that it does not know by this name.
            return Ok(false);
        }
        if !writable && passing.rules.is_empty() {
            return Ok(true);
        }
        let stat = stat()?;
        if writable && u32::from(stat.stx_mode) & (libc::S_ISUID | libc::S_ISGID) != 0 {
            // The kernel would take these bits away whoever writes: it does so with the rights of
            // who has registered the file.
            return Ok(false);
        }
        let path = match passing.rules.iter().any(BackingRule::has_glob) {
            true => self.path_of(file)?,
            false => None,
        };
        let open = Open { writable, size: stat.stx_size, path: path.as_deref() };
        let first = passing.rules.iter().find(|rule| rule.applies(&open));
        Ok(first.is_none_or(|rule| rule.passes))
    }

    /// Where a file is in the share, if the kernel knows that: one that was opened by its file
    /// handle, or that has lost its name, may have been met by no name.
    fn path_of(&self, file: BorrowedFd<'_>) -> Result<Option<String>> {
        let root = self.inodes.get(NodeId::ROOT)?;
        let root = root.pinned().ok_or(Errno::ESTALE)?;
        let name = |fd: BorrowedFd<'_>| -> Result<_> {
            let fd = rustix::path::DecInt::from_fd(fd);
            Ok(rustix::fs::readlinkat(&self.proc_fds, fd, Vec::new())?)
        };
        let (root, path) = (name(root.as_fd())?, name(file)?);
        Ok(inside(root.as_bytes(), path.as_bytes())
            .map(|inside| String::from_utf8_lossy(inside).into_owned()))
    }
}

/// What the kernel adds to a name that there is no more.
const GONE: &[u8] = b" (deleted)";

/// The rest of a path that leads below `root`.
fn inside<'a>(root: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
    let root = root.strip_suffix(b"/").unwrap_or(root);
    let inside = path.strip_prefix(root)?.strip_prefix(b"/")?;
    (!inside.is_empty() && !inside.ends_with(GONE)).then_some(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_known_below_the_root_alone() {
        let cases = [
            ("/share", "/share/a/b.log", Some("a/b.log")),
            ("/", "/a.log", Some("a.log")),
            ("/share", "/share", None),
            ("/share", "/shared/a.log", None),
            ("/share", "/a.log", None),
            ("/share", "/", None),
            ("/", "/", None),
            ("/share", "/share/a.log (deleted)", None),
        ];
        for (root, path, known) in cases {
            let known = known.map(str::as_bytes);
            assert_eq!(inside(root.as_bytes(), path.as_bytes()), known, "{path}");
        }
    }
}
