//! One front-end, from its connection to its end.

use std::fmt;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use vhost::vhost_user::{Error as MessageError, Listener};
use vhost_user_backend::{Error as DaemonError, VhostUserDaemon};
use vm_memory::{GuestAddressSpace, GuestMemoryAtomic};

use super::device::{Device, DeviceConfig};
use super::memory::GuestMemory;
use crate::fuse::{Filesystem, Session};

/// Serving a front-end ended with an error.
#[derive(Debug)]
pub struct ServeError(DaemonError);

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "The connection to the front-end ended: {}", self.0)
    }
}

impl std::error::Error for ServeError {}

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
    let device = Arc::new(Device::new(session, config, memory.memory().into_inner()));
    let mut daemon =
        VhostUserDaemon::new("front-end".into(), device.clone(), memory).map_err(ServeError)?;
    daemon.start(&mut Listener::from(listener)).map_err(ServeError)?;
    log::debug!("A front-end has connected");
    let ended = daemon.wait();
    device.end_session();
    match ended {
        Ok(()) => Ok(()),
        Err(DaemonError::HandleRequest(
            MessageError::Disconnected | MessageError::PartialMessage,
        )) => Ok(()),
        Err(error) => Err(ServeError(error)),
    }
}
