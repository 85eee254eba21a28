//! The virtio-fs device (virtio 1.3, section 5.11) as a vhost-user back-end.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use vhost::vhost_user::Backend;
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::{VhostUserBackend, VringT};
use virtio_queue::QueueT;
use vm_memory::{GuestAddressSpace, GuestMemoryAtomic};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{
    EventConsumer, EventFlag, EventNotifier, new_event_consumer_and_notifier,
};

use super::deferred::WaitingRoom;
use super::log::RegionLog;
use super::memory::{GuestMemory, Regions};
use super::queue::{CurrentTerms, Queue, Replies, Shared};
use super::vring::Vring;
use crate::fuse::{Filesystem, Session};

const INDIRECT_DESC: u64 = 1 << 28;
const EVENT_IDX: u64 = 1 << 29;
const VERSION_1: u64 = 1 << 32;

/// Longest ring that split virtqueues know.
const MAX_QUEUE_SIZE: usize = 32768;

/// The most request queues that can be asked for.
pub const MAX_REQUEST_QUEUES: u32 = 63;

/// The name by which a guest mounts the device: 1 to 36 bytes of UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag([u8; 36]);

impl Tag {
    /// The tag, unless it is empty, over 36 bytes long, or holds a NUL or a newline, which
    /// guests refuse.
    #[must_use]
    pub fn new(tag: &str) -> Option<Self> {
        let mut bytes = [0; 36];
        bytes.get_mut(..tag.len())?.copy_from_slice(tag.as_bytes());
        (!tag.is_empty() && !tag.contains(['\0', '\n'])).then_some(Tag(bytes))
    }
}

/// What a front-end can ask about the device.
#[derive(Clone, Copy, Debug)]
pub struct DeviceConfig {
    /// Offered in the config space, for front-ends that do not have a tag of their own.
    pub tag: Option<Tag>,
    /// Request queues that the config space names, 1 to [`MAX_REQUEST_QUEUES`].
    pub request_queues: u32,
    /// Threads for requests that wait for storage, at most.
    pub waiting_threads: usize,
}

/// The device: a session, its queues, and what the front-end negotiated.
pub(super) struct Device<F> {
    config: DeviceConfig,
    queues: Vec<Arc<Queue>>,
    shared: Shared<F>,
    /// The channel to the front-end. Front-ends take its end for that of the daemon, so it is kept
    /// although nothing is said on it.
    back_channel: Mutex<Option<Backend>>,
}

impl<F: Filesystem + 'static> Device<F> {
    pub(super) fn new(
        session: Session<F>,
        config: DeviceConfig,
        memory: Arc<GuestMemory>,
    ) -> io::Result<Self> {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let requests = cpus.clamp(4, 16).max(config.request_queues as usize);
        let queues: io::Result<_> = (0..=requests).map(|_| Queue::new().map(Arc::new)).collect();
        let shared = Shared {
            session: Arc::new(session),
            terms: CurrentTerms::new(Regions::new(memory)),
            waiting: WaitingRoom::new(config.waiting_threads),
        };
        Ok(Device { config, queues: queues?, shared, back_channel: Mutex::default() })
    }

    /// The descriptors by which queues want to be woken, in their order. Their event is
    /// [`awakened`](Self::awakened).
    pub(super) fn wakers(&self) -> impl Iterator<Item = &EventConsumer> {
        self.queues.iter().map(|queue| &queue.away.consumer)
    }

    /// The event of a queue that is woken, beyond those that the crate uses itself.
    pub(super) fn awakened(&self) -> u16 {
        u16::try_from(self.queues.len() + 1).expect("there are at most 64 queues")
    }

    /// Ends the guest's session, with all queues at rest.
    pub(super) fn end_session(&self) {
        let queues = self.queues.iter();
        let _resting: Vec<_> =
            queues.map(|queue| queue.rest(&self.shared, Replies::Drop)).collect();
        self.shared.session.reset();
    }
}

impl<F: Filesystem + 'static> VhostUserBackend for Device<F> {
    type Bitmap = RegionLog;
    type Vring = Vring;

    fn num_queues(&self) -> usize {
        self.queues.len()
    }

    fn max_queue_size(&self) -> usize {
        MAX_QUEUE_SIZE
    }

    fn features(&self) -> u64 {
        VERSION_1
            | INDIRECT_DESC
            | EVENT_IDX
            | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
            | VhostUserVirtioFeatures::LOG_ALL.bits()
    }

    fn acked_features(&self, features: u64) {
        self.shared.terms.change(|terms| {
            terms.event_idx = features & EVENT_IDX != 0;
            terms.indirect = features & INDIRECT_DESC != 0;
            terms.log_writes = features & VhostUserVirtioFeatures::LOG_ALL.bits() != 0;
        });
        log::debug!("The front-end accepts features {features:#x}");
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        let always = VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::LOG_SHMFD
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::BACKEND_REQ
            | VhostUserProtocolFeatures::BACKEND_SEND_FD
            | VhostUserProtocolFeatures::RESET_DEVICE
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS;
        // Front-ends with a tag of their own, like QEMU, warn about a config space.
        match self.config.tag {
            Some(_) => always | VhostUserProtocolFeatures::CONFIG,
            None => always,
        }
    }

    fn reset_device(&self) {
        log::debug!("The front-end resets the device");
        self.end_session();
    }

    /// Told by `acked_features` as well.
    fn set_event_idx(&self, _enabled: bool) {}

    /// `struct virtio_fs_config`; what is asked for beyond it is 0.
    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        let tag = self.config.tag.map_or([0; 36], |tag| tag.0);
        let queues = self.config.request_queues.to_le_bytes();
        let bytes = tag.into_iter().chain(queues).chain(std::iter::repeat(0));
        bytes.skip(offset as usize).take(size as usize).collect()
    }

    fn update_memory(&self, memory: GuestMemoryAtomic<GuestMemory>) -> io::Result<()> {
        let regions = Arc::new(Regions::new(memory.memory().into_inner()));
        self.shared.terms.change(|terms| {
            regions.go_on_logging(&terms.regions);
            terms.regions = regions;
        });
        Ok(())
    }

    fn set_backend_req_fd(&self, channel: Backend) {
        *self.back_channel.lock().unwrap_or_else(PoisonError::into_inner) = Some(channel);
    }

    /// One thread a queue, so that FORGETs on the first never wait for a request.
    fn queues_per_thread(&self) -> Vec<u64> {
        (0..self.queues.len()).map(|queue| 1 << queue).collect()
    }

    fn exit_event(&self, _thread: usize) -> Option<(EventConsumer, EventNotifier)> {
        new_event_consumer_and_notifier(EventFlag::NONBLOCK | EventFlag::CLOEXEC).ok()
    }

    fn stop_vring(&self, index: u32) -> io::Result<()> {
        if let Some(queue) = self.queues.get(index as usize) {
            drop(queue.rest(&self.shared, Replies::Give));
        }
        Ok(())
    }

    fn handle_event(
        &self,
        event: u16,
        _: EventSet,
        vrings: &[Vring],
        thread: usize,
    ) -> io::Result<()> {
        // One ring a thread, whether it was the guest who kicked or we ourselves.
        let (Some(queue), [vring]) = (self.queues.get(thread), vrings) else { return Ok(()) };
        if event == self.awakened() {
            // It fails only if it was consumed already, and then there is nothing to do.
            let _ = queue.away.consumer.consume();
        }
        if let Err(broken) = queue.serve(&self.shared, vring) {
            log::error!(
                "Queue {thread} is broken ({broken:?}) and stops until the guest resets the device"
            );
            vring.get_mut().get_queue_mut().set_ready(false);
        }
        Ok(())
    }
}
