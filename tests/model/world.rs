//! A daemon, and what has been done to it and to the model.
#![allow(dead_code, clippy::allow_attributes, reason = "part of two test binaries")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use ferryfs::fuse::Errno;
use ferryfs::fuse::abi::{Attr, EntryOut};
use ferryfs_bench::{Client, Error, Guest, LINUX_6_18};

use super::random::Random;
use super::tree::{Id, Kind, Made, ROOT, Tree};

pub(super) const NAMES: [&str; 9] = ["a", "b", "c", "d", "e", "f", "g", "h", "with space"];
/// What is made and removed again has a number that was used before.
const MOST_INODES: usize = 120;

/// An inode as the guest knows it.
pub(super) struct Known {
    pub(super) node: u64,
    pub(super) lookups: u64,
}

pub(crate) struct World {
    steps: usize,
    /// The last steps, for whoever looks for the reason of a failure.
    log: VecDeque<String>,
    pub(super) random: Random,
    pub(super) tree: Tree,
    pub(super) known: BTreeMap<Id, Known>,
    /// Open files: handle and inode.
    pub(super) open: Vec<(u64, Id)>,
    /// Inodes are found by the name under which they were last seen, and these may be elsewhere by
    /// now: they are stale until they are looked up again.
    by_name: bool,
    pub(super) astray: BTreeSet<Id>,
    pub(super) fs: Client,
    _guest: Guest,
    share: PathBuf,
    /// What the daemon has said; it lives as long as this.
    said: Box<dyn Fn() -> String>,
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("step {}; the last steps:", self.steps);
            self.log.iter().for_each(|line| eprintln!("  {line}"));
            eprintln!("the daemon says:\n{}", (self.said)());
        }
    }
}

impl World {
    /// With inodes that are found by name if need be, or not.
    pub(crate) fn new(
        mut guest: Guest,
        share: &Path,
        said: impl Fn() -> String + 'static,
        by_name: bool,
        random: Random,
    ) -> Self {
        let mut fs = guest.client(1).unwrap();
        fs.init(LINUX_6_18).unwrap();
        // All files are this user's.
        fs.caller.uid = rustix::process::geteuid().as_raw();
        let known = BTreeMap::from([(ROOT, Known { node: 1, lookups: 1 })]);
        World {
            steps: 0,
            log: VecDeque::new(),
            random,
            tree: Tree::new(),
            known,
            open: Vec::new(),
            by_name,
            astray: BTreeSet::new(),
            fs,
            _guest: guest,
            share: share.to_owned(),
            said: Box::new(said),
        }
    }

    pub(super) fn say(&mut self, line: String) {
        self.log.push_back(line);
        if self.log.len() > 25 {
            self.log.pop_front();
        }
    }

    /// True if there are no more choices to be had.
    pub(crate) fn is_over(&self) -> bool {
        self.random.is_over()
    }

    /// One operation, of the guest or of the host.
    pub(crate) fn step(&mut self) {
        self.steps += 1;
        if self.tree.below(ROOT).len() > MOST_INODES {
            return self.remove();
        }
        match self.random.below(34) {
            0..6 => self.look_up(),
            6..9 => self.create(),
            9 => self.make(),
            10 => self.link(),
            11..13 => self.remove(),
            13..15 => self.rename(),
            15..17 => self.open(),
            17 => self.release(),
            18..20 => self.read(),
            20..22 => self.write(),
            22 => self.change(),
            23 => self.copy(),
            24..26 => self.get(),
            26 => self.list(),
            27 => self.xattr(),
            28 => self.forget(),
            _ => self.host(),
        }
    }

    /// Looks everything up and compares it.
    pub(crate) fn compare_all(&mut self) {
        for id in self.tree.below(ROOT) {
            self.find_again(id);
            let got = self.fs.getattr(self.known[&id].node, None).unwrap();
            self.is_so(id, &got.attr);
            if matches!(self.tree.get(id).kind, Kind::File(_)) {
                let node = self.known[&id].node;
                let handle = self.fs.open(node, libc::O_RDONLY).unwrap().fh;
                let content = self.fs.read(node, handle, 0, 100_000).unwrap();
                assert!(content == *self.tree.content(id), "other bytes");
                self.fs.release(node, handle).unwrap();
            }
        }
    }

    pub(super) fn name(&mut self) -> &'static str {
        self.random.of::<&str>(&NAMES)
    }

    pub(super) fn path(&self, id: Id) -> PathBuf {
        let way = self.tree.way_to(id).unwrap();
        way.iter().fold(self.share.clone(), |path, (name, _)| path.join(name))
    }

    pub(super) fn dirs(&self) -> Vec<Id> {
        let mut dirs = self.tree.below(ROOT);
        dirs.retain(|id| self.tree.get(*id).is_dir());
        dirs.push(ROOT);
        dirs
    }

    /// A directory that the guest knows and that is there.
    pub(super) fn dir(&mut self) -> Id {
        let mut dirs = self.dirs();
        dirs.retain(|id| self.known.contains_key(id));
        *self.random.of(&dirs)
    }

    /// Whatever the guest knows, be it there or not.
    pub(super) fn any(&mut self) -> Id {
        let known: Vec<_> = self.known.keys().copied().collect();
        *self.random.of(&known)
    }

    /// Sends a request about inodes. One that has gone astray is looked up again, as Linux does.
    pub(super) fn ask<T>(
        &mut self,
        ids: &[Id],
        mut request: impl FnMut(&mut Client, &[u64]) -> Result<T, Error>,
    ) -> Made<T> {
        let nodes: Vec<_> = ids.iter().map(|id| self.known[id].node).collect();
        let mut done = answer(request(&mut self.fs, &nodes));
        let there = ids.iter().all(|id| self.tree.is_there(*id));
        if there && done.as_ref().err() == Some(&Errno::ESTALE) {
            let astray = |id: &Id| self.way_is_astray(*id);
            assert!(self.by_name && ids.iter().any(astray), "stale, though nothing happened");
            ids.iter().for_each(|id| self.find_again(*id));
            done = answer(request(&mut self.fs, &nodes));
            assert_ne!(done.as_ref().err(), Some(&Errno::ESTALE), "stale for ever");
        }
        done
    }

    fn way_is_astray(&self, id: Id) -> bool {
        let way = self.tree.way_to(id).unwrap();
        way.iter().any(|(_, id)| self.astray.contains(id))
    }

    /// Looks up every name on the way to an inode.
    pub(super) fn find_again(&mut self, id: Id) {
        let mut dir = ROOT;
        for (name, next) in self.tree.way_to(id).unwrap() {
            let entry = answer(self.fs.lookup(self.known[&dir].node, &name));
            self.found(entry, Ok(next));
            dir = next;
        }
    }

    /// Compares what a request for an inode gave; returns the inode if there is one.
    pub(super) fn found(&mut self, found: Made<EntryOut>, expected: Made<Id>) -> Option<Id> {
        assert_eq!(found.as_ref().err(), expected.as_ref().err());
        let (Ok(entry), Ok(id)) = (found, expected) else { return None };
        let taken = self.known.iter().find(|(_, known)| known.node == entry.nodeid);
        assert!(
            taken.is_none_or(|(other, _)| *other == id),
            "{id} has the nodeid of {taken:?}",
            taken = taken.map(|(id, _)| id)
        );
        let known = self.known.entry(id).or_insert(Known { node: entry.nodeid, lookups: 0 });
        assert_eq!(known.node, entry.nodeid, "inode {id} has two nodeids");
        known.lookups += 1;
        self.astray.remove(&id);
        self.is_so(id, &entry.attr);
        Some(id)
    }

    /// True if an inode without a name is gone for good, which it may be unless it is open.
    pub(super) fn is_lost(&self, id: Id, error: Option<&Errno>) -> bool {
        let is_open = self.open.iter().any(|(_, of)| *of == id);
        !self.tree.is_there(id) && !is_open && error == Some(&Errno::ESTALE)
    }

    pub(super) fn is_so(&self, id: Id, attr: &Attr) {
        let inode = self.tree.get(id);
        let kind = match &inode.kind {
            Kind::File(content) => {
                assert_eq!(attr.size, content.len() as u64, "size of {id}");
                libc::S_IFREG
            }
            Kind::Dir(_) => libc::S_IFDIR,
            Kind::Link(_) => libc::S_IFLNK,
            Kind::Fifo => libc::S_IFIFO,
        };
        assert_eq!(attr.mode, kind | inode.mode, "mode of {id}");
        if !inode.is_dir() {
            assert_eq!(attr.nlink, inode.names, "links of {id}");
        }
    }
}

fn answer<T>(result: Result<T, Error>) -> Made<T> {
    result.map_err(|error| match error {
        Error::Errno(errno) => errno,
        other => panic!("{other}"),
    })
}
