//! `ferryfs mount`.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::args::MountSettings;
use super::error::StartError;
use super::logging;
use super::run::{EXIT_SERVE, refuse};
use crate::dev::{self, Mount, MountOptions};
use crate::fuse::{Carrier, Session};
use crate::passthrough::Passthrough;

/// Mounts, serves, and returns when the mount is gone.
pub(super) fn main(settings: &MountSettings) -> ExitCode {
    logging::start(settings.log_level);
    match prepare(settings) {
        Ok((mount, session)) => serve(settings, &mount, &session),
        Err(error) => refuse(&error),
    }
}

fn prepare(
    settings: &MountSettings,
) -> Result<(Arc<Mount>, Arc<Session<Passthrough>>), StartError> {
    let share = settings.share.open("SOURCE", &settings.source)?;
    let source = settings.source.display().to_string();
    let options = MountOptions { source, read_only: settings.share.readonly() };
    let mount = Mount::new(&settings.mountpoint, &options).map_err(|error| {
        let problem = format!("cannot mount on {}: {error}", settings.mountpoint.display());
        StartError::new("MOUNTPOINT", problem, "name an existing directory, and be root")
    })?;
    let mount = Arc::new(mount);
    detach_on_signals(&mount).map_err(|error| {
        StartError::new("signals", error, "give the process room for one more thread")
    })?;
    Ok((mount, Arc::new(Session::new(share, Carrier::DEV))))
}

fn serve(settings: &MountSettings, mount: &Mount, session: &Arc<Session<Passthrough>>) -> ExitCode {
    let (source, at) = (settings.source.display(), settings.mountpoint.display());
    settings.share.describe();
    log::info!("Mounted {source} on {at}");
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = settings.threads.map_or(cpus, usize::from);
    match dev::serve(session, mount.device(), threads) {
        Ok(()) => {
            log::info!("Unmounted {at}, exiting");
            ExitCode::SUCCESS
        }
        Err(error) => {
            log::error!("Cannot serve {at} any further: {error}");
            ExitCode::from(EXIT_SERVE)
        }
    }
}

/// SIGTERM, SIGINT and SIGHUP unmount; serving ends when the last user is gone.
fn detach_on_signals(mount: &Arc<Mount>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let mount = mount.clone();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for _ in signals.forever() {
            if let Err(error) = mount.detach() {
                log::warn!("Cannot unmount: {error}");
            }
        }
    })?;
    Ok(())
}
