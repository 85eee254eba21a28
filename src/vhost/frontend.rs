//! What the front-end asks for, message by message (vhost-user, "Front-end message types").

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vhost::VhostUserMemoryRegionBase;
use vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags, VhostUserInflight,
    VhostUserLog, VhostUserMemoryRegion, VhostUserProtocolFeatures, VhostUserShMemConfig,
    VhostUserSharedMsg, VhostUserSingleMemoryRegion, VhostUserVirtioFeatures,
    VhostUserVringAddrFlags, VhostUserVringState,
};
use vhost::vhost_user::{Backend, Error, GpuBackend, Result, VhostUserBackendReqHandler};

use super::device::{Device, EVENT_IDX, INDIRECT_DESC};
use super::event::may_be_event;
use super::log::DirtyLog;
use super::lost::Foreign;
use super::memory::{Region, Regions};
use super::queue::Queue;
use super::ring::{Ring, RingSetup};
use super::state::Transfer;
use super::{unshared, window};
use crate::fuse::{Filesystem, Window};

/// Longest ring that split virtqueues know.
const MAX_QUEUE_SIZE: u32 = 32768;

/// As many as QEMU uses at most; its own limit is 512.
const MAX_MEM_SLOTS: u64 = 509;

/// One front-end's view of the device.
pub(super) struct Frontend<F> {
    device: Arc<Device<F>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    owned: bool,
    /// Rings wait for SET_VRING_ENABLE; without this feature they are always enabled.
    protocol_features: bool,
    /// The log, kept while writes are not logged.
    log: Option<Arc<DirtyLog>>,
    logs_writes: bool,
    /// The channel to the front-end. Front-ends take its end for that of the daemon, so it is kept
    /// although nothing may be said on it.
    back_channel: Option<Backend>,
    /// The front-end maps what we ask it to.
    maps: bool,
    /// The guest's session is on its way, or was.
    transfer: Option<Transfer>,
}

impl<F: Filesystem + 'static> Frontend<F> {
    pub(super) fn new(device: Arc<Device<F>>) -> Self {
        Frontend { device, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody is interested any more in a session that is on its way.
    pub(super) fn give_up_transfer(&self) {
        self.state().transfer = None;
    }

    fn queue(&self, index: u32) -> Result<&Arc<Queue>> {
        self.device.queues.get(index as usize).ok_or(Error::InvalidParam)
    }

    fn change_regions(&self, change: impl FnOnce(&Regions) -> Option<Regions>) -> Result<()> {
        let now = self.device.shared.terms.get().regions;
        let regions = Arc::new(change(&now).ok_or(Error::InvalidParam)?);
        self.device.shared.terms.change(|terms| terms.regions = regions);
        // Idle queues let go of memory that is gone.
        self.device.queues.iter().for_each(|queue| queue.gate.ask_for_attention());
        Ok(())
    }

    fn set_logging(&self, state: &State) {
        let log = state.log.clone().filter(|_| state.logs_writes);
        self.device.shared.terms.change(|terms| terms.log = log);
    }
}

/// Maps a region that the front-end describes.
fn map(region: &VhostUserMemoryRegion, file: File) -> Result<Region> {
    let map = foreign(file, region.mmap_offset, region.memory_size)?;
    Ok(Region { guest: region.guest_phys_addr, user: region.user_addr, map: Arc::new(map) })
}

fn foreign(file: File, offset: u64, len: u64) -> Result<Foreign> {
    Foreign::of_file(file, offset, len).map_err(Error::ReqHandlerError)
}

fn event(file: Option<File>) -> Result<Option<Arc<OwnedFd>>> {
    match file {
        Some(file) if !may_be_event(&file) => refused("what it gives for an event is none"),
        file => Ok(file.map(|file| Arc::new(file.into()))),
    }
}

fn refused<T>(why: &'static str) -> Result<T> {
    Err(Error::InvalidOperation(why))
}

impl<F: Filesystem + 'static> VhostUserBackendReqHandler for Frontend<F> {
    fn set_owner(&self) -> Result<()> {
        let mut state = self.state();
        if state.owned {
            return refused("the device has its owner");
        }
        state.owned = true;
        Ok(())
    }

    /// Deprecated; front-ends that still send it mean a reset.
    fn reset_owner(&self) -> Result<()> {
        self.state().owned = false;
        self.reset_device()
    }

    fn reset_device(&self) -> Result<()> {
        log::debug!("The front-end resets the device");
        self.give_up_transfer();
        self.device.end_session();
        Ok(())
    }

    fn get_features(&self) -> Result<u64> {
        Ok(self.device.features())
    }

    fn set_features(&self, features: u64) -> Result<()> {
        if features & !self.device.features() != 0 {
            return Err(Error::InvalidParam);
        }
        log::debug!("The front-end accepts features {features:#x}");
        let has = |feature: u64| features & feature != 0;
        let mut state = self.state();
        state.protocol_features = has(VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits());
        state.logs_writes = has(VhostUserVirtioFeatures::LOG_ALL.bits());
        self.set_logging(&state);
        self.device.shared.terms.change(|terms| {
            terms.event_idx = has(EVENT_IDX);
            terms.indirect = has(INDIRECT_DESC);
        });
        if !state.protocol_features {
            for queue in &self.device.queues {
                queue.gate.change(|setup| setup.enabled = true);
            }
        }
        Ok(())
    }

    fn set_mem_table(
        &self,
        table: &[VhostUserMemoryRegion],
        files: Vec<File>,
        _postcopy: Option<bool>,
    ) -> Result<Option<Vec<VhostUserMemoryRegionBase>>> {
        // What is mapped into the window must not be touched by us: it ends where the file does,
        // and the table may be older than the mapping.
        let window = self.device.shared.window.as_ref();
        let is_memory = |region: &VhostUserMemoryRegion, file: &File| {
            let place = (region.guest_phys_addr, region.memory_size);
            window.is_none_or(|window| !window.is_part(file, region.mmap_offset, place))
        };
        let memory = table.iter().zip(files).filter(|(region, file)| is_memory(region, file));
        let regions: Result<Vec<_>> = memory.map(|(region, file)| map(region, file)).collect();
        let regions = regions?;
        self.change_regions(|_| {
            regions.into_iter().try_fold(Regions::default(), |table, region| table.with(region))
        })?;
        Ok(None)
    }

    fn get_max_mem_slots(&self) -> Result<u64> {
        Ok(MAX_MEM_SLOTS)
    }

    fn add_mem_region(
        &self,
        region: &VhostUserSingleMemoryRegion,
        file: File,
        _postcopy: Option<bool>,
    ) -> Result<Option<VhostUserMemoryRegionBase>> {
        let region = map(region, file)?;
        self.change_regions(|regions| regions.with(region))?;
        Ok(None)
    }

    fn remove_mem_region(&self, region: &VhostUserSingleMemoryRegion) -> Result<()> {
        let (guest, user, len) = (region.guest_phys_addr, region.user_addr, region.memory_size);
        self.change_regions(|regions| regions.without(guest, user, len))
    }

    fn set_vring_num(&self, index: u32, num: u32) -> Result<()> {
        let queue = self.queue(index)?;
        if !(1..=MAX_QUEUE_SIZE).contains(&num) || !num.is_power_of_two() {
            return Err(Error::InvalidParam);
        }
        let size = u16::try_from(num).map_err(|_| Error::InvalidParam)?;
        queue.gate.at_rest(|setup| setup.ring.size = size);
        Ok(())
    }

    fn set_vring_addr(
        &self,
        index: u32,
        flags: VhostUserVringAddrFlags,
        descriptor: u64,
        used: u64,
        available: u64,
        log: u64,
    ) -> Result<()> {
        let queue = self.queue(index)?;
        let regions = self.device.shared.terms.get().regions;
        if regions.is_empty() {
            self.device.shared.told.of_none();
            return refused(unshared::NONE);
        }
        let guest = |user| regions.guest_of_user(user).ok_or(Error::InvalidParam);
        let (desc, avail, used) = (guest(descriptor)?, guest(available)?, guest(used)?);
        let logged = flags.contains(VhostUserVringAddrFlags::VHOST_VRING_F_LOG);
        let same = |ring: &RingSetup| (ring.desc, ring.avail, ring.used) == (desc, avail, used);
        if queue.is_running_at(same) {
            // Only logging begins or ends; a request that takes long must not hold that up.
            queue.gate.change(|setup| setup.log_at = logged.then_some(log));
            return Ok(());
        }
        queue.gate.at_rest(|setup| {
            let mut ring = setup.ring;
            (ring.desc, ring.avail, ring.used) = (desc, avail, used);
            // SET_VRING_BASE tells only how far the guest got; how far we did is in the ring.
            let there = Ring::new(&regions, &ring).map_err(|_| Error::InvalidParam)?;
            ring.next_used = there.used_index();
            setup.ring = ring;
            setup.log_at = logged.then_some(log);
            Ok(())
        })
    }

    fn set_vring_base(&self, index: u32, base: u32) -> Result<()> {
        let next_avail = u16::try_from(base).map_err(|_| Error::InvalidParam)?;
        self.queue(index)?.gate.at_rest(|setup| setup.ring.next_avail = next_avail);
        Ok(())
    }

    fn get_vring_base(&self, index: u32) -> Result<VhostUserVringState> {
        let _halt = self.device.halt_window();
        let next_avail = self.queue(index)?.stop(&self.device.shared);
        Ok(VhostUserVringState::new(index, next_avail.into()))
    }

    /// Starts the ring: front-ends need not kick first.
    fn set_vring_kick(&self, index: u8, fd: Option<File>) -> Result<()> {
        let queue = self.queue(index.into())?;
        let kick = event(fd)?;
        queue.gate.change(|setup| {
            setup.kick = kick;
            setup.started = true;
        });
        queue.serve_by(&self.device.shared).map_err(Error::ReqHandlerError)
    }

    fn set_vring_call(&self, index: u8, fd: Option<File>) -> Result<()> {
        let queue = self.queue(index.into())?;
        let event = event(fd)?;
        queue.gate.change(|setup| setup.call = event);
        Ok(())
    }

    fn set_vring_err(&self, index: u8, fd: Option<File>) -> Result<()> {
        let queue = self.queue(index.into())?;
        let event = event(fd)?;
        queue.gate.change(|setup| setup.error = event);
        Ok(())
    }

    fn set_vring_enable(&self, index: u32, enable: bool) -> Result<()> {
        if !self.state().protocol_features {
            return Err(Error::InactiveFeature(VhostUserVirtioFeatures::PROTOCOL_FEATURES));
        }
        self.queue(index)?.gate.change(|setup| setup.enabled = enable);
        Ok(())
    }

    fn get_protocol_features(&self) -> Result<VhostUserProtocolFeatures> {
        Ok(self.device.protocol_features())
    }

    fn set_protocol_features(&self, features: u64) -> Result<()> {
        if features & !self.device.protocol_features().bits() != 0 {
            return Err(Error::InvalidParam);
        }
        log::debug!("The front-end accepts vhost-user features {features:#x}");
        let maps = features & window::NEEDED.bits() == window::NEEDED.bits();
        if self.device.shared.window.is_some() && !maps {
            log::warn!("The front-end cannot map files (SHMEM): there is no DAX window");
        }
        self.state().maps = maps;
        Ok(())
    }

    fn get_queue_num(&self) -> Result<u64> {
        Ok(self.device.queues.len() as u64)
    }

    fn get_config(&self, offset: u32, size: u32, _: VhostUserConfigFlags) -> Result<Vec<u8>> {
        Ok(self.device.config_space(offset, size))
    }

    fn set_config(&self, _: u32, _: &[u8], _: VhostUserConfigFlags) -> Result<()> {
        refused("nothing in the config space can be written")
    }

    fn set_backend_req_fd(&self, channel: Backend) {
        let mut state = self.state();
        if let Some(window) = self.device.shared.window.as_ref().filter(|_| state.maps)
            && let Err(error) = window.attach(window::channel(&channel))
        {
            log::error!("There is no DAX window: {error}");
        }
        state.back_channel = Some(channel);
    }

    fn set_log_base(&self, log: &VhostUserLog, file: File) -> Result<()> {
        let bits = foreign(file, log.mmap_offset, log.mmap_size)?;
        let mut state = self.state();
        state.log = Some(Arc::new(DirtyLog::new(bits)));
        self.set_logging(&state);
        Ok(())
    }

    fn set_gpu_socket(&self, _: GpuBackend) -> Result<()> {
        refused("this is no GPU")
    }

    fn get_shared_object(&self, _: VhostUserSharedMsg) -> Result<File> {
        refused("there are no shared objects")
    }

    fn get_inflight_fd(&self, _: &VhostUserInflight) -> Result<(VhostUserInflight, File)> {
        refused("requests in flight are not tracked")
    }

    fn set_inflight_fd(&self, _: &VhostUserInflight, _: File) -> Result<()> {
        refused("requests in flight are not tracked")
    }

    fn set_device_state_fd(
        &self,
        direction: VhostTransferStateDirection,
        _stopped: VhostTransferStatePhase,
        line: File,
    ) -> Result<Option<File>> {
        let mut state = self.state();
        state.transfer = None;
        state.transfer = Some(Transfer::begin(&self.device, direction, line)?);
        Ok(None)
    }

    fn check_device_state(&self) -> Result<()> {
        let transfer = self.state().transfer.take();
        transfer.ok_or(Error::InvalidOperation("no state was transferred"))?.end()
    }

    fn get_shmem_config(&self) -> Result<VhostUserShMemConfig> {
        match &self.device.shared.window {
            Some(window) => Ok(window::shmem_config(window.size())),
            None => refused("there is no shared memory"),
        }
    }
}
