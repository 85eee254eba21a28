//! What the daemon serves, and to whom.

use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::super::dax::DaxOptions;
use super::super::error::StartError;
use super::super::migration::MigrationOptions;
use super::super::sandbox::SandboxOptions;
use super::super::share::ShareOptions;
use super::super::shares::{NamedShare, Shared};
use super::log_options::LogOptions;
use super::when::When;
use crate::vhost::{DeviceConfig, MAX_REQUEST_QUEUES, Tag};

#[derive(Debug, Args)]
pub(super) struct ServeOptions {
    /// Directory to share
    #[arg(long, value_name = "DIR", action = clap::ArgAction::Append, help_heading = "Sharing")]
    shared_dir: Vec<PathBuf>,

    /// Share a directory or a regular file under a name, instead of --shared-dir; may be repeated,
    /// and the guest finds all of them in the root of the mount. ":ro" behind the path refuses
    /// changes
    #[arg(long, value_name = "NAME=PATH[:ro]", conflicts_with_all = ["shared_dir", "dax_window"],
          value_parser = NamedShare::parser(), help_heading = "Sharing")]
    share: Vec<NamedShare>,

    /// Refuse to start while the directory is not a mount point: it would be the wrong one
    #[arg(long, help_heading = "Sharing")]
    require_mountpoint: bool,

    /// Listen for the front-end (QEMU, cloud-hypervisor, ...) on this vhost-user socket; its pid
    /// file is SOCK.pid
    #[arg(
        long,
        value_name = "SOCK",
        alias = "socket",
        conflicts_with = "fd",
        help_heading = "Connection"
    )]
    socket_path: Option<PathBuf>,

    /// Group that may connect to the socket, by name or number
    #[arg(long, value_name = "GROUP", conflicts_with = "fd", help_heading = "Connection")]
    socket_group: Option<String>,

    /// Use this descriptor, a listening Unix socket, instead of making one; without this and
    /// --socket-path, the one that systemd passes (LISTEN_FDS)
    #[arg(long, value_name = "N", help_heading = "Connection")]
    fd: Option<RawFd>,

    /// Mount tag to offer to front-ends that take it from the device (1 to 36 bytes)
    #[arg(long, value_name = "TAG", help_heading = "Device")]
    tag: Option<String>,

    /// Request queues that the device's config space names, which front-ends see only with --tag;
    /// there are always as many at least
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Device",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_REQUEST_QUEUES)))]
    num_request_queues: u32,

    /// Threads for requests that wait for storage, at most [default: 16, as with 0]
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true,
        help_heading = "Process"
    )]
    thread_pool_size: usize,

    /// Microseconds for which a queue may look for the next request before it sleeps, if requests
    /// come that soon and nobody else needs the processor [default: 50, or 0 with one processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=1000),
          help_heading = "Process")]
    poll_us: Option<u32>,

    /// Have io_uring read what waits for storage, instead of a thread: auto (where it can be used),
    /// on (and say so if it cannot) or off
    #[arg(long, value_name = "WHEN", default_value = "auto", help_heading = "Process")]
    io_uring: When,

    #[command(flatten)]
    dax: DaxOptions,

    #[command(flatten)]
    how: ShareOptions,

    #[command(flatten)]
    sandbox: SandboxOptions,

    #[command(flatten)]
    migration: MigrationOptions,

    /// Go to the background once front-ends may connect; the log goes to syslog
    #[arg(long, help_heading = "Process")]
    daemonize: bool,

    /// Answer `ferryfs ctl` on this socket, which only our user may connect to
    #[arg(long, value_name = "PATH", help_heading = "Process")]
    control: Option<PathBuf>,

    /// Write a newline to this descriptor and close it once front-ends may connect
    #[arg(long, value_name = "N", help_heading = "Process")]
    ready_fd: Option<RawFd>,

    #[command(flatten)]
    log: LogOptions,

    /// Print what this program can do, for launchers, and exit
    #[arg(long, help_heading = "Other")]
    pub(super) print_capabilities: bool,

    // The next three are translated before the others are read (`words.rs`).
    /// Options as the C virtiofsd had them: a comma list of words as source=DIR, cache=always or
    /// no_xattr
    #[arg(short = 'o', value_name = "LIST", help_heading = "Other")]
    _words: Option<String>,

    /// Same as --log-level=debug
    #[arg(short = 'd', help_heading = "Other")]
    _debug: bool,

    /// Nothing: the daemon stays in the foreground anyway
    #[arg(short = 'f', help_heading = "Other")]
    _foreground: bool,
}

/// Enough to keep a disk busy, and few enough not to be noticed.
const WAITING_THREADS: usize = 16;

/// More never wait at a time, whatever virtiofsd was told to have.
const MOST_WAITING_THREADS: usize = 1024;

/// What to serve, and how.
#[derive(Debug)]
pub(in super::super) struct Settings {
    pub(in super::super) shared: Shared,
    pub(in super::super) require_mountpoint: bool,
    pub(in super::super) socket: SocketSettings,
    pub(in super::super) device: DeviceConfig,
    pub(in super::super) io_uring: When,
    pub(in super::super) dax: DaxOptions,
    pub(in super::super) share: ShareOptions,
    pub(in super::super) sandbox: SandboxOptions,
    pub(in super::super) migration: MigrationOptions,
    pub(in super::super) daemonize: bool,
    pub(in super::super) ready_fd: Option<RawFd>,
    pub(in super::super) control: Option<PathBuf>,
    pub(in super::super) log: LogOptions,
}

/// Where the front-end comes from.
#[derive(Debug)]
pub(in super::super) enum SocketSettings {
    Path {
        path: PathBuf,
        group: Option<String>,
    },
    Fd(RawFd),
    /// systemd has made the socket.
    Activated,
}

impl ServeOptions {
    pub(super) fn check(self) -> Result<Settings, StartError> {
        let tag = match &self.tag {
            None => None,
            Some(tag) => Some(Tag::new(tag).ok_or_else(|| {
                let problem = format!("{tag:?} is not a mount tag");
                StartError::new("--tag", problem, "give 1 to 36 bytes without a newline")
            })?),
        };
        let mut log = self.log;
        log.syslog |= self.daemonize;
        Ok(Settings {
            shared: match self.share.is_empty() {
                true => Shared::One(one_share(self.shared_dir)?),
                false => Shared::several(self.share)?,
            },
            require_mountpoint: self.require_mountpoint,
            socket: match (self.socket_path, self.fd) {
                (Some(path), _) => SocketSettings::Path { path, group: self.socket_group },
                (None, Some(fd)) => SocketSettings::Fd(fd),
                (None, None) if self.socket_group.is_some() => {
                    let problem = "it is for sockets that are made here";
                    return Err(StartError::new("--socket-group", problem, "use --socket-path"));
                }
                (None, None) => SocketSettings::Activated,
            },
            device: DeviceConfig {
                tag,
                request_queues: self.num_request_queues,
                cpus: std::thread::available_parallelism().map_or(1, usize::from),
                waiting_threads: match self.thread_pool_size {
                    0 => WAITING_THREADS,
                    threads => threads.min(MOST_WAITING_THREADS),
                },
                poll: Duration::from_micros(self.poll_us.unwrap_or_else(usual_poll_us).into()),
            },
            io_uring: self.io_uring,
            dax: self.dax,
            share: self.how,
            sandbox: self.sandbox,
            migration: self.migration,
            daemonize: self.daemonize,
            ready_fd: self.ready_fd,
            control: self.control,
            log,
        })
    }
}

/// A little more than it takes to wake a guest's processor. With a single one, nobody can make a
/// request while it is used for polling; those that the daemon may use do not matter.
fn usual_poll_us() -> u32 {
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online");
    if online.is_ok_and(|online| online.trim() == "0") { 0 } else { 50 }
}

/// Whoever may add options to a command line must not thereby choose what is shared.
fn one_share(named: Vec<PathBuf>) -> Result<PathBuf, StartError> {
    let option = "--shared-dir";
    let mut named = named.into_iter();
    let Some(first) = named.next() else {
        return Err(StartError::new(option, "it is missing", "name the directory to share"));
    };
    match named.find(|other| *other != first) {
        None => Ok(first),
        Some(other) => {
            let (first, other) = (first.display(), other.display());
            let problem = format!("it is given twice, as {first} and {other}");
            Err(StartError::new(option, problem, "name one directory"))
        }
    }
}
