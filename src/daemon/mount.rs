//! `ferryfs mount`.

use std::process::ExitCode;

use super::args::MountSettings;
use super::error::StartError;
use super::logging;
use super::run::{EXIT_SERVE, refuse};
use super::sandbox::{Ending, Outside};
use crate::dev::{self, Mount, MountOptions};
use crate::fuse::{Carrier, Session};

/// Mounts, serves, and returns when the mount is gone.
pub(super) fn main(settings: &MountSettings) -> ExitCode {
    logging::start(&settings.log);
    run(settings).unwrap_or_else(|error| refuse(&error))
}

fn run(settings: &MountSettings) -> Result<ExitCode, StartError> {
    let MountSettings { share, mountpoint, .. } = settings;
    let source = ("SOURCE", settings.source.as_path());
    let descriptors = share.prepare(source.0, source.1)?;
    let named = settings.source.display().to_string();
    let options = MountOptions { source: named, read_only: share.readonly() };
    let refuse = |error| {
        let problem = format!("cannot mount on {}: {error}", mountpoint.display());
        StartError::new("MOUNTPOINT", problem, "name an existing directory, and be root")
    };
    let mount = Mount::new(mountpoint, &options).map_err(refuse)?;
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let devices = match mount.devices(settings.threads.map_or(cpus, usize::from)) {
        Ok(devices) => devices,
        Err(error) => {
            let _ = mount.detach();
            return Err(refuse(error));
        }
    };
    settings.sandbox.run(source, share.needs(), Mounted(mount), |inside| {
        let share = settings.share.open(source, descriptors, inside)?;
        let session = Session::new(share, Carrier::DEV).into();
        settings.share.describe();
        let (source, at) = (settings.source.display(), mountpoint.display());
        log::info!("Mounted {source} on {at}");
        Ok(match dev::serve(&session, devices) {
            Ok(()) => {
                log::info!("Unmounted {at}, exiting");
                ExitCode::SUCCESS
            }
            Err(error) => {
                log::error!("Cannot serve {at} any further: {error}");
                ExitCode::from(EXIT_SERVE)
            }
        })
    })
}

/// Serving ends when the last user of the mount is gone.
struct Mounted(Mount);

impl Outside for Mounted {
    fn asked_to_end(&mut self) -> Ending {
        if let Err(error) = self.0.detach() {
            log::warn!("Cannot unmount: {error}");
        }
        Ending::ByItself
    }

    fn ended(&mut self) {
        // It is still there if the serving process came to an early end.
        if self.0.is_there() {
            let _ = self.0.detach();
        }
    }
}
