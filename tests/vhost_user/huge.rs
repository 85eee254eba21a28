//! Memory of huge pages, which can be mapped, replaced and given back by whole ones only.

use std::os::fd::OwnedFd;

use ferryfs_bench::{Mode, ROOT, Region};
use rustix::fs::MemfdFlags;

use super::rings::flood;
use super::*;

const HUGE: usize = 2 << 20;
const START: u64 = 1 << 32;

/// A file of so many huge pages; none, and said so, where the kernel has no such files.
fn huge(test: &str, pages: u64) -> Option<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB;
    let file = rustix::fs::memfd_create("huge", flags);
    let Ok(file) = file else {
        skip(test, "the kernel has no files of huge pages");
        return None;
    };
    rustix::fs::ftruncate(&file, pages * HUGE as u64).unwrap();
    Some(file)
}

const POOL: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";

/// One more huge page than there was, as long as this lives.
struct Reserve {
    before: u64,
}

impl Reserve {
    /// None where there is no page, and root alone may set some aside.
    fn new() -> Option<Self> {
        let read =
            |name: &str| fs::read_to_string(format!("{POOL}/{name}")).ok()?.trim().parse().ok();
        let before: u64 = read("nr_hugepages")?;
        let reserve = Reserve { before };
        reserve.set(before + 1);
        let free: u64 = read("free_hugepages")?;
        (free > 0).then_some(reserve)
    }

    fn set(&self, pages: u64) {
        let _ = fs::write(format!("{POOL}/nr_hugepages"), pages.to_string());
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        self.set(self.before);
    }
}

#[test]
fn memory_that_ends_within_a_huge_page_is_refused() {
    let test = "memory_that_ends_within_a_huge_page_is_refused";
    let mut machine = Machine::new();
    for len in [4096, HUGE - 4096, HUGE + 4096, 2 * HUGE - 1] {
        let Some(file) = huge(test, 2) else { return };
        let region = Region::of_file(file, 0, START, len).unwrap();
        assert!(machine.guest.add_memory_of(&region).is_err(), "{len}");
        machine.fs.getattr(ROOT, None).unwrap();
    }
    for len in [HUGE, 2 * HUGE] {
        let Some(file) = huge(test, 2) else { return };
        let region = Region::of_file(file, 0, START, len).unwrap();
        machine.guest.add_memory_of(&region).unwrap();
        machine.guest.remove_memory(&region).unwrap();
    }
}

#[test]
fn huge_pages_that_are_cut_off_stop_the_queue_that_is_in_them_and_no_other() {
    let test = "huge_pages_that_are_cut_off_stop_the_queue_that_is_in_them_and_no_other";
    let Some(_reserve) = Reserve::new() else {
        skip(test, "there are no huge pages (/proc/sys/vm/nr_hugepages)");
        return;
    };
    let Some(file) = huge(test, 1) else { return };
    let mut machine = Machine::new();
    let region = Region::of_file(file, 0, START, HUGE).unwrap();
    machine.guest.add_memory_of(&region).unwrap();
    let mut queue = machine.guest.new_queue(2, 64, &region).unwrap();
    machine.guest.start(&queue, 0).unwrap();
    flood(&mut queue, 1, 10, Mode::Block);
    settle(&machine.daemon);
    region.cut_off().unwrap();
    queue.kick_anyway().unwrap();
    machine.daemon.process().wait_for_line("Queue 2 is broken", LONG).unwrap();
    machine.fs.getattr(ROOT, None).unwrap();
    // Its ring must not be looked at any more, also not by us.
    std::mem::forget(queue);
    machine.guest.remove_memory(&region).unwrap();
    machine.fs.getattr(ROOT, None).unwrap();
}
