//! A split virtqueue as the driver sees it (virtio 1.3, section 2.7).

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use crate::error::{Error, Result};
use crate::memory::{PAGE_LEN, Region};

/// A run of guest memory that a request consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Guest address.
    pub addr: u64,
    /// Bytes.
    pub len: u32,
}

/// A descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Desc {
    /// Guest address of the buffer or of an indirect table.
    pub addr: u64,
    /// Bytes of it.
    pub len: u32,
    /// [`Desc::NEXT`], [`Desc::WRITE`] and [`Desc::INDIRECT`].
    pub flags: u16,
    /// Number of the next descriptor.
    pub next: u16,
}

impl Desc {
    /// Bytes of a descriptor in memory.
    pub const SIZE: usize = 16;
    /// Another descriptor follows.
    pub const NEXT: u16 = 1;
    /// The device writes the buffer.
    pub const WRITE: u16 = 2;
    /// The buffer is a table of descriptors.
    pub const INDIRECT: u16 = 4;

    /// The descriptor as it is in memory.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Desc::SIZE] {
        let mut bytes = [0; Desc::SIZE];
        bytes[..8].copy_from_slice(&self.addr.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.len.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.flags.to_le_bytes());
        bytes[14..].copy_from_slice(&self.next.to_le_bytes());
        bytes
    }
}

/// A request that the device is done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// The descriptor that it started at.
    pub head: u16,
    /// Bytes that the device says it has written.
    pub len: u32,
}

const NO_INTERRUPT: u16 = 1;
const NO_NOTIFY: u16 = 1;

/// The three parts of a ring in guest memory, and what the driver knows besides.
pub struct Ring {
    region: Arc<Region>,
    size: u16,
    desc: u64,
    avail: u64,
    used: u64,
    event_idx: bool,
    /// Next descriptor: of a request in flight, or of the list of free ones. What the driver
    /// needs is never read back from guest memory.
    links: Box<[u16]>,
    /// Descriptors of the request that starts here; 0 if none in flight does.
    counts: Box<[u16]>,
    free: u16,
    free_count: u16,
    next_avail: u16,
    next_used: u16,
    /// `next_avail` when it was last decided whether to kick.
    decided: u16,
}

impl Ring {
    /// A ring of `size` descriptors somewhere in `region`, laid out like Linux does it.
    ///
    /// # Errors
    /// [`Error::Full`] if it does not fit there.
    pub fn new(region: &Arc<Region>, size: u16, event_idx: bool) -> Result<Self> {
        let count = usize::from(size);
        let mut ring = Ring {
            region: region.clone(),
            size,
            desc: region.alloc(count * Desc::SIZE, PAGE_LEN)?,
            avail: region.alloc(6 + 2 * count, 2)?,
            used: region.alloc(6 + 8 * count, PAGE_LEN)?,
            event_idx,
            links: (1..=size).collect(),
            counts: vec![0; count].into_boxed_slice(),
            free: 0,
            free_count: 0,
            next_avail: 0,
            next_used: 0,
            decided: 0,
        };
        ring.reset(0);
        Ok(ring)
    }

    /// Forgets all requests, and goes on as if `index` of them had been made and used.
    pub fn reset(&mut self, index: u16) {
        let count = usize::from(self.size);
        self.region.fill(self.desc, count * Desc::SIZE, 0);
        self.region.fill(self.avail, 6 + 2 * count, 0);
        self.region.fill(self.used, 6 + 8 * count, 0);
        self.region.word(self.used + 2).store(index.to_le(), Ordering::Relaxed);
        for (link, next) in self.links.iter_mut().zip(1..) {
            *link = next;
        }
        self.counts.fill(0);
        (self.free, self.free_count) = (0, self.size);
        (self.next_avail, self.next_used, self.decided) = (index, index, index);
        self.set_avail_index(index);
    }

    /// Number of descriptors.
    #[must_use]
    pub fn size(&self) -> u16 {
        self.size
    }

    /// Descriptors that belong to no request.
    #[must_use]
    pub fn free_count(&self) -> u16 {
        self.free_count
    }

    /// Guest address of the descriptor table.
    #[must_use]
    pub fn desc_addr(&self) -> u64 {
        self.desc
    }

    /// Guest address of the avail ring.
    #[must_use]
    pub fn avail_addr(&self) -> u64 {
        self.avail
    }

    /// Guest address of the used ring.
    #[must_use]
    pub fn used_addr(&self) -> u64 {
        self.used
    }

    /// The region that it is in.
    #[must_use]
    pub fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// Takes `count` descriptors off the free list; the first of them is the request's name, the
    /// others follow by [`link`](Self::link). What they say is for the caller to write.
    pub fn reserve(&mut self, count: u16) -> Option<u16> {
        if count == 0 || count > self.free_count {
            return None;
        }
        let head = self.free;
        for _ in 0..count {
            self.free = self.links[usize::from(self.free)];
        }
        self.free_count -= count;
        self.counts[usize::from(head)] = count;
        Some(head)
    }

    /// The descriptor behind `at` in a request.
    #[must_use]
    pub fn link(&self, at: u16) -> u16 {
        self.links[usize::from(at)]
    }

    /// Writes a descriptor of the ring's own table.
    ///
    /// # Panics
    /// If there is none with that number.
    pub fn write_desc(&self, at: u16, desc: Desc) {
        assert!(at < self.size);
        self.region.write(self.desc + 16 * u64::from(at), &desc.to_bytes());
    }

    /// Makes the request that starts at `head` available.
    pub fn publish(&mut self, head: u16) {
        self.write_avail(self.next_avail, head);
        self.next_avail = self.next_avail.wrapping_add(1);
        self.set_avail_index(self.next_avail);
    }

    /// Writes the avail ring's entry for the request number `index`, whatever it means.
    pub fn write_avail(&self, index: u16, head: u16) {
        let at = self.avail + 4 + 2 * u64::from(index % self.size);
        self.region.word(at).store(head.to_le(), Ordering::Relaxed);
    }

    /// Writes the avail ring's index, whatever it means.
    pub fn set_avail_index(&self, index: u16) {
        self.region.word(self.avail + 2).store(index.to_le(), Ordering::Release);
    }

    /// Index of the next request to be made available.
    #[must_use]
    pub fn next_avail(&self) -> u16 {
        self.next_avail
    }

    /// The used ring's index in memory.
    #[must_use]
    pub fn used_index(&self) -> u16 {
        u16::from_le(self.region.word(self.used + 2).load(Ordering::Acquire))
    }

    /// True if the device wants to hear of what was published since this was last asked.
    pub fn wants_kick(&mut self) -> bool {
        let before = std::mem::replace(&mut self.decided, self.next_avail);
        // The device must see the avail index before we see whether it waits for it.
        fence(Ordering::SeqCst);
        if self.event_idx {
            let at = self.used + 4 + 8 * u64::from(self.size);
            let event = u16::from_le(self.region.word(at).load(Ordering::Relaxed));
            let passed = self.next_avail.wrapping_sub(event).wrapping_sub(1);
            passed < self.next_avail.wrapping_sub(before)
        } else {
            let flags = u16::from_le(self.region.word(self.used).load(Ordering::Relaxed));
            flags & NO_NOTIFY == 0
        }
    }

    /// Asks the device to call at its next used element. The caller has to look once more
    /// afterwards: one may have come before the device saw this.
    pub fn ask_for_call(&self) {
        if self.event_idx {
            self.set_used_event(self.next_used);
        } else {
            self.region.word(self.avail).store(0, Ordering::Relaxed);
        }
        fence(Ordering::SeqCst);
    }

    /// Tells the device not to call. With EVENT_IDX the index that was last asked for lies
    /// behind: no call comes.
    pub fn refuse_calls(&self) {
        if !self.event_idx {
            self.region.word(self.avail).store(NO_INTERRUPT.to_le(), Ordering::Relaxed);
        }
    }

    /// Asks, with EVENT_IDX, for a call when the used index passes `index`.
    pub fn set_used_event(&self, index: u16) {
        let at = self.avail + 4 + 2 * u64::from(self.size);
        self.region.word(at).store(index.to_le(), Ordering::Relaxed);
    }

    /// Takes the next used element, and its descriptors back.
    ///
    /// # Errors
    /// [`Error::Device`] if it is not of a request in flight, or if the used index is impossible.
    pub fn reap(&mut self) -> Result<Option<Used>> {
        let waiting = self.used_index().wrapping_sub(self.next_used);
        if waiting == 0 {
            return Ok(None);
        }
        if waiting > self.next_avail.wrapping_sub(self.next_used) {
            return Err(Error::device("more used elements than requests"));
        }
        let at = self.used + 4 + 8 * u64::from(self.next_used % self.size);
        let element = u64::from_le(self.region.get(at));
        let (id, len) = (element & u64::from(u32::MAX), element >> 32);
        let head = u16::try_from(id).ok().filter(|head| *head < self.size);
        let count = head.map_or(0, |head| self.counts[usize::from(head)]);
        let (Some(head), Ok(len), 1..) = (head, u32::try_from(len), count) else {
            return Err(Error::Device(format!("used element {id} is of no request in flight")));
        };
        self.next_used = self.next_used.wrapping_add(1);
        self.give_back(head, count);
        Ok(Some(Used { head, len }))
    }

    fn give_back(&mut self, head: u16, count: u16) {
        let last = (1..count).fold(head, |at, _| self.links[usize::from(at)]);
        self.links[usize::from(last)] = self.free;
        self.counts[usize::from(head)] = 0;
        self.free = head;
        self.free_count += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(size: u16) -> Ring {
        Ring::new(&Region::new(1 << 30, 1 << 20).unwrap(), size, false).unwrap()
    }

    /// What a device does.
    fn make_used(ring: &Ring, head: u32, len: u32) {
        let index = ring.used_index();
        let at = ring.used + 4 + 8 * u64::from(index % ring.size);
        ring.region.put(at, &[head, len]);
        ring.region.word(ring.used + 2).store(index.wrapping_add(1), Ordering::Release);
    }

    #[test]
    fn descriptors_come_back_in_any_order() {
        let mut ring = ring(8);
        for _ in 0..100 {
            let heads = [3, 1, 4].map(|count| ring.reserve(count).unwrap());
            assert_eq!((ring.free_count(), ring.reserve(1)), (0, None));
            heads.iter().for_each(|head| ring.publish(*head));
            for head in [heads[1], heads[2], heads[0]] {
                make_used(&ring, head.into(), 7);
                assert_eq!(ring.reap().unwrap(), Some(Used { head, len: 7 }));
            }
            assert_eq!((ring.free_count(), ring.reap().unwrap()), (8, None));
        }
    }

    #[test]
    fn a_device_that_uses_what_it_was_not_given_is_caught() {
        for id in [1, 8, u32::MAX] {
            let mut ring = ring(8);
            let head = ring.reserve(2).unwrap();
            ring.publish(head);
            make_used(&ring, id, 0);
            assert!(matches!(ring.reap(), Err(Error::Device(_))), "{id}");
        }
        let mut ring = ring(8);
        make_used(&ring, 0, 0);
        assert!(matches!(ring.reap(), Err(Error::Device(_))));
    }
}
