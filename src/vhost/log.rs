//! The log that live migration wants written, also for memory that comes later.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use vhost_user_backend::bitmap::{
    AtomicBitmapMmap, BitmapMmapRegion, BitmapReplace, MemRegionBitmap, MmapLogReg,
};
use vm_memory::GuestMemoryRegion;
use vm_memory::bitmap::{Bitmap, BitmapSlice, WithBitmapSlice};
use vm_memory::mmap::NewBitmap;

/// The log of one region of memory, if there is one.
#[derive(Clone, Debug, Default)]
pub(super) struct RegionLog {
    pages: BitmapMmapRegion,
    /// The whole log, for regions that are added later: the crate forgets it.
    log: Arc<Mutex<Option<Arc<MmapLogReg>>>>,
}

/// A region's part of the log.
pub(super) struct Part {
    pages: AtomicBitmapMmap,
    log: Arc<MmapLogReg>,
}

impl RegionLog {
    /// The whole log.
    pub(super) fn whole(&self) -> Option<Arc<MmapLogReg>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Bitmap for RegionLog {
    fn mark_dirty(&self, offset: usize, len: usize) {
        self.pages.mark_dirty(offset, len);
    }

    fn dirty_at(&self, offset: usize) -> bool {
        self.pages.dirty_at(offset)
    }

    fn slice_at(&self, offset: usize) -> Self {
        RegionLog { pages: self.pages.slice_at(offset), log: self.log.clone() }
    }
}

impl WithBitmapSlice<'_> for RegionLog {
    type S = Self;
}

impl BitmapSlice for RegionLog {}

impl NewBitmap for RegionLog {
    fn with_len(_: usize) -> Self {
        Self::default()
    }
}

impl BitmapReplace for RegionLog {
    type InnerBitmap = Part;

    fn replace(&self, part: Part) {
        self.pages.replace(part.pages);
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = Some(part.log);
    }
}

impl MemRegionBitmap for Part {
    fn new<R: GuestMemoryRegion>(region: &R, log: Arc<MmapLogReg>) -> io::Result<Self> {
        Ok(Part { pages: AtomicBitmapMmap::new(region, log.clone())?, log })
    }
}
