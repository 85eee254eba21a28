//! The host's syslog.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use super::line::Message;

/// A connection to the host's syslog, which outlives a change of the root directory.
pub(super) struct Syslog {
    socket: UnixDatagram,
    /// By which others know us: the process that serves may have another number where it is.
    pid: u32,
}

impl Syslog {
    /// Connects to where C libraries look for it too.
    pub(super) fn open() -> io::Result<Self> {
        Self::at(Path::new("/dev/log"))
    }

    fn at(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
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

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use log::{Level, Record};

    use super::*;

    #[test]
    fn messages_arrive_with_their_priority_and_a_full_syslog_does_not_hold_us_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        assert!(Syslog::at(&path).is_err());
        let server = UnixDatagram::bind(&path).unwrap();
        let syslog = Syslog::at(&path).unwrap();
        let args = format_args!("all is lost");
        let record = Record::builder().args(args).level(Level::Error).build();
        let message = Message { record: &record, left_out: 0, time: SystemTime::UNIX_EPOCH };
        syslog.send(&message).unwrap();
        let mut got = [0; 100];
        let len = server.recv(&mut got).unwrap();
        let line = format!("<11>ferryfs[{}]: all is lost", std::process::id());
        assert_eq!(String::from_utf8_lossy(&got[..len]), line);
        let full = std::iter::repeat_with(|| syslog.send(&message)).find_map(Result::err);
        assert_eq!(full.unwrap().kind(), io::ErrorKind::WouldBlock);
        drop(server);
        assert!(syslog.send(&message).is_err(), "so that the message goes elsewhere");
    }
}
