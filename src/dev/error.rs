//! Why there is no mount.

use std::{fmt, io};

use rustix::io::Errno;

/// Why a directory was not mounted.
#[derive(Debug)]
pub enum MountError {
    /// The kernel has no FUSE, or we may not use it.
    Device(io::Error),
    /// The kernel refuses.
    Refused(io::Error),
    /// `fusermount3` cannot be run.
    NoHelper(io::Error),
    /// The process that is to unmount cannot be started.
    NoKeeper(io::Error),
    /// What `fusermount3` says.
    Helper(String),
}

impl MountError {
    /// True if somebody with more rights could mount it.
    pub(super) fn is_forbidden(&self) -> bool {
        matches!(self, MountError::Device(error) | MountError::Refused(error)
            if error.kind() == io::ErrorKind::PermissionDenied)
    }
}

impl From<Errno> for MountError {
    fn from(error: Errno) -> Self {
        MountError::Refused(error.into())
    }
}

impl fmt::Display for MountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MountError::Device(error) => write!(f, "cannot open /dev/fuse: {error}"),
            MountError::Refused(error) => write!(f, "the kernel does not mount there: {error}"),
            MountError::NoHelper(error) => write!(f, "cannot run fusermount3: {error}"),
            MountError::NoKeeper(error) => write!(f, "cannot run /bin/sh: {error}"),
            MountError::Helper(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for MountError {}
