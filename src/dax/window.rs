//! A window, and the one thread that changes what is in it.
//!
//! The front-end answers one request after the other, and while it waits for us it answers none.
//! So nobody waits for it but this window's own thread, without any lock; requests wait for that
//! thread, until they are done, or the device is being stopped, or it takes too long.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::extents::{Extents, Mapping, Step};
use super::probe::Probe;
use crate::fuse::{Abilities, Errno, MapRange, NodeId, Result, Source, Window};

/// Who maps.
pub trait Channel: Send + Sync {
    /// Maps where nothing is mapped.
    ///
    /// # Errors
    /// It was not mapped.
    fn map(&self, mapping: &Mapping<Arc<Source>>) -> std::result::Result<(), Refusal>;

    /// Unmaps what one [`map`](Self::map) has mapped.
    ///
    /// # Errors
    /// It was not unmapped.
    fn unmap(&self, start: u64, len: u64) -> std::result::Result<(), Refusal>;
}

/// Why something was not mapped or unmapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The front-end said no.
    Refused,
    /// Nothing is heard from the front-end any more.
    Gone,
}

/// Guests map by ranges of this, so that a window has room for so many of them and their parts; each
/// is a mapping of the front-end's process, of which Linux allows 65530 (`vm.max_map_count`).
const RANGE: u64 = 2 << 20;
const MOST: u64 = 32768;

/// How long a request waits for the front-end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Files that are remembered: those that are mapped, and others up to this number.
const RECENT: usize = 1024;

/// What the thread is to do.
enum Order {
    Map(Mapping<Arc<Source>>, Option<u64>),
    Unmap(Vec<(u64, u64)>),
    /// Empties the window; for a new session, also finds out what can be mapped.
    Empty {
        begins: bool,
    },
}

/// Device and inode number of a file.
pub(super) type FileNumber = (u64, u64);

/// A DAX window over the channel to the front-end.
pub struct DaxWindow {
    size: u64,
    pub(super) probe: Probe,
    state: Mutex<State>,
    changed: Condvar,
}

pub(super) struct State {
    channel: Option<Arc<dyn Channel>>,
    abilities: Option<Abilities>,
    pub(super) extents: Extents<Arc<Source>>,
    orders: VecDeque<(u64, Order)>,
    /// Numbers the orders.
    last: u64,
    /// Orders that somebody waits for, and their results.
    awaited: Vec<(u64, Option<Result<()>>)>,
    /// So many want no order to be carried out.
    halts: usize,
    /// Orders up to this one are not to be carried out any further.
    cancelled: u64,
    /// The guest's memory may be told to have regions that are these files.
    pub(super) recent: VecDeque<FileNumber>,
    /// So many of them, before some are forgotten.
    room: usize,
    /// Where the window is in the guest, once the front-end has told.
    pub(super) base: Option<u64>,
    has_thread: bool,
    ended: bool,
}

impl DaxWindow {
    /// A window of `size` bytes that nobody maps yet.
    ///
    /// # Errors
    /// There is no file to try mappings with.
    pub fn new(size: u64) -> io::Result<Arc<Self>> {
        let state = State {
            channel: None,
            abilities: None,
            extents: Extents::new(size, budget(size)),
            orders: VecDeque::new(),
            last: 0,
            awaited: Vec::new(),
            halts: 0,
            cancelled: 0,
            recent: VecDeque::new(),
            room: RECENT,
            base: None,
            has_thread: false,
            ended: false,
        };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        Ok(Arc::new(DaxWindow { size, probe: Probe::new()?, state, changed }))
    }

    /// From now on `channel` maps.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn attach(self: &Arc<Self>, channel: Arc<dyn Channel>) -> io::Result<()> {
        let mut state = self.lock();
        state.channel = Some(channel);
        (state.abilities, state.ended) = (None, false);
        state.extents.forget();
        if !state.has_thread {
            let window = self.clone();
            std::thread::Builder::new().name("window".into()).spawn(move || window.work())?;
            state.has_thread = true;
        }
        Ok(())
    }

    /// The front-end is gone, and what it had mapped with it.
    pub fn detach(&self) {
        let mut state = self.lock();
        state.channel = None;
        state.ended = true;
        self.cancel(&mut state);
    }

    /// The device was reset: the front-end has unmapped everything.
    pub fn forget(&self) {
        let mut state = self.lock();
        self.cancel(&mut state);
        state.extents.forget();
    }

    /// As long as the guard is there nothing is mapped, and nobody waits for it: whoever does is
    /// sent away. What the front-end was asked already is not taken back.
    pub fn halt(&self) -> Halt<'_> {
        let mut state = self.lock();
        state.halts += 1;
        self.cancel(&mut state);
        Halt(self)
    }

    /// Mappings that there are.
    pub fn mappings(&self) -> usize {
        self.lock().extents.iter().count()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cancel(&self, state: &mut State) {
        state.cancelled = state.last;
        self.changed.notify_all();
    }

    /// Has the thread carry out an order, and waits for that.
    fn carry_out(&self, order: Order) -> Result<()> {
        let mut state = self.lock();
        if state.channel.is_none() {
            return Err(Errno::ENOSYS);
        }
        if state.halts > 0 {
            return Err(Errno::EAGAIN);
        }
        state.last += 1;
        let number = state.last;
        state.orders.push_back((number, order));
        state.awaited.push((number, None));
        self.changed.notify_all();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let done = state.awaited.iter().find(|(waiting, _)| *waiting == number);
            let left = deadline.saturating_duration_since(Instant::now());
            let result = if let Some((_, Some(result))) = done {
                *result
            } else if number <= state.cancelled {
                Err(Errno::EAGAIN)
            } else if left.is_zero() {
                log::error!("The front-end does not answer a request to map files");
                Err(Errno::EIO)
            } else {
                let waited = self.changed.wait_timeout(state, left);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            };
            state.awaited.retain(|(waiting, _)| *waiting != number);
            state.orders.retain(|(waiting, _)| *waiting != number);
            return result;
        }
    }

    fn order_empty(&self, begins: bool) {
        if let Err(error) = self.carry_out(Order::Empty { begins }) {
            log::debug!("The window was not emptied: {error}");
        }
    }

    fn work(&self) {
        let mut state = self.lock();
        while !state.ended {
            let Some((number, order)) = state.orders.pop_front() else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            let result = self.fulfil(number, &order);
            state = self.lock();
            let waiting = state.awaited.iter_mut().find(|(waiting, _)| *waiting == number);
            waiting.into_iter().for_each(|(_, done)| *done = Some(result));
            self.changed.notify_all();
        }
        state.has_thread = false;
    }

    fn fulfil(&self, number: u64, order: &Order) -> Result<()> {
        match order {
            Order::Map(wish, cut) => {
                let plan = self.lock().extents.map(wish, *cut)?;
                plan.into_iter().try_for_each(|step| self.take(number, step))
            }
            Order::Unmap(ranges) => {
                // Each by itself: one that is not there keeps no other from going.
                let each = ranges.iter().map(|(start, len)| {
                    let plan = self.lock().extents.unmap(*start, *len)?;
                    plan.into_iter().try_for_each(|step| self.take(number, step))
                });
                each.fold(Ok(()), Result::and)
            }
            Order::Empty { begins } => {
                self.empty(number)?;
                if *begins { self.find_out(number) } else { Ok(()) }
            }
        }
    }

    /// Takes one step of a plan, and records it if the front-end has.
    fn take(&self, number: u64, step: Step<Arc<Source>>) -> Result<()> {
        let mut state = self.lock();
        if number <= state.cancelled {
            return Err(Errno::EAGAIN);
        }
        let channel = state.channel.clone().ok_or(Errno::ENOSYS)?;
        if let Step::Map(mapping) = &step {
            state.remember(&mapping.file);
        }
        drop(state);
        let taken = match &step {
            Step::Map(mapping) => channel.map(mapping),
            Step::Unmap { start, len } => channel.unmap(*start, *len),
        };
        taken.map_err(|refusal| {
            log::debug!("The front-end has not done {step:?}: {refusal:?}");
            Errno::EIO
        })?;
        self.lock().extents.record(step);
        Ok(())
    }

    /// Unmaps everything. What the front-end does not unmap it has lost at a reset of which it did
    /// not tell; if it has not, it refuses what comes in its place.
    fn empty(&self, number: u64) -> Result<()> {
        let plan = self.lock().extents.unmap(0, u64::MAX)?;
        for step in plan {
            match self.take(number, step.clone()) {
                Err(Errno::EIO) => self.lock().extents.record(step),
                taken => taken?,
            }
        }
        Ok(())
    }

    fn find_out(&self, number: u64) -> Result<()> {
        let channel = {
            let mut state = self.lock();
            (state.abilities, state.base) = (None, None);
            state.channel.clone().filter(|_| number > state.cancelled).ok_or(Errno::EAGAIN)?
        };
        let found = self.probe.run(&*channel).unwrap_or_default();
        log_abilities(self.size, found);
        self.lock().abilities = found;
        Ok(())
    }
}

impl State {
    fn remember(&mut self, file: &Source) {
        if let Some(number) = number(file)
            && !self.recent.contains(&number)
        {
            if self.recent.len() >= self.room {
                let live = self.extents.iter().filter_map(|mapping| self::number(&*mapping.file));
                let live: HashSet<_> = live.collect();
                let mut to_go = self.recent.len().saturating_sub(live.len()) / 2;
                self.recent.retain(|old| {
                    let stays = to_go == 0 || live.contains(old);
                    to_go -= usize::from(!stays);
                    stays
                });
                self.room = self.recent.len() + RECENT;
            }
            self.recent.push_back(number);
        }
    }
}

impl Window for DaxWindow {
    fn size(&self) -> u64 {
        self.size
    }

    fn abilities(&self) -> Option<Abilities> {
        self.lock().abilities
    }

    fn source(&self, node: NodeId) -> Option<Arc<Source>> {
        let state = self.lock();
        let found = state.extents.iter().find(|mapping| mapping.file.node == node);
        found.map(|mapping| mapping.file.clone())
    }

    fn map(&self, source: Arc<Source>, range: &MapRange, cut: Option<u64>) -> Result<()> {
        let MapRange { offset, len, window, .. } = *range;
        let writable = source.writable;
        let wish = Mapping { start: window, len, file: source, offset, writable };
        self.carry_out(Order::Map(wish, cut))
    }

    fn unmap(&self, ranges: Vec<(u64, u64)>) -> Result<()> {
        self.carry_out(Order::Unmap(ranges))
    }

    fn begin(&self) {
        self.order_empty(true);
    }

    fn clear(&self) {
        self.order_empty(false);
    }
}

/// Keeps a window from being changed.
pub struct Halt<'a>(&'a DaxWindow);

impl Drop for Halt<'_> {
    fn drop(&mut self) {
        self.0.lock().halts -= 1;
    }
}

pub(super) fn number(file: impl AsFd) -> Option<FileNumber> {
    let stat = rustix::fs::fstat(file).ok()?;
    Some((stat.st_dev, stat.st_ino))
}

fn budget(size: u64) -> usize {
    usize::try_from((size / RANGE * 2).clamp(64, MOST)).unwrap_or(usize::MAX)
}

fn log_abilities(size: u64, found: Option<Abilities>) {
    let Some(Abilities { partial_page, past_end, read_only }) = found else {
        log::warn!("The front-end maps no files: there is no DAX window");
        return;
    };
    let can = |it| if it { "yes" } else { "no" };
    log::info!(
        "DAX window of {} MiB; the front-end maps: a last page in part: {}, pages past a file's \
         end: {}, without write access: {}",
        size >> 20,
        can(partial_page),
        can(past_end),
        can(read_only)
    );
}
