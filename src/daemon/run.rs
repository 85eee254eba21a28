//! From the command line to the exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use super::args::{self, Settings, Wish};
use super::error::StartError;
use super::logging;
use super::sandbox::{Ending, Outside};
use super::socket::{Files, Socket};
use crate::fuse::{Carrier, Session};
use crate::vhost;

/// The daemon could not start: the command line, or something that it names, is wrong.
pub(super) const EXIT_START: u8 = 2;
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
    run(settings).unwrap_or_else(|error| refuse(&error))
}

pub(super) fn refuse(error: &StartError) -> ExitCode {
    // Not through the log: it may be off, or not there yet.
    let _ = writeln!(io::stderr(), "ferryfs: {error}");
    ExitCode::from(EXIT_START)
}

fn run(settings: Box<Settings>) -> Result<ExitCode, StartError> {
    let Settings { shared_dir, socket, device, share, sandbox, .. } = *settings;
    let directory = ("--shared-dir", shared_dir.as_path());
    let descriptors = share.prepare(directory.0, directory.1)?;
    let Socket { listener, files } = Socket::open(&socket)?;
    sandbox.run(directory, share.needs(), files, |inside| {
        let session = Session::new(share.open(directory, descriptors, inside)?, Carrier::VIRTIO);
        share.describe();
        // Launchers wait for this very text.
        log::info!("Waiting for vhost-user socket connection...");
        Ok(match vhost::serve(&listener, session, device) {
            Ok(()) => {
                log::info!("The front-end has disconnected, exiting");
                ExitCode::SUCCESS
            }
            Err(error) => {
                log::error!("{error}");
                ExitCode::from(EXIT_SERVE)
            }
        })
    })
}

impl Outside for Files {
    fn asked_to_end(&mut self) -> Ending {
        Ending::Kill
    }

    fn ended(&mut self) {
        self.remove();
    }
}
