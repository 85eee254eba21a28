//! Runs of shared bytes.
#![expect(unsafe_code, reason = "turns shared memory into copies")]

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr;

/// A run of bytes that lives at least as long as `'m` and that somebody else may change while we
/// look at it. It is never turned into a reference; bytes go in and out by copy.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Segment<'m> {
    run: libc::iovec,
    memory: PhantomData<&'m [u8]>,
}

// SAFETY: a segment is an address and a length; every access through it is a raw copy, which is
// as valid on one thread as on another.
unsafe impl Send for Segment<'_> {}
// SAFETY: as for Send; a shared segment offers nothing that an owned one does not.
unsafe impl Sync for Segment<'_> {}

impl<'m> Segment<'m> {
    /// Describes `len` bytes at `base`.
    ///
    /// # Safety
    /// The whole run must stay mapped, readable and writable for `'m`, and no Rust reference to
    /// it may exist meanwhile. Others may change its bytes at any time.
    #[must_use]
    pub unsafe fn from_raw(base: *mut u8, len: usize) -> Self {
        Segment { run: libc::iovec { iov_base: base.cast(), iov_len: len }, memory: PhantomData }
    }

    /// The same run for as long as the caller says.
    ///
    /// # Safety
    /// The run must stay mapped for `'l`, as for [`from_raw`](Self::from_raw).
    #[must_use]
    pub unsafe fn for_lifetime<'l>(self) -> Segment<'l> {
        Segment { run: self.run, memory: PhantomData }
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.run.iov_len
    }

    /// True if the run holds no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.run.iov_len == 0
    }

    /// Address of the first byte, for bookkeeping such as dirty logging; not for access.
    #[must_use]
    pub fn addr(&self) -> usize {
        self.run.iov_base.addr()
    }

    /// The part that starts at `skip` and has `len` bytes.
    pub(super) fn part(&self, skip: usize, len: usize) -> Self {
        assert!(skip <= self.len() && len <= self.len() - skip);
        // SAFETY: the assertion keeps the part inside this run, which is valid for 'm.
        unsafe { Self::from_raw(self.base().add(skip), len) }
    }

    /// Copies the run's first `into.len()` bytes out; they may be torn if somebody writes them.
    pub(super) fn copy_out(&self, into: &mut [u8]) {
        assert!(into.len() <= self.len());
        // SAFETY: the source is mapped for 'm and long enough (asserted); the target is ours, so
        // the two cannot overlap (`from_raw` forbids references into the run).
        unsafe { ptr::copy_nonoverlapping(self.base(), into.as_mut_ptr(), into.len()) }
    }

    /// Copies `from` over the run's first `from.len()` bytes.
    pub(super) fn copy_in(&self, from: &[u8]) {
        assert!(from.len() <= self.len());
        // SAFETY: as for copy_out, with the directions exchanged.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), self.base(), from.len()) }
    }

    fn base(&self) -> *mut u8 {
        self.run.iov_base.cast()
    }
}

impl<'m> From<&'m mut [u8]> for Segment<'m> {
    fn from(bytes: &'m mut [u8]) -> Self {
        // SAFETY: the exclusive borrow lasts for 'm.
        unsafe { Self::from_raw(bytes.as_mut_ptr(), bytes.len()) }
    }
}

/// The segments of one request, on the stack, in order; runs that touch are joined.
///
/// It holds [`SegmentList::CAPACITY`] runs and no more, whatever a guest asks for.
pub struct SegmentList<'m> {
    items: [MaybeUninit<Segment<'m>>; SegmentList::CAPACITY],
    count: usize,
    bytes: usize,
}

/// There is no room for another segment, or the sum of lengths would overflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl SegmentList<'_> {
    /// `UIO_MAXIOV`: one `preadv2` takes no more (`fs/read_write.c`).
    pub const CAPACITY: usize = 1024;
}

impl<'m> SegmentList<'m> {
    /// An empty list; costs nothing, the array is not initialised.
    #[must_use]
    pub fn new() -> Self {
        SegmentList {
            items: [const { MaybeUninit::uninit() }; SegmentList::CAPACITY],
            count: 0,
            bytes: 0,
        }
    }

    /// Appends a run; an empty one changes nothing.
    ///
    /// # Errors
    /// [`Full`] when the list already holds [`SegmentList::CAPACITY`] runs that do not touch.
    pub fn push(&mut self, segment: Segment<'m>) -> Result<(), Full> {
        if segment.is_empty() {
            return Ok(());
        }
        let bytes = self.bytes.checked_add(segment.len()).ok_or(Full)?;
        if let Some(last) = self.last_mut()
            && last.addr() + last.len() == segment.addr()
        {
            last.run.iov_len += segment.len();
        } else {
            self.items.get_mut(self.count).ok_or(Full)?.write(segment);
            self.count += 1;
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Forgets all runs.
    pub fn clear(&mut self) {
        self.count = 0;
        self.bytes = 0;
    }

    /// Sum of the lengths.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The runs gathered so far.
    #[must_use]
    pub fn as_slice(&self) -> &[Segment<'m>] {
        let items = &self.items[..self.count];
        // SAFETY: push() initialised the first `count` items, and MaybeUninit<T> has T's layout.
        unsafe { &*(ptr::from_ref(items) as *const [Segment<'m>]) }
    }

    fn last_mut(&mut self) -> Option<&mut Segment<'m>> {
        let last = self.items[..self.count].last_mut()?;
        // SAFETY: push() initialised the first `count` items.
        Some(unsafe { last.assume_init_mut() })
    }
}

impl Default for SegmentList<'_> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_touch_become_one() {
        let mut bytes = [0u8; 12];
        let base = bytes.as_mut_ptr();
        let mut list = SegmentList::new();
        for (at, len) in [(0, 4), (4, 0), (4, 4), (10, 2)] {
            // SAFETY: inside `bytes`, which outlives the list and is not touched meanwhile.
            list.push(unsafe { Segment::from_raw(base.add(at), len) }).unwrap();
        }
        let lengths: Vec<_> = list.as_slice().iter().map(Segment::len).collect();
        assert_eq!((lengths, list.bytes()), (vec![8, 2], 10));
    }

    #[test]
    fn a_list_never_grows_past_its_capacity() {
        let mut bytes = vec![0u8; 2 * SegmentList::CAPACITY + 2];
        let mut list = SegmentList::new();
        let mut gaps = bytes.chunks_mut(2).map(|pair| Segment::from(&mut pair[..1]));
        for segment in gaps.by_ref().take(SegmentList::CAPACITY) {
            list.push(segment).unwrap();
        }
        assert_eq!(list.push(gaps.next().unwrap()), Err(Full));
        assert_eq!(list.bytes(), SegmentList::CAPACITY);
    }
}
