//! One virtqueue of the driver: requests in, used elements out.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::error::{Error, Result};
use crate::event::Event;
use crate::memory::Region;
use crate::ring::{Desc, Ring, Span, Used};

/// The connection to the daemon, to see whether it is still there.
#[derive(Clone)]
pub(crate) struct Watch(Arc<OwnedFd>);

impl Watch {
    pub(crate) fn new(connection: OwnedFd) -> Self {
        Watch(Arc::new(connection))
    }

    /// True if the daemon has hung up.
    pub(crate) fn is_gone(&self) -> bool {
        let mut fds = [self.poll_fd()];
        poll(&mut fds, Some(&Timespec::default())).is_ok_and(|count| count > 0)
    }

    fn poll_fd(&self) -> PollFd<'_> {
        PollFd::new(&*self.0, PollFlags::RDHUP)
    }
}

/// How often the two sides had to wake one another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Kicks that the device wanted and got.
    pub kicks: u64,
    /// Calls of the device that were read.
    pub calls: u64,
}

/// A virtqueue: the ring, its two events, and tables for indirect requests.
///
/// Submitting and reaping allocate nothing, apart from guest memory for an indirect table the
/// first time a descriptor needs one.
pub struct Queue {
    index: usize,
    ring: Ring,
    kick: Event,
    call: Event,
    watch: Watch,
    counts: Counts,
    /// Guest address of each descriptor's indirect table, 0 if it has none yet.
    tables: Option<Box<[u64]>>,
    calls_refused: bool,
}

/// Longest indirect table; Linux puts no more in one than the ring has descriptors.
const MAX_TABLE: u16 = 1024;

/// How often a spinning queue looks at the ring before it looks at the clock and the daemon.
const SPINS: usize = 4096;

impl Queue {
    pub(crate) fn new(index: usize, ring: Ring, watch: Watch, indirect: bool) -> Result<Self> {
        let tables = indirect.then(|| vec![0; usize::from(ring.size())].into_boxed_slice());
        Ok(Queue {
            index,
            ring,
            kick: Event::new()?,
            call: Event::new()?,
            watch,
            counts: Counts::default(),
            tables,
            calls_refused: false,
        })
    }

    /// Number of the queue; 0 is the one for FORGETs.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// The ring, for a look behind the driver's back.
    #[must_use]
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// The ring, to put anything into it.
    pub fn ring_mut(&mut self) -> &mut Ring {
        &mut self.ring
    }

    /// Written to by the driver.
    #[must_use]
    pub fn kick_event(&self) -> &Event {
        &self.kick
    }

    /// Written to by the device.
    #[must_use]
    pub fn call_event(&self) -> &Event {
        &self.call
    }

    /// Replaces the kick event, and gives the old one; the daemon has to be told.
    ///
    /// # Errors
    /// Whatever making one gives.
    pub fn renew_kick(&mut self) -> Result<Event> {
        Ok(std::mem::replace(&mut self.kick, Event::new()?))
    }

    /// Replaces the call event, and gives the old one; the daemon has to be told.
    ///
    /// # Errors
    /// Whatever making one gives.
    pub fn renew_call(&mut self) -> Result<Event> {
        Ok(std::mem::replace(&mut self.call, Event::new()?))
    }

    /// Replaces the kick event.
    pub fn use_kick(&mut self, event: Event) {
        self.kick = event;
    }

    /// Replaces the call event.
    pub fn use_call(&mut self, event: Event) {
        self.call = event;
    }

    /// Kicks and calls so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Most segments that a request may have.
    #[must_use]
    pub fn max_segments(&self) -> usize {
        match self.tables {
            Some(_) => usize::from(MAX_TABLE.min(self.ring.size())),
            None => usize::from(self.ring.size()),
        }
    }

    /// Makes a request available; its name. The device may not notice until it is kicked.
    ///
    /// # Errors
    /// [`Error::Full`] if there are too few descriptors now.
    pub fn submit(&mut self, readable: &[Span], writable: &[Span]) -> Result<u16> {
        let count = readable.len() + writable.len();
        if count == 0 || count > self.max_segments() {
            return Err(Error::Full);
        }
        let head = match self.tables {
            Some(_) if count > 1 => self.add_indirect(readable, writable)?,
            _ => self.add_direct(readable, writable)?,
        };
        self.ring.publish(head);
        Ok(head)
    }

    fn add_direct(&mut self, readable: &[Span], writable: &[Span]) -> Result<u16> {
        let count = u16::try_from(readable.len() + writable.len()).map_err(|_| Error::Full)?;
        let head = self.ring.reserve(count).ok_or(Error::Full)?;
        let mut at = head;
        for (mut desc, last) in descriptors(readable, writable) {
            desc.next = if last { 0 } else { self.ring.link(at) };
            self.ring.write_desc(at, desc);
            at = desc.next;
        }
        Ok(head)
    }

    fn add_indirect(&mut self, readable: &[Span], writable: &[Span]) -> Result<u16> {
        let size = Desc::SIZE * self.max_segments();
        let head = self.ring.reserve(1).ok_or(Error::Full)?;
        let region = self.ring.region();
        let tables = self.tables.as_deref_mut().ok_or(Error::Full)?;
        let table = &mut tables[usize::from(head)];
        if *table == 0 {
            *table = region.alloc(size, Desc::SIZE)?;
        }
        let mut len = 0;
        for desc in Self::links(readable, writable) {
            region.write(*table + u64::from(len), &desc.to_bytes());
            len += 16;
        }
        let desc = Desc { addr: *table, len, flags: Desc::INDIRECT, next: 0 };
        self.ring.write_desc(head, desc);
        Ok(head)
    }

    /// The indirect table of a request, for [`submit_table`](Self::submit_table).
    pub(crate) fn table(readable: &[Span], writable: &[Span]) -> Vec<Desc> {
        Self::links(readable, writable).collect()
    }

    fn links<'a>(readable: &'a [Span], writable: &'a [Span]) -> impl Iterator<Item = Desc> + 'a {
        let link = |((desc, last), next)| Desc { next: if last { 0 } else { next }, ..desc };
        descriptors(readable, writable).zip(1..).map(link)
    }

    /// Makes a request available whose indirect table lies at a guest address already; its name.
    ///
    /// # Errors
    /// [`Error::Full`] if the ring is, or if the device has no indirect tables.
    pub(crate) fn submit_table(&mut self, table: u64, descriptors: usize) -> Result<u16> {
        let len = u32::try_from(Desc::SIZE * descriptors).map_err(|_| Error::Full)?;
        let head = self.tables.as_ref().and_then(|_| self.ring.reserve(1)).ok_or(Error::Full)?;
        self.ring.write_desc(head, Desc { addr: table, len, flags: Desc::INDIRECT, next: 0 });
        self.ring.publish(head);
        Ok(head)
    }

    /// Counts the calls that came while nobody waited for them.
    pub(crate) fn take_calls(&mut self) -> Result<()> {
        let mut fds = [PollFd::new(&self.call, PollFlags::IN)];
        if poll_for(&mut fds, Duration::ZERO)? > 0 {
            self.counts.calls += self.call.take()?;
        }
        Ok(())
    }

    /// Kicks the device if it wants to be told of what was submitted; true if it did.
    ///
    /// # Errors
    /// Whatever writing the event gives.
    pub fn kick(&mut self) -> Result<bool> {
        let wanted = self.ring.wants_kick();
        if wanted {
            self.kick_anyway()?;
        }
        Ok(wanted)
    }

    /// Kicks the device.
    ///
    /// # Errors
    /// Whatever writing the event gives.
    pub fn kick_anyway(&mut self) -> Result<()> {
        self.counts.kicks += 1;
        self.kick.notify()
    }

    /// Takes the next used element, if there is one.
    ///
    /// # Errors
    /// [`Error::Device`] if it makes no sense.
    pub fn reap(&mut self) -> Result<Option<Used>> {
        self.ring.reap()
    }

    /// Waits for the next used element until the device calls.
    ///
    /// # Errors
    /// [`Error::Timeout`] after the deadline, [`Error::Gone`] if the daemon hangs up, and
    /// [`Error::Device`] if there is an element that it should have called for and did not.
    pub fn wait(&mut self, deadline: Instant) -> Result<Used> {
        loop {
            if let Some(used) = self.ring.reap()? {
                return Ok(used);
            }
            self.calls_refused = false;
            self.ring.ask_for_call();
            if let Some(used) = self.ring.reap()? {
                return Ok(used);
            }
            if !self.wait_for_call(deadline)? {
                return match (self.ring.reap()?, self.watch.is_gone()) {
                    (Some(used), true) => Ok(used),
                    (Some(_), false) => Err(Error::device("no call for a used element")),
                    (None, true) => Err(Error::Gone),
                    (None, false) => Err(Error::Timeout),
                };
            }
        }
    }

    /// Waits for the next used element by looking all the time; the device need not call.
    ///
    /// # Errors
    /// [`Error::Timeout`] after the deadline, and [`Error::Gone`] if the daemon hangs up.
    pub fn spin(&mut self, deadline: Instant) -> Result<Used> {
        if !self.calls_refused {
            self.ring.refuse_calls();
            self.calls_refused = true;
        }
        loop {
            for _ in 0..SPINS {
                if let Some(used) = self.ring.reap()? {
                    return Ok(used);
                }
                std::hint::spin_loop();
            }
            if self.watch.is_gone() {
                return self.ring.reap()?.ok_or(Error::Gone);
            }
            if Instant::now() > deadline {
                return Err(Error::Timeout);
            }
        }
    }

    /// True if the device called before the deadline; false if that passed or it hung up.
    fn wait_for_call(&mut self, deadline: Instant) -> Result<bool> {
        let mut fds = [PollFd::new(&self.call, PollFlags::IN), self.watch.poll_fd()];
        let left = deadline.saturating_duration_since(Instant::now());
        poll_for(&mut fds, left)?;
        if fds[0].revents().is_empty() {
            return Ok(false);
        }
        self.counts.calls += self.call.take()?;
        Ok(true)
    }

    /// The region that ring and tables are in.
    #[must_use]
    pub fn region(&self) -> &Arc<Region> {
        self.ring.region()
    }

    /// The queue as it is before anything was submitted, or as if `index` requests were made.
    pub fn reset(&mut self, index: u16) {
        self.ring.reset(index);
        self.calls_refused = false;
    }
}

/// The descriptors of a request without their links; true for the last.
fn descriptors<'a>(
    readable: &'a [Span],
    writable: &'a [Span],
) -> impl Iterator<Item = (Desc, bool)> + 'a {
    let spans = readable.iter().map(|span| (span, 0));
    let spans = spans.chain(writable.iter().map(|span| (span, Desc::WRITE)));
    let count = readable.len() + writable.len();
    spans.zip(1..).map(move |((span, write), number)| {
        let last = number == count;
        let flags = if last { write } else { write | Desc::NEXT };
        (Desc { addr: span.addr, len: span.len, flags, next: 0 }, last)
    })
}

/// Polls until something is ready or `left` is over, however often it is interrupted.
pub(crate) fn poll_for(fds: &mut [PollFd<'_>], left: Duration) -> io::Result<usize> {
    let deadline = Instant::now() + left;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
        match poll(fds, Some(&left)) {
            Err(rustix::io::Errno::INTR) => {}
            ready => return Ok(ready?),
        }
    }
}
