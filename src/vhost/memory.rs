//! The guest's memory as a flat table of regions.
#![expect(unsafe_code, reason = "turns guest addresses into segments")]

use std::sync::Arc;

use vm_memory::FileOffset;

use super::lost::Foreign;

use crate::mem::{Full, Segment, SegmentList};

/// A range of guest addresses, where the front-end has it, and where it is mapped here.
#[derive(Clone)]
pub(super) struct Region {
    pub(super) guest: u64,
    pub(super) user: u64,
    pub(super) map: Arc<Foreign>,
}

impl Region {
    fn len(&self) -> usize {
        self.map.size()
    }

    /// Where it is mapped here.
    fn host(&self) -> *mut u8 {
        self.map.as_ptr()
    }

    fn overlaps(&self, other: &Region) -> bool {
        let (a, b) = (self.guest.min(other.guest), self.guest.max(other.guest));
        let first = if a == self.guest { self.len() } else { other.len() };
        b - a < first as u64
    }
}

/// All memory of the guest. The mappings live as long as some table with them.
#[derive(Clone, Default)]
pub(super) struct Regions {
    table: Vec<Region>,
}

/// The buffers of a request that outlive their walk of the ring.
pub(super) struct Kept {
    readable: Box<[Segment<'static>]>,
    writable: Box<[Segment<'static>]>,
    /// Keeps the memory mapped, and is dropped last.
    pub(super) regions: Arc<Regions>,
}

impl Kept {
    /// Keeps what was gathered from `regions`.
    pub(super) fn new(
        regions: &Arc<Regions>,
        readable: &SegmentList<'_>,
        writable: &SegmentList<'_>,
    ) -> Self {
        let keep = |list: &SegmentList<'_>| {
            // SAFETY: the runs are in the regions' mappings, which live as long as `regions`,
            // which this holds; they are given out for its own lifetime only.
            list.as_slice().iter().map(|segment| unsafe { segment.for_lifetime() }).collect()
        };
        Kept { readable: keep(readable), writable: keep(writable), regions: regions.clone() }
    }

    pub(super) fn readable(&self) -> &[Segment<'_>] {
        &self.readable
    }

    pub(super) fn writable(&self) -> &[Segment<'_>] {
        &self.writable
    }
}

/// A guest address range that is not, or not wholly, memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unmapped;

impl Regions {
    /// This table with one more region. None if it overlaps another, or is empty.
    pub(super) fn with(&self, region: Region) -> Option<Self> {
        let end = region.guest.checked_add(region.len() as u64);
        if region.len() == 0 || end.is_none() {
            return None;
        }
        if self.table.iter().any(|other| other.overlaps(&region)) {
            return None;
        }
        let mut table = self.table.clone();
        table.push(region);
        Some(Regions { table })
    }

    /// This table without the region of this guest and front-end address and size.
    pub(super) fn without(&self, guest: u64, user: u64, len: u64) -> Option<Self> {
        let is_it = |region: &Region| {
            (region.guest, region.user, region.len() as u64) == (guest, user, len)
        };
        let at = self.table.iter().position(is_it)?;
        let mut table = self.table.clone();
        table.remove(at);
        Some(Regions { table })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// What each region is of, from where on, if it is of a file, and how long it is.
    pub(super) fn files(&self) -> impl Iterator<Item = (Option<&FileOffset>, u64)> {
        self.table.iter().map(|region| (region.map.file_offset(), region.len() as u64))
    }

    /// The guest's address of a byte of which the front-end gives its own.
    pub(super) fn guest_of_user(&self, user: u64) -> Option<u64> {
        self.table.iter().find_map(|region| {
            let offset = user.wrapping_sub(region.user);
            (offset < region.len() as u64).then(|| region.guest + offset)
        })
    }

    /// Where `len` bytes at guest address `addr` are, if they are in one region and aligned.
    pub(super) fn host(&self, addr: u64, len: usize, align: usize) -> Result<*mut u8, Unmapped> {
        let (host, room) = self.find(addr).ok_or(Unmapped)?;
        if room < len || !host.addr().is_multiple_of(align) {
            return Err(Unmapped);
        }
        Ok(host)
    }

    /// True if all of `len` bytes at guest address `addr` is memory.
    pub(super) fn has(&self, mut addr: u64, len: u32) -> bool {
        let mut left = len as usize;
        while left > 0 {
            let Some((_, room)) = self.find(addr) else { return false };
            let now = room.min(left);
            left -= now;
            let Some(next) = addr.checked_add(now as u64) else { return false };
            addr = next;
        }
        true
    }

    /// Appends `len` bytes at guest address `addr` to `list`; regions that follow one another
    /// may share them.
    pub(super) fn segments<'m>(
        &'m self,
        mut addr: u64,
        len: u32,
        list: &mut SegmentList<'m>,
    ) -> Result<Result<(), Full>, Unmapped> {
        let mut left = len as usize;
        while left > 0 {
            let (host, room) = self.find(addr).ok_or(Unmapped)?;
            let now = room.min(left);
            // SAFETY: find() returned `room` mapped bytes, which the table keeps mapped for 'm;
            // nothing in this process has references into guest memory.
            if let Err(full) = list.push(unsafe { Segment::from_raw(host, now) }) {
                return Ok(Err(full));
            }
            left -= now;
            addr = addr.checked_add(now as u64).ok_or(Unmapped)?;
        }
        Ok(Ok(()))
    }

    /// Calls `with` with the guest addresses and lengths that `len` bytes at `host` have. Regions
    /// that happen to be mapped side by side, in whatever order, may share a run.
    pub(super) fn guest_runs(
        &self,
        mut host: usize,
        mut len: usize,
        mut with: impl FnMut(u64, usize),
    ) {
        while len > 0 {
            let found = self.table.iter().find_map(|region| {
                let offset = host.wrapping_sub(region.host().addr());
                let room = region.len().checked_sub(offset).filter(|room| *room > 0)?;
                Some((region.guest + offset as u64, room.min(len)))
            });
            let Some((guest, here)) = found else { return };
            with(guest, here);
            (host, len) = (host + here, len - here);
        }
    }

    /// The byte at a guest address, and how many there are from it to its region's end.
    fn find(&self, addr: u64) -> Option<(*mut u8, usize)> {
        self.table.iter().find_map(|region| {
            let offset = usize::try_from(addr.wrapping_sub(region.guest)).ok()?;
            let room = region.len().checked_sub(offset).filter(|room| *room > 0)?;
            Some((region.host().wrapping_add(offset), room))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::MmapRegion;

    fn region(guest: u64, user: u64, len: usize) -> Region {
        let map = Foreign::new(MmapRegion::new(len).unwrap()).unwrap();
        Region { guest, user, map: Arc::new(map) }
    }

    fn regions(all: &[(u64, usize)]) -> Option<Regions> {
        all.iter().try_fold(Regions::default(), |regions, (guest, len)| {
            regions.with(region(*guest, guest.wrapping_add(1 << 40), *len))
        })
    }

    #[test]
    fn regions_do_not_overlap() {
        assert!(regions(&[(0, 0x1000), (0x1000, 0x1000), (0x8000, 0x1000)]).is_some());
        for bad in [(0, 0x1001), (0x2fff, 0x1000), (0, 0x9000), (0x2000, 1), (u64::MAX, 2)] {
            assert!(regions(&[(0x2000, 0x1000), (0, 0x1000), bad]).is_none(), "{bad:x?}");
        }
    }

    #[test]
    fn a_range_is_found_within_and_across_regions() {
        let regions = regions(&[(0x1000, 0x1000), (0x2000, 0x1000), (0x8000, 0x1000)]).unwrap();
        let find = |addr, len| {
            let mut list = SegmentList::new();
            regions.segments(addr, len, &mut list).map(|pushed| {
                pushed.unwrap();
                list.bytes()
            })
        };
        assert_eq!(find(0x1ff0, 0x20), Ok(0x20));
        assert_eq!(find(0x8fff, 1), Ok(1));
        for (addr, len) in [(0xfff, 1), (0x3000, 1), (0x2fff, 2), (u64::MAX, 2), (0x8000, u32::MAX)]
        {
            assert_eq!(find(addr, len), Err(Unmapped), "{addr:#x} {len:#x}");
        }
        assert!(regions.host(0x1ff0, 0x10, 16).is_ok());
        assert_eq!(regions.host(0x1ff0, 0x11, 16), Err(Unmapped), "not in one region");
        assert_eq!(regions.host(0x1ff1, 1, 2), Err(Unmapped), "not aligned");
    }

    #[test]
    fn addresses_lead_back_to_the_guests() {
        let regions = regions(&[(0x1000, 0x1000), (0x8000, 0x2000)]).unwrap();
        assert_eq!(regions.guest_of_user((1 << 40) + 0x9fff), Some(0x9fff));
        assert_eq!(regions.guest_of_user((1 << 40) + 0xa000), None);
        let host = regions.host(0x8100, 1, 1).unwrap();
        let mut runs = Vec::new();
        regions.guest_runs(host.addr(), 0x100, |guest, len| runs.push((guest, len)));
        assert_eq!(runs, [(0x8100, 0x100)]);
    }

    #[test]
    fn only_the_very_region_is_taken_out() {
        let all = regions(&[(0x1000, 0x1000), (0x8000, 0x2000)]).unwrap();
        let user = (1 << 40) + 0x8000;
        assert!(all.without(0x8000, user, 0x1000).is_none());
        assert!(all.without(0x8000, user + 1, 0x2000).is_none());
        let left = all.without(0x8000, user, 0x2000).unwrap();
        assert!(left.host(0x8000, 1, 1).is_err() && left.host(0x1000, 1, 1).is_ok());
    }
}
