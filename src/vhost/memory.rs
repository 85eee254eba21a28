//! The guest's memory as a flat table of regions.
#![expect(unsafe_code, reason = "turns guest addresses into segments")]

use std::sync::Arc;

use vhost_user_backend::bitmap::{BitmapReplace, MemRegionBitmap};
use vm_memory::bitmap::Bitmap;
use vm_memory::{
    Address, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, MemoryRegionAddress,
};

use super::log::{Part, RegionLog};
use crate::mem::{Full, Segment, SegmentList};

/// Guest memory with the log that live migration wants written.
pub(super) type GuestMemory = GuestMemoryMmap<RegionLog>;

/// A range of guest addresses, and where it is mapped here.
struct Region {
    start: u64,
    len: usize,
    host: *mut u8,
}

/// All memory of the guest. The mappings live as long as the table.
pub(super) struct Regions {
    table: Vec<Region>,
    memory: Arc<GuestMemory>,
}

// SAFETY: the pointers are to shared mappings that `memory` keeps, and are only used for copies.
unsafe impl Send for Regions {}
// SAFETY: as for Send.
unsafe impl Sync for Regions {}

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
    pub(super) fn new(memory: Arc<GuestMemory>) -> Self {
        let table = memory
            .iter()
            .filter_map(|region| {
                let host = region.get_host_address(MemoryRegionAddress(0)).ok()?;
                let len = usize::try_from(region.len()).ok()?;
                Some(Region { start: region.start_addr().raw_value(), len, host })
            })
            .collect();
        Regions { table, memory }
    }

    /// Where `len` bytes at guest address `addr` are, if they are in one region and aligned.
    pub(super) fn host(&self, addr: u64, len: usize, align: usize) -> Result<*mut u8, Unmapped> {
        let (host, room) = self.find(addr).ok_or(Unmapped)?;
        if room < len || !host.addr().is_multiple_of(align) {
            return Err(Unmapped);
        }
        Ok(host)
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

    /// Puts regions that are new into the log of those that were there `before`.
    pub(super) fn go_on_logging(&self, before: &Regions) {
        let Some(log) = before.memory.iter().find_map(|region| region.bitmap().whole()) else {
            return;
        };
        for region in self.memory.iter().filter(|region| region.bitmap().whole().is_none()) {
            match Part::new(region, log.clone()) {
                Ok(part) => region.bitmap().replace(part),
                Err(error) => log::error!("The migration log has no room for new memory: {error}"),
            }
        }
    }

    /// Tells the migration log that these bytes, which came from this table, were written.
    pub(super) fn mark_dirty(&self, mut host: usize, mut len: usize) {
        // Regions that happen to be mapped side by side, in whatever order, may share a run.
        while len > 0 {
            let marked = self.table.iter().zip(self.memory.iter()).find_map(|(known, region)| {
                let offset = host.wrapping_sub(known.host.addr());
                let here = len.min(known.len.checked_sub(offset)?);
                region.bitmap().mark_dirty(offset, here);
                (here > 0).then_some(here)
            });
            let Some(here) = marked else {
                return;
            };
            (host, len) = (host + here, len - here);
        }
    }

    /// The byte at a guest address, and how many there are from it to its region's end.
    fn find(&self, addr: u64) -> Option<(*mut u8, usize)> {
        self.table.iter().find_map(|region| {
            let offset = usize::try_from(addr.wrapping_sub(region.start)).ok()?;
            (offset < region.len).then(|| (region.host.wrapping_add(offset), region.len - offset))
        })
    }
}
