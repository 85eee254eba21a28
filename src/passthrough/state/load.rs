//! What a guest relies on, from another daemon. It may be anything: all that it does is to have
//! inodes of this share opened, as the guest itself could have them.

use std::fmt;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{OFlags, Statx};

use super::super::Passthrough;
use super::super::files::OpenFile;
use super::super::identity::{FileHandle, FileId, Proof, stat_fd, stat_name};
use super::super::inode::Inode;
use super::super::lookup::{Dir, Known};
use super::super::mounts::{Mount, reopen_dir};
use super::links::Links;
use super::record::{How, Item, Reader};
use super::search::{Wanted, search};
use super::trail::{Trail, split};
use super::{MigrationMode, OnError, bad, is_given_up, or_io};
use crate::fuse::{Errno, NodeId, Result};

/// So often a guest can never have looked an inode up, and there is room for as many lookups more.
const MOST_LOOKUPS: u64 = 1 << 62;

/// An inode of the guest that is to be opened.
#[derive(Clone)]
struct Guests {
    node: NodeId,
    lookups: u64,
    kind: u32,
    /// Which file handle it must have.
    handle: Option<FileHandle>,
}

/// What was opened, and what was not.
#[derive(Default)]
struct Count {
    inodes: usize,
    files: usize,
    dirs: usize,
    failed: usize,
    first: Option<String>,
}

pub(super) fn load(fs: &Passthrough, from: &mut dyn Read, given_up: &AtomicBool) -> io::Result<()> {
    let (mut records, ids) = Reader::new(from)?;
    let mut loader = Loader::new(fs, given_up)?;
    let (mut inodes, mut opens) = (0, 0);
    loop {
        if given_up.load(Ordering::Relaxed) {
            return Err(is_given_up());
        }
        match records.next()? {
            Item::Inode { node, lookups, kind, how, handle } if opens == 0 => {
                inodes += 1;
                // The root is one.
                if inodes >= fs.config.inodes {
                    return Err(bad("it has more inodes than a guest may know (--inode-limit)"));
                }
                let of = Guests { node: NodeId(node), lookups, kind, handle };
                loader.inode(&of, how, records.path())?;
            }
            item @ (Item::File { .. } | Item::Dir { .. }) => {
                if opens == 0 {
                    loader.find_the_rest()?;
                }
                opens += 1;
                if opens > fs.inodes.budget() {
                    return Err(bad("it has more open files than there can be (--rlimit-nofile)"));
                }
                loader.open(&item)?;
            }
            Item::End => break,
            Item::Inode { .. } => return Err(bad("it makes no sense")),
        }
    }
    loader.find_the_rest()?;
    fs.inodes.go_on_from(ids.inodes.get());
    fs.files.go_on_from(ids.files.get());
    fs.dirs.go_on_from(ids.dirs.get());
    fs.incomplete.store(loader.count.failed > 0, Ordering::Relaxed);
    loader.report();
    Ok(())
}

struct Loader<'a> {
    fs: &'a Passthrough,
    given_up: &'a AtomicBool,
    trail: Trail<'a>,
    links: Links<'a>,
    /// Opened by handle, and not seen under any name yet.
    unnamed: Wanted<Guests>,
    count: Count,
}

impl<'a> Loader<'a> {
    fn new(fs: &'a Passthrough, given_up: &'a AtomicBool) -> io::Result<Self> {
        let (trail, links) = (Trail::new(fs).map_err(or_io)?, Links::new(fs).map_err(or_io)?);
        let (unnamed, count) = (Wanted::default(), Count::default());
        Ok(Loader { fs, given_up, trail, links, unnamed, count })
    }

    fn inode(&mut self, of: &Guests, how: How, path: &[u8]) -> io::Result<()> {
        if of.lookups == 0 || of.lookups > MOST_LOOKUPS || !is_kind(of.kind) {
            return Err(bad("it makes no sense"));
        }
        let made = match how {
            How::Lost => Err(Errno::ENOENT),
            How::Path => self.named(of, path).map(Some),
            How::Handle => self.by_handle(of, path),
        };
        match made {
            Ok(Some(inode)) => self.restore(of, inode),
            Ok(None) => Ok(()),
            Err(error) => self.failed(error, &of.node, path),
        }
    }

    /// The inode at a path.
    fn named(&mut self, of: &Guests, path: &[u8]) -> Result<Inode> {
        let fs = self.fs;
        let (dir, name) = split(path)?;
        let step = self.trail.to(dir)?;
        let stat = stat_name(step.fd.as_fd(), &name)?;
        of.is_kind_of(&stat)?;
        let node = fs.inodes.find(step.id).map_or(NodeId::NONE, |(node, _)| node);
        let dir = Dir { node, id: step.id, is_local: true, fd: step.fd.as_fd() };
        let inode = fs.describe(&dir, &name, &stat, Known::Pin)?;
        match (&of.handle, &inode.proof) {
            (Some(wanted), Proof::Handle(handle)) if wanted != handle => Err(Errno::ESTALE),
            (Some(_), Proof::Birth(_) | Proof::None) => Err(Errno::EOPNOTSUPP),
            _ if !inode.is_pinned() && !inode.can_return() => Err(Errno::ENFILE),
            _ => Ok(inode),
        }
    }

    /// The inode that a handle opens on the mount on which a path is; none if it has to be looked
    /// for in the share. A handle may open anything on the file system: what has a name in the
    /// share is taken, and what seems to have had its last one there if handles are trusted.
    fn by_handle(&mut self, of: &Guests, path: &[u8]) -> Result<Option<Inode>> {
        let fs = self.fs;
        let handle = of.handle.as_ref().ok_or(Errno::EINVAL)?;
        let step = self.trail.to(path)?;
        let at = stat_fd(step.fd.as_fd())?;
        let mount = fs.mounts.of(&at, |flags| reopen_dir(step.fd.as_fd(), flags))?;
        let dir = mount.by_handle().ok_or(Errno::EOPNOTSUPP)?;
        let fd = fs.inodes.open(|| handle.open(dir, libc::O_PATH))?;
        let stat = stat_fd(fd.as_fd())?;
        of.is_kind_of(&stat)?;
        if let Some(path) = self.links.path(fd.as_fd())
            && let Ok(inode) = self.named(of, &path)
        {
            return Ok(Some(inode));
        }
        if stat.stx_nlink == 0 {
            // What the link tells proves nothing by itself: an administrator has to agree.
            let trusts = fs.migrating.mode == MigrationMode::FileHandles;
            return match trusts && self.links.was_below(fd.as_fd()) {
                true => Ok(Some(nameless(mount, handle, &stat))),
                false => Err(Errno::ESTALE),
            };
        }
        self.unnamed.add(FileId::of(&stat), Proof::Handle(handle.clone()), of.clone());
        Ok(None)
    }

    /// Looks for all that is known only by handle.
    fn find_the_rest(&mut self) -> io::Result<()> {
        let mut unnamed = std::mem::take(&mut self.unnamed);
        if unnamed.is_empty() {
            return Ok(());
        }
        search(self.fs, &mut unnamed, self.given_up, |of, path| match self.named(&of, path) {
            Ok(inode) => self.restore(&of, inode),
            Err(error) => self.failed(error, &of.node, path),
        })?;
        unnamed.rest().try_for_each(|of| self.failed(Errno::ESTALE, &of.node, b""))
    }

    fn restore(&mut self, of: &Guests, inode: Inode) -> io::Result<()> {
        inode.lookups.store(of.lookups, Ordering::Relaxed);
        self.count.inodes += 1;
        match self.fs.inodes.restore(of.node, inode) {
            true => Ok(()),
            false => Err(bad("a nodeid in it is none, or is there twice")),
        }
    }

    /// Opens what the guest had open.
    fn open(&mut self, item: &Item) -> io::Result<()> {
        let fs = self.fs;
        let (node, restored) = match *item {
            Item::File { handle, node, flags } => {
                let node = NodeId(node);
                let file = self.file(node, flags).map(|file| {
                    self.count.files += 1;
                    fs.files.insert_at(handle, file).is_ok()
                });
                (node, file)
            }
            Item::Dir { handle, node } => {
                let node = NodeId(node);
                let dir = fs.directory(node).and_then(|inode| fs.open_dir_of(node, &inode));
                let dir = dir.map(|dir| {
                    self.count.dirs += 1;
                    fs.dirs.insert_at(handle, dir).is_ok()
                });
                (node, dir)
            }
            Item::Inode { .. } | Item::End => return Ok(()),
        };
        match restored {
            Ok(true) => Ok(()),
            Ok(false) => Err(bad("a handle in it is none, or is there twice")),
            Err(error) => self.failed(error, &node, b""),
        }
    }

    fn file(&self, node: NodeId, flags: u32) -> Result<OpenFile> {
        let inode = self.fs.inodes.get(node)?;
        let flags = OFlags::from_bits_retain(flags) - OFlags::TRUNC;
        let flags = self.fs.open_flags(flags.bits())?;
        Ok(OpenFile::new(self.fs.reopen(node, &inode, flags)?, node, &inode))
    }

    fn failed(&mut self, error: Errno, node: &NodeId, path: &[u8]) -> io::Result<()> {
        let what = What { node: *node, path, error };
        match self.fs.migrating.on_error {
            OnError::Abort => Err(io::Error::other(format!(
                "{what} (with --migration-on-error guest-error the guest goes on without it)"
            ))),
            OnError::GuestError => {
                self.count.failed += 1;
                self.count.first.get_or_insert_with(|| what.to_string());
                Ok(())
            }
        }
    }

    fn report(&self) {
        let Count { inodes, files, dirs, failed, first } = &self.count;
        log::info!(
            "A guest goes on here: {inodes} inodes, {files} files and {dirs} directories open"
        );
        if let Some(first) = first {
            log::warn!(
                "{failed} inodes and open files of the guest are not there, whoever uses them gets \
                 errors; the first: {first}"
            );
        }
    }
}

impl Guests {
    fn is_kind_of(&self, stat: &Statx) -> Result<()> {
        match u32::from(stat.stx_mode) & libc::S_IFMT == self.kind {
            true => Ok(()),
            false => Err(Errno::ESTALE),
        }
    }
}

/// An inode that only its handle opens, as long as somebody has it open.
fn nameless(mount: std::sync::Arc<Mount>, handle: &FileHandle, stat: &Statx) -> Inode {
    let proof = Proof::Handle(handle.clone());
    let inode = Inode::new(stat, (mount, false), (proof, true), None, None);
    inode.lost_its_name();
    inode
}

fn is_kind(kind: u32) -> bool {
    matches!(
        kind,
        libc::S_IFREG
            | libc::S_IFDIR
            | libc::S_IFLNK
            | libc::S_IFCHR
            | libc::S_IFBLK
            | libc::S_IFIFO
            | libc::S_IFSOCK
    )
}

/// What could not be opened, and why. Its name is the guest's choice, or anybody's.
struct What<'a> {
    node: NodeId,
    path: &'a [u8],
    error: Errno,
}

/// So much of a path is told, its end.
const TOLD: usize = 200;

impl fmt::Display for What<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = &self.path[self.path.len().saturating_sub(TOLD)..];
        let (node, error) = (self.node.0, io::Error::from_raw_os_error(self.error.raw()));
        write!(f, "inode {node:#x}, last seen at \"{}\": {error}", told.escape_ascii())
    }
}
