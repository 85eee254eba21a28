//! The virtio-fs device (virtio 1.3, section 5.11) as a vhost-user back-end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};

use super::deferred::WaitingRoom;
use super::queue::{Queue, Shared};
use super::reads::ReadRings;
use super::terms::CurrentTerms;
use super::unshared::Told;
use super::window;
use crate::dax::{DaxWindow, Halt};
use crate::fuse::{Filesystem, Session};

pub(super) const INDIRECT_DESC: u64 = 1 << 28;
pub(super) const EVENT_IDX: u64 = 1 << 29;
const VERSION_1: u64 = 1 << 32;

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
    /// CPUs of this host: there are more queues than are named if that makes sense.
    pub cpus: usize,
    /// Threads for requests that wait for storage, at most.
    pub waiting_threads: usize,
    /// How long a thread looks for the next request before it sleeps, at most.
    pub poll: Duration,
}

impl DeviceConfig {
    /// Request queues that there are.
    pub(super) fn queues(&self) -> usize {
        self.cpus.clamp(4, 16).max(self.request_queues as usize)
    }
}

/// The device: a session, its queues, and what the front-end negotiated.
pub(super) struct Device<F> {
    config: DeviceConfig,
    pub(super) queues: Vec<Arc<Queue>>,
    pub(super) shared: Arc<Shared<F>>,
}

impl<F: Filesystem + 'static> Device<F> {
    pub(super) fn new(
        session: Arc<Session<F>>,
        config: DeviceConfig,
        (window, rings): (Option<Arc<DaxWindow>>, Option<ReadRings>),
    ) -> io::Result<Self> {
        // Nothing is read by the first, which carries FORGETs.
        let mut rings = rings.into_iter().flat_map(ReadRings::split);
        let mut reads = |index| if index == 0 { None } else { rings.next() };
        let queues: io::Result<_> = (0..=config.queues())
            .map(|index| Queue::new(index, reads(index)).map(Arc::new))
            .collect();
        let shared = Shared {
            poll: config.poll,
            session,
            terms: CurrentTerms::default(),
            waiting: WaitingRoom::new(config.waiting_threads),
            window,
            told: Told::default(),
        };
        Ok(Device { config, queues: queues?, shared: Arc::new(shared) })
    }

    /// Virtio features that are offered.
    pub(super) fn features(&self) -> u64 {
        VERSION_1
            | INDIRECT_DESC
            | EVENT_IDX
            | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
            | VhostUserVirtioFeatures::LOG_ALL.bits()
    }

    /// vhost-user features that are offered.
    pub(super) fn protocol_features(&self) -> VhostUserProtocolFeatures {
        let always = VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::LOG_SHMFD
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::BACKEND_REQ
            | VhostUserProtocolFeatures::BACKEND_SEND_FD
            | VhostUserProtocolFeatures::RESET_DEVICE;
        // QEMU makes a memory slot of every mapping. It ends itself when there are too many, and
        // crashes at a reset of the guest with mappings in slots; without slots it does neither.
        let always = match self.shared.window {
            Some(_) => always | window::NEEDED,
            None => always | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS,
        };
        let always = match self.shared.session.can_migrate() {
            true => always | VhostUserProtocolFeatures::DEVICE_STATE,
            false => always,
        };
        // Front-ends with a tag of their own, like QEMU, warn about a config space.
        match self.config.tag {
            Some(_) => always | VhostUserProtocolFeatures::CONFIG,
            None => always,
        }
    }

    /// `struct virtio_fs_config`; what is asked for beyond it is 0.
    pub(super) fn config_space(&self, offset: u32, size: u32) -> Vec<u8> {
        let tag = self.config.tag.map_or([0; 36], |tag| tag.0);
        let queues = self.config.request_queues.to_le_bytes();
        let bytes = tag.into_iter().chain(queues).chain(std::iter::repeat(0));
        bytes.skip(offset as usize).take(size as usize).collect()
    }

    /// Disables all rings and ends the guest's session, as if it had never been there.
    pub(super) fn end_session(&self) {
        let _halt = self.halt_window();
        for queue in &self.queues {
            queue.reset(&self.shared);
        }
        self.shared.session.reset();
        self.shared.window.iter().for_each(|window| window.forget());
    }

    /// True if no ring is served, and what was begun is finished.
    pub(super) fn is_stopped(&self) -> bool {
        let _halt = self.halt_window();
        self.queues.iter().all(|queue| queue.gate.at_rest(|setup| !setup.started || !setup.enabled))
    }

    /// Lets nobody wait for the front-end, which may be waiting for us.
    pub(super) fn halt_window(&self) -> Option<Halt<'_>> {
        self.shared.window.as_ref().map(|window| window.halt())
    }
}

impl<F> Drop for Device<F> {
    fn drop(&mut self) {
        self.queues.iter().for_each(|queue| queue.gate.end());
    }
}
