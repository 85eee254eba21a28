//! READs that wait for storage, in a ring of io_uring that belongs to their queue: its thread begins
//! them and takes what has come, and no other thread has to be woken.
#![expect(unsafe_code, reason = "has the kernel write into guest memory when it comes to it")]

use std::cell::Cell;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::register::Restriction;
use io_uring::{IoUring, opcode, types};
use rustix::event::{PollFd, PollFlags, poll};

use super::deferred::{Finished, Place, WaitingRoom};
use super::device::DeviceConfig;
use super::memory::Kept;
use crate::fuse::{Filesystem, Reading, Scratch, Served, Session};
use crate::mem::{Input, Output};

/// READs that a queue has in its ring, at most: all their completions find room.
const MOST: u32 = 128;

/// Each is handed over as it is begun, while its file is certainly open: there are never two.
const ENTRIES: u32 = 1;

/// A ring for each request queue of a device.
pub struct ReadRings(Vec<IoUring>);

impl ReadRings {
    /// Makes the rings, while this process may still do that.
    ///
    /// # Errors
    /// io_uring may not be used, or not as it has to be here.
    pub fn new(config: &DeviceConfig) -> io::Result<Self> {
        let workers = u32::try_from(config.waiting_threads).map_err(io::Error::other)?;
        (0..config.queues()).map(|_| restricted(workers)).collect::<io::Result<_>>().map(ReadRings)
    }

    /// The rings one by one.
    pub(super) fn split(self) -> impl Iterator<Item = Reads> {
        self.0.into_iter().map(Reads::new)
    }
}

/// A ring that can do nothing but read from descriptors, which its process can do anyway. Where
/// the kernel needs threads for that, they are `workers` at most.
fn restricted(workers: u32) -> io::Result<IoUring> {
    let ring = IoUring::builder().setup_r_disabled().setup_cqsize(MOST).build(ENTRIES)?;
    let is_copied = ring.params().is_feature_submit_stable();
    if !is_copied || !ring.params().is_feature_nodrop() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let submitter = ring.submitter();
    submitter.register_iowq_max_workers(&mut [workers, 1])?;
    submitter.register_restrictions(&mut [Restriction::sqe_op(opcode::Readv::CODE)])?;
    submitter.register_enable_rings()?;
    Ok(ring)
}

/// A queue's ring, and the READs in it.
pub(super) struct Reads {
    ring: IoUring,
    /// By the numbers that their completions bear; as many as there ever were.
    flying: Vec<Option<Flying>>,
    free: Vec<usize>,
    /// The kernel has not taken what it was given, and would when it is given more.
    is_jammed: bool,
    /// One thread at a time looks at what has come.
    _not_sync: PhantomData<Cell<()>>,
}

/// A READ that storage has not answered.
struct Flying {
    head: u16,
    /// Where the kernel writes to.
    buffers: Kept,
    reading: Reading,
    _place: Place,
}

/// A READ that storage has answered.
pub(super) enum Landed {
    Finished(Finished),
    /// It has met an error, or what may be one: it is to be served as any that waits.
    Again(u16, Kept),
}

impl Reads {
    fn new(ring: IoUring) -> Self {
        let (flying, free) = (Vec::new(), Vec::new());
        Reads { ring, flying, free, is_jammed: false, _not_sync: PhantomData }
    }

    /// Begins the READ at `head`.
    ///
    /// # Errors
    /// It is to be served as any that waits: it is no READ, or there is no room for it.
    pub(super) fn begin<F: Filesystem + 'static>(
        &mut self,
        (session, scratch): (&Session<F>, &Scratch),
        waiting: &WaitingRoom<F>,
        (head, buffers): (u16, Kept),
    ) -> Result<(), (u16, Kept)> {
        let (Some(slot), Some(place), false) =
            (self.free_slot(), waiting.place(&buffers), self.is_jammed)
        else {
            return Err((head, buffers));
        };
        let (input, output) = (Input::new(buffers.readable()), Output::new(buffers.writable()));
        let reading = session.begin_read(scratch, input, output, |file, offset, room| {
            room.with_iovecs(|runs, count| self.submit((file, offset), (runs, count), slot))
        });
        let Some(reading) = reading else { return Err((head, buffers)) };
        self.free.pop();
        self.flying[slot] = Some(Flying { head, buffers, reading, _place: place });
        Ok(())
    }

    /// A number that no READ has.
    fn free_slot(&mut self) -> Option<usize> {
        if self.free.is_empty() && self.flying.len() < MOST as usize {
            self.free.push(self.flying.len());
            self.flying.push(None);
        }
        self.free.last().copied()
    }

    /// True if the kernel has taken it: it then has the file and a copy of the runs.
    fn submit(
        &mut self,
        (file, offset): (BorrowedFd<'_>, u64),
        (runs, count): (*const libc::iovec, u32),
        slot: usize,
    ) -> bool {
        // What is above is for pread(2) to refuse; all ones would be where the file is read next.
        if i64::try_from(offset).is_err() {
            return false;
        }
        let read = opcode::Readv::new(types::Fd(file.as_raw_fd()), runs, count).offset(offset);
        let read = read.build().user_data(slot as u64);
        // SAFETY: the runs are in memory that `Flying` keeps until the kernel has answered; file
        // and iovecs are there until it has taken what it needs of them, which is in submit().
        let pushed = unsafe { self.ring.submission().push(&read) }.is_ok();
        let taken = if pushed { self.ring.submit() } else { Ok(0) };
        self.is_jammed = !matches!(taken, Ok(1));
        if self.is_jammed {
            log::warn!("io_uring is not used any more, it took no request: {taken:?}");
        }
        !self.is_jammed
    }

    /// True if any are in the ring.
    pub(super) fn are_any(&self) -> bool {
        self.free.len() < self.flying.len()
    }

    /// True if one has landed.
    pub(super) fn have_landed(&self) -> bool {
        // SAFETY: there is no other view of the completions: this one ends here, and who looks at
        // them otherwise has the ring to itself.
        self.are_any() && !unsafe { self.ring.completion_shared() }.is_empty()
    }

    /// What is ready to be read when one has landed, if any are in the ring.
    pub(super) fn bell(&self) -> Option<BorrowedFd<'_>> {
        // SAFETY: the ring is open as long as self.
        self.are_any().then(|| unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) })
    }

    /// Takes one that has landed, if any has, with its reply.
    pub(super) fn next<F: Filesystem>(
        &mut self,
        (session, scratch): (&Session<F>, &Scratch),
    ) -> Option<Landed> {
        if !self.are_any() {
            return None;
        }
        let (Flying { head, buffers, reading, .. }, result) = self.take()?;
        let served = usize::try_from(result).ok().and_then(|count| {
            session.end_read(scratch, &reading, count, Output::new(buffers.writable()))
        });
        Some(match served {
            Some(Served::Reply(written)) => Landed::Finished(Finished { head, written, buffers }),
            _ => Landed::Again(head, buffers),
        })
    }

    /// Takes one that has landed, and what storage says of it.
    fn take(&mut self) -> Option<(Flying, i32)> {
        let done = self.ring.completion().next()?;
        let slot = usize::try_from(done.user_data()).ok()?;
        let flying = self.flying.get_mut(slot)?.take()?;
        self.free.push(slot);
        Some((flying, done.result()))
    }

    /// Waits until one has landed.
    pub(super) fn wait(&self) {
        if let Some(bell) = self.bell() {
            // An interruption is as good: the caller looks what there is.
            let _ = poll(&mut [PollFd::new(&bell, PollFlags::IN)], None);
        }
    }
}

impl Drop for Reads {
    /// Buffers are let go when the kernel writes to them no more.
    fn drop(&mut self) {
        while self.are_any() {
            self.wait();
            while self.take().is_some() {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_reads_and_does_nothing_else() {
        let mut ring = match restricted(1) {
            Ok(ring) => ring,
            Err(error) => {
                ferryfs_bench::skip("a_ring_reads_and_does_nothing_else", &error.to_string());
                return;
            }
        };
        let (reader, writer) = io::pipe().unwrap();
        rustix::io::write(&writer, b"bytes").unwrap();
        let mut bytes = [0; 5];
        let run = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        let (from, to) = (types::Fd(reader.as_raw_fd()), types::Fd(writer.as_raw_fd()));
        let read = || opcode::Readv::new(from, &raw const run, 1).build();
        let tried = [
            opcode::Nop::new().build(),
            opcode::Writev::new(to, &raw const run, 1).build(),
            opcode::Close::new(to).build(),
            opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), c"/".as_ptr()).build(),
            opcode::PollAdd::new(from, 1).build(),
            read().flags(io_uring::squeue::Flags::ASYNC),
        ];
        let mut result = |entry| {
            // SAFETY: what the entries name outlives the wait for their completion.
            unsafe { ring.submission().push(&entry) }.unwrap();
            ring.submit_and_wait(1).unwrap();
            ring.completion().next().unwrap().result()
        };
        for entry in tried {
            assert_eq!(result(entry), -libc::EACCES);
        }
        assert_eq!((result(read()), &bytes), (5, b"bytes"));
        for registered in [
            ring.submitter().register_files(&[reader.as_raw_fd()]),
            ring.submitter().register_eventfd(reader.as_raw_fd()),
            ring.submitter().register_iowq_max_workers(&mut [100, 100]),
            ring.submitter().register_restrictions(&mut []),
        ] {
            let refused = registered.unwrap_err().raw_os_error();
            assert!(matches!(refused, Some(libc::EACCES | libc::EBADFD)), "{refused:?}");
        }
    }
}
