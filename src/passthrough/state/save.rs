//! What a guest relies on, for another daemon.

use std::collections::HashMap;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::fcntl_getfl;

use super::super::Passthrough;
use super::super::identity::{FileId, Proof, stat_fd, stat_name};
use super::super::inode::Inode;
use super::links::Links;
use super::record::{How, Ids, Item, LONGEST_PATH, Writer};
use super::search::{Wanted, search};
use super::trail::{Trail, split};
use super::{MigrationMode, is_given_up, or_io};
use crate::fuse::flags::init;
use crate::fuse::{Errno, NodeId, Result};

/// An inode to write, and how to get at it there.
struct Known {
    node: NodeId,
    lookups: u64,
    how: How,
    path: Vec<u8>,
}

/// Why a way to an inode is not known.
enum Unknown {
    /// No name leads to it, and none ever will.
    Nameless,
    /// Its name was changed on the host.
    Moved(FileId, Proof),
}

pub(super) fn save(fs: &Passthrough, to: &mut dyn Write, given_up: &AtomicBool) -> io::Result<()> {
    if fs.has_agreed(init::MAP_ALIGNMENT | init::HAS_INODE_DAX) {
        return Err(io::Error::other(
            "the guest maps files into a DAX window, which cannot be taken along",
        ));
    }
    let locks = fs.locks.ranges();
    if locks > 0 || fs.has_agreed(init::FLOCK_LOCKS) {
        log::warn!(
            "Locks that hold on the host are not taken along: {locks} ranges by fcntl, and all \
             of flock"
        );
    }
    let known = Survey::new(fs, given_up).and_then(Survey::all)?;
    let ids = Ids {
        inodes: fs.inodes.generation().into(),
        files: fs.files.generation().into(),
        dirs: fs.dirs.generation().into(),
    };
    let mut out = Writer::new(to, &ids)?;
    for Known { node, lookups, how, path } in &known {
        let Ok(inode) = fs.inodes.get(*node) else { continue };
        let handle = match &inode.proof {
            Proof::Handle(handle) if *how == How::Handle || fs.migrating.verify_handles => {
                Some(handle.clone())
            }
            _ => None,
        };
        let (kind, how) = (inode.kind(), *how);
        out.put(&Item::Inode { node: node.0, lookups: *lookups, kind, how, handle }, path)?;
    }
    let (files, dirs) = put_open(fs, &mut out)?;
    out.put(&Item::End, b"")?;
    log::info!(
        "The guest's state is saved: {} inodes, {files} files and {dirs} directories \
                open",
        known.len()
    );
    Ok(())
}

/// Writes what is open; how many files and directories that is. What is open for guests that open
/// nothing is our own affair.
fn put_open(fs: &Passthrough, out: &mut Writer<'_>) -> io::Result<(usize, usize)> {
    let (mut files, mut dirs, mut put) = (0, 0, Ok(()));
    if !fs.has_agreed(init::NO_OPEN_SUPPORT) {
        fs.files.for_each(|handle, file| {
            let flags = fcntl_getfl(file.as_fd()).map_or(0, |flags| flags.bits());
            if put.is_ok() {
                put = out.put(&Item::File { handle, node: file.node.0, flags }, b"");
                files += 1;
            }
        });
    }
    if !fs.has_agreed(init::NO_OPENDIR_SUPPORT) {
        fs.dirs.for_each(|handle, dir| {
            if put.is_ok() {
                put = out.put(&Item::Dir { handle, node: dir.node.0 }, b"");
                dirs += 1;
            }
        });
    }
    put.map(|()| (files, dirs))
}

/// Looks for the ways to all inodes.
struct Survey<'a> {
    fs: &'a Passthrough,
    given_up: &'a AtomicBool,
    trail: Trail<'a>,
    links: Links<'a>,
    /// Where mounts are on which inodes are opened by handle.
    mounts: HashMap<u64, Option<Vec<u8>>>,
}

impl<'a> Survey<'a> {
    fn new(fs: &'a Passthrough, given_up: &'a AtomicBool) -> io::Result<Self> {
        let (trail, links) = (Trail::new(fs).map_err(or_io)?, Links::new(fs).map_err(or_io)?);
        Ok(Survey { fs, given_up, trail, links, mounts: HashMap::new() })
    }

    /// All inodes but the root, those on the same way side by side.
    fn all(mut self) -> io::Result<Vec<Known>> {
        let nodes = self.fs.inodes.all().into_iter().filter(|node| *node != NodeId::ROOT);
        let (mut known, mut moved, mut nameless) = (Vec::new(), Wanted::default(), 0);
        for node in nodes {
            if self.given_up.load(Ordering::Relaxed) {
                return Err(is_given_up());
            }
            let Ok(inode) = self.fs.inodes.get(node) else { continue };
            let lookups = inode.lookups.load(Ordering::Relaxed);
            let (how, path) = match self.way_to(node, &inode) {
                Ok(way) => way,
                Err(why) => {
                    match why {
                        Unknown::Nameless => nameless += 1,
                        Unknown::Moved(id, proof) => moved.add(id, proof, known.len()),
                    }
                    (How::Lost, Vec::new())
                }
            };
            known.push(Known { node, lookups, how, path });
        }
        if !moved.is_empty() {
            log::debug!("Looking for inodes in all of the share");
            search(self.fs, &mut moved, self.given_up, |at: usize, path| {
                known[at].how = How::Path;
                known[at].path = path.to_vec();
                Ok(())
            })?;
        }
        let elsewhere = moved.rest().count();
        if elsewhere + nameless > 0 {
            log::warn!(
                "{} inodes that the guest knows cannot be taken along: {nameless} have no name \
                 any more, {elsewhere} have none in the share",
                elsewhere + nameless
            );
        }
        known.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(known)
    }

    fn way_to(
        &mut self,
        node: NodeId,
        inode: &Inode,
    ) -> std::result::Result<(How, Vec<u8>), Unknown> {
        if self.fs.migrating.mode == MigrationMode::FileHandles
            && let Some(path) = self.mount_of(inode)
        {
            return Ok((How::Handle, path));
        }
        let links = &self.links;
        let seen = self.with_any_fd(node, inode, |fd| Ok((links.path(fd), stat_fd(fd)?)));
        let moved = || Unknown::Moved(inode.id, inode.proof.clone());
        match seen {
            Ok((Some(path), _)) if self.leads_to(&path, inode) => Ok((How::Path, path)),
            Ok((_, stat)) if stat.stx_nlink == 0 => Err(Unknown::Nameless),
            Err(Errno::ESTALE) if inode.opens_by_handle() => Err(Unknown::Nameless),
            Ok(_) | Err(_) => Err(moved()),
        }
    }

    /// Where a directory is on an inode's mount, if its handle opens the inode.
    fn mount_of(&mut self, inode: &Inode) -> Option<Vec<u8>> {
        let fd = inode.mount.by_handle().filter(|_| inode.opens_by_handle())?;
        if let Some(known) = self.mounts.get(&inode.id.mount) {
            return known.clone();
        }
        let path = self.links.path(fd);
        let path =
            path.filter(|path| self.trail.to(path).is_ok_and(|step| step.id.is_beside(&inode.id)));
        self.mounts.insert(inode.id.mount, path.clone());
        path
    }

    /// Runs `call` with a descriptor of an inode, which does not keep one for that if there are
    /// many: all are looked at, and few of them again.
    fn with_any_fd<T>(
        &self,
        node: NodeId,
        inode: &Inode,
        call: impl FnOnce(BorrowedFd<'_>) -> Result<T>,
    ) -> Result<T> {
        if inode.is_pinned() || !inode.opens_by_handle() {
            return self.fs.with_fd(node, inode, call);
        }
        let open = || inode.open_by_handle(libc::O_PATH).ok_or(Errno::ESTALE)?;
        call(self.fs.inodes.open(open)?.as_fd())
    }

    /// True if a path leads to the inode from the root, without links, and nowhere else.
    fn leads_to(&mut self, path: &[u8], inode: &Inode) -> bool {
        let looked = split(path).and_then(|(dir, name)| {
            let dir = self.trail.to(dir)?.fd.as_fd();
            let stat = stat_name(dir, &name)?;
            Ok(FileId::of(&stat) == inode.id && Proof::of(dir, &name, &stat)? == inode.proof)
        });
        path.len() <= LONGEST_PATH && looked.unwrap_or(false)
    }
}
