//! Shared memory that its owner cuts off while it is in use.
//!
//! Touching it then raises SIGBUS, which would end the process. The handler puts zeros in the
//! mapping's place: rings in it turn out to be broken, and requests to be malformed. System calls
//! on such memory fail by themselves.
#![expect(unsafe_code, reason = "a signal handler that maps memory")]

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use libc::{c_int, c_void};
use vm_memory::{FileOffset, MmapRegion};

/// A mapping of memory that somebody else may cut off.
pub(super) struct Foreign {
    // Before the mapping: it is not listed any more when it is unmapped.
    _listed: Listed,
    map: Arc<MmapRegion>,
}

impl Foreign {
    /// None if there are too many already.
    pub(super) fn new(map: impl Into<Arc<MmapRegion>>) -> Option<Self> {
        install();
        let map = map.into();
        Some(Foreign { _listed: Listed::new(map.as_ptr().addr(), map.size())?, map })
    }

    /// So many bytes of a file.
    ///
    /// # Errors
    /// Whatever mapping it gives, or there are too many already.
    pub(super) fn of_file(file: File, offset: u64, len: u64) -> io::Result<Self> {
        let stat = rustix::fs::fstatfs(&file)?;
        // A part of a huge page can neither be replaced nor unmapped, and nobody would be told.
        let huge = u64::try_from(stat.f_bsize).ok().filter(|_| stat.f_type == HUGETLBFS);
        if huge.is_some_and(|page| !len.is_multiple_of(page)) {
            return Err(io::Error::other("it ends within a huge page"));
        }
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let map = MmapRegion::from_file(FileOffset::new(file, offset), len);
        let map = map.map_err(io::Error::other)?;
        Self::new(map).ok_or_else(|| io::Error::other("there are too many mappings"))
    }
}

/// `HUGETLBFS_MAGIC`.
const HUGETLBFS: rustix::fs::FsWord = 0x9584_58f6;

impl Deref for Foreign {
    type Target = MmapRegion;

    fn deref(&self) -> &MmapRegion {
        &self.map
    }
}

/// Tells once of memory that was cut off since the last time.
pub(super) fn report() {
    if LOST.load(Ordering::Relaxed) && LOST.swap(false, Ordering::Relaxed) {
        log::error!(
            "The front-end has cut off memory that it shares with us; it reads as zeros from now on"
        );
    }
}

/// As many as two full tables of memory, and some logs.
const MOST: usize = 2048;

/// Start and length of a mapping; a length of 0 is of none.
struct Place {
    start: AtomicUsize,
    len: AtomicUsize,
}

static PLACES: [Place; MOST] =
    [const { Place { start: AtomicUsize::new(0), len: AtomicUsize::new(0) } }; MOST];
static LOST: AtomicBool = AtomicBool::new(false);

/// A place in the list.
struct Listed(usize);

impl Listed {
    fn new(start: usize, len: usize) -> Option<Self> {
        let take = |place: &Place| {
            let none = place.start.compare_exchange(0, start, Ordering::Relaxed, Ordering::Relaxed);
            none.is_ok()
        };
        let at = PLACES.iter().position(take)?;
        PLACES[at].len.store(len, Ordering::Release);
        Some(Listed(at))
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        PLACES[self.0].len.store(0, Ordering::Release);
        PLACES[self.0].start.store(0, Ordering::Release);
    }
}

/// What SIGBUS did before, for faults that are not ours.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

fn install() {
    BEFORE.get_or_init(|| {
        // SAFETY: sigaction is plain data, for which zeros are valid; the handler has the form
        // that SA_SIGINFO asks for and calls only what a handler may.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_bus_error;
            action.sa_sigaction = handler as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            let mut before = MaybeUninit::zeroed();
            libc::sigaction(libc::SIGBUS, &raw const action, before.as_mut_ptr());
            before.assume_init()
        }
    });
}

extern "C" fn on_bus_error(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel gives a valid siginfo, which has an address for this code.
    let addr = unsafe { ((*info).si_code == libc::BUS_ADRERR).then(|| (*info).si_addr().addr()) };
    let holds = |place: &&Place| {
        let (start, len) = (place.start.load(Ordering::Relaxed), place.len.load(Ordering::Acquire));
        addr.is_some_and(|addr| addr.wrapping_sub(start) < len)
    };
    if let Some(place) = PLACES.iter().find(holds) {
        let (start, len) = (place.start.load(Ordering::Relaxed), place.len.load(Ordering::Relaxed));
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
        // SAFETY: it replaces a mapping that lives as long as it is listed, and into which nobody
        // has a reference; the thread that faulted is using it, so that it is listed still.
        let zeros =
            unsafe { libc::mmap(ptr::without_provenance_mut(start), len, access, flags, -1, 0) };
        if zeros != libc::MAP_FAILED {
            LOST.store(true, Ordering::Relaxed);
            return;
        }
    }
    // The instruction is tried again, and then this happens.
    let before = BEFORE.get().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: null, or what sigaction gave before.
    unsafe { libc::sigaction(libc::SIGBUS, before, ptr::null_mut()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_cut_off_reads_as_zeros() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8192).unwrap();
        let map = |file: &File| Foreign::of_file(file.try_clone().unwrap(), 0, 8192).unwrap();
        let (first, second) = (map(&file), map(&file));
        // SAFETY: inside of the mappings.
        let read = |map: &Foreign, at| unsafe { map.as_ptr().add(at).read_volatile() };
        // SAFETY: as above.
        unsafe { first.as_ptr().add(5000).write_volatile(7) };
        assert_eq!(read(&second, 5000), 7);
        file.set_len(0).unwrap();
        assert_eq!((read(&first, 5000), read(&second, 0)), (0, 0));
        // SAFETY: as above.
        unsafe { first.as_ptr().add(1).write_volatile(9) };
        assert_eq!((read(&first, 1), read(&second, 1)), (9, 0), "they share nothing any more");
    }

    #[test]
    fn a_place_is_used_again() {
        let start = 1 << 60;
        for round in 0..3 * MOST {
            assert!(Listed::new(start + round, 1).is_some());
        }
    }
}
