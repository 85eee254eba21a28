//! Descriptor chains that may be anything, against a naive walk of a copy of the memory.

use std::sync::Arc;

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use super::lost::Foreign;
use super::memory::{Region, Regions};
use super::ring::{Ring, RingSetup};
use crate::mem::{Input, SegmentList};

/// Two regions that touch, and then nothing.
const SEAM: usize = 4096;
const MEMORY: usize = 2 * SEAM;
/// The ring's three parts.
const SIZE: u16 = 16;
const AVAIL: u64 = 16 * SIZE as u64;
const USED: u64 = AVAIL + 64;
/// No more is compared than a request may have anyway.
const MOST: usize = 1 << 16;

/// Whatever the first byte says, and then memory from address 0 on.
///
/// # Panics
/// The ring is not what the naive walk says.
pub fn chains(input: &[u8]) {
    let Some((options, content)) = input.split_first() else { return };
    let content = &content[..content.len().min(MEMORY)];
    let ranges = [(GuestAddress(0), SEAM), (GuestAddress(SEAM as u64), SEAM)];
    let memory = GuestMemoryMmap::<()>::from_ranges(&ranges).expect("memory");
    memory.write_slice(content, GuestAddress(0)).expect("there is room");
    let regions = memory.iter().fold(Regions::default(), |regions, region| {
        let guest = region.start_addr().0;
        let map = Arc::new(Foreign::new(region.get_mmap()).expect("memory"));
        regions.with(Region { guest, user: guest, map }).expect("they do not overlap")
    });
    let indirect = options & 1 == 0;
    let setup = RingSetup {
        size: SIZE,
        desc: 0,
        avail: AVAIL,
        used: USED,
        indirect,
        event_idx: options & 2 != 0,
        ..RingSetup::default()
    };
    let mut ring = Ring::new(&regions, &setup).expect("it is in memory");
    // A ring that is never empty ends by its index.
    for _ in 0..2 * SIZE {
        let Ok(false) = ring.is_empty() else { break };
        let Ok(head) = ring.pop() else { break };
        assert!(head < SIZE);
        ring.look_ahead();
        let mut copy = vec![0; MEMORY];
        memory.read_slice(&mut copy, GuestAddress(0)).expect("it is there");
        let expected = Naive { memory: &copy, indirect }.walk(head);
        let (mut readable, mut writable) = (SegmentList::new(), SegmentList::new());
        let gathered = ring.gather(head, &mut readable, &mut writable);
        match (expected, gathered) {
            (Some((expected, room)), Ok(())) => {
                assert_eq!((readable.bytes(), writable.bytes()), (expected.len(), room));
                if expected.len() <= MOST {
                    let mut bytes = vec![0; expected.len()];
                    Input::new(readable.as_slice()).take(&mut bytes).expect("so many");
                    assert!(bytes == expected, "other bytes");
                }
            }
            (None, Err(_)) => {}
            (expected, got) => panic!("{expected:?} {got:?}"),
        }
        ring.complete(head, 7);
        ring.wants_signal();
    }
    ring.refuse_kicks();
    ring.ask_for_kick();
}

/// The rules of virtio 1.3, 2.7.5, one by one.
struct Naive<'a> {
    memory: &'a [u8],
    indirect: bool,
}

impl Naive<'_> {
    /// The bytes that can be read of a request, and how many can be written.
    fn walk(&self, head: u16) -> Option<(Vec<u8>, usize)> {
        let (mut table, mut len, mut at) = (0, usize::from(SIZE), usize::from(head));
        let (mut readable, mut writable) = (Vec::new(), 0);
        let (mut is_indirect, mut seen, mut pieces) = (false, 0, 0);
        let mut replying = false;
        loop {
            seen += 1;
            if at >= len || seen > len {
                return None;
            }
            let desc = self.memory.get(table + 16 * at..)?.first_chunk::<16>()?;
            let addr = usize::try_from(u64::from_le_bytes(*desc.first_chunk()?)).ok()?;
            let bytes = u32::from_le_bytes(*desc[8..].first_chunk()?) as usize;
            let flags = u16::from_le_bytes(*desc[12..].first_chunk()?);
            if flags & 4 != 0 {
                let allowed = self.indirect && !is_indirect && flags & 1 == 0;
                let fits = addr < MEMORY
                    && bytes <= MEMORY
                    && addr / SEAM == (addr + bytes).checked_sub(1)? / SEAM;
                if !allowed || bytes == 0 || !bytes.is_multiple_of(16) || !fits {
                    return None;
                }
                (table, len, at, seen, is_indirect) = (addr, bytes / 16, 0, 0, true);
                continue;
            }
            let is_writable = flags & 2 != 0;
            if replying && !is_writable {
                return None;
            }
            if bytes > 0 {
                let there = self.memory.get(addr..addr.checked_add(bytes)?)?;
                match is_writable {
                    true => writable += bytes,
                    false => readable.extend(there),
                }
                replying = is_writable;
                pieces += 1;
            }
            assert!(pieces <= MEMORY / 16);
            if flags & 1 == 0 {
                return Some((readable, writable));
            }
            at = usize::from(u16::from_le_bytes(*desc[14..].first_chunk()?));
        }
    }
}

/// Chains as drivers make them, and as hostile ones do.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let desc = |addr: u64, len: u32, flags: u16, next: u16| {
        [&addr.to_le_bytes()[..], &len.to_le_bytes(), &flags.to_le_bytes(), &next.to_le_bytes()]
            .concat()
    };
    let table = u64::from(SIZE) * 64;
    let chains: [&[Vec<u8>]; 6] = [
        &[desc(1024, 40, 0, 0)],
        &[desc(1024, 40, 1, 1), desc(2048, 3000, 2, 0)],
        &[desc(1024, 40, 1, 1), desc(5, 0, 1, 2), desc(4090, 16, 3, 3), desc(2048, 8, 2, 0)],
        &[desc(table, 48, 4, 0)],
        &[desc(1024, 1, 1, 1), desc(2048, 1, 1, 0)],
        &[desc(1024, 40, 1, 1), desc(table, 48, 4, 0), desc(8000, 200, 2, 0)],
    ];
    let inner = [desc(1500, 40, 1, 1), desc(1600, 9, 1, 2), desc(1700, 99, 2, 0)].concat();
    let make = |(at, chain): (usize, &&[Vec<u8>])| {
        let mut memory = vec![0; 2048];
        let descs = chain.concat();
        memory[..descs.len()].copy_from_slice(&descs);
        let table = usize::try_from(table).expect("small");
        memory[table..table + inner.len()].copy_from_slice(&inner);
        // Two requests.
        memory[usize::from(SIZE) * 16 + 2] = 2;
        memory.insert(0, if at == 4 { 2 } else { 0 });
        memory
    };
    chains.iter().enumerate().map(make).collect()
}

#[test]
fn chains_that_are_anything_are_read_as_the_rules_say() {
    crate::mutate::run(&seeds(), 4000, chains);
}
