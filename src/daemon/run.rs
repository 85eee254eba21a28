//! From the command line to the exit code.

use std::io::{self, Write};
use std::os::unix::net::UnixListener;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::args::{self, Settings, Wish};
use super::error::StartError;
use super::logging;
use super::socket::{Files, Socket};
use crate::fuse::{Carrier, Session};
use crate::passthrough::Passthrough;
use crate::vhost;

/// The daemon could not start: the command line, or something that it names, is wrong.
const EXIT_START: u8 = 2;
/// The daemon could not go on.
pub(super) const EXIT_SERVE: u8 = 1;

/// Runs the daemon by the process's arguments.
pub fn main() -> ExitCode {
    let settings = match args::parse(std::env::args_os()) {
        Ok(Wish::Serve(settings)) => settings,
        Ok(Wish::Mount(settings)) => return super::mount::main(&settings),
        Ok(Wish::Print(text)) => {
            // Nobody is left to be told if this fails.
            let _ = io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(error) => return refuse(&error),
    };
    logging::start(settings.log_level);
    match prepare(&settings) {
        Ok((listener, files, session)) => serve(&settings, &listener, &files, session),
        Err(error) => refuse(&error),
    }
}

pub(super) fn refuse(error: &StartError) -> ExitCode {
    // Not through the log: it may be off, or not there yet.
    let _ = writeln!(io::stderr(), "ferryfs: {error}");
    ExitCode::from(EXIT_START)
}

/// Files to remove when the daemon ends, whoever ends it.
type SharedFiles = Arc<Mutex<Files>>;

fn prepare(
    settings: &Settings,
) -> Result<(UnixListener, SharedFiles, Session<Passthrough>), StartError> {
    let share = settings.share.open("--shared-dir", &settings.shared_dir)?;
    let socket = Socket::open(&settings.socket)?;
    let files = Arc::new(Mutex::new(socket.files));
    end_on_signals(&files).map_err(|error| {
        remove(&files);
        StartError::new("signals", error, "give the process room for one more thread")
    })?;
    Ok((socket.listener, files, Session::new(share, Carrier::VIRTIO)))
}

fn serve(
    settings: &Settings,
    listener: &UnixListener,
    files: &SharedFiles,
    session: Session<Passthrough>,
) -> ExitCode {
    settings.share.describe();
    // Launchers wait for this very text.
    log::info!("Waiting for vhost-user socket connection...");
    let ended = vhost::serve(listener, session, settings.device);
    remove(files);
    match ended {
        Ok(()) => {
            log::info!("The front-end has disconnected, exiting");
            ExitCode::SUCCESS
        }
        Err(error) => {
            log::error!("{error}");
            ExitCode::from(EXIT_SERVE)
        }
    }
}

fn remove(files: &SharedFiles) {
    files.lock().unwrap_or_else(PoisonError::into_inner).remove();
}

/// SIGTERM, SIGINT and SIGHUP end the process at any time. Nothing is lost by that: what was
/// acknowledged to the guest is in the host's kernel.
fn end_on_signals(files: &SharedFiles) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let files = files.clone();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            log::info!("Ended by signal {signal}");
            remove(&files);
            std::process::exit(0);
        }
    })?;
    Ok(())
}
