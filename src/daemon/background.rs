//! `--daemonize`.
#![expect(unsafe_code, reason = "forks")]

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, WaitOptions};

use super::error::StartError;
use super::run::EXIT_START;

/// Who goes on after [`fork`].
pub(super) enum Side {
    /// The process that was started; it only waits, and ends with this.
    Starter(ExitCode),
    /// The daemon.
    Daemon(Starter),
}

/// The process that has started the daemon and waits, seen from the daemon.
pub(super) struct Starter(PipeWriter);

/// Starts the daemon proper as a process of its own, in a session of its own, without a terminal.
/// To be called while there is one thread.
pub(super) fn fork() -> io::Result<Side> {
    let (said, daemon) = io::pipe()?;
    let null = rustix::fs::open(Path::new("/dev/null"), OFlags::RDWR, Mode::empty())?;
    // SAFETY: no other thread is there that could hold a lock.
    let child = unsafe { libc::fork() };
    match Pid::from_raw(child) {
        Some(_) if child < 0 => Err(io::Error::last_os_error()),
        Some(child) => {
            drop(daemon);
            Ok(Side::Starter(wait(said, child)))
        }
        None => {
            rustix::process::setsid()?;
            rustix::stdio::dup2_stdin(&null)?;
            rustix::stdio::dup2_stdout(&null)?;
            rustix::stdio::dup2_stderr(&null)?;
            Ok(Side::Daemon(Starter(daemon)))
        }
    }
}

/// Waits until the daemon is ready, which it says by an empty line, or has failed.
fn wait(mut said: PipeReader, child: Pid) -> ExitCode {
    let mut first = [0];
    if said.read_exact(&mut first).is_ok() && first == *b"\n" {
        return ExitCode::SUCCESS;
    }
    let mut problem = first.to_vec();
    // Whatever was said before an error is said.
    let _ = said.read_to_end(&mut problem);
    if problem != [0] {
        let _ = io::stderr().write_all(&problem);
    }
    let status = rustix::process::waitpid(Some(child), WaitOptions::empty());
    let code = status.ok().flatten().and_then(|(_, status)| status.exit_status());
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

impl Starter {
    /// Leaves its working directory.
    pub(super) fn leave(&self) -> io::Result<()> {
        Ok(rustix::process::chdir("/")?)
    }

    /// Another end of the pipe, to say that the daemon is ready.
    pub(super) fn try_clone(&self) -> io::Result<PipeWriter> {
        self.0.try_clone()
    }

    /// Tells it why there is no daemon.
    pub(super) fn refuse(&self, error: &StartError) -> ExitCode {
        // One that is gone does not wait.
        let _ = (&self.0).write_all(format!("ferryfs: {error}\n").as_bytes());
        ExitCode::from(EXIT_START)
    }
}
