//! A split virtqueue as the device sees it (virtio 1.3, section 2.7).
//!
//! Everything in it was written by the guest and may change at any time: each value is read
//! once, and checked before it is used.
#![expect(unsafe_code, reason = "reads and writes the rings in guest memory")]

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU16, Ordering, fence};

use super::memory::{Regions, Unmapped};
use crate::mem::{Full, SegmentList, prefetch};

const DESC_SIZE: usize = 16;
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
const NO_INTERRUPT: u16 = 1;
const NO_NOTIFY: u16 = 1;

/// So many replies may be given until it is made certain whether the guest waits for one of them;
/// far below what their indices count.
const MOST_UNDECIDED: u16 = 256;

/// Where a ring is and how far it got.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RingSetup {
    pub(super) size: u16,
    /// Guest addresses of the three parts.
    pub(super) desc: u64,
    pub(super) avail: u64,
    pub(super) used: u64,
    pub(super) next_avail: u16,
    pub(super) next_used: u16,
    pub(super) event_idx: bool,
    pub(super) indirect: bool,
}

/// A ring that can no longer be served; the guest has to reset the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// There is no memory that it could be in.
    NoMemory,
    /// A part of it is not in the guest's memory, or not aligned.
    Misplaced,
    /// More requests are available than the ring can hold.
    Index { next: u16, available: u16 },
    /// A request starts at a descriptor that does not exist.
    Head(u16),
    /// Serving it has made us panic.
    Bug,
}

/// A request that cannot be made sense of; the ring goes on with the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadChain {
    /// A buffer or an indirect table is not in the guest's memory.
    Unmapped,
    /// A descriptor number beyond its table, or a loop.
    Endless,
    /// A readable buffer after a writable one.
    Disordered,
    /// An indirect table that is empty, of odd size, not negotiated or not allowed there.
    Indirect,
    /// More buffers than one request may have.
    TooLong,
}

impl From<Unmapped> for BadChain {
    fn from(_: Unmapped) -> Self {
        BadChain::Unmapped
    }
}

impl From<Full> for BadChain {
    fn from(_: Full) -> Self {
        BadChain::TooLong
    }
}

/// A ring in guest memory that stays mapped for `'m`.
pub(super) struct Ring<'m> {
    regions: &'m Regions,
    size: u16,
    desc: *const u8,
    avail: *const u8,
    used: *mut u8,
    /// How far the guest was when we last looked.
    available: u16,
    next_avail: u16,
    next_used: u16,
    /// `next_used` when it was last decided for certain whether to signal.
    decided: u16,
    event_idx: bool,
    indirect: bool,
    memory: PhantomData<&'m Regions>,
}

impl<'m> Ring<'m> {
    pub(super) fn new(regions: &'m Regions, setup: &RingSetup) -> Result<Self, Broken> {
        let size = usize::from(setup.size);
        if regions.is_empty() {
            return Err(Broken::NoMemory);
        }
        if size == 0 {
            return Err(Broken::Misplaced);
        }
        let part =
            |addr, len, align| regions.host(addr, len, align).map_err(|Unmapped| Broken::Misplaced);
        // The last two bytes of avail and used are the event indices.
        Ok(Ring {
            regions,
            size: setup.size,
            desc: part(setup.desc, size * DESC_SIZE, 8)?,
            avail: part(setup.avail, 6 + 2 * size, 2)?,
            used: part(setup.used, 6 + 8 * size, 4)?,
            available: setup.next_avail,
            next_avail: setup.next_avail,
            next_used: setup.next_used,
            decided: setup.next_used,
            event_idx: setup.event_idx,
            indirect: setup.indirect,
            memory: PhantomData,
        })
    }

    /// Indices of the next request to take and of the next reply to give.
    pub(super) fn position(&self) -> (u16, u16) {
        (self.next_avail, self.next_used)
    }

    /// True if the guest has made no further request available.
    pub(super) fn is_empty(&mut self) -> Result<bool, Broken> {
        let available = self.available();
        self.available = available;
        match available.wrapping_sub(self.next_avail) {
            0 => Ok(true),
            waiting if waiting <= self.size => Ok(false),
            _ => Err(Broken::Index { next: self.next_avail, available }),
        }
    }

    /// True if the guest has made something available, whatever it is.
    pub(super) fn has_request(&self) -> bool {
        self.available() != self.next_avail
    }

    /// Takes the next request off a ring that is not empty: its first descriptor.
    pub(super) fn pop(&mut self) -> Result<u16, Broken> {
        let head = self.head(self.next_avail);
        if head >= self.size {
            return Err(Broken::Head(head));
        }
        self.next_avail = self.next_avail.wrapping_add(1);
        Ok(head)
    }

    /// The first descriptor of a request, or what the guest says is one.
    fn head(&self, index: u16) -> u16 {
        // SAFETY: entry `index % size` of the avail ring, which new() has checked.
        let head = unsafe { self.avail_u16(4 + 2 * usize::from(index % self.size)) };
        u16::from_le(head.load(Ordering::Relaxed))
    }

    /// Asks the processor for what the next requests are made of. The guest wrote it on another
    /// one, and to fetch it piece by piece takes longer than many a request. Each is looked at three
    /// times, because one piece says where the next is; all is judged when it is used.
    pub(super) fn look_ahead(&self) {
        let waiting = self.available.wrapping_sub(self.next_avail);
        let desc = |ahead: u16| {
            let head = self.head(self.next_avail.wrapping_add(ahead));
            Table { base: self.desc, len: u32::from(self.size) }.at(head.into())
        };
        let table = |ahead| {
            let Desc { addr, len, flags, .. } = Table::copy(desc(ahead)?);
            let base = self.regions.host(addr, len as usize, 1).ok()?;
            (flags & INDIRECT != 0).then_some(Table { base, len: len / 16 })
        };
        if waiting > 2
            && let Some(Place(desc)) = desc(2)
        {
            prefetch::to_read(desc);
        }
        if waiting > 1
            && let Some(table) = table(1)
        {
            prefetch::to_read(table.base);
        }
        if waiting > 0
            && let Some(table) = table(0)
        {
            // Header and arguments of the request and of the reply.
            for Desc { addr, len, flags, .. } in (0..4).map_while(|at| table.read(at)) {
                let len = len as usize;
                match self.regions.host(addr, len, 1) {
                    Ok(reply) if flags & WRITE != 0 => prefetch::to_write(reply, len),
                    Ok(request) => prefetch::to_read(request),
                    Err(Unmapped) => {}
                }
            }
        }
    }

    /// Collects the buffers of the request that starts at `head`.
    pub(super) fn gather(
        &self,
        head: u16,
        readable: &mut SegmentList<'m>,
        writable: &mut SegmentList<'m>,
    ) -> Result<(), BadChain> {
        self.walk(head, |addr, len, is_writable| {
            let list = if is_writable { &mut *writable } else { &mut *readable };
            Ok(self.regions.segments(addr, len, list)??)
        })
    }

    /// Calls `with` for each buffer of the request that starts at `head`, with its address and
    /// length and whether it is writable.
    pub(super) fn walk(
        &self,
        head: u16,
        mut with: impl FnMut(u64, u32, bool) -> Result<(), BadChain>,
    ) -> Result<(), BadChain> {
        let mut table = Table { base: self.desc, len: u32::from(self.size) };
        let mut at = u32::from(head);
        let mut seen = 0;
        let mut direct = true;
        let mut replying = false;
        loop {
            let desc = table.read(at).ok_or(BadChain::Endless)?;
            seen += 1;
            if seen > table.len {
                return Err(BadChain::Endless);
            }
            if desc.flags & INDIRECT != 0 {
                let allowed = self.indirect && direct && desc.flags & NEXT == 0;
                if !allowed || desc.len == 0 || !(desc.len as usize).is_multiple_of(DESC_SIZE) {
                    return Err(BadChain::Indirect);
                }
                let base = self.regions.host(desc.addr, desc.len as usize, 1)?;
                table = Table { base, len: desc.len / 16 };
                (at, seen, direct) = (0, 0, false);
                continue;
            }
            let is_writable = desc.flags & WRITE != 0;
            if replying && !is_writable {
                return Err(BadChain::Disordered);
            }
            replying = is_writable && (replying || desc.len > 0);
            with(desc.addr, desc.len, is_writable)?;
            if desc.flags & NEXT == 0 {
                return Ok(());
            }
            at = u32::from(desc.next);
        }
    }

    /// Gives the request that started at `head` back, with `len` bytes of its buffers written.
    /// Returns where in the used ring that was noted.
    pub(super) fn complete(&mut self, head: u16, len: u32) -> usize {
        let at = 4 + 8 * usize::from(self.next_used % self.size);
        let element = u64::from(head) | u64::from(len) << 32;
        // SAFETY: element `next_used % size` of the used ring, 8 bytes that new() has checked;
        // guests read it only after the index below. It may be aligned to 4 only.
        unsafe { self.used.add(at).cast::<u64>().write_unaligned(element.to_le()) };
        self.next_used = self.next_used.wrapping_add(1);
        // SAFETY: the index of the used ring.
        unsafe { self.used_u16(2) }.store(self.next_used.to_le(), Ordering::Release);
        at
    }

    /// How far the device got, as the used ring says.
    pub(super) fn used_index(&self) -> u16 {
        // SAFETY: the index of the used ring.
        u16::from_le(unsafe { self.used_u16(2) }.load(Ordering::Relaxed))
    }

    /// True if the guest wants to hear of what was completed since it was last told, or since this
    /// last said that it does not.
    pub(super) fn wants_signal(&mut self) -> bool {
        if self.decided == self.next_used {
            return false;
        }
        // The guest must see the used index before we see whether it waits for it.
        fence(Ordering::SeqCst);
        let wants = self.waits_for_signal();
        self.decided = self.next_used;
        wants
    }

    /// The same as far as can be seen without waiting until the guest sees what we have written:
    /// true is certain, false is for [`wants_signal`](Self::wants_signal) to confirm later.
    pub(super) fn seems_to_want_signal(&mut self) -> bool {
        if self.next_used.wrapping_sub(self.decided) > MOST_UNDECIDED {
            return self.wants_signal();
        }
        self.waits_for_signal()
    }

    fn waits_for_signal(&mut self) -> bool {
        let wants = if self.event_idx {
            // SAFETY: used_event, behind the avail ring.
            let event = unsafe { self.avail_u16(4 + 2 * usize::from(self.size)) };
            let event = u16::from_le(event.load(Ordering::Relaxed));
            let passed = self.next_used.wrapping_sub(event).wrapping_sub(1);
            passed < self.next_used.wrapping_sub(self.decided)
        } else {
            // SAFETY: the flags of the avail ring.
            let flags = unsafe { self.avail_u16(0) }.load(Ordering::Relaxed);
            u16::from_le(flags) & NO_INTERRUPT == 0
        };
        if wants {
            self.decided = self.next_used;
        }
        wants
    }

    /// Tells the guest not to kick: we look at the ring anyway.
    pub(super) fn refuse_kicks(&mut self) {
        if !self.event_idx {
            // SAFETY: the flags of the used ring.
            unsafe { self.used_u16(0) }.store(NO_NOTIFY.to_le(), Ordering::Relaxed);
        }
        // With EVENT_IDX the index that was last asked for lies behind us: no kick comes.
    }

    /// Asks the guest to kick at its next request. False if there is one already.
    pub(super) fn ask_for_kick(&mut self) -> bool {
        if self.event_idx {
            // SAFETY: avail_event, behind the used ring.
            let event = unsafe { self.used_u16(4 + 8 * usize::from(self.size)) };
            event.store(self.next_avail.to_le(), Ordering::Relaxed);
        } else {
            // SAFETY: the flags of the used ring.
            unsafe { self.used_u16(0) }.store(0, Ordering::Relaxed);
        }
        // We must see a request that the guest added before it saw the above.
        fence(Ordering::SeqCst);
        !self.has_request()
    }

    fn available(&self) -> u16 {
        // SAFETY: the index of the avail ring.
        u16::from_le(unsafe { self.avail_u16(2) }.load(Ordering::Acquire))
    }

    /// # Safety
    /// `at` is an even offset within the avail ring.
    unsafe fn avail_u16(&self, at: usize) -> &AtomicU16 {
        // SAFETY: by the caller, and new() has checked that the ring is mapped and aligned.
        unsafe { AtomicU16::from_ptr(self.avail.add(at).cast::<u16>().cast_mut()) }
    }

    /// # Safety
    /// `at` is an even offset within the used ring.
    unsafe fn used_u16(&self, at: usize) -> &AtomicU16 {
        // SAFETY: as for avail_u16.
        unsafe { AtomicU16::from_ptr(self.used.add(at).cast::<u16>()) }
    }
}

/// A descriptor, copied out of guest memory.
struct Desc {
    addr: u64,
    len: u32,
    flags: u16,
    next: u16,
}

/// Where a descriptor is, within its table.
#[derive(Clone, Copy)]
struct Place(*const u8);

/// `len` descriptors in guest memory.
struct Table {
    base: *const u8,
    len: u32,
}

impl Table {
    fn read(&self, at: u32) -> Option<Desc> {
        self.at(at).map(Self::copy)
    }

    /// Where a descriptor is.
    fn at(&self, at: u32) -> Option<Place> {
        let from = self.base.wrapping_add(at as usize * DESC_SIZE);
        (at < self.len).then_some(Place(from))
    }

    fn copy(Place(from): Place) -> Desc {
        // SAFETY: whoever made the table has checked that all of it is mapped; plain bytes may
        // be copied from anywhere in it, torn or not.
        let raw = unsafe { from.cast::<[u8; DESC_SIZE]>().read() };
        let [a, b, c, d, e, f, g, h, l0, l1, l2, l3, f0, f1, n0, n1] = raw;
        Desc {
            addr: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            len: u32::from_le_bytes([l0, l1, l2, l3]),
            flags: u16::from_le_bytes([f0, f1]),
            next: u16::from_le_bytes([n0, n1]),
        }
    }
}
