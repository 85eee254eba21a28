//! Requests over io_uring (`Documentation/filesystems/fuse/fuse-io-uring.rst`).
//!
//! The kernel has a queue for each CPU, and a request goes to that of the CPU which makes it. It
//! is copied into an entry's memory by the thread that submitted the entry, when that thread
//! enters the kernel: so it must never wait for its own mount.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use io_uring::register::Restriction;
use io_uring::squeue::Entry128;
use io_uring::{IoUring, cqueue, opcode, types};
use rustix::event::{EventfdFlags, eventfd};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::entry::Entry;
use super::parked::{Carried, Parked};
use super::read_write::BUFFER;
use crate::fuse::{Errno, Filesystem, Patience, Scratch, Served, Session, Wait, give_up};
use crate::mem::{Input, Output};

/// Bytes that the entries of all queues are to have together, where that is enough. The kernel
/// touches them as they are used.
const MEMORY: usize = 128 << 20;

/// Entries of each queue, at least and at most. A request that waits keeps its own, and none that
/// is added later is given what has come meanwhile: so there have to be enough from the beginning.
/// More make writing back slower, as the kernel fills all it can before the first is served.
const ENTRIES: (usize, usize) = (4, 16);

/// The same if requests may wait for ever, as for a lock.
const WAITING: (usize, usize) = (16, 64);

/// Names the completion that means that there is something in the letter box.
const LETTER: u64 = u64::MAX;

/// Where the kernel says whether it offers this.
pub const PARAMETER: &str = "/sys/module/fuse/parameters/enable_uring";

/// A ring for each queue that the kernel has.
pub struct Rings {
    rings: Vec<IoUring<Entry128, cqueue::Entry>>,
    entries: usize,
}

impl Rings {
    /// Makes the rings, before anything is promised to the kernel; `waits` tells whether requests
    /// may wait for ever.
    ///
    /// # Errors
    /// io_uring may not be used, or there is no room for so many rings.
    pub fn new(waits: bool) -> io::Result<Self> {
        let cpus = possible_cpus()?;
        let (least, most) = if waits { WAITING } else { ENTRIES };
        let entries = (MEMORY / BUFFER / cpus).clamp(least, most);
        let size = u32::try_from(entries + 1).map_err(io::Error::other)?.next_power_of_two();
        let rings: io::Result<_> = (0..cpus).map(|_| restricted(size)).collect();
        Ok(Rings { rings: rings?, entries })
    }

    /// Bytes that all entries have together.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.rings.len() * self.entries * BUFFER
    }

    /// Queues, and entries in each.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.rings.len(), self.entries)
    }

    /// The rings of all queues, each to be served by a thread of its own.
    pub(super) fn split(self, device: &Arc<OwnedFd>) -> io::Result<Vec<Ring>> {
        let Rings { rings, entries } = self;
        let rings = rings.into_iter().enumerate().map(|(queue, ring)| {
            let home = Home {
                bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
                letters: Mutex::default(),
            };
            let entries: io::Result<_> =
                (0..entries).map(|_| Entry::new(BUFFER).map(Arc::new)).collect();
            Ok(Ring {
                ring,
                device: device.clone(),
                queue: u16::try_from(queue).map_err(io::Error::other)?,
                entries: entries?,
                away: 0,
                home: Arc::new(home),
            })
        });
        rings.collect()
    }
}

/// A ring that can do nothing but what is done here: a process that is confined by a filter of
/// system calls may be given it.
fn restricted(size: u32) -> io::Result<IoUring<Entry128, cqueue::Entry>> {
    let ring = IoUring::builder().setup_r_disabled().build(size)?;
    let mut allowed =
        [Restriction::sqe_op(opcode::UringCmd80::CODE), Restriction::sqe_op(opcode::PollAdd::CODE)];
    ring.submitter().register_restrictions(&mut allowed)?;
    ring.submitter().register_enable_rings()?;
    Ok(ring)
}

/// The kernel has a queue for every CPU that there may ever be.
fn possible_cpus() -> io::Result<usize> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
    let last = text.trim().rsplit([',', '-']).next().and_then(|last| last.parse::<usize>().ok());
    Ok(last.ok_or(io::ErrorKind::InvalidData)? + 1)
}

/// Where the replies of requests arrive that were served elsewhere.
struct Home {
    bell: OwnedFd,
    letters: Mutex<Vec<(usize, u32)>>,
}

/// A request of a ring that is served elsewhere.
pub(super) struct Ticket {
    entry: Arc<Entry>,
    home: Arc<Home>,
    slot: usize,
}

impl Ticket {
    pub(super) fn entry(&self) -> &Entry {
        &self.entry
    }

    /// The reply is in the entry, and is this long.
    pub(super) fn finish(self, len: u32) {
        let mut letters = self.home.letters.lock().unwrap_or_else(PoisonError::into_inner);
        letters.push((self.slot, len));
        drop(letters);
        // It fails only if the bell has rung 2^64 times.
        let _ = rustix::io::write(&self.home.bell, &1u64.to_ne_bytes());
    }
}

/// One queue.
pub(super) struct Ring {
    ring: IoUring<Entry128, cqueue::Entry>,
    device: Arc<OwnedFd>,
    queue: u16,
    entries: Vec<Arc<Entry>>,
    /// So many of these have requests that are served elsewhere.
    away: usize,
    home: Arc<Home>,
}

impl Ring {
    /// Serves the queue until the kernel has given up all entries.
    pub(super) fn serve<F: Filesystem + 'static>(
        mut self,
        session: &Arc<Session<F>>,
        parked: &Arc<Parked<F>>,
    ) -> io::Result<()> {
        let mut cpu = CpuSet::new();
        cpu.set(self.queue.into());
        // The requests come from there; it fails while the CPU is offline.
        let _ = sched_setaffinity(None, &cpu);
        let served = self.serve_all(session, parked);
        if served.is_err() {
            // The kernel may still have the entries.
            std::mem::forget(self);
        }
        served
    }

    fn serve_all<F: Filesystem + 'static>(
        &mut self,
        session: &Arc<Session<F>>,
        parked: &Arc<Parked<F>>,
    ) -> io::Result<()> {
        let mut scratch = session.scratch();
        self.listen()?;
        for slot in 0..self.entries.len() {
            let command = self.entries[slot].register(self.device.as_fd(), self.queue, slot as u64);
            self.push(&command)?;
        }
        let mut alive = self.entries.len();
        while alive > 0 {
            match self.ring.submit_and_wait(1) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            while let Some(done) = self.next() {
                if done.user_data() == LETTER {
                    self.open_letters()?;
                    continue;
                }
                if done.result() < 0 {
                    alive -= 1;
                    self.lost(done.result());
                    continue;
                }
                let slot = usize::try_from(done.user_data()).map_err(io::Error::other)?;
                self.serve_one((session, parked), &mut scratch, slot)?;
            }
        }
        Ok(())
    }

    fn next(&mut self) -> Option<cqueue::Entry> {
        self.ring.completion().next()
    }

    fn serve_one<F: Filesystem + 'static>(
        &mut self,
        (session, parked): (&Arc<Session<F>>, &Arc<Parked<F>>),
        scratch: &mut Scratch,
        slot: usize,
    ) -> io::Result<()> {
        let entry = &self.entries[slot];
        let (request, reply) = (entry.request(), entry.reply());
        let (input, output) = (|| Input::new(&request), || Output::new(&reply));
        let mut served = session.serve(scratch, input(), output(), Patience::None);
        if served == Served::Later(Wait::Event) && self.is_last() {
            // Nothing could come any more, not even what it waits for.
            served = give_up(input(), output(), Errno::ENOLCK);
        }
        match served {
            Served::Reply(len) => self.commit(slot, len),
            Served::Silent | Served::Unanswerable => self.commit(slot, 0),
            Served::Later(wait) => {
                let ticket = Ticket { entry: entry.clone(), home: self.home.clone(), slot };
                self.away += 1;
                parked.keep(Carried::Ring(ticket), wait);
                Ok(())
            }
        }
    }

    /// True if the kernel has no other entry of the queue.
    fn is_last(&self) -> bool {
        self.entries.len() - self.away == 1
    }

    fn commit(&mut self, slot: usize, len: u32) -> io::Result<()> {
        let command = self.entries[slot].commit(self.device.as_fd(), self.queue, slot as u64, len);
        self.push(&command)
    }

    /// Sends what was served elsewhere.
    fn open_letters(&mut self) -> io::Result<()> {
        let mut count = [0; 8];
        // It has rung, or somebody who came before has heard it.
        let _ = rustix::io::read(&self.home.bell, &mut count);
        let letters = self.home.letters.lock().unwrap_or_else(PoisonError::into_inner);
        let letters = std::mem::take(&mut *{ letters });
        for (slot, len) in letters {
            self.away -= 1;
            self.commit(slot, len)?;
        }
        self.listen()
    }

    /// Asks to be told when the bell rings.
    fn listen(&mut self) -> io::Result<()> {
        let bell = types::Fd(self.home.bell.as_raw_fd());
        let poll = opcode::PollAdd::new(bell, libc::POLLIN as u32).build().user_data(LETTER);
        self.push(&poll.into())
    }

    #[expect(unsafe_code, reason = "the ring cannot know that memory outlives it")]
    fn push(&mut self, command: &Entry128) -> io::Result<()> {
        loop {
            // SAFETY: what a command names is the device, the bell and an entry's memory, which
            // live as long as self; self is not dropped before the kernel has given them up.
            match unsafe { self.ring.submission().push(command) } {
                Ok(()) => return Ok(()),
                Err(_) => self.ring.submit()?,
            };
        }
    }

    /// The kernel has given up an entry.
    fn lost(&self, result: i32) {
        match -result {
            // Unmounted or aborted.
            libc::ENOTCONN | libc::ECONNABORTED | libc::ECANCELED => {}
            error => {
                let error = io::Error::from_raw_os_error(error);
                log::warn!("Requests go through read and write: io_uring has failed ({error})");
            }
        }
    }
}
