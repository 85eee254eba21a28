//! Guests whose memory is not shared with us, and what to say of them: once a front-end.
//!
//! A front-end that can share none says so by an empty table. One that gives us a descriptor of
//! memory of which its guest has a copy of its own says nothing: what the guest writes is in that
//! copy, and all of the memory stays blank for us, the rings with it. No guest that has got so far
//! as to kick has left all of its memory blank.

use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use super::memory::Regions;

/// What a front-end is answered.
pub(super) const NONE: &str = "the guest's memory is not shared with us";

const PAGE: u64 = 4096;

/// Pages of a region that are looked at: those at its start, where firmware and kernels leave
/// something, and others from all over it.
const FIRST: u64 = 256;
const SPREAD: u64 = 4096;

/// What was said.
#[derive(Default)]
pub(super) struct Told {
    none: AtomicBool,
    empty: AtomicBool,
}

impl Told {
    /// There is no memory at all.
    pub(super) fn of_none(&self) {
        if !self.none.swap(true, Ordering::Relaxed) {
            log::error!(
                "The guest's memory is not shared with us: start the virtual machine with memory \
                 that is, as QEMU's memory-backend-memfd with share=on"
            );
        }
    }

    /// A queue by which nothing ever came was kicked, and is empty. Front-ends kick queues as they
    /// start them, so that this alone is nothing to speak of.
    pub(super) fn of_empty(&self, index: usize, regions: &Regions) {
        if !self.empty.swap(true, Ordering::Relaxed) && is_blank(regions) {
            log::warn!(
                "Queue {index} was kicked but is empty, as is all of the guest's memory: it may \
                 not be shared with us (share=on)"
            );
        }
    }
}

/// True if no memory has anything in it. It is read by its descriptor: to touch it would have the
/// kernel make the pages that are not there.
fn is_blank(regions: &Regions) -> bool {
    let mut page = [0; 4096];
    regions.files().all(|(file, len)| {
        let Some(file) = file else { return false };
        let step = (len / SPREAD).next_multiple_of(PAGE).max(PAGE);
        let places = (0..FIRST).map(|at| at * PAGE).chain((0..SPREAD).map(|at| at * step));
        places.filter(|at| *at < len).all(|at| {
            // What cannot be read tells nothing.
            let read = file.file().read_at(&mut page, file.start() + at);
            read.is_ok_and(|read| page[..read].iter().all(|byte| *byte == 0))
        })
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::Arc;

    use super::super::lost::Foreign;
    use super::super::memory::Region;
    use super::*;

    fn table(files: &[&File]) -> Regions {
        let region = |(at, file): (u64, &&File)| {
            let len = file.metadata().unwrap().len();
            let map = Foreign::of_file(file.try_clone().unwrap(), 0, len).unwrap();
            Region { guest: at << 40, user: at << 40, map: Arc::new(map) }
        };
        let regions = (0..).zip(files).map(region);
        regions.fold(Regions::default(), |table, region| table.with(region).unwrap())
    }

    #[test]
    fn memory_is_blank_until_something_is_in_it() {
        let file = |len| {
            let file = tempfile::tempfile().unwrap();
            file.set_len(len).unwrap();
            file
        };
        // In front, and in one large piece as a kernel is, wherever that is.
        let (small, large) = (file(2 * PAGE), file(1 << 30));
        assert!(is_blank(&table(&[&small, &large])));
        small.write_at(&[1], 2 * PAGE - 1).unwrap();
        assert!(!is_blank(&table(&[&small, &large])));
        assert!(is_blank(&table(&[&large])));
        large.write_at(&vec![1; 1 << 20], 700 << 20).unwrap();
        assert!(!is_blank(&table(&[&large])));
    }
}
