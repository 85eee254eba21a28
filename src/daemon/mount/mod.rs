//! `ferryfs mount`.

mod options;
mod place;
mod registering;
mod settings;

use std::io::{PipeWriter, Write};
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use log::Level;

use super::args::When;
use super::background::Starter;
use super::error::StartError;
use super::run::{self, EXIT_SERVE};
use super::sandbox::{Ending, Inside, Outside, Premises, hold_signals};
use crate::dev::{
    self, BackingFiles, Carriage, End, Mount, MountError, Notifier, PARAMETER, Readahead,
    Registrar, Rings,
};
use crate::fuse::flags::init;
use crate::fuse::{Carrier, Session};
use crate::passthrough::{Passthrough, WatchGroup};

pub(super) use options::expand;
pub(super) use settings::MountSettings;

use registering::Registering;

/// Mounts, serves, and returns when the mount is gone.
pub(super) fn main(settings: &MountSettings) -> ExitCode {
    run::start(settings.daemonize, &settings.log, |starter| serve(settings, starter))
}

fn serve(settings: &MountSettings, starter: Option<&Starter>) -> Result<ExitCode, StartError> {
    let waits = starter.map(Starter::try_clone).transpose();
    let waits = waits.map_err(|error| StartError::new("--daemonize", error, "leave it out"))?;
    settings.check()?;
    // The working directory may be another by the time that it is opened.
    let full = std::path::absolute(&settings.source);
    let source = full.as_deref().unwrap_or(&settings.source);
    let premises = Premises::one("SOURCE", source, !settings.share.readonly());
    let descriptors = settings.share.prepare(&premises)?;
    let group = settings.watch.then(WatchGroup::new).transpose().map_err(|error| {
        let problem = format!("cannot watch for changes: {error}");
        let remedy = "use Linux 5.13 or later, and raise fs.fanotify.max_user_groups";
        StartError::new("--watch", problem, remedy)
    })?;
    hold_signals().map_err(|error| StartError::new("signals", error, "see sigprocmask(2)"))?;
    let target = Target::find(settings)?;
    // From here on the source is the working directory: nobody has to go through the mount to
    // reach it, which may be on it or above it.
    let premises = place::enter(source, premises)?;
    let depth = place::stack_depth();
    let (mount, name) = target.mount(settings)?;
    let (given, registrar) = match Given::new(settings, &mount, (name, depth), group) {
        Ok(both) => both,
        Err(error) => {
            let _ = mount.detach();
            let remedy = "give the process room for more open files";
            return Err(StartError::new("MOUNTPOINT", error, remedy));
        }
    };
    let registrar = Registering::new(registrar, &settings.sandbox);
    let outside = Mounted { mount, was_asked: false, registrar };
    settings.sandbox.run(&premises, settings.share.needs(), outside, |inside| {
        given.serve(settings, descriptors, inside, waits)
    })
}

/// Where to serve.
enum Target {
    /// A directory, to be mounted on.
    Directory(PathBuf),
    /// A device that somebody else has mounted.
    Descriptor(RawFd),
}

impl Target {
    fn find(settings: &MountSettings) -> Result<Self, StartError> {
        Ok(match settings.device()? {
            Some(number) => Target::Descriptor(number),
            None => Target::Directory(place::check(&settings.source, settings.mountpoint()?)?),
        })
    }

    /// What is mounted, and what to call it.
    fn mount(self, settings: &MountSettings) -> Result<(Mount, String), StartError> {
        let at = match self {
            Target::Directory(at) => at,
            Target::Descriptor(number) => {
                let device = dev::given(number).map_err(|error| {
                    let problem = format!("cannot use descriptor {number}: {error}");
                    StartError::new("--fd", problem, "pass /dev/fuse, opened and mounted")
                })?;
                return Ok((Mount::of(device), format!("descriptor {number}")));
            }
        };
        let mount = Mount::new(&at, &settings.options()?).map_err(|error| {
            let remedy = match &error {
                MountError::Device(_) => {
                    "load the module fuse, and have the right to use /dev/fuse"
                }
                MountError::Refused(_) => "name an existing directory, and have CAP_SYS_ADMIN",
                MountError::NoHelper(_) => "install fuse3, or be root",
                MountError::NoKeeper(_) => "do without --auto-unmount",
                MountError::Helper(_) => {
                    "name a directory of your own, with options that users may give"
                }
            };
            StartError::new("MOUNTPOINT", error, remedy)
        })?;
        Ok((mount, at.display().to_string()))
    }
}

/// What the serving process cannot make for itself.
struct Given {
    name: String,
    carriage: Carriage,
    carrier: Carrier,
    backing: Option<BackingFiles>,
    watch: Option<(WatchGroup, Notifier)>,
    readahead: std::io::Result<Readahead>,
}

impl Given {
    fn new(
        settings: &MountSettings,
        mount: &Mount,
        (name, depth): (String, u32),
        group: Option<WatchGroup>,
    ) -> std::io::Result<(Self, Option<Registrar>)> {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let devices = mount.devices(settings.threads.map_or(cpus, usize::from))?;
        let mut carrier = Carrier::DEV;
        let rings = rings(settings.io_uring, settings.share.has_locks());
        if rings.is_some() {
            carrier.own |= init::OVER_IO_URING;
        }
        let (mut backing, mut registrar) = (None, None);
        if settings.passes() {
            let (registers, asks) = Registrar::new(mount, most_registrations())?;
            (backing, registrar) = (Some(asks), Some(registers));
            carrier.stack_depth = depth;
        }
        let notifier = group.is_some().then(|| Notifier::new(mount.device())).transpose()?;
        let watch = group.zip(notifier);
        let carriage = Carriage { devices, rings };
        let readahead = Readahead::of(mount);
        Ok((Given { name, carriage, carrier, backing, watch, readahead }, registrar))
    }

    fn serve(
        self,
        settings: &MountSettings,
        descriptors: usize,
        inside: Inside,
        waits: Option<PipeWriter>,
    ) -> Result<ExitCode, StartError> {
        let Given { name: at, carriage, carrier, backing, watch, readahead } = self;
        let source = ("SOURCE", settings.source.as_path());
        let mut share = settings.share.open(source, descriptors, inside)?;
        if let Some(backing) = backing {
            share.pass_through(Arc::new(backing), settings.passthrough_rules());
        }
        let notifier = watch.map(|(group, notifier)| {
            share.watch(group);
            notifier
        });
        let session = Arc::new(Session::new(share, carrier));
        settings.share.describe();
        let size = carriage.rings.as_ref().map(|rings| (rings.size(), rings.memory() >> 20));
        let ready = || {
            if let Some(notifier) = notifier {
                tell_changes(&session, notifier);
            }
            if let Some(((queues, entries), memory)) = size
                && session.has_agreed(init::OVER_IO_URING)
            {
                log::info!(
                    "Requests come over io_uring: {queues} queues of {entries} entries, which \
                     take {memory} MiB at most"
                );
            }
            read_ahead(settings, readahead, session.has_agreed(init::OVER_IO_URING));
            if settings.passthrough == When::On && !session.has_agreed(init::PASSTHROUGH) {
                log::warn!("All files go through the daemon: this kernel passes none through");
            }
            log::info!("Mounted {} on {at}", settings.source.display());
            if let Some(mut waits) = waits {
                // One that is gone does not wait.
                let _ = waits.write_all(b"\n");
            }
        };
        let why = match dev::serve(&session, carriage, ready) {
            Ok(End::Unmounted) => {
                log::info!("Unmounted {at}, exiting");
                return Ok(ExitCode::SUCCESS);
            }
            Ok(End::Aborted) => "the connection was aborted".into(),
            Err(error) => error.to_string(),
        };
        log::error!("Cannot serve {at} any further: {why}");
        Ok(ExitCode::from(EXIT_SERVE))
    }
}

/// The serving process holds each registered file open as well.
fn most_registrations() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

/// Rings, if requests are to come by them, and the kernel can do that now.
fn rings(when: When, waits: bool) -> Option<Rings> {
    let level = when.level()?;
    let refused = match std::fs::read_to_string(PARAMETER) {
        Ok(value) if value.starts_with('Y') => match Rings::new(waits) {
            Ok(rings) => return Some(rings),
            Err(error) => format!("it cannot be used ({error})"),
        },
        Ok(_) => format!("it is switched off; write Y to {PARAMETER}"),
        Err(_) => "this kernel does not have it for FUSE".into(),
    };
    log::log!(level, "Requests go through read and write, not io_uring: {refused}");
    None
}

/// Has the kernel read ahead as far as was asked for, or as is good.
fn read_ahead(settings: &MountSettings, place: std::io::Result<Readahead>, has_rings: bool) {
    let Some(bytes) = settings.readahead(has_rings) else { return };
    let Err(error) = place.and_then(|place| place.set(bytes)) else { return };
    let level = if settings.max_readahead.is_some() { Level::Warn } else { Level::Debug };
    log::log!(level, "The kernel reads ahead as far as it likes: {error}");
}

/// Tells the kernel what others change in the source, until the mount is gone.
fn tell_changes(session: &Arc<Session<Passthrough>>, notifier: Notifier) {
    let session = session.clone();
    let thread = std::thread::Builder::new().name("watch".into());
    let started = thread.spawn(move || session.filesystem().tell_changes(&notifier));
    if let Err(error) = started {
        log::error!("Changes by others are not seen at once: {error}");
    }
}

/// Serving ends when the last user of the mount is gone; at once for those who ask twice.
struct Mounted<'a> {
    mount: Mount,
    was_asked: bool,
    registrar: Registering<'a>,
}

impl Outside for Mounted<'_> {
    fn begun(&mut self) {
        // This process does not keep the source, nor where it was started, from being unmounted.
        let _ = rustix::process::chdir("/");
        self.registrar.begin();
    }

    fn asked_to_end(&mut self) -> Ending {
        if self.was_asked || !self.mount.is_ours() {
            return Ending::Kill;
        }
        self.was_asked = true;
        if let Err(error) = self.mount.detach() {
            log::warn!("Cannot unmount: {error}");
        }
        Ending::ByItself
    }

    fn ended(&mut self) {
        // It is still there if serving came to an early end: it would fail whoever uses it.
        if self.mount.is_there() {
            let _ = self.mount.detach();
        }
        self.mount.is_gone();
    }
}
