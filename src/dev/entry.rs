//! What the kernel and a ring share: an entry's memory, and the commands about it
//! (`include/uapi/linux/fuse.h`, `struct fuse_uring_req_header` and `enum fuse_uring_cmd`).
#![expect(unsafe_code, reason = "memory that the kernel writes, and commands as words")]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

use io_uring::squeue::Entry128;

use crate::mem::{Input, Output, Segment};

/// Headers of requests and replies, the fixed part of a request, and the ring's own part.
const HEADER: usize = 288;
const OP_IN: usize = 128;
const RING: usize = 256;
const COMMIT_ID: usize = RING + 8;
const PAYLOAD_SIZE: usize = RING + 16;

const IN_HEADER: usize = 40;
const OUT_HEADER: usize = 16;

/// `FUSE_IO_URING_CMD_REGISTER` and `FUSE_IO_URING_CMD_COMMIT_AND_FETCH`.
const REGISTER: u64 = 1;
const COMMIT_AND_FETCH: u64 = 2;

/// `IORING_OP_URING_CMD`.
const URING_CMD: u64 = 46;

/// The memory of one entry. The kernel fills it with a request and takes the reply from it; it
/// lives until the kernel has given the entry up.
pub(super) struct Entry {
    base: NonNull<u8>,
    payload: usize,
    vectors: [libc::iovec; 2],
}

// SAFETY: it owns its memory, which is only accessed by copies through segments.
unsafe impl Send for Entry {}
// SAFETY: as for Send; shared, it only hands out segments.
unsafe impl Sync for Entry {}

impl Entry {
    /// Memory for payloads of so many bytes.
    pub(super) fn new(payload: usize) -> io::Result<Self> {
        let layout = Self::layout(payload)?;
        // SAFETY: the layout has a size above 0.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) })
            .ok_or(io::Error::from(io::ErrorKind::OutOfMemory))?;
        // SAFETY: the layout is longer than the header.
        let data = unsafe { base.add(HEADER) };
        let vector =
            |at: NonNull<u8>, len| libc::iovec { iov_base: at.as_ptr().cast(), iov_len: len };
        Ok(Entry { base, payload, vectors: [vector(base, HEADER), vector(data, payload)] })
    }

    fn layout(payload: usize) -> io::Result<Layout> {
        Layout::from_size_align(HEADER + payload, 4096).map_err(io::Error::other)
    }

    fn part(&self, at: usize, len: usize) -> Segment<'_> {
        assert!(at + len <= HEADER + self.payload);
        // SAFETY: inside our memory (asserted), which lives as long as self and to which no
        // reference is ever made.
        unsafe { Segment::from_raw(self.base.as_ptr().add(at), len) }
    }

    fn word<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut word = [0; N];
        let part = [self.part(at, N)];
        // The segment is exactly as long as what is taken.
        let _ = Input::new(&part).take(&mut word);
        word
    }

    /// What names the request to the kernel.
    fn commit_id(&self) -> u64 {
        u64::from_ne_bytes(self.word(COMMIT_ID))
    }

    /// What names the request to whoever interrupts it.
    pub(super) fn unique(&self) -> u64 {
        u64::from_ne_bytes(self.word(8))
    }

    /// The request, in order.
    pub(super) fn request(&self) -> [Segment<'_>; 3] {
        let whole = u32::from_ne_bytes(self.word(0)) as usize;
        let payload = u32::from_ne_bytes(self.word(PAYLOAD_SIZE)) as usize;
        let payload = payload.min(self.payload);
        // The header says how long all is; the rest is the opcode's struct.
        let fixed = whole.saturating_sub(IN_HEADER + payload).min(RING - OP_IN);
        [self.part(0, IN_HEADER), self.part(OP_IN, fixed), self.part(HEADER, payload)]
    }

    /// Room for the reply. It overlaps with the request, which is read before.
    pub(super) fn reply(&self) -> [Segment<'_>; 2] {
        [self.part(0, OUT_HEADER), self.part(HEADER, self.payload)]
    }

    /// The command by which the kernel learns of this entry.
    pub(super) fn register(&self, device: BorrowedFd<'_>, queue: u16, name: u64) -> Entry128 {
        let vectors = (self.vectors.as_ptr().addr() as u64, self.vectors.len() as u64);
        command(device, REGISTER, vectors, (0, queue), name)
    }

    /// The command that sends the reply, of `len` bytes with its header, and asks for the next
    /// request.
    pub(super) fn commit(
        &self,
        device: BorrowedFd<'_>,
        queue: u16,
        name: u64,
        len: u32,
    ) -> Entry128 {
        const { assert!(OUT_HEADER == 16) };
        let payload = len.saturating_sub(16);
        let part = [self.part(PAYLOAD_SIZE, 4)];
        // The segment is exactly as long as what is put.
        let _ = Output::new(&part).put_bytes(&payload.to_ne_bytes());
        command(device, COMMIT_AND_FETCH, (0, 0), (self.commit_id(), queue), name)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Ok(layout) = Self::layout(self.payload) {
            // SAFETY: allocated with this layout, and the kernel has given it up (`Ring`).
            unsafe { dealloc(self.base.as_ptr(), layout) }
        }
    }
}

/// A command as the kernel has it (`struct io_uring_sqe`, the long form), in words of 8 bytes:
/// the crate has no field for the number of vectors.
fn command(
    device: BorrowedFd<'_>,
    operation: u64,
    (vectors, count): (u64, u64),
    (commit_id, queue): (u64, u16),
    name: u64,
) -> Entry128 {
    const { assert!(size_of::<Entry128>() == 128) };
    let device = u64::from(device.as_raw_fd().cast_unsigned());
    let mut words = [0u64; 16];
    words[0] = URING_CMD | device << 32;
    words[1] = operation;
    words[2] = vectors;
    words[3] = count;
    words[4] = name;
    words[7] = commit_id;
    words[8] = queue.into();
    // SAFETY: any 128 bytes are a submission; what they ask for keeps to the memory of an entry,
    // which outlives it.
    unsafe { std::mem::transmute::<[u64; 16], Entry128>(words) }
}
