//! The model: a file system in memory, by the book.

use std::collections::BTreeMap;

use ferryfs::fuse::Errno;

pub(crate) type Id = usize;
pub(crate) type Made<T> = Result<T, Errno>;

pub(crate) const ROOT: Id = 0;

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    File(Vec<u8>),
    Dir(BTreeMap<String, Id>),
    Link(String),
    Fifo,
}

#[derive(Clone, Debug)]
pub(crate) struct Inode {
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    /// Names; a directory has one or none.
    pub(crate) names: u32,
    pub(crate) xattrs: BTreeMap<String, Vec<u8>>,
}

impl Inode {
    pub(crate) fn is_dir(&self) -> bool {
        matches!(self.kind, Kind::Dir(_))
    }
}

/// Ids are indices, and never used again.
#[derive(Debug)]
pub(crate) struct Tree(Vec<Inode>);

impl Tree {
    pub(crate) fn new() -> Self {
        let (kind, xattrs) = (Kind::Dir(BTreeMap::new()), BTreeMap::new());
        Tree(vec![Inode { kind, mode: 0o755, names: 1, xattrs }])
    }

    pub(crate) fn get(&self, id: Id) -> &Inode {
        &self.0[id]
    }

    pub(crate) fn get_mut(&mut self, id: Id) -> &mut Inode {
        &mut self.0[id]
    }

    pub(crate) fn is_there(&self, id: Id) -> bool {
        self.0[id].names > 0
    }

    pub(crate) fn content(&mut self, id: Id) -> &mut Vec<u8> {
        match &mut self.0[id].kind {
            Kind::File(content) => content,
            other => panic!("no file: {other:?}"),
        }
    }

    pub(crate) fn entries(&self, dir: Id) -> &BTreeMap<String, Id> {
        match &self.0[dir].kind {
            Kind::Dir(entries) => entries,
            other => panic!("no directory: {other:?}"),
        }
    }

    fn entries_mut(&mut self, dir: Id) -> &mut BTreeMap<String, Id> {
        match &mut self.0[dir].kind {
            Kind::Dir(entries) => entries,
            other => panic!("no directory: {other:?}"),
        }
    }

    pub(crate) fn look_up(&self, dir: Id, name: &str) -> Made<Id> {
        self.entries(dir).get(name).copied().ok_or(Errno::ENOENT)
    }

    pub(crate) fn make(&mut self, dir: Id, name: &str, kind: Kind, mode: u32) -> Made<Id> {
        if self.look_up(dir, name).is_ok() {
            return Err(Errno::EEXIST);
        }
        let id = self.0.len();
        self.0.push(Inode { kind, mode, names: 1, xattrs: BTreeMap::new() });
        self.entries_mut(dir).insert(name.into(), id);
        Ok(id)
    }

    pub(crate) fn link(&mut self, id: Id, dir: Id, name: &str) -> Made<()> {
        if self.look_up(dir, name).is_ok() {
            return Err(Errno::EEXIST);
        }
        if self.0[id].is_dir() {
            return Err(Errno::EPERM);
        }
        if !self.is_there(id) {
            return Err(Errno::ENOENT);
        }
        self.0[id].names += 1;
        self.entries_mut(dir).insert(name.into(), id);
        Ok(())
    }

    /// unlink(2), or rmdir(2).
    pub(crate) fn remove(&mut self, dir: Id, name: &str, directory: bool) -> Made<Id> {
        let id = self.look_up(dir, name)?;
        match (&self.0[id].kind, directory) {
            (Kind::Dir(_), false) => return Err(Errno::EISDIR),
            (Kind::Dir(entries), true) if !entries.is_empty() => return Err(Errno::ENOTEMPTY),
            (Kind::Dir(_), true) | (_, false) => {}
            (_, true) => return Err(Errno::ENOTDIR),
        }
        self.entries_mut(dir).remove(name);
        self.0[id].names -= 1;
        Ok(id)
    }

    /// renameat2(2) with flags 0, RENAME_NOREPLACE (1) or RENAME_EXCHANGE (2); what was moved.
    pub(crate) fn rename(
        &mut self,
        (from, name): (Id, &str),
        (to, new): (Id, &str),
        flags: u32,
    ) -> Made<Vec<Id>> {
        let source = self.look_up(from, name)?;
        let target = self.look_up(to, new).ok();
        match (flags, target) {
            (1, Some(_)) => return Err(Errno::EEXIST),
            (2, None) => return Err(Errno::ENOENT),
            _ => {}
        }
        if self.holds(source, to) {
            return Err(Errno::EINVAL);
        }
        if let Some(target) = target {
            if self.holds(target, from) {
                return Err(if flags == 2 { Errno::EINVAL } else { Errno::ENOTEMPTY });
            }
            if source == target {
                return Ok(Vec::new());
            }
            if flags == 2 {
                self.entries_mut(from).insert(name.into(), target);
                self.entries_mut(to).insert(new.into(), source);
                return Ok(vec![source, target]);
            }
            match (&self.0[source].kind, &self.0[target].kind) {
                (Kind::Dir(_), Kind::Dir(entries)) if entries.is_empty() => {}
                (Kind::Dir(_), Kind::Dir(_)) => return Err(Errno::ENOTEMPTY),
                (Kind::Dir(_), _) => return Err(Errno::ENOTDIR),
                (_, Kind::Dir(_)) => return Err(Errno::EISDIR),
                _ => {}
            }
            self.0[target].names -= 1;
        }
        self.entries_mut(from).remove(name);
        self.entries_mut(to).insert(new.into(), source);
        Ok([Some(source), target].into_iter().flatten().collect())
    }

    /// True if `inside` is `dir` or somewhere below it.
    fn holds(&self, dir: Id, inside: Id) -> bool {
        dir == inside || self.below(dir).contains(&inside)
    }

    /// Everything below a directory.
    pub(crate) fn below(&self, dir: Id) -> Vec<Id> {
        let mut found = Vec::new();
        if let Kind::Dir(entries) = &self.0[dir].kind {
            for &id in entries.values() {
                found.push(id);
                found.extend(self.below(id));
            }
        }
        found
    }

    /// The names that lead from the root to an inode, if there is a way.
    pub(crate) fn way_to(&self, id: Id) -> Option<Vec<(String, Id)>> {
        self.way(ROOT, id)
    }

    fn way(&self, dir: Id, id: Id) -> Option<Vec<(String, Id)>> {
        if dir == id {
            return Some(Vec::new());
        }
        let Kind::Dir(entries) = &self.0[dir].kind else { return None };
        entries.iter().find_map(|(name, &entry)| {
            let mut way = vec![(name.clone(), entry)];
            way.extend(self.way(entry, id)?);
            Some(way)
        })
    }
}
