//! Telling others how far the daemon is: systemd (sd_notify(3)), and whoever gave us a descriptor.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;

use super::background::Starter;
use super::error::StartError;
use super::inherited;

/// systemd, if it waits to be told.
#[derive(Clone, Default)]
pub(super) struct Notify(Option<Arc<UnixDatagram>>);

impl Notify {
    /// Connects now, so that the root directory may change later.
    fn open() -> Self {
        let path = std::env::var("NOTIFY_SOCKET").unwrap_or_default();
        if path.is_empty() {
            return Notify::default();
        }
        match Self::connect(&path) {
            Ok(socket) => Notify(Some(Arc::new(socket))),
            Err(error) => {
                log::warn!("NOTIFY_SOCKET: cannot tell {path} anything: {error}");
                Notify::default()
            }
        }
    }

    fn connect(path: &str) -> io::Result<UnixDatagram> {
        let address = match path.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(path)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        Ok(socket)
    }

    /// Says something in systemd's words.
    pub(super) fn say(&self, words: &str) {
        if let Some(Err(error)) = self.0.as_ref().map(|socket| socket.send(words.as_bytes())) {
            log::debug!("Cannot tell systemd {words}: {error}");
        }
    }
}

/// Everybody who waits until front-ends may connect.
pub(super) struct Readiness {
    pub(super) notify: Notify,
    waiting: Vec<File>,
}

impl Readiness {
    /// `fd` was given for this; `starter` waits if we are in the background.
    pub(super) fn new(fd: Option<RawFd>, starter: Option<&Starter>) -> Result<Self, StartError> {
        let mut waiting = Vec::new();
        if let Some(fd) = fd {
            let file = inherited::take(fd).ok_or_else(|| {
                let problem = format!("descriptor {fd} is not open");
                StartError::new("--ready-fd", problem, "pass one to write to")
            })?;
            waiting.push(file.into());
        }
        if let Some(starter) = starter {
            let pipe = starter.try_clone();
            let pipe = pipe.map_err(|error| StartError::new("--daemonize", error, "leave it out"));
            waiting.push(OwnedFd::from(pipe?).into());
        }
        Ok(Readiness { notify: Notify::open(), waiting })
    }

    /// Front-ends may connect.
    pub(super) fn announce(self) -> Notify {
        // Launchers wait for this very text.
        log::info!("Waiting for vhost-user socket connection...");
        self.notify.say("READY=1\nSTATUS=Waiting for the front-end");
        for mut file in self.waiting {
            if let Err(error) = file.write_all(b"\n") {
                log::warn!("Cannot tell who waits for it that the daemon is ready: {error}");
            }
        }
        self.notify
    }
}
