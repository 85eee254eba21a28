//! The host's syslog.

use std::io;
use std::os::unix::net::UnixDatagram;

use super::line::Message;

const SOCKET: &str = "/dev/log";

/// A connection to the host's syslog, which outlives a change of the root directory.
pub(super) struct Syslog {
    socket: UnixDatagram,
    /// By which others know us: the process that serves may have another number where it is.
    pid: u32,
}

impl Syslog {
    pub(super) fn open() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(SOCKET)?;
        // A syslog that does not read must not hold up the guest.
        socket.set_nonblocking(true)?;
        Ok(Syslog { socket, pid: std::process::id() })
    }

    pub(super) fn send(&self, message: &Message<'_>) -> io::Result<()> {
        let priority = libc::LOG_USER | message.severity();
        let line = format!("<{priority}>ferryfs[{}]: {}", self.pid, message.text());
        self.socket.send(line.as_bytes()).map(drop)
    }
}
