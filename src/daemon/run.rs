//! From the command line to the exit code.

use std::io::{self, PipeReader, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};

use super::args::{self, LogOptions, Settings, When, Wish};
use super::background::{self, Side, Starter};
use super::control::{Report, SharedAs, Surveyed, Watched};
use super::ctl;
use super::error::StartError;
use super::logging;
use super::readiness::{Notify, Readiness};
use super::sandbox::{Ending, Outside, hold_signals};
use super::share::ShareOptions;
use super::shares::{Keeper, Shared};
use super::socket::{Files, Socket};
use crate::dax::DaxWindow;
use crate::fuse::{Carrier, Session};
use crate::vhost::{self, DeviceConfig, ReadRings};

/// The daemon could not start: the command line, or something that it names, is wrong.
pub(super) const EXIT_START: u8 = 2;
/// The daemon could not go on.
pub(super) const EXIT_SERVE: u8 = 1;

/// Runs the daemon by the process's arguments.
pub fn main() -> ExitCode {
    let settings = match args::parse(std::env::args_os()) {
        Ok(Wish::Serve(settings)) => settings,
        Ok(Wish::Mount(settings)) => return super::mount::main(&settings),
        Ok(Wish::Ctl(settings)) => return ctl::main(&settings),
        Ok(Wish::Print(text)) => {
            // Nobody is left to be told if this fails.
            let _ = io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(error) => return refuse(&error),
    };
    let (daemonize, log) = (settings.daemonize, settings.log.clone());
    start(daemonize, &log, |starter| run(*settings, starter))
}

/// Starts the log and does what `run` does, in the background if it is to be there.
pub(super) fn start(
    daemonize: bool,
    log: &LogOptions,
    run: impl FnOnce(Option<&Starter>) -> Result<ExitCode, StartError>,
) -> ExitCode {
    let starter = match daemonize.then(background::fork).transpose() {
        Ok(Some(Side::Starter(code))) => return code,
        Ok(Some(Side::Daemon(starter))) => Some(starter),
        Ok(None) => None,
        Err(error) => return refuse(&StartError::new("--daemonize", error, "leave it out")),
    };
    logging::start(log);
    run(starter.as_ref()).unwrap_or_else(|error| match &starter {
        Some(starter) => starter.refuse(&error),
        None => refuse(&error),
    })
}

pub(super) fn refuse(error: &StartError) -> ExitCode {
    // Not through the log: it may be off, or not there yet.
    let _ = writeln!(io::stderr(), "ferryfs: {error}");
    ExitCode::from(EXIT_START)
}

fn run(settings: Settings, starter: Option<&Starter>) -> Result<ExitCode, StartError> {
    let ready = Readiness::new(settings.ready_fd, starter)?;
    let Settings { mut shared, socket, device, io_uring, dax, share, sandbox, migration, .. } =
        settings;
    let mut premises = shared.premises(share.readonly(), settings.control.is_some());
    let descriptors = share.prepare(&premises)?;
    if settings.require_mountpoint
        && let Some(other) = premises.paths().find(|path| !is_mountpoint(path))
    {
        let problem = format!("{} is not a mount point", other.display());
        return Err(StartError::new(
            "--require-mountpoint",
            problem,
            "mount something there first",
        ));
    }
    let window = dax.open()?;
    hold_signals().map_err(|error| StartError::new("signals", error, "see sigprocmask(2)"))?;
    let Socket { listener, mut files } = Socket::open(&socket)?;
    let control = settings.control.as_deref().map(|path| Socket::private("--control", path));
    let control = control.transpose().inspect_err(|_| files.remove())?.map(|control| {
        files.add(control.files);
        control.listener
    });
    let (report, asked) = Report::new().map_err(|error| {
        files.remove();
        StartError::new("--rlimit-nofile", error, "allow more open files")
    })?;
    let mut outside = Beside { files, notify: ready.notify.clone(), report };
    if let Some(starter) = starter {
        leave(starter, &mut shared).inspect_err(|_| outside.ended())?;
        premises = shared.premises(share.readonly(), settings.control.is_some());
    }
    let rings = rings(io_uring, &device);
    let carried =
        Carried { listener, device, rings, asked, control, pid: std::process::id(), ready };
    sandbox.run(&premises, share.needs(), outside, |inside| match &shared {
        Shared::One(path) => {
            let mut files = share.open(("--shared-dir", path), descriptors, inside)?;
            migration.apply(&mut files);
            let window = window.map(|window| dax.map_into(window, &mut files));
            carried.serve(files, SharedAs::One(path.clone()), window, &share)
        }
        Shared::Several(named) => {
            let (files, keeper) = Keeper::open(&share, named, descriptors, inside)?;
            log::info!("Guests of several shares can migrate only while they have none mounted");
            carried.serve(files, SharedAs::Several(Box::new(keeper)), None, &share)
        }
    })
}

/// What serving needs besides a file system.
struct Carried {
    listener: UnixListener,
    device: DeviceConfig,
    rings: Option<ReadRings>,
    asked: PipeReader,
    control: Option<UnixListener>,
    /// By which others know the daemon.
    pid: u32,
    ready: Readiness,
}

impl Carried {
    /// Serves one front-end.
    fn serve<F: Surveyed + 'static>(
        self,
        files: F,
        shared: SharedAs,
        window: Option<Arc<DaxWindow>>,
        share: &ShareOptions,
    ) -> Result<ExitCode, StartError> {
        let session = Session::new(files, Carrier::VIRTIO);
        let watched = Watched::new(session, shared, self.pid);
        watched.clone().show(self.asked, self.control).map_err(|error| {
            StartError::new("threads", error, "give the process room for two more")
        })?;
        share.describe();
        let notify = self.ready.announce();
        let accepted = self.listener.accept().map_err(vhost::ServeError::Start);
        let ended = accepted.and_then(|(one, _)| {
            log::debug!("A front-end has connected");
            notify.say("STATUS=Serving a front-end");
            watched.connected();
            let session = watched.session.clone();
            vhost::serve(one, session, self.device, (&watched.traffic, window, self.rings))
        });
        notify.say("STOPPING=1\nSTATUS=The front-end has disconnected");
        Ok(match ended {
            Ok(()) => {
                log::info!("The front-end has disconnected, exiting");
                ExitCode::SUCCESS
            }
            Err(error) => {
                log::error!("{error}");
                ExitCode::from(EXIT_SERVE)
            }
        })
    }
}

/// Leaves the working directory of who started a daemon in the background.
fn leave(starter: &Starter, shared: &mut Shared) -> Result<(), StartError> {
    let left = shared.make_absolute().and_then(|()| starter.leave());
    left.map_err(|error| StartError::new("--daemonize", error, "leave it out"))
}

/// Rings for READs that wait for storage, if there are to be any and the kernel has them.
fn rings(when: When, device: &DeviceConfig) -> Option<ReadRings> {
    let level = when.level()?;
    let report = |error: &io::Error| {
        log::log!(level, "Reads wait for storage in threads: io_uring cannot be used ({error})");
    };
    ReadRings::new(device).inspect_err(report).ok()
}

/// True if a file system is mounted there.
fn is_mountpoint(path: &Path) -> bool {
    let stat = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::TYPE);
    stat.is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// What the process that does not serve has to do.
struct Beside {
    files: Files,
    notify: Notify,
    report: Report,
}

impl Outside for Beside {
    fn asked_to_end(&mut self) -> Ending {
        self.notify.say("STOPPING=1\nSTATUS=Ended by a signal");
        Ending::Kill
    }

    fn asked_to_report(&mut self) {
        self.report.ask();
    }

    fn ended(&mut self) {
        self.files.remove();
    }
}
