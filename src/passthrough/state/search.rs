//! The names of inodes that nothing else tells: by looking at all of the share.

use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::Passthrough;
use super::super::directories::{BATCH, Found, READ};
use super::super::identity::{FileId, Proof, glance_at, stat_fd};
use super::super::mounts::reopen_dir;
use super::super::sys::getdents;
use super::is_given_up;
use super::trail::{Trail, join};

/// Inodes that are looked for.
pub(super) struct Wanted<T> {
    inodes: HashMap<FileId, Vec<(Proof, T)>>,
    /// On which they are: no others are entered below the root's.
    mounts: HashSet<u64>,
    /// Entries of directories tell these.
    numbers: HashSet<u64>,
}

impl<T> Default for Wanted<T> {
    fn default() -> Self {
        Wanted { inodes: HashMap::new(), mounts: HashSet::new(), numbers: HashSet::new() }
    }
}

impl<T> Wanted<T> {
    pub(super) fn add(&mut self, id: FileId, proof: Proof, what: T) {
        self.inodes.entry(id).or_default().push((proof, what));
        self.mounts.insert(id.mount);
        self.numbers.insert(id.ino);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.inodes.is_empty()
    }

    /// Those that were not found.
    pub(super) fn rest(self) -> impl Iterator<Item = T> {
        self.inodes.into_values().flatten().map(|(_, what)| what)
    }

    /// Calls `found` for those that `name` in `dir` is, or `dir` itself if it is empty.
    fn look_at(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        found: &mut impl FnMut(T) -> io::Result<()>,
    ) -> io::Result<()> {
        let stat = if name.is_empty() { stat_fd(dir) } else { glance_at(dir, name) };
        let Ok(stat) = stat else { return Ok(()) };
        let id = FileId::of(&stat);
        let Some(those) = self.inodes.get_mut(&id) else { return Ok(()) };
        let Ok(proof) = Proof::of(dir, name, &stat) else { return Ok(()) };
        for (_, what) in those.extract_if(.., |(wanted, _)| *wanted == proof) {
            found(what)?;
        }
        if those.is_empty() {
            self.inodes.remove(&id);
        }
        Ok(())
    }
}

/// Walks the share until all that is wanted is found.
pub(super) fn search<T>(
    fs: &Passthrough,
    wanted: &mut Wanted<T>,
    given_up: &AtomicBool,
    mut found: impl FnMut(T, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut trail = Trail::new(fs).map_err(super::or_io)?;
    let mut ahead = vec![Vec::new()];
    let mut records = Vec::with_capacity(BATCH);
    let mut home = None;
    while let Some(path) = ahead.pop().filter(|_| !wanted.is_empty()) {
        if given_up.load(Ordering::Relaxed) {
            return Err(is_given_up());
        }
        let Ok(step) = trail.to(&path) else { continue };
        if *home.get_or_insert(step.id.mount) != step.id.mount
            && !wanted.mounts.contains(&step.id.mount)
        {
            continue;
        }
        if !path.is_empty() {
            wanted.look_at(step.fd.as_fd(), c"", &mut |what| found(what, &path))?;
        }
        let Ok(dir) = fs.inodes.open(|| reopen_dir(step.fd.as_fd(), READ)) else { continue };
        while getdents(dir.as_fd(), &mut records).is_ok() && !records.is_empty() {
            let mut rest = &records[..];
            while let Some(entry) = Found::parse(rest) {
                rest = rest.get(entry.len..).unwrap_or_default();
                let kind = u8::try_from(entry.kind).unwrap_or_default();
                let may_be_dir = matches!(kind, libc::DT_DIR | libc::DT_UNKNOWN);
                match entry.name.to_bytes() {
                    b"." | b".." => {}
                    _ if may_be_dir => ahead.push(join(&path, entry.name)),
                    _ => {}
                }
                if kind != libc::DT_DIR && wanted.numbers.contains(&entry.ino) {
                    let path = join(&path, entry.name);
                    wanted.look_at(dir.as_fd(), entry.name, &mut |what| found(what, &path))?;
                }
            }
        }
    }
    Ok(())
}
