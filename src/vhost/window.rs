//! The front-end as the one who maps files into the guest (vhost-user, SHMEM).

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use vhost::vhost_user::message::{
    VhostUserMMap, VhostUserMMapFlags, VhostUserProtocolFeatures, VhostUserShMemConfig,
};
use vhost::vhost_user::{Backend, Error, VhostUserFrontendReqHandler};

use crate::dax::{Channel, Mapping, Refusal};
use crate::fuse::Source;

/// What a front-end must accept: a window needs the messages, a channel for them, and answers.
pub(super) const NEEDED: VhostUserProtocolFeatures = VhostUserProtocolFeatures::SHMEM
    .union(VhostUserProtocolFeatures::BACKEND_REQ)
    .union(VhostUserProtocolFeatures::REPLY_ACK);

/// The window is the region with id 0 (virtio 1.3, section 5.11.4).
const REGION: u8 = 0;

/// The answer to GET_SHMEM_CONFIG.
pub(super) fn shmem_config(size: u64) -> VhostUserShMemConfig {
    VhostUserShMemConfig::new(1, &[size])
}

/// The channel to the front-end, with the features that were agreed on.
pub(super) fn channel(backend: &Backend) -> Arc<dyn Channel> {
    backend.set_shmem_flag(true);
    backend.set_reply_ack_flag(true);
    Arc::new(BackendChannel(backend.clone()))
}

struct BackendChannel(Backend);

impl Channel for BackendChannel {
    fn map(&self, mapping: &Mapping<Arc<Source>>) -> Result<(), Refusal> {
        let file = mapping.file.as_fd();
        let request = VhostUserMMap {
            fd_offset: mapping.offset,
            flags: if mapping.writable { VhostUserMMapFlags::WRITABLE.bits() } else { 0 },
            ..range(mapping.start, mapping.len)
        };
        answer(self.0.shmem_map(&request, &file.as_raw_fd()))
    }

    fn unmap(&self, start: u64, len: u64) -> Result<(), Refusal> {
        answer(self.0.shmem_unmap(&range(start, len)))
    }
}

fn range(shm_offset: u64, len: u64) -> VhostUserMMap {
    VhostUserMMap { shmid: REGION, shm_offset, len, ..VhostUserMMap::default() }
}

fn answer(answer: io::Result<u64>) -> Result<(), Refusal> {
    answer.map(drop).map_err(|error| {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        match inner {
            Some(Error::FrontendInternalError) => Refusal::Refused,
            _ => Refusal::Gone,
        }
    })
}
