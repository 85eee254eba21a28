//! FUSE passthrough: the kernel reads and writes a file of ours without asking.
//!
//! It lets nobody register files who lacks `CAP_SYS_ADMIN`, and acts on them with the rights of
//! whoever did. So a process that has that right and serves nothing does it
//! ([`Registrar`](super::Registrar)), and is asked by a socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};

use crate::fuse::{Backing, BackingId};
use crate::rights;

/// What asks for a registration, together with the file. Any other number is an id to give up.
/// The answer is an id or, negative, an error.
pub(super) const OPEN: i32 = 0;

/// The registrar waits for nobody but storage that hangs: who asks does not hang with it.
const PATIENCE: Duration = Duration::from_secs(10);

/// A process that registers files, seen from the one that serves them.
pub struct BackingFiles {
    /// Held from a question to its answer; the error after which no answer would be to the
    /// question asked.
    socket: Mutex<(OwnedFd, Option<Errno>)>,
}

impl BackingFiles {
    /// Who asks, and the socket of who answers.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        Self::with_patience(PATIENCE)
    }

    fn with_patience(patience: Duration) -> io::Result<(Self, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        for side in [Timeout::Recv, Timeout::Send] {
            set_socket_timeout(&ours, side, Some(patience))?;
        }
        Ok((BackingFiles { socket: Mutex::new((ours, None)) }, theirs))
    }

    #[cfg(test)]
    pub(super) fn socket_for_tests(&self) -> OwnedFd {
        self.socket.lock().unwrap().0.try_clone().unwrap()
    }
}

/// Asks for the registration of one file.
fn ask(socket: &OwnedFd, file: BorrowedFd<'_>) -> rustix::io::Result<i32> {
    rights::send(socket, &OPEN.to_ne_bytes(), &[file])?;
    let mut answer = [0; 4];
    loop {
        match recv(socket.as_fd(), &mut answer, RecvFlags::empty()) {
            Ok((4, _)) => return Ok(i32::from_ne_bytes(answer)),
            Ok(_) => return Err(Errno::PIPE),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Err(Errno::TIMEDOUT),
            Err(error) => return Err(error),
        }
    }
}

impl Backing for BackingFiles {
    fn open(&self, file: BorrowedFd<'_>) -> io::Result<BackingId> {
        let mut guard = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let (socket, broken) = &mut *guard;
        if let Some(error) = *broken {
            return Err(error.into());
        }
        let answer = ask(socket, file).inspect_err(|error| *broken = Some(*error))?;
        drop(guard);
        match answer {
            id if id > 0 => Ok(BackingId(id)),
            error => Err(io::Error::from_raw_os_error(error.saturating_neg())),
        }
    }

    fn close(&self, id: BackingId) {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        // It fails only if the registrar is gone, or hangs: all ends with it.
        let _ = send(socket.0.as_fd(), &id.0.to_ne_bytes(), SendFlags::NOSIGNAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_hangs_is_asked_once_and_not_believed_later() {
        let (asks, hangs) = BackingFiles::with_patience(Duration::from_millis(50)).unwrap();
        let file = tempfile::tempfile().unwrap();
        let error = || asks.open(file.as_fd()).unwrap_err().raw_os_error();
        assert_eq!(error(), Some(libc::ETIMEDOUT));
        // It would be the answer to another question.
        send(&hangs, &7i32.to_ne_bytes(), SendFlags::empty()).unwrap();
        assert_eq!(error(), Some(libc::ETIMEDOUT));
    }
}
