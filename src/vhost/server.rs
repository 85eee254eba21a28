//! One front-end, from its connection to its end.

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::{fmt, io};

use vhost::vhost_user::{Error as MessageError, Listener};
use vhost_user_backend::{Error as DaemonError, VhostUserDaemon};
use vm_memory::{GuestAddressSpace, GuestMemoryAtomic};
use vmm_sys_util::epoll::EventSet;

use super::device::{Device, DeviceConfig};
use super::memory::GuestMemory;
use crate::fuse::{Filesystem, Session};

/// Serving a front-end ended with an error.
#[derive(Debug)]
pub enum ServeError {
    /// It did not begin: the process is short of descriptors or threads.
    Start(io::Error),
    /// The front-end broke the protocol.
    Connection(DaemonError),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServeError::Start(error) => write!(f, "Cannot start serving: {error}"),
            ServeError::Connection(error) => {
                write!(f, "The connection to the front-end ended: {error}")
            }
        }
    }
}

impl std::error::Error for ServeError {}

impl From<DaemonError> for ServeError {
    fn from(error: DaemonError) -> Self {
        ServeError::Connection(error)
    }
}

/// Accepts one front-end on `listener` and serves its guest until it disconnects.
///
/// # Errors
/// Threads cannot be started, or the front-end broke the vhost-user protocol.
pub fn serve<F: Filesystem + 'static>(
    listener: UnixListener,
    session: Session<F>,
    config: DeviceConfig,
) -> Result<(), ServeError> {
    let memory = GuestMemoryAtomic::new(GuestMemory::new());
    let device = Device::new(session, config, memory.memory().into_inner());
    let device = Arc::new(device.map_err(ServeError::Start)?);
    let mut daemon = VhostUserDaemon::new("front-end".into(), device.clone(), memory)?;
    for (handler, waker) in daemon.get_epoll_handlers().iter().zip(device.wakers()) {
        let event = u64::from(device.awakened());
        let added = handler.register_listener(waker.as_raw_fd(), EventSet::IN, event);
        added.map_err(ServeError::Start)?;
    }
    daemon.start(&mut Listener::from(listener))?;
    log::debug!("A front-end has connected");
    let ended = daemon.wait();
    device.end_session();
    match ended {
        Ok(()) => Ok(()),
        Err(DaemonError::HandleRequest(
            MessageError::Disconnected | MessageError::PartialMessage,
        )) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
