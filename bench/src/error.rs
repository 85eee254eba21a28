//! How a request, or a message to the daemon, can fail.

use std::{fmt, io};

use ferryfs::fuse::Errno;
use vhost::vhost_user::Error as MessageError;

/// The outcome of what the guest tries.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something failed.
#[derive(Debug)]
pub enum Error {
    /// The file system answered with this error number.
    Errno(Errno),
    /// The daemon has closed the connection, or is dead.
    Gone,
    /// The daemon did not start; this is what it said.
    Start(String),
    /// Nothing came in time.
    Timeout,
    /// The device broke the rules of virtio or FUSE.
    Device(String),
    /// The ring has no room for the request now.
    Full,
    /// The front-end or the back-end refused a vhost-user message.
    Message(vhost::Error),
    /// The guest's own side failed.
    Io(io::Error),
}

impl Error {
    pub(crate) fn device(what: impl Into<String>) -> Self {
        Error::Device(what.into())
    }
}

impl PartialEq<Errno> for Error {
    fn eq(&self, other: &Errno) -> bool {
        matches!(self, Error::Errno(errno) if errno == other)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Errno(errno) => write!(f, "the reply is: {errno}"),
            Error::Gone => f.write_str("the daemon is gone"),
            Error::Start(said) => write!(f, "the daemon did not start: {}", said.trim()),
            Error::Timeout => f.write_str("nothing came in time"),
            Error::Device(what) => write!(f, "the device broke the rules: {what}"),
            Error::Full => f.write_str("the ring is full"),
            Error::Message(error) => write!(f, "a vhost-user message failed: {error}"),
            Error::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Error::Io(error)
    }
}

impl From<io::ErrorKind> for Error {
    fn from(kind: io::ErrorKind) -> Self {
        Error::Io(kind.into())
    }
}

impl From<rustix::io::Errno> for Error {
    fn from(error: rustix::io::Errno) -> Self {
        Error::Io(error.into())
    }
}

impl From<vhost::Error> for Error {
    fn from(error: vhost::Error) -> Self {
        match error {
            vhost::Error::VhostUserProtocol(
                MessageError::Disconnected
                | MessageError::PartialMessage
                | MessageError::SocketBroken(_),
            ) => Error::Gone,
            error => Error::Message(error),
        }
    }
}
