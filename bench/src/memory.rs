//! Guest memory: memfds that are mapped here and handed to the daemon.
#![expect(unsafe_code, reason = "maps memory that the device changes at any time")]

use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use rustix::fs::MemfdFlags;
use rustix::mm::{MapFlags, ProtFlags};
use vhost::VhostUserMemoryRegionInfo;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::error::{Error, Result};

/// Bytes of a page, to guests and to the log of live migration.
pub const PAGE: u64 = PAGE_LEN as u64;
pub(crate) const PAGE_LEN: usize = 4096;

/// A run of guest memory. Pages are only there once they are touched.
pub struct Region {
    start: u64,
    len: usize,
    host: *mut u8,
    file: Arc<OwnedFd>,
    offset: u64,
    /// Bytes that [`alloc`](Self::alloc) gave out.
    used: AtomicUsize,
}

// SAFETY: the mapping is shared with another process anyway: it is only copied from and to, or
// accessed by atomics, on whatever thread.
unsafe impl Send for Region {}
// SAFETY: as for Send.
unsafe impl Sync for Region {}

impl Region {
    /// `len` bytes of new memory at guest address `start`, both multiples of [`PAGE`].
    ///
    /// # Errors
    /// Whatever making or mapping a memfd gives.
    pub fn new(start: u64, len: usize) -> Result<Arc<Self>> {
        let mut regions = Self::several(&[(start, len)])?;
        regions.pop().ok_or(Error::Full)
    }

    /// One region for every start and length, one after the other in one memfd, as QEMU has them
    /// around the hole below 4 GiB.
    ///
    /// # Errors
    /// Whatever making or mapping a memfd gives.
    pub fn several(ranges: &[(u64, usize)]) -> Result<Vec<Arc<Self>>> {
        let file = Arc::new(rustix::fs::memfd_create("guest", MemfdFlags::CLOEXEC)?);
        rustix::fs::ftruncate(&*file, ranges.iter().map(|range| range.1 as u64).sum())?;
        let mut offset = 0;
        let mut regions = Vec::new();
        for &(start, len) in ranges {
            regions.push(Arc::new(Self::map(file.clone(), offset, start, len)?));
            offset += len as u64;
        }
        Ok(regions)
    }

    /// `len` bytes of a file at `offset`, as a front-end that has mapped them tells of them.
    ///
    /// # Errors
    /// Whatever mapping it gives.
    pub fn of_file(file: OwnedFd, offset: u64, start: u64, len: usize) -> Result<Arc<Self>> {
        Ok(Arc::new(Self::map(Arc::new(file), offset, start, len)?))
    }

    fn map(file: Arc<OwnedFd>, offset: u64, start: u64, len: usize) -> Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // Huge pages are taken when they are touched, as all others are.
        let flags = MapFlags::SHARED | MapFlags::NORESERVE;
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let host =
            unsafe { rustix::mm::mmap(ptr::null_mut(), len, access, flags, &*file, offset)? };
        Ok(Region { start, len, host: host.cast(), file, offset, used: AtomicUsize::new(0) })
    }

    /// Cuts off all memory that shares this one's memfd. Nobody may touch it after that.
    ///
    /// # Errors
    /// Whatever cutting it off gives.
    pub fn cut_off(&self) -> Result<()> {
        Ok(rustix::fs::ftruncate(&*self.file, 0)?)
    }

    /// Guest address of the first byte.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if there is no byte in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Guest address behind the last byte.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.start + self.len as u64
    }

    /// Sets `len` bytes apart, for as long as the region is; their guest address.
    ///
    /// # Errors
    /// [`Error::Full`] if there are no more.
    pub fn alloc(&self, len: usize, align: usize) -> Result<u64> {
        let place = |used: usize| {
            let end = used.next_multiple_of(align).checked_add(len)?;
            (end <= self.len).then_some(end)
        };
        let before = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, place);
        let before = before.map_err(|_| Error::Full)?;
        Ok(self.start + before.next_multiple_of(align) as u64)
    }

    /// Makes all that was set apart available again; nothing of it may still be in use.
    pub(crate) fn free_all(&self) {
        self.used.store(0, Ordering::Relaxed);
    }

    /// Copies bytes at a guest address out.
    ///
    /// # Panics
    /// If they are not all in this region.
    pub fn read(&self, addr: u64, into: &mut [u8]) {
        let from = self.host(addr, into.len());
        // SAFETY: host() has checked the range; the target is ours and cannot overlap it.
        unsafe { ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) }
    }

    /// Copies bytes to a guest address.
    ///
    /// # Panics
    /// If they do not all fit into this region there.
    pub fn write(&self, addr: u64, from: &[u8]) {
        let into = self.host(addr, from.len());
        // SAFETY: as for read(), with the directions exchanged.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), into, from.len()) }
    }

    /// Sets bytes at a guest address to `byte`.
    ///
    /// # Panics
    /// If they are not all in this region.
    pub fn fill(&self, addr: u64, len: usize, byte: u8) {
        let into = self.host(addr, len);
        // SAFETY: host() has checked the range.
        unsafe { ptr::write_bytes(into, byte, len) }
    }

    /// The value at a guest address.
    ///
    /// # Panics
    /// If it is not all in this region.
    #[must_use]
    pub fn get<T: FromBytes + IntoBytes>(&self, addr: u64) -> T {
        let mut value = T::new_zeroed();
        self.read(addr, value.as_mut_bytes());
        value
    }

    /// Puts a value at a guest address.
    ///
    /// # Panics
    /// If it does not fit into this region there.
    pub fn put<T: IntoBytes + Immutable>(&self, addr: u64, value: &T) {
        self.write(addr, value.as_bytes());
    }

    /// An index or a flag word of a ring.
    pub(crate) fn word(&self, addr: u64) -> &AtomicU16 {
        let at = self.host(addr, 2).cast::<u16>();
        assert!(at.is_aligned());
        // SAFETY: mapped for as long as the region lives, and aligned; ring words are only
        // accessed by atomics, here and in the daemon.
        unsafe { AtomicU16::from_ptr(at) }
    }

    /// The address by which the front-end calls it in messages: the one it is mapped at here.
    pub(crate) fn user_addr(&self, addr: u64) -> u64 {
        self.host(addr, 0).addr() as u64
    }

    /// What the daemon has to know to map it.
    pub(crate) fn info(&self) -> VhostUserMemoryRegionInfo {
        VhostUserMemoryRegionInfo {
            guest_phys_addr: self.start,
            memory_size: self.len as u64,
            userspace_addr: self.host.addr() as u64,
            mmap_offset: self.offset,
            mmap_handle: self.file.as_raw_fd(),
        }
    }

    fn host(&self, addr: u64, len: usize) -> *mut u8 {
        let offset = usize::try_from(addr.wrapping_sub(self.start)).unwrap_or(usize::MAX);
        let inside = offset <= self.len && len <= self.len - offset;
        assert!(inside, "{len} bytes at {addr:#x} are not in {:#x}..{:#x}", self.start, self.end());
        self.host.wrapping_add(offset)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: map() mapped exactly this, and nothing refers to it any more. It cannot fail.
        let _ = unsafe { rustix::mm::munmap(self.host.cast(), self.len) };
    }
}
