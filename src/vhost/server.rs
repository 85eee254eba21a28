//! One front-end, from its connection to its end.

use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::{fmt, io};

use vhost::vhost_user::{BackendReqHandler, Error as MessageError};

use super::device::{Device, DeviceConfig};
use super::frontend::Frontend;
use super::reads::ReadRings;
use super::traffic::Traffic;
use super::unshared;
use crate::dax::DaxWindow;
use crate::fuse::{Filesystem, Session};

/// Serving a front-end ended with an error.
#[derive(Debug)]
pub enum ServeError {
    /// It did not begin: no connection, or the process is short of descriptors.
    Start(io::Error),
    /// The front-end said nothing for a while but what cannot be understood.
    Protocol(MessageError),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServeError::Start(error) => write!(f, "Cannot start serving: {error}"),
            ServeError::Protocol(error) => {
                write!(f, "The front-end does not speak vhost-user, giving up: {error}")
            }
        }
    }
}

impl std::error::Error for ServeError {}

impl From<io::Error> for ServeError {
    fn from(error: io::Error) -> Self {
        ServeError::Start(error)
    }
}

/// Messages in a row that may be refused before the connection is given up. A refused message is
/// its front-end's error, and no reason to take the device from a guest; but when the stream is
/// out of step there will never be a good one again.
const PATIENCE: u32 = 64;

/// Serves the guest of the front-end at the other end of `stream` until it disconnects, with a DAX
/// window if there is one and the front-end takes part. With `rings`, READs that wait for storage
/// do so there, and not in threads.
///
/// # Errors
/// Serving could not begin, or the front-end does not keep to the vhost-user protocol at all.
pub fn serve<F: Filesystem + 'static>(
    stream: UnixStream,
    session: Arc<Session<F>>,
    config: DeviceConfig,
    (traffic, window, rings): (&Traffic, Option<Arc<DaxWindow>>, Option<ReadRings>),
) -> Result<(), ServeError> {
    let device = Arc::new(Device::new(session, config, (window, rings))?);
    traffic.watch(device.queues.iter().map(|queue| queue.counts()).collect());
    let frontend = Arc::new(Frontend::new(device.clone()));
    let mut messages = BackendReqHandler::from_stream(stream, frontend.clone());
    let mut refused = 0;
    let ended = loop {
        let handled = catch_unwind(AssertUnwindSafe(|| messages.handle_request()));
        match handled.unwrap_or(Err(MessageError::InvalidOperation("it makes us panic"))) {
            Ok(()) => refused = 0,
            Err(error) if is_the_end(&error) => break Ok(()),
            Err(error) => {
                refused += 1;
                if refused == PATIENCE {
                    break Err(ServeError::Protocol(error));
                }
                // What was said of the one should not be said of each message that follows from it.
                let is_told = matches!(error, MessageError::InvalidOperation(unshared::NONE));
                let level = if is_told { log::Level::Debug } else { log::Level::Warn };
                log::log!(level, "The front-end asks for what cannot be done: {error}");
            }
        }
    };
    frontend.give_up_transfer();
    device.end_session();
    device.shared.window.iter().for_each(|window| window.detach());
    ended
}

/// True if the other side is gone.
fn is_the_end(error: &MessageError) -> bool {
    matches!(
        error,
        MessageError::Disconnected
            | MessageError::PartialMessage
            | MessageError::SocketBroken(_)
            | MessageError::SocketError(_)
            | MessageError::SocketConnect(_)
    )
}
