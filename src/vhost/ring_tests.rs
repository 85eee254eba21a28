//! The ring against rust-vmm's mock driver, and against rust-vmm's own walk of chains.

use virtio_queue::desc::RawDescriptor;
use virtio_queue::desc::split::Descriptor;
use virtio_queue::mock::{AvailRing, MockSplitQueue, UsedRing};
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use super::lost::Foreign;
use super::memory::{Region, Regions};
use super::ring::{BadChain, Broken, Ring, RingSetup};
use crate::mem::SegmentList;

const SIZE: u16 = 16;
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
/// Where the buffers and tables of these tests are: two regions that touch, then a hole.
const BUFFERS: u64 = 0x10_0000;
const SEAM: u64 = 0x20_0000;
const HOLE: u64 = 0x30_0000;

/// Rings with room for all of SIZE elements; MockSplitQueue packs its own more tightly.
const AVAIL: u64 = 0x1000;
const AVAIL_EVENT: u64 = USED + 4 + 8 * SIZE as u64;
const USED: u64 = 0x2000;
const USED_EVENT: u64 = AVAIL + 4 + 2 * SIZE as u64;

type Memory = GuestMemoryMmap<()>;

fn memory() -> (Memory, Regions) {
    let ranges = [(GuestAddress(0), 0x20_0000), (GuestAddress(SEAM), 0x10_0000)];
    let memory = Memory::from_ranges(&ranges).unwrap();
    let regions = memory.iter().fold(Regions::default(), |regions, region| {
        let guest = region.start_addr().0;
        let map = Foreign::new(region.get_mmap()).unwrap().into();
        regions.with(Region { guest, user: guest, map }).unwrap()
    });
    (memory, regions)
}

fn setup(queue: &MockSplitQueue<'_, Memory>) -> RingSetup {
    RingSetup {
        size: SIZE,
        desc: queue.desc_table_addr().0,
        avail: queue.avail_addr().0,
        used: queue.used_addr().0,
        indirect: true,
        ..RingSetup::default()
    }
}

fn roomy() -> RingSetup {
    RingSetup { size: SIZE, desc: 0, avail: AVAIL, used: USED, ..RingSetup::default() }
}

fn desc(addr: u64, len: u32, flags: u16, next: u16) -> RawDescriptor {
    RawDescriptor::from(Descriptor::new(addr, len, flags, next))
}

/// Readable and writable bytes of the one request on the ring.
fn gather(regions: &Regions, setup: &RingSetup) -> Result<(usize, usize), BadChain> {
    let mut ring = Ring::new(regions, setup).unwrap();
    assert_eq!(ring.is_empty(), Ok(false));
    let head = ring.pop().unwrap();
    let (mut readable, mut writable) = (SegmentList::new(), SegmentList::new());
    ring.gather(head, &mut readable, &mut writable)?;
    Ok((readable.bytes(), writable.bytes()))
}

/// The same as rust-vmm's queue sees it.
fn gather_by_rust_vmm(memory: &Memory, queue: &MockSplitQueue<'_, Memory>) -> (usize, usize) {
    let mut theirs: Queue = queue.create_queue().unwrap();
    let chain = theirs.pop_descriptor_chain(memory).unwrap();
    chain.fold((0, 0), |(readable, writable), desc| match desc.is_write_only() {
        true => (readable, writable + desc.len() as usize),
        false => (readable + desc.len() as usize, writable),
    })
}

#[test]
fn a_chain_is_read_as_rust_vmm_reads_it() {
    let chains: [&[RawDescriptor]; 4] = [
        &[desc(BUFFERS, 40, 0, 0)],
        &[desc(BUFFERS, 40, NEXT, 1), desc(BUFFERS, 4096, WRITE, 0)],
        &[desc(SEAM, 1, NEXT, 1), desc(BUFFERS, 0, NEXT, 2), desc(BUFFERS, 7, WRITE, 0)],
        &[desc(BUFFERS, 40, NEXT, 1), desc(BUFFERS + 64, 8, INDIRECT, 0)],
    ];
    for (number, chain) in chains.into_iter().enumerate() {
        let (memory, regions) = memory();
        let queue = MockSplitQueue::new(&memory, SIZE);
        let mut chain = chain.to_vec();
        if number == 3 {
            let table = BUFFERS + 0x1000;
            memory.write_obj(desc(BUFFERS, 24, NEXT, 1), GuestAddress(table)).unwrap();
            memory.write_obj(desc(BUFFERS, 48, WRITE, 0), GuestAddress(table + 16)).unwrap();
            chain = vec![desc(BUFFERS, 40, NEXT, 1), desc(table, 32, INDIRECT, 0)];
        }
        queue.add_desc_chains(&chain, 0).unwrap();
        let theirs = gather_by_rust_vmm(&memory, &queue);
        assert_eq!(gather(&regions, &setup(&queue)), Ok(theirs), "chain {number}");
        assert_ne!(theirs, (0, 0));
    }
}

#[test]
fn a_buffer_across_regions_is_one_run_of_bytes_and_one_beyond_them_is_refused() {
    for (addr, len, expected) in [
        (SEAM - 8, 16, Ok((16, 0))),
        (HOLE - 8, 8, Ok((8, 0))),
        (HOLE - 8, 9, Err(BadChain::Unmapped)),
        (u64::MAX - 4, 16, Err(BadChain::Unmapped)),
    ] {
        let (memory, regions) = memory();
        let queue = MockSplitQueue::new(&memory, SIZE);
        queue.add_desc_chains(&[desc(addr, len, 0, 0)], 0).unwrap();
        assert_eq!(gather(&regions, &setup(&queue)), expected, "{addr:#x}+{len}");
    }
}

#[test]
fn a_chain_that_makes_no_sense_is_named() {
    let loops = [desc(BUFFERS, 1, NEXT, 1), desc(BUFFERS, 1, NEXT, 0)];
    let beyond = [desc(BUFFERS, 1, NEXT, SIZE)];
    let disordered = [desc(BUFFERS, 1, NEXT | WRITE, 1), desc(BUFFERS, 1, 0, 0)];
    let empty = [desc(BUFFERS, 0, INDIRECT, 0)];
    let odd = [desc(BUFFERS, 17, INDIRECT, 0)];
    let goes_on = [desc(BUFFERS, 16, INDIRECT | NEXT, 1), desc(BUFFERS, 1, 0, 0)];
    for (chain, expected) in [
        (&loops[..], BadChain::Endless),
        (&beyond, BadChain::Endless),
        (&disordered, BadChain::Disordered),
        (&empty, BadChain::Indirect),
        (&odd, BadChain::Indirect),
        (&goes_on, BadChain::Indirect),
    ] {
        let (memory, regions) = memory();
        let queue = MockSplitQueue::new(&memory, SIZE);
        queue.add_desc_chains(chain, 0).unwrap();
        assert_eq!(gather(&regions, &setup(&queue)), Err(expected));
    }
}

#[test]
fn a_table_within_a_table_is_refused() {
    let (memory, regions) = memory();
    let queue = MockSplitQueue::new(&memory, SIZE);
    memory.write_obj(desc(BUFFERS, 16, INDIRECT, 0), GuestAddress(BUFFERS)).unwrap();
    queue.add_desc_chains(&[desc(BUFFERS, 16, INDIRECT, 0)], 0).unwrap();
    assert_eq!(gather(&regions, &setup(&queue)), Err(BadChain::Indirect));
}

#[test]
fn an_index_that_runs_ahead_and_a_head_that_does_not_exist_break_the_ring() {
    let (memory, regions) = memory();
    let queue = MockSplitQueue::new(&memory, SIZE);
    queue.avail().idx().store(SIZE + 1);
    let mut ring = Ring::new(&regions, &setup(&queue)).unwrap();
    assert_eq!(ring.is_empty(), Err(Broken::Index { next: 0, available: SIZE + 1 }));
    queue.avail().idx().store(1);
    queue.avail().ring().ref_at(0).unwrap().store(SIZE);
    let mut ring = Ring::new(&regions, &setup(&queue)).unwrap();
    assert_eq!(ring.pop(), Err(Broken::Head(SIZE)));
}

#[test]
fn a_ring_outside_memory_or_out_of_line_is_not_served() {
    let (memory, regions) = memory();
    let good = setup(&MockSplitQueue::new(&memory, SIZE));
    let mut bad = [good; 6];
    bad[0].size = 0;
    bad[1].desc = 4;
    bad[2].avail += 1;
    bad[3].used += 2;
    bad[4].used = HOLE - 8;
    bad[5].avail = u64::MAX - 1;
    assert!(Ring::new(&regions, &good).is_ok());
    for setup in bad {
        assert_eq!(Ring::new(&regions, &setup).err(), Some(Broken::Misplaced), "{setup:?}");
    }
}

#[test]
fn indices_wrap_and_replies_land_where_the_driver_looks() {
    let (memory, regions) = memory();
    let avail = AvailRing::new(&memory, GuestAddress(AVAIL), SIZE);
    let used = UsedRing::new(&memory, GuestAddress(USED), SIZE);
    let start = u16::MAX - 1;
    let setup = RingSetup { next_avail: start, next_used: start, ..roomy() };
    let mut ring = Ring::new(&regions, &setup).unwrap();
    avail.idx().store(start);
    for round in 0..4_u16 {
        let index = start.wrapping_add(round);
        let slot = usize::from(index % SIZE);
        assert_eq!(ring.is_empty(), Ok(true));
        avail.ring().ref_at(slot).unwrap().store(round);
        avail.idx().store(index.wrapping_add(1));
        assert_eq!(ring.is_empty(), Ok(false));
        assert_eq!(ring.pop(), Ok(round));
        ring.complete(round, 100 + u32::from(round));
        let element = used.ring().ref_at(slot).unwrap().load();
        assert_eq!((element.id(), element.len()), (u32::from(round), 100 + u32::from(round)));
        assert_eq!(used.idx().load(), index.wrapping_add(1));
        assert_eq!(ring.used_index(), index.wrapping_add(1));
    }
    assert_eq!(ring.position(), (2, 2));
}

#[test]
fn signals_are_sent_when_the_driver_waits_for_them() {
    for event_idx in [false, true] {
        let (memory, regions) = memory();
        let mut ring = Ring::new(&regions, &RingSetup { event_idx, ..roomy() }).unwrap();
        assert!(!ring.wants_signal(), "nothing was completed");
        ring.complete(0, 0);
        assert!(ring.wants_signal(), "the driver waits for the first");
        let (wait, waited_for) =
            if event_idx { (GuestAddress(USED_EVENT), 3) } else { (GuestAddress(AVAIL), 0) };
        memory.write_obj::<u16>(if event_idx { waited_for } else { 1 }, wait).unwrap();
        ring.complete(1, 0);
        ring.complete(2, 0);
        assert!(!ring.wants_signal(), "the driver does not wait for these");
        memory.write_obj::<u16>(waited_for, wait).unwrap();
        ring.complete(3, 0);
        assert!(ring.wants_signal());
        assert!(!ring.wants_signal(), "it has been told");
    }
}

#[test]
fn kicks_are_asked_for_only_when_the_ring_is_empty() {
    for event_idx in [false, true] {
        let (memory, regions) = memory();
        let read = |addr| memory.read_obj::<u16>(GuestAddress(addr)).unwrap();
        let mut ring = Ring::new(&regions, &RingSetup { event_idx, ..roomy() }).unwrap();
        ring.refuse_kicks();
        assert_eq!(read(USED), u16::from(!event_idx));
        assert!(ring.ask_for_kick());
        assert_eq!(read(USED), 0);
        memory.write_obj(1_u16, GuestAddress(AVAIL + 2)).unwrap();
        assert!(!ring.ask_for_kick(), "a request came first");
        ring.pop().unwrap();
        assert!(ring.ask_for_kick());
        assert_eq!(read(AVAIL_EVENT), u16::from(event_idx));
    }
}
