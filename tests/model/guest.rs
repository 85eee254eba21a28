//! What the guest does.

use std::collections::{BTreeMap, BTreeSet};

use ferryfs::fuse::Errno;
use ferryfs::fuse::abi::{CopyFileRangeIn, SetattrIn};
use ferryfs::fuse::flags::setattr;
use zerocopy::FromZeros;

use super::tree::{Id, Kind, ROOT};
use super::world::{Known, NAMES, World};

/// Far fewer than the budget of descriptors.
const MOST_HANDLES: usize = 8;

impl World {
    pub(super) fn look_up(&mut self) {
        let (dir, name) = (self.dir(), self.name());
        self.say(format!("look up {name} in {dir}"));
        let found = self.ask(&[dir], |fs, nodes| fs.lookup(nodes[0], name));
        let found = found.and_then(|entry| match entry.nodeid {
            0 => Err(Errno::ENOENT),
            _ => Ok(entry),
        });
        self.found(found, self.tree.look_up(dir, name));
    }

    pub(super) fn create(&mut self) {
        let (dir, name, mode) = (self.dir(), self.name(), *self.random.of(&[0o600, 0o644, 0o755]));
        let there = self.tree.look_up(dir, name);
        let is_file = there.is_ok_and(|id| matches!(self.tree.get(id).kind, Kind::File(_)));
        if self.open.len() >= MOST_HANDLES {
            return self.release();
        }
        let exclusive = if is_file && self.random.once_in(2) { 0 } else { libc::O_EXCL };
        self.say(format!("create {name} in {dir}, exclusive {exclusive}"));
        let flags = libc::O_RDWR | exclusive;
        let made = self.ask(&[dir], |fs, nodes| fs.create(nodes[0], name, flags, mode));
        let expected = match there {
            Ok(id) if exclusive == 0 => Ok(id),
            _ => self.tree.make(dir, name, Kind::File(Vec::new()), mode),
        };
        let (entry, opened) = match made {
            Ok(made) => (Ok(made.entry), Some(made.open.fh)),
            Err(error) => (Err(error), None),
        };
        let id = self.found(entry, expected);
        self.open.extend(opened.zip(id));
    }

    pub(super) fn make(&mut self) {
        let (dir, name, mode) = (self.dir(), self.name(), *self.random.of(&[0o700, 0o755]));
        let kind = self.random.below(5);
        self.say(format!("make {name} in {dir}, kind {kind}"));
        let (made, kind) = match kind {
            0 => {
                let made = self.ask(&[dir], |fs, nodes| fs.symlink(nodes[0], name, "target"));
                (made, Kind::Link("target".into()))
            }
            1 => {
                let mode = libc::S_IFIFO | mode;
                (self.ask(&[dir], |fs, nodes| fs.mknod(nodes[0], name, mode, 0)), Kind::Fifo)
            }
            _ => {
                let made = self.ask(&[dir], |fs, nodes| fs.mkdir(nodes[0], name, mode));
                (made, Kind::Dir(BTreeMap::new()))
            }
        };
        let mode = if matches!(kind, Kind::Link(_)) { 0o777 } else { mode };
        let expected = self.tree.make(dir, name, kind, mode);
        self.found(made, expected);
    }

    pub(super) fn link(&mut self) {
        let (id, dir, name) = (self.any(), self.dir(), self.name());
        if self.tree.get(id).is_dir() {
            return;
        }
        self.say(format!("link {id} as {name} in {dir}"));
        let linked = self.ask(&[id, dir], |fs, nodes| fs.link(nodes[0], (nodes[1], name)));
        let expected = self.tree.link(id, dir, name);
        if self.is_lost(id, linked.as_ref().err()) {
            return;
        }
        self.found(linked, expected.map(|()| id));
    }

    pub(super) fn remove(&mut self) {
        let (dir, mut name, mut directory) = (self.dir(), self.name(), self.random.once_in(3));
        if self.random.once_in(2)
            && let Some((there, id)) = self.tree.entries(dir).first_key_value()
        {
            name = NAMES.iter().find(|name| *name == there).unwrap();
            directory = self.tree.get(*id).is_dir();
        }
        self.say(format!("remove {name} in {dir}, as directory {directory}"));
        let removed = self.ask(&[dir], |fs, nodes| match directory {
            true => fs.rmdir(nodes[0], name),
            false => fs.unlink(nodes[0], name),
        });
        let expected = self.tree.remove(dir, name, directory);
        assert_eq!(removed.err(), expected.err());
        self.astray.extend(expected.ok());
    }

    pub(super) fn rename(&mut self) {
        let (from, name, to, new) = (self.dir(), self.name(), self.dir(), self.name());
        let flags = *self.random.of(&[0, 0, 1, 2]);
        self.say(format!("rename {name} in {from} to {new} in {to}, flags {flags}"));
        let moved =
            self.ask(&[from, to], |fs, nodes| fs.rename2((nodes[0], name), (nodes[1], new), flags));
        let expected = self.tree.rename((from, name), (to, new), flags);
        assert_eq!(moved.err(), expected.as_ref().err().copied());
        // What was replaced may have another name.
        self.astray.extend(expected.unwrap_or_default().get(1));
    }

    pub(super) fn open(&mut self) {
        let id = self.any();
        if self.open.len() >= MOST_HANDLES {
            return self.release();
        }
        self.say(format!("open {id}"));
        let opened = self.ask(&[id], |fs, nodes| fs.open(nodes[0], libc::O_RDWR));
        if self.is_lost(id, opened.as_ref().err()) {
            return;
        }
        match self.tree.get(id).kind {
            Kind::File(_) => self.open.push((opened.unwrap().fh, id)),
            Kind::Dir(_) => assert_eq!(opened.err(), Some(Errno::EISDIR)),
            Kind::Link(_) => assert_eq!(opened.err(), Some(Errno::ELOOP)),
            Kind::Fifo => assert_eq!(opened.err(), Some(Errno::ENXIO)),
        }
    }

    pub(super) fn release(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let at = self.random.below(self.open.len());
        let (handle, id) = self.open.swap_remove(at);
        self.say(format!("release {handle} of {id}"));
        self.fs.release(self.known[&id].node, handle).unwrap();
    }

    fn handle(&mut self) -> Option<(u64, Id)> {
        (!self.open.is_empty()).then(|| *self.random.of(&self.open))
    }

    pub(super) fn read(&mut self) {
        let Some((handle, id)) = self.handle() else { return };
        let (at, len) = (self.random.below(40_000), self.random.below(20_000));
        self.say(format!("read {len} at {at} of {id} by {handle}"));
        let (offset, size) = (at as u64, u32::try_from(len).unwrap());
        let found = self.fs.read(self.known[&id].node, handle, offset, size).unwrap();
        let content = self.tree.content(id);
        let end = content.len().min(at + len);
        assert!(found == content.get(at..end).unwrap_or_default(), "other bytes");
    }

    pub(super) fn write(&mut self) {
        let Some((handle, id)) = self.handle() else { return };
        let (at, len) = (self.random.below(40_000), self.random.below(20_000));
        let bytes = self.random.bytes(len);
        self.say(format!("write {len} at {at} of {id} by {handle}"));
        let written = self.fs.write(self.known[&id].node, handle, at as u64, &bytes).unwrap();
        assert_eq!(written as usize, len);
        put(self.tree.content(id), at, &bytes);
    }

    pub(super) fn copy(&mut self) {
        let (Some((from, source)), Some((to, target))) = (self.handle(), self.handle()) else {
            return;
        };
        let (from_at, to_at) = (self.random.below(20_000), self.random.below(40_000));
        let len = self.random.below(20_000);
        if source == target {
            return;
        }
        self.say(format!("copy {len} from {from_at} of {source} to {to_at} of {target}"));
        let copy = CopyFileRangeIn {
            fh_in: from,
            off_in: from_at as u64,
            nodeid_out: self.known[&target].node,
            fh_out: to,
            off_out: to_at as u64,
            len: len as u64,
            flags: 0,
        };
        let copied = self.fs.copy_file_range(self.known[&source].node, &copy).unwrap() as usize;
        let content = self.tree.content(source);
        let end = content.len().min(from_at + len);
        let bytes = content.get(from_at..end).unwrap_or_default().to_vec();
        assert_eq!(copied, bytes.len());
        put(self.tree.content(target), to_at, &bytes);
    }

    /// SETATTR, with and without a handle.
    pub(super) fn change(&mut self) {
        let mut change = SetattrIn::new_zeroed();
        let mut id = self.any();
        if let Some((handle, of)) = self.handle().filter(|_| self.random.once_in(2)) {
            (id, change.fh, change.valid) = (of, handle, setattr::FH);
        }
        let is_file = matches!(self.tree.get(id).kind, Kind::File(_));
        let size = self.random.below(50_000);
        match is_file && self.random.once_in(2) {
            true => (change.size, change.valid) = (size as u64, change.valid | setattr::SIZE),
            false => {
                (change.mode, change.valid) =
                    (*self.random.of(&[0o700, 0o711]), change.valid | setattr::MODE);
            }
        }
        if matches!(self.tree.get(id).kind, Kind::Link(_)) {
            return;
        }
        self.say(format!("change {id}: {change:?}"));
        let changed = self.ask(&[id], |fs, nodes| fs.setattr(nodes[0], &change));
        if self.is_lost(id, changed.as_ref().err()) {
            return;
        }
        match change.valid & setattr::SIZE {
            0 => self.tree.get_mut(id).mode = change.mode,
            _ => self.tree.content(id).resize(size, 0),
        }
        self.is_so(id, &changed.unwrap().attr);
    }

    pub(super) fn get(&mut self) {
        let id = self.any();
        let handle = self.open.iter().find(|(_, of)| *of == id).map(|(handle, _)| *handle);
        let handle = handle.filter(|_| self.random.once_in(2));
        self.say(format!("attributes of {id} by {handle:?}"));
        let got = self.ask(&[id], |fs, nodes| fs.getattr(nodes[0], handle));
        if self.is_lost(id, got.as_ref().err()) {
            return;
        }
        self.is_so(id, &got.unwrap().attr);
        if let Kind::Link(target) = &self.tree.get(id).kind {
            let (target, node) = (target.clone(), self.known[&id].node);
            assert_eq!(self.fs.readlink(node).unwrap(), target.into_bytes());
        }
    }

    pub(super) fn list(&mut self) {
        let (dir, plus) = (self.dir(), self.random.once_in(2));
        let size = *self.random.of(&[300, 700, 4096]);
        self.say(format!("list {dir}, with attributes {plus}"));
        let handle = self.ask(&[dir], |fs, nodes| fs.opendir(nodes[0])).unwrap().fh;
        let node = self.known[&dir].node;
        let mut names = BTreeSet::new();
        let mut offset = 0;
        loop {
            let entries = match plus {
                true => self.fs.readdirplus(node, handle, offset, size),
                false => self.fs.readdir(node, handle, offset, size),
            };
            let Some(last) = entries.as_ref().unwrap().last() else { break };
            offset = last.offset;
            for entry in entries.unwrap() {
                let name = String::from_utf8(entry.name).unwrap();
                if name == "." || name == ".." {
                    continue;
                }
                let id = self.tree.look_up(dir, &name).unwrap();
                assert!(names.insert(name), "listed twice");
                if let Some(found) = entry.entry.filter(|found| found.nodeid != 0) {
                    self.found(Ok(found), Ok(id));
                } else {
                    assert!(!plus, "without its inode");
                }
            }
        }
        assert!(names.iter().eq(self.tree.entries(dir).keys()), "{names:?}");
        self.fs.releasedir(node, handle).unwrap();
    }

    pub(super) fn xattr(&mut self) {
        let (id, name) = (self.any(), *self.random.of(&["user.a", "user.b"]));
        if matches!(self.tree.get(id).kind, Kind::Link(_) | Kind::Fifo) {
            return;
        }
        let there = self.tree.get(id).xattrs.get(name).cloned();
        let what = self.random.below(4);
        self.say(format!("attribute {name} of {id}: {what}"));
        let len = self.random.below(60);
        let value = self.random.bytes(len);
        let done = match what {
            0 => self
                .ask(&[id], |fs, nodes| fs.setxattr(nodes[0], name, &value, 0))
                .map(|()| value.clone()),
            1 => self.ask(&[id], |fs, nodes| fs.removexattr(nodes[0], name)).map(|()| Vec::new()),
            2 => self.ask(&[id], |fs, nodes| fs.getxattr(nodes[0], name, 100)),
            _ => self.ask(&[id], |fs, nodes| fs.listxattr(nodes[0], 1000)),
        };
        if self.is_lost(id, done.as_ref().err()) {
            return;
        }
        let xattrs = &mut self.tree.get_mut(id).xattrs;
        match what {
            0 => drop(xattrs.insert(name.into(), done.unwrap())),
            1 => assert_eq!(done.is_ok(), xattrs.remove(name).is_some()),
            2 => assert_eq!(done.ok(), there),
            _ => {
                let listed = String::from_utf8(done.unwrap()).unwrap();
                let listed: BTreeSet<_> = listed
                    .split_terminator('\0')
                    .filter(|name| name.starts_with("user."))
                    .collect();
                assert!(listed.into_iter().eq(xattrs.keys().map(String::as_str)));
            }
        }
    }

    /// As Linux does it: not what is open, and no directory before what is known below it.
    pub(super) fn forget(&mut self) {
        let id = self.any();
        let is_open = self.open.iter().any(|(_, of)| *of == id);
        let holds = self.tree.below(id).iter().any(|below| self.known.contains_key(below));
        if id == ROOT || is_open || holds {
            return;
        }
        self.say(format!("forget {id}"));
        let Known { node, lookups } = self.known.remove(&id).unwrap();
        self.fs.forget(node, lookups).unwrap();
        self.astray.remove(&id);
    }
}

/// pwrite(2).
fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let end = at + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[at..end].copy_from_slice(bytes);
}
