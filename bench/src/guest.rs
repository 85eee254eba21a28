//! The front-end: what a virtual machine monitor says to the daemon.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags,
    VhostUserHeaderFlag, VhostUserProtocolFeatures, VhostUserVirtioFeatures,
};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserDirtyLogRegion, VringConfigData};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::memory::{PAGE, Region};
use crate::queue::{Queue, Watch};
use crate::ring::Ring;
use crate::window::DaxWindow;

/// How a guest is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Virtio features to accept if they are offered.
    pub features: u64,
    /// vhost-user protocol features to accept if they are offered.
    pub protocol: VhostUserProtocolFeatures,
    /// Guest address and length of each region of memory.
    pub memory: Vec<(u64, usize)>,
    /// Descriptors of each queue.
    pub queue_size: u16,
    /// How long the daemon may take to answer a message.
    pub timeout: Duration,
}

impl Setup {
    /// VIRTIO_F_VERSION_1.
    pub const VERSION_1: u64 = 1 << 32;
    /// VIRTIO_F_INDIRECT_DESC.
    pub const INDIRECT: u64 = 1 << 28;
    /// VIRTIO_F_EVENT_IDX.
    pub const EVENT_IDX: u64 = 1 << 29;
    /// VHOST_USER_F_PROTOCOL_FEATURES.
    pub const PROTOCOL_FEATURES: u64 = VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();
    /// VHOST_F_LOG_ALL.
    pub const LOG_ALL: u64 = VhostUserVirtioFeatures::LOG_ALL.bits();
}

impl Default for Setup {
    /// Like QEMU with a Linux guest, with rings as long as they get there.
    fn default() -> Self {
        Setup {
            features: Self::VERSION_1 | Self::INDIRECT | Self::EVENT_IDX | Self::PROTOCOL_FEATURES,
            protocol: VhostUserProtocolFeatures::MQ
                | VhostUserProtocolFeatures::LOG_SHMFD
                | VhostUserProtocolFeatures::REPLY_ACK
                | VhostUserProtocolFeatures::CONFIG
                | VhostUserProtocolFeatures::RESET_DEVICE
                | VhostUserProtocolFeatures::DEVICE_STATE
                | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS,
            memory: vec![(0, 256 << 20)],
            queue_size: 1024,
            timeout: Duration::from_secs(30),
        }
    }
}

/// More queues than any device has.
const MAX_QUEUES: u64 = 256;

/// A guest's connection to its device, and its memory.
pub struct Guest {
    frontend: Frontend,
    connection: UnixStream,
    watch: Watch,
    offered: u64,
    features: u64,
    offered_protocol: VhostUserProtocolFeatures,
    protocol: VhostUserProtocolFeatures,
    memory: Vec<Arc<Region>>,
    setup: Setup,
}

#[expect(clippy::missing_errors_doc, reason = "Gone, Timeout, or what the daemon refuses")]
impl Guest {
    /// Connects to the daemon that listens on `socket`, negotiates, and gives it the memory.
    pub fn connect(socket: &Path, setup: Setup) -> Result<Self> {
        Self::over(UnixStream::connect(socket)?, setup)
    }

    /// The same over a connection that is there already.
    pub fn over(connection: UnixStream, setup: Setup) -> Result<Self> {
        let frontend = Frontend::from_stream(connection.try_clone()?, MAX_QUEUES);
        let mut guest = Guest {
            frontend,
            watch: Watch::new(connection.try_clone()?.into()),
            connection,
            offered: 0,
            features: 0,
            offered_protocol: VhostUserProtocolFeatures::empty(),
            protocol: VhostUserProtocolFeatures::empty(),
            memory: Region::several(&setup.memory)?,
            setup,
        };
        guest.negotiate()?;
        guest.give_memory()?;
        Ok(guest)
    }

    fn negotiate(&mut self) -> Result<()> {
        self.message(|frontend| frontend.set_owner())?;
        self.offered = self.message(|frontend| frontend.get_features())?;
        let wanted = self.offered & self.setup.features;
        if wanted & Setup::PROTOCOL_FEATURES != 0 {
            self.offered_protocol = self.message(|frontend| frontend.get_protocol_features())?;
            self.protocol = self.offered_protocol & self.setup.protocol;
            let protocol = self.protocol;
            self.message(|frontend| frontend.set_protocol_features(protocol))?;
        }
        if self.protocol.contains(VhostUserProtocolFeatures::REPLY_ACK) {
            self.frontend.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        }
        self.set_features(wanted)
    }

    /// One message and its answer, if it has one. The crate waits for ever for that, so that the
    /// connection is ended after the deadline.
    fn message<T>(&mut self, send: impl FnOnce(&mut Frontend) -> vhost::Result<T>) -> Result<T> {
        let (frontend, connection) = (&mut self.frontend, &self.connection);
        let timeout = self.setup.timeout;
        let (done, is_done) = channel::<()>();
        let (result, in_time) = std::thread::scope(|scope| {
            let guard = scope.spawn(move || {
                let in_time = is_done.recv_timeout(timeout) != Err(RecvTimeoutError::Timeout);
                if !in_time {
                    // It may have been shut down already.
                    let _ = connection.shutdown(Shutdown::Both);
                }
                in_time
            });
            let result = send(frontend);
            drop(done);
            (result, guard.join().unwrap_or(true))
        });
        match result {
            Err(_) if !in_time => Err(Error::Timeout),
            result => Ok(result?),
        }
    }

    /// Virtio features that the device offered.
    #[must_use]
    pub fn offered(&self) -> u64 {
        self.offered
    }

    /// Protocol features that the daemon offered.
    #[must_use]
    pub fn offered_protocol(&self) -> VhostUserProtocolFeatures {
        self.offered_protocol
    }

    /// Virtio features that were accepted.
    #[must_use]
    pub fn features(&self) -> u64 {
        self.features
    }

    /// SET_FEATURES.
    pub fn set_features(&mut self, features: u64) -> Result<()> {
        self.message(|frontend| frontend.set_features(features))?;
        self.features = features;
        Ok(())
    }

    /// GET_QUEUE_NUM.
    pub fn queue_count(&mut self) -> Result<u64> {
        self.message(|frontend| frontend.get_queue_num())
    }

    /// GET_MAX_MEM_SLOTS.
    pub fn max_memory_slots(&mut self) -> Result<u64> {
        self.message(|frontend| frontend.get_max_mem_slots())
    }

    /// GET_CONFIG.
    pub fn config(&mut self, offset: u32, len: u32) -> Result<Vec<u8>> {
        let (flags, buffer) = (VhostUserConfigFlags::empty(), vec![0; len as usize]);
        let (_, bytes) =
            self.message(|frontend| frontend.get_config(offset, len, flags, &buffer))?;
        Ok(bytes)
    }

    /// RESET_DEVICE. The rings have to be set up anew, and the features accepted again.
    pub fn reset_device(&mut self) -> Result<()> {
        self.message(|frontend| frontend.reset_device())
    }

    /// SET_BACKEND_REQ_FD of the channel to a window, and GET_SHMEM_CONFIG: the sizes that the
    /// device wants windows to have.
    pub fn give_window(&mut self, window: &Arc<DaxWindow>) -> Result<Vec<u64>> {
        let channel = window.listen()?;
        self.message(|frontend| frontend.set_backend_request_fd(&channel.as_raw_fd()))?;
        let config = self.message(|frontend| frontend.get_shmem_config())?;
        Ok(config.memory_sizes[..config.nregions as usize].to_vec())
    }

    /// The memory, in the order in which it came.
    #[must_use]
    pub fn memory(&self) -> &[Arc<Region>] {
        &self.memory
    }

    /// SET_MEM_TABLE.
    pub fn give_memory(&mut self) -> Result<()> {
        let infos: Vec<_> = self.memory.iter().map(|region| region.info()).collect();
        self.message(|frontend| frontend.set_mem_table(&infos)).map(|_| ())
    }

    /// SET_MEM_TABLE with one more region.
    pub fn add_to_table(&mut self, region: Arc<Region>) -> Result<()> {
        self.memory.push(region);
        self.give_memory()
    }

    /// ADD_MEM_REG of new memory.
    pub fn add_memory(&mut self, start: u64, len: usize) -> Result<Arc<Region>> {
        let region = Region::new(start, len)?;
        self.add_memory_of(&region)?;
        Ok(region)
    }

    /// ADD_MEM_REG of memory that is there.
    pub fn add_memory_of(&mut self, region: &Arc<Region>) -> Result<()> {
        self.message(|frontend| frontend.add_mem_region(&region.info()))?;
        self.memory.push(region.clone());
        Ok(())
    }

    /// REM_MEM_REG.
    pub fn remove_memory(&mut self, region: &Arc<Region>) -> Result<()> {
        self.memory.retain(|known| !Arc::ptr_eq(known, region));
        self.message(|frontend| frontend.remove_mem_region(&region.info()))
    }

    /// Makes a queue in the first region, starts and enables it.
    pub fn queue(&mut self, index: usize) -> Result<Queue> {
        let region = self.memory.first().ok_or(Error::Full)?.clone();
        let queue = self.new_queue(index, self.setup.queue_size, &region)?;
        self.start(&queue, 0)?;
        Ok(queue)
    }

    /// Makes a queue of `size` descriptors in `region` that the daemon does not know of yet.
    pub fn new_queue(&self, index: usize, size: u16, region: &Arc<Region>) -> Result<Queue> {
        let ring = Ring::new(region, size, self.features & Setup::EVENT_IDX != 0)?;
        Queue::new(index, ring, self.watch.clone(), self.features & Setup::INDIRECT != 0)
    }

    /// Makes a queue and a client on it.
    pub fn client(&mut self, index: usize) -> Result<Client> {
        Client::new(self.queue(index)?)
    }

    /// Tells the daemon of a queue, of which `base` requests were taken already, and lets it run.
    pub fn start(&mut self, queue: &Queue, base: u16) -> Result<()> {
        let (index, ring) = (queue.index(), queue.ring());
        let (kick, call) = (queue.kick_event().inner(), queue.call_event().inner());
        self.message(|frontend| frontend.set_vring_num(index, ring.size()))?;
        self.message(|frontend| frontend.set_vring_base(index, base))?;
        self.set_addr(queue)?;
        self.message(|frontend| frontend.set_vring_call(index, call))?;
        self.message(|frontend| frontend.set_vring_kick(index, kick))?;
        if self.features & Setup::PROTOCOL_FEATURES != 0 {
            self.enable(index, true)?;
        }
        Ok(())
    }

    /// SET_VRING_ADDR of where a queue's ring is.
    pub fn set_addr(&mut self, queue: &Queue) -> Result<()> {
        let ring = queue.ring();
        let user_addr = |addr| ring.region().user_addr(addr);
        let config = VringConfigData {
            queue_max_size: ring.size(),
            queue_size: ring.size(),
            flags: 0,
            desc_table_addr: user_addr(ring.desc_addr()),
            used_ring_addr: user_addr(ring.used_addr()),
            avail_ring_addr: user_addr(ring.avail_addr()),
            log_addr: None,
        };
        self.message(|frontend| frontend.set_vring_addr(queue.index(), &config))
    }

    /// SET_VRING_CALL of a queue's event.
    pub fn set_call(&mut self, queue: &Queue) -> Result<()> {
        let call = queue.call_event().inner();
        self.message(|frontend| frontend.set_vring_call(queue.index(), call))
    }

    /// SET_VRING_KICK of a queue's event.
    pub fn set_kick(&mut self, queue: &Queue) -> Result<()> {
        let kick = queue.kick_event().inner();
        self.message(|frontend| frontend.set_vring_kick(queue.index(), kick))
    }

    /// SET_VRING_ERR of an event for a queue.
    pub fn set_error(&mut self, index: usize, error: &Event) -> Result<()> {
        self.message(|frontend| frontend.set_vring_err(index, error.inner()))
    }

    /// SET_VRING_ENABLE.
    pub fn enable(&mut self, index: usize, enable: bool) -> Result<()> {
        self.message(|frontend| frontend.set_vring_enable(index, enable))
    }

    /// GET_VRING_BASE: the daemon finishes what it has taken and stops the queue. The index of
    /// the request that it would have taken next.
    pub fn stop(&mut self, index: usize) -> Result<u16> {
        let base = self.message(|frontend| frontend.get_vring_base(index))?;
        u16::try_from(base).map_err(|_| Error::Device(format!("the base is {base}")))
    }

    /// SET_LOG_BASE of a log for guest addresses below `end`; nothing is logged before LOG_ALL
    /// is accepted.
    pub fn set_log(&mut self, end: u64) -> Result<DirtyLog> {
        let log = DirtyLog::new(end)?;
        let info = log.bits.info();
        let region = VhostUserDirtyLogRegion {
            mmap_size: info.memory_size,
            mmap_offset: info.mmap_offset,
            mmap_handle: info.mmap_handle,
        };
        self.message(|frontend| frontend.set_log_base(0, Some(region)))?;
        Ok(log)
    }

    /// SET_DEVICE_STATE_FD: the daemon begins to write the guest's session to `line`, or else to
    /// read it from there.
    pub fn transfer(&mut self, save: bool, line: impl Into<OwnedFd>) -> Result<()> {
        let direction = match save {
            true => VhostTransferStateDirection::SAVE,
            false => VhostTransferStateDirection::LOAD,
        };
        let (stopped, line) = (VhostTransferStatePhase::STOPPED, line.into());
        self.message(|frontend| frontend.set_device_state_fd(direction, stopped, line).map(drop))
    }

    /// CHECK_DEVICE_STATE: how that went.
    pub fn check_state(&mut self) -> Result<()> {
        self.message(|frontend| frontend.check_device_state())
    }

    /// The session, as the daemon writes it down while all queues are stopped.
    pub fn save(&mut self) -> Result<Vec<u8>> {
        let (mut ours, theirs) = std::io::pipe()?;
        self.transfer(true, theirs)?;
        let mut state = Vec::new();
        ours.read_to_end(&mut state)?;
        self.check_state()?;
        Ok(state)
    }

    /// Has the daemon go on with a session, before any queue is started.
    pub fn load(&mut self, state: &[u8]) -> Result<()> {
        let (theirs, mut ours) = std::io::pipe()?;
        self.transfer(false, theirs)?;
        // Why it stopped reading is what it says when it is asked.
        let _ = ours.write_all(state);
        drop(ours);
        self.check_state()
    }

    /// True if the daemon has hung up.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.watch.is_gone()
    }
}

/// The pages that the device has written, one bit each.
pub struct DirtyLog {
    bits: Arc<Region>,
}

impl DirtyLog {
    /// A log for all guest addresses below `end`.
    fn new(end: u64) -> Result<Self> {
        let bytes = end.div_ceil(PAGE).div_ceil(8).next_multiple_of(PAGE);
        let bytes = usize::try_from(bytes).map_err(|_| Error::Full)?;
        Ok(DirtyLog { bits: Region::new(0, bytes)? })
    }

    /// Forgets what was written.
    pub fn clear(&self) {
        self.bits.fill(0, self.bits.len(), 0);
    }

    /// Numbers of the pages that were written since this was last asked.
    #[must_use]
    pub fn take(&self) -> Vec<u64> {
        let mut bits = vec![0; self.bits.len()];
        self.bits.read(0, &mut bits);
        self.clear();
        let bytes = (0..).zip(bits).filter(|(_, bits)| *bits != 0);
        let pages = bytes.flat_map(|(byte, bits): (u64, u8)| {
            (0..8).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| 8 * byte + bit)
        });
        pages.collect()
    }
}
