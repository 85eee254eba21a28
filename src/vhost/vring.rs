//! A ring's state as the front-end set it up: the crate's own, with three things put right.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicBool, Ordering};

use vhost_user_backend::{VringMutex, VringState, VringStateGuard, VringStateMutGuard, VringT};
use virtio_queue::{Error, QueueT};
use vm_memory::GuestMemoryAtomic;

use super::memory::GuestMemory;

type Memory = GuestMemoryAtomic<GuestMemory>;

/// A ring's state.
#[derive(Clone)]
pub(super) struct Vring {
    state: VringMutex<Memory>,
    enabled: Arc<AtomicBool>,
}

impl Vring {
    /// True unless the front-end has disabled the ring; to be asked between two requests.
    pub(super) fn enabled(&self) -> bool {
        self.enabled.load(Ordering::Acquire)
    }
}

impl<'a> VringStateGuard<'a, Memory> for Vring {
    type G = MutexGuard<'a, VringState<Memory>>;
}

impl<'a> VringStateMutGuard<'a, Memory> for Vring {
    type G = MutexGuard<'a, VringState<Memory>>;
}

impl VringT<Memory> for Vring {
    fn new(memory: Memory, max_queue_size: u16) -> Result<Self, Error> {
        let state = VringMutex::new(memory, max_queue_size)?;
        Ok(Vring { state, enabled: Arc::default() })
    }

    fn get_ref(&self) -> MutexGuard<'_, VringState<Memory>> {
        self.state.get_ref()
    }

    fn get_mut(&self) -> MutexGuard<'_, VringState<Memory>> {
        self.state.get_mut()
    }

    /// Whoever serves the ring stops before the next request, not only at the next kick.
    fn set_enabled(&self, enabled: bool) {
        self.state.set_enabled(enabled);
        self.enabled.store(enabled, Ordering::Release);
    }

    /// A ring that runs has to be started again, or nobody would listen to its new event.
    fn set_kick(&self, file: Option<File>) {
        if file.is_some() {
            self.state.get_mut().get_queue_mut().set_ready(false);
        }
        self.state.set_kick(file);
    }

    /// The event may be a new one since the thread was woken, and then there is no kick in it; an
    /// error would end the thread.
    fn read_kick(&self) -> io::Result<bool> {
        match self.state.read_kick() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Ok(self.state.get_ref().is_enabled())
            }
            read => read,
        }
    }

    fn add_used(&self, head: u16, len: u32) -> Result<(), Error> {
        self.state.add_used(head, len)
    }

    fn signal_used_queue(&self) -> io::Result<()> {
        self.state.signal_used_queue()
    }

    fn enable_notification(&self) -> Result<bool, Error> {
        self.state.enable_notification()
    }

    fn disable_notification(&self) -> Result<(), Error> {
        self.state.disable_notification()
    }

    fn needs_notification(&self) -> Result<bool, Error> {
        self.state.needs_notification()
    }

    fn set_queue_info(&self, desc: u64, avail: u64, used: u64) -> Result<(), Error> {
        self.state.set_queue_info(desc, avail, used)
    }

    fn queue_next_avail(&self) -> u16 {
        self.state.queue_next_avail()
    }

    fn set_queue_next_avail(&self, base: u16) {
        self.state.set_queue_next_avail(base);
    }

    fn set_queue_next_used(&self, index: u16) {
        self.state.set_queue_next_used(index);
    }

    fn queue_used_idx(&self) -> Result<u16, Error> {
        self.state.queue_used_idx()
    }

    fn set_queue_size(&self, size: u16) {
        self.state.set_queue_size(size);
    }

    fn set_queue_event_idx(&self, enabled: bool) {
        self.state.set_queue_event_idx(enabled);
    }

    fn set_queue_ready(&self, ready: bool) {
        self.state.set_queue_ready(ready);
    }

    fn set_call(&self, file: Option<File>) {
        self.state.set_call(file);
    }

    fn set_err(&self, file: Option<File>) {
        self.state.set_err(file);
    }
}
