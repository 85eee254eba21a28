//! Descriptors that the parent process has opened for us.
#![expect(unsafe_code, reason = "takes over descriptors that it is given by number")]

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::FdFlags;

use super::error::StartError;

/// The descriptor with this number, if there is one. The standard ones are only copied: others in
/// this process use them.
pub(super) fn take(fd: RawFd) -> Option<OwnedFd> {
    if fd < 0 {
        return None;
    }
    // SAFETY: the number is not -1, and only asked about: if it is not open, the kernel says so.
    let there = unsafe { BorrowedFd::borrow_raw(fd) };
    if fd <= 2 {
        return rustix::io::fcntl_dupfd_cloexec(there, 3).ok();
    }
    rustix::io::fcntl_setfd(there, FdFlags::CLOEXEC).ok()?;
    // SAFETY: it is open, as was just found, and the command line says that it is ours; nothing
    // else in this process knows of it.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// systemd passes descriptors from this number on.
const FIRST: RawFd = 3;

/// The socket that systemd passes (sd_listen_fds(3)).
pub(super) fn activation() -> Result<RawFd, StartError> {
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    match (number("LISTEN_PID"), number("LISTEN_FDS")) {
        (Some(pid), Some(1)) if pid == std::process::id() => Ok(FIRST),
        (Some(pid), Some(sockets)) if pid == std::process::id() => {
            let problem = format!("systemd passes {sockets} sockets");
            Err(StartError::new("--fd", problem, "say by --fd which is for the front-end"))
        }
        _ => Err(StartError::new("--socket-path", "it is missing", "name the socket to listen on")),
    }
}
