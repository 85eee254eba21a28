//! A guest's session on its way to another daemon, and from one (vhost-user, "Migrating back-end
//! state").
//!
//! The front-end reads what is saved to its end before it says anything more, and asks how it went
//! as soon as it has written what is to be loaded. So a thread carries the session, and nobody
//! waits for it but who asks how it went.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use rustix::event::PollFlags;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use vhost::vhost_user::message::VhostTransferStateDirection as Direction;
use vhost::vhost_user::{Error, Result};

use super::device::Device;
use super::event::Event;
use crate::fuse::{Filesystem, Session};

/// A thread that carries a session.
pub(super) struct Transfer {
    direction: Direction,
    progress: Arc<Progress>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread and the front-end's have in common.
struct Progress {
    /// Somebody wants the thread to end.
    wake: Event,
    /// Nothing more will be read or written at the other end.
    is_closed: AtomicBool,
    /// Nobody wants to know any more.
    given_up: AtomicBool,
    /// True if it went well.
    result: OnceLock<bool>,
}

/// One end of a pipe, or of whatever the front-end gave.
struct Line {
    file: File,
    progress: Arc<Progress>,
}

/// Enough for what a pipe holds.
const BATCH: usize = 64 << 10;

impl Transfer {
    /// Begins to carry the device's session along `line`. All rings must be stopped.
    pub(super) fn begin<F: Filesystem + 'static>(
        device: &Device<F>,
        direction: Direction,
        line: File,
    ) -> Result<Self> {
        if !device.is_stopped() {
            log::error!("The front-end wants to {} while rings are served", verb(direction));
            return Err(Error::InvalidOperation("the device is not stopped"));
        }
        let begin = || -> io::Result<Self> {
            fcntl_setfl(&line, fcntl_getfl(&line)? | OFlags::NONBLOCK)?;
            let progress = Arc::new(Progress {
                wake: Event::new()?,
                is_closed: AtomicBool::new(false),
                given_up: AtomicBool::new(false),
                result: OnceLock::new(),
            });
            let (session, end) = (device.shared.session.clone(), progress.clone());
            let carry = move || carry(&session, direction, Line { file: line, progress: end });
            let thread = std::thread::Builder::new().name("migration".into()).spawn(carry)?;
            Ok(Transfer { direction, progress, thread: Some(thread) })
        };
        begin().map_err(Error::ReqHandlerError)
    }

    /// Says how it went. The front-end has come to the end of what is saved, or has written all
    /// that is to be loaded.
    pub(super) fn end(mut self) -> Result<()> {
        self.progress.is_closed.store(true, Ordering::Release);
        if self.direction == Direction::SAVE && self.progress.result.get().is_none() {
            self.progress.given_up.store(true, Ordering::Release);
        }
        self.join();
        match self.progress.result.get() {
            Some(true) => Ok(()),
            _ => Err(Error::InvalidOperation("the device's state was not transferred")),
        }
    }

    fn join(&mut self) {
        self.progress.wake.notify();
        // It catches its panics.
        self.thread.take().map(JoinHandle::join);
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.progress.given_up.store(true, Ordering::Release);
        self.join();
    }
}

fn carry<F: Filesystem>(session: &Session<F>, direction: Direction, line: Line) {
    let progress = line.progress.clone();
    let given_up = &progress.given_up;
    let mut line = line;
    let carry = || match direction {
        Direction::SAVE => {
            let mut out = BufWriter::with_capacity(BATCH, &mut line);
            let saved = session.save(&mut out, given_up);
            // What it holds of a state that ended early is of no use to anybody.
            drop(out.into_parts());
            saved
        }
        Direction::LOAD => session.load(&mut BufReader::with_capacity(BATCH, &mut line), given_up),
    };
    let carried = catch_unwind(AssertUnwindSafe(carry));
    let carried = carried.unwrap_or_else(|_| Err(io::Error::other("it makes us panic")));
    if let Err(error) = &carried {
        log::error!("Cannot {}: {error}", verb(direction));
    }
    // Before the line is closed: its end is what the front-end waits for.
    let _ = progress.result.set(carried.is_ok());
    drop(line);
}

fn verb(direction: Direction) -> &'static str {
    match direction {
        Direction::SAVE => "save the guest's state",
        Direction::LOAD => "load a guest's state",
    }
}

impl Line {
    /// An error once nobody is interested any more.
    fn check(&self) -> io::Result<()> {
        match self.progress.given_up.load(Ordering::Acquire) {
            // Not `Interrupted`, after which one tries again.
            true => Err(io::Error::other("the front-end has given it up")),
            false => Ok(()),
        }
    }
}

impl Read for Line {
    /// It ends where the other end is closed, or where the front-end says that it is: somebody else
    /// may have a copy of that still, as a process that it has just begun to start.
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            // Before trying: what was written until then is there.
            let is_closed = self.progress.is_closed.load(Ordering::Acquire);
            self.check()?;
            match self.file.read(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock && is_closed => return Ok(0),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.progress.wake.or_ready(&self.file, PollFlags::IN);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            self.check()?;
            match self.file.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.progress.wake.or_ready(&self.file, PollFlags::OUT);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
