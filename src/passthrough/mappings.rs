//! Files in a DAX window.
//!
//! A guest that maps a range takes all of it for the file, whatever becomes of either. So a range
//! is mapped wholly or not at all; and since not every front-end can map every range, guests that
//! leave the choice to us (HAS_INODE_DAX) map only files of which it can map all, until their size
//! becomes one of which it cannot.

use std::collections::VecDeque;
use std::ffi::CStr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU8, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{OFlags, Statx};

use super::Passthrough;
use super::identity::{FileId, stat_fd};
use super::inode::Inode;
use crate::fuse::flags::init;
use crate::fuse::{Abilities, Errno, MapRange, Mappings, NodeId, Result, Source, Window};

/// Which files a guest is told to map, if it asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DaxPolicy {
    /// Large ones, of which several fit into the window, and that are no programs: those could not
    /// be run on the host meanwhile.
    #[default]
    Auto,
    /// All.
    Always,
    /// None, and none are mapped.
    Never,
    /// Those of at least so many bytes.
    Size(u64),
    /// Those whose name matches a pattern with `*` and `?`.
    Glob(Box<[u8]>),
}

/// A window, and what is to be shown in it.
pub(super) struct Dax {
    window: Arc<dyn Window>,
    policy: DaxPolicy,
    /// Inodes that were just given up as [`Passthrough::stop_mapping`] does.
    stopped: Mutex<VecDeque<FileId>>,
}

/// Whether the guest is to map an inode.
#[derive(Default)]
pub(super) struct Mapped(AtomicU8);

impl Mapped {
    const NO: u8 = 0;
    const YES: u8 = 1;
    /// Not any more, and it is not to be opened either: there is another inode of the file.
    const GIVEN_UP: u8 = 2;

    pub(super) fn begin(&self, mapped: bool) {
        self.0.store(u8::from(mapped), Ordering::Relaxed);
    }

    fn is(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Self::YES
    }

    fn end(&self) {
        // Giving up is for ever.
        let _ = self.0.compare_exchange(Self::YES, Self::NO, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Guests map files by ranges of this.
const RANGE: u64 = 2 << 20;

const PAGE: u64 = 4096;

/// How often a file may change its size while a range is mapped.
const TRIES: usize = 4;

/// How many files may be given up before any of them is opened again.
const STOPPED: usize = 256;

impl Dax {
    pub(super) fn new(window: Arc<dyn Window>, policy: DaxPolicy) -> Self {
        Dax { window, policy, stopped: Mutex::default() }
    }

    fn stopped(&self) -> MutexGuard<'_, VecDeque<FileId>> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wants(&self, name: Option<&CStr>, stat: &Statx) -> bool {
        match &self.policy {
            DaxPolicy::Auto => {
                let is_program = stat.stx_mode & 0o111 != 0;
                (RANGE..=self.window.size() / 2).contains(&stat.stx_size) && !is_program
            }
            DaxPolicy::Always => true,
            DaxPolicy::Never => false,
            DaxPolicy::Size(least) => stat.stx_size >= *least,
            DaxPolicy::Glob(pattern) => {
                name.is_some_and(|name| matches_glob(pattern, name.to_bytes()))
            }
        }
    }
}

impl Passthrough {
    /// Lets the guest map files into `window`.
    pub fn map_into(&mut self, window: Arc<dyn Window>, policy: DaxPolicy) {
        self.dax = Some(Dax::new(window, policy));
    }

    /// INIT flags that a window wants.
    pub(super) fn dax_flags(&self) -> u64 {
        match self.abilities() {
            Some(_) => init::MAP_ALIGNMENT | init::HAS_INODE_DAX,
            None => 0,
        }
    }

    /// What can be mapped, if anything.
    fn abilities(&self) -> Option<Abilities> {
        let dax = self.dax.as_ref().filter(|dax| dax.policy != DaxPolicy::Never)?;
        // Nothing may be mapped for writing then.
        dax.window.abilities().filter(|can| can.read_only || !self.config.readonly)
    }

    /// True if every range of a file of this size can be mapped, also those that it ends in.
    fn can_map_all(&self, size: u64) -> bool {
        self.abilities().is_some_and(|can| {
            can.past_end && can.partial_page
                || size > 0 && size.is_multiple_of(if can.past_end { PAGE } else { RANGE })
        })
    }

    /// True if the guest shall map an inode that it has not known so far.
    pub(super) fn shall_map(&self, id: FileId, name: Option<&CStr>, stat: &Statx) -> bool {
        let Some(dax) = self.dax.as_ref().filter(|_| self.has_agreed(init::HAS_INODE_DAX)) else {
            return false;
        };
        if u32::from(stat.stx_mode) & libc::S_IFMT != libc::S_IFREG {
            return false;
        }
        // Linux looks it up twice, and forgets the first one.
        !dax.stopped().contains(&id) && dax.wants(name, stat) && self.can_map_all(stat.stx_size)
    }

    /// True if the guest is to map an inode. It may change only from yes to no: a guest gives an
    /// inode up, when it is not used any more, as soon as it hears something new.
    pub(super) fn is_mapped(&self, inode: &Inode, size: u64) -> bool {
        if !inode.mapped.is() || !self.has_agreed(init::HAS_INODE_DAX) {
            return false;
        }
        let can = self.can_map_all(size);
        if !can {
            inode.mapped.end();
        }
        can
    }

    /// Has the guest go on with another inode of a file, one that it does not map, when it opens
    /// the file and the end may come to lie where it cannot be mapped. While the file is in use
    /// it stays the inode that it is: a guest's own locks hold between users of one inode.
    ///
    /// # Errors
    /// `ESTALE`, at which Linux looks the name up once more.
    pub(super) fn stop_mapping(&self, node: NodeId, inode: &Inode, flags: OFlags) -> Result<()> {
        let Some(dax) = self.dax.as_ref().filter(|_| self.has_agreed(init::HAS_INODE_DAX)) else {
            return Ok(());
        };
        if !inode.mapped.is() {
            self.is_still_mapped(inode)?;
            dax.stopped().retain(|stopped| *stopped != inode.id);
            return Ok(());
        }
        let any_size = self.abilities().is_some_and(|can| can.partial_page && can.past_end);
        if any_size {
            return Ok(());
        }
        // Who asks for a file to be mapped knows that writers do not make it longer.
        let writes = dax.policy == DaxPolicy::Auto && flags & OFlags::RWMODE != OFlags::RDONLY;
        if !writes && !flags.intersects(OFlags::TRUNC | OFlags::APPEND) {
            let size = self.with_fd(node, inode, stat_fd)?.stx_size;
            if self.can_map_all(size) {
                return Ok(());
            }
        }
        inode.mapped.0.store(Mapped::GIVEN_UP, Ordering::Relaxed);
        // Who opens it now either is seen to have, or sees that it was given up.
        fence(Ordering::SeqCst);
        if self.is_open(node) {
            inode.mapped.0.store(Mapped::NO, Ordering::Relaxed);
            return Ok(());
        }
        let mut stopped = dax.stopped();
        if stopped.len() == STOPPED {
            stopped.pop_front();
        }
        stopped.push_back(inode.id);
        drop(stopped);
        self.inodes.disown(node, inode);
        Err(Errno::ESTALE)
    }

    /// For an inode that was just opened.
    ///
    /// # Errors
    /// `ESTALE` if there is another inode of the file for that by now.
    pub(super) fn is_still_mapped(&self, inode: &Inode) -> Result<()> {
        if self.dax.is_none() {
            return Ok(());
        }
        fence(Ordering::SeqCst);
        match inode.mapped.0.load(Ordering::Relaxed) {
            Mapped::GIVEN_UP => Err(Errno::ESTALE),
            _ => Ok(()),
        }
    }

    fn is_open(&self, node: NodeId) -> bool {
        let mut open = false;
        self.files.for_each(|_, file| open |= file.is_of(node));
        open
    }

    fn set_up(&self, dax: &Dax, node: NodeId, range: &MapRange) -> Result<()> {
        let inode = self.inodes.get(node)?;
        let can = self.abilities().ok_or(Errno::EOPNOTSUPP)?;
        let source = match dax.window.source(node) {
            Some(source) if source.writable || !range.write => source,
            _ => Arc::new(self.open_to_map(node, &inode, range.write, can)?),
        };
        let size = || Ok::<_, Errno>(stat_fd(source.as_fd())?.stx_size);
        let mut now = size()?;
        for _ in 0..TRIES {
            match dax.window.map(source.clone(), range, cut(range, now, can)?) {
                // Refused perhaps because the file has just grown or shrunk.
                Err(Errno::EIO) if size()? != now => now = size()?,
                mapped => return mapped,
            }
        }
        Err(Errno::EIO)
    }

    /// Opens a file for writing at once, so that nothing changes when the guest begins to write.
    fn open_to_map(
        &self,
        node: NodeId,
        inode: &Inode,
        write: bool,
        can: Abilities,
    ) -> Result<Source> {
        let open = |flags| self.reopen(node, inode, flags | OFlags::CLOEXEC);
        let opened = match self.config.readonly {
            true => Err(Errno::EROFS),
            false => open(OFlags::RDWR),
        };
        match opened {
            Ok(file) => Ok(Source::new(node, true, file)),
            Err(_) if can.read_only && !write => {
                Ok(Source::new(node, false, open(OFlags::RDONLY)?))
            }
            Err(error) => Err(error),
        }
    }
}

/// Where a range of a file of `size` bytes has to be cut for all of it to be mapped.
///
/// # Errors
/// `EIO` if it cannot be.
fn cut(range: &MapRange, size: u64, can: Abilities) -> Result<Option<u64>> {
    let end = range.offset.checked_add(range.len).ok_or(Errno::EINVAL)?;
    let whole = size - size % PAGE;
    let ends_within = !size.is_multiple_of(PAGE) && range.offset <= whole && whole < end;
    if ends_within && !can.partial_page {
        return Err(Errno::EIO);
    }
    match size.next_multiple_of(PAGE) {
        last if end <= last => Ok(None),
        _ if can.partial_page && can.past_end => Ok(None),
        // QEMU makes an empty file as long as what it is to map.
        0 => Err(Errno::EIO),
        last if can.past_end => Ok(Some(last)),
        _ => Err(Errno::EIO),
    }
}

impl Mappings for Passthrough {
    fn setup(&self, node: NodeId, range: &MapRange) -> Result<()> {
        self.set_up(self.dax.as_ref().ok_or(Errno::ENOSYS)?, node, range)
    }

    fn remove(&self, ranges: Vec<(u64, u64)>) -> Result<()> {
        self.dax.as_ref().ok_or(Errno::ENOSYS)?.window.unmap(ranges)
    }

    fn begin(&self) {
        self.dax.iter().for_each(|dax| dax.window.begin());
    }

    fn clear(&self) {
        self.dax.iter().for_each(|dax| dax.window.clear());
    }
}

/// True if `name` is what `pattern` says: `*` stands for any bytes, `?` for one.
fn matches_glob(pattern: &[u8], name: &[u8]) -> bool {
    // Where to go on if what follows the last `*` does not match: in the pattern and in the name.
    let mut again = None;
    let (mut p, mut n) = (0, 0);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                again = Some((p + 1, n));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[n] => (p, n) = (p + 1, n + 1),
            _ => match again {
                Some((after, from)) => {
                    (p, n) = (after, from + 1);
                    again = Some((after, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_so_that_all_of_it_is_mapped_or_none() {
        let can = |partial_page, past_end| Abilities { partial_page, past_end, read_only: false };
        let (all, whole, cuts) = (can(true, true), can(false, false), can(false, true));
        let range = MapRange { offset: RANGE, len: RANGE, window: 0, write: false };
        for (size, can, expected) in [
            (2 * RANGE, whole, Ok(None)),
            (2 * RANGE, cuts, Ok(None)),
            (3 * RANGE + 13, whole, Ok(None)),
            (3 * RANGE + 13, cuts, Ok(None)),
            (2 * RANGE - PAGE, whole, Err(Errno::EIO)),
            (2 * RANGE - PAGE, cuts, Ok(Some(2 * RANGE - PAGE))),
            (2 * RANGE - 1, cuts, Err(Errno::EIO)),
            (2 * RANGE - 1, all, Ok(None)),
            (2 * RANGE - 1, can(true, false), Ok(None)),
            (2 * RANGE - PAGE - 1, can(true, false), Err(Errno::EIO)),
            (RANGE + 1, cuts, Err(Errno::EIO)),
            (RANGE, cuts, Ok(Some(RANGE))),
            (RANGE - 1, cuts, Ok(Some(RANGE))),
            (1, cuts, Ok(Some(PAGE))),
            (1, whole, Err(Errno::EIO)),
            (0, cuts, Err(Errno::EIO)),
            (0, all, Ok(None)),
        ] {
            assert_eq!(cut(&range, size, can), expected, "{size:#x} {can:?}");
        }
    }

    #[test]
    fn names_match_patterns() {
        for (pattern, name, expected) in [
            ("*.img", "disk.img", true),
            ("*.img", "disk.img.old", false),
            ("d?sk*", "disk", true),
            ("d?sk*", "dsk", false),
            ("*a*b*", "xaxxbx", true),
            ("*a*b*", "xbxxax", false),
            ("", "", true),
            ("", "x", false),
            ("*", "", true),
            ("*aab", "aaaab", true),
        ] {
            let matched = matches_glob(pattern.as_bytes(), name.as_bytes());
            assert_eq!(matched, expected, "{pattern} {name}");
        }
    }
}
