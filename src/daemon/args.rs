//! The command line.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ErrorKind};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use log::LevelFilter;

use super::error::StartError;
use super::sandbox::SandboxOptions;
use super::share::ShareOptions;
use crate::vhost::{DeviceConfig, MAX_REQUEST_QUEUES, Tag};

/// Serve a host directory to a virtual machine as a virtio-fs device, over vhost-user.
#[derive(Debug, Parser)]
#[command(name = "ferryfs", version, args_override_self = true, max_term_width = 100)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// Directory to share
    #[arg(long, value_name = "DIR")]
    shared_dir: Option<PathBuf>,

    /// Listen for the front-end (QEMU, cloud-hypervisor, ...) on this vhost-user socket
    #[arg(long, value_name = "SOCK", conflicts_with = "fd")]
    socket_path: Option<PathBuf>,

    /// Group that may connect to the socket, by name or number
    #[arg(long, value_name = "GROUP", conflicts_with = "fd")]
    socket_group: Option<String>,

    /// Use this descriptor, a listening Unix socket, instead of making one
    #[arg(long, value_name = "N")]
    fd: Option<RawFd>,

    /// Mount tag to offer to front-ends that take it from the device (1 to 36 bytes)
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,

    /// Request queues that the device's config space names
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_REQUEST_QUEUES)))]
    num_request_queues: u32,

    /// Threads for requests that wait for storage, at most [default: 16, as with 0]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true,
          value_parser = clap::value_parser!(u16).range(..=1024))]
    thread_pool_size: u16,

    /// Microseconds for which a queue may look for the next request before it sleeps, if requests
    /// come that soon and nobody else needs the processor [default: 50, or 0 with one processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=1000))]
    poll_us: Option<u32>,

    #[command(flatten)]
    share: ShareOptions,

    #[command(flatten)]
    sandbox: SandboxOptions,

    /// How much to log: off, error, warn, info, debug or trace; RUST_LOG overrides it
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: LevelFilter,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Mount a host directory on this host, through Linux's FUSE client
    Mount(MountSettings),
}

/// What to mount where, and how.
#[derive(Debug, Args)]
pub(super) struct MountSettings {
    /// Directory to show
    pub(super) source: PathBuf,

    /// Directory to show it at
    pub(super) mountpoint: PathBuf,

    #[command(flatten)]
    pub(super) share: ShareOptions,

    #[command(flatten)]
    pub(super) sandbox: SandboxOptions,

    /// Threads that serve requests [default: one a CPU]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(super) threads: Option<u16>,

    /// How much to log: off, error, warn, info, debug or trace; RUST_LOG overrides it
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(super) log_level: LevelFilter,
}

/// Enough to keep a disk busy, and few enough not to be noticed.
const WAITING_THREADS: usize = 16;

/// What to serve, and how.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) shared_dir: PathBuf,
    pub(super) socket: SocketSettings,
    pub(super) device: DeviceConfig,
    pub(super) share: ShareOptions,
    pub(super) sandbox: SandboxOptions,
    pub(super) log_level: LevelFilter,
}

/// Where the front-end comes from.
#[derive(Debug)]
pub(super) enum SocketSettings {
    Path { path: PathBuf, group: Option<String> },
    Fd(RawFd),
}

/// What the command line asks for.
#[derive(Debug)]
pub(super) enum Wish {
    Serve(Box<Settings>),
    Mount(Box<MountSettings>),
    /// Text for the standard output: help or version.
    Print(String),
}

/// Reads the command line; the first argument is the program's name.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Wish, StartError> {
    let arguments = Arguments::command()
        .try_get_matches_from(args)
        .and_then(|matches| Arguments::from_arg_matches(&matches));
    match arguments {
        Ok(Arguments { command: Some(Command::Mount(settings)), .. }) => {
            Ok(Wish::Mount(Box::new(settings)))
        }
        Ok(arguments) => Ok(Wish::Serve(Box::new(arguments.check()?))),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                Ok(Wish::Print(error.render().to_string()))
            }
            _ => Err(explain(&error)),
        },
    }
}

impl Arguments {
    fn check(self) -> Result<Settings, StartError> {
        let missing = |option, what| StartError::new(option, "it is missing", what);
        let shared_dir = self
            .shared_dir
            .ok_or_else(|| missing("--shared-dir", "name the directory to share"))?;
        let socket = match (self.socket_path, self.fd) {
            (Some(path), _) => SocketSettings::Path { path, group: self.socket_group },
            (None, Some(fd)) => SocketSettings::Fd(fd),
            (None, None) => {
                return Err(missing("--socket-path", "name the socket to listen on"));
            }
        };
        let tag = match &self.tag {
            None => None,
            Some(tag) => Some(Tag::new(tag).ok_or_else(|| {
                let problem = format!("{tag:?} is not a mount tag");
                StartError::new("--tag", problem, "give 1 to 36 bytes without a newline")
            })?),
        };
        Ok(Settings {
            shared_dir,
            socket,
            device: DeviceConfig {
                tag,
                request_queues: self.num_request_queues,
                cpus: std::thread::available_parallelism().map_or(1, usize::from),
                waiting_threads: match self.thread_pool_size {
                    0 => WAITING_THREADS,
                    threads => threads.into(),
                },
                poll: Duration::from_micros(self.poll_us.unwrap_or_else(usual_poll_us).into()),
            },
            share: self.share,
            sandbox: self.sandbox,
            log_level: self.log_level,
        })
    }
}

/// A little more than it takes to wake a guest's processor. With a single one, nobody can make a
/// request while it is used for polling; those that the daemon may use do not matter.
fn usual_poll_us() -> u32 {
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online");
    if online.is_ok_and(|online| online.trim() == "0") { 0 } else { 50 }
}

/// One line of clap's several.
fn explain(error: &clap::Error) -> StartError {
    let context = |kind| error.get(kind).map(ToString::to_string);
    let option = context(ContextKind::InvalidArg).unwrap_or_else(|| "the command line".into());
    let value = context(ContextKind::InvalidValue);
    let problem = match error.kind() {
        ErrorKind::UnknownArgument => "there is no such option".into(),
        ErrorKind::ArgumentConflict => {
            let other = context(ContextKind::PriorArg).unwrap_or_default();
            format!("it cannot be used with {other}")
        }
        ErrorKind::InvalidValue if value.as_ref().is_none_or(String::is_empty) => {
            "it needs a value".into()
        }
        _ => {
            let text = error.render().to_string();
            let line = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            // The option is named already.
            match line.split_once(&format!(" for '{option}'")) {
                Some((value, why)) => format!("{value}{why}"),
                None => line.to_owned(),
            }
        }
    };
    StartError::new(option, problem, "see --help")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &str) -> Result<Wish, StartError> {
        parse(std::iter::once("ferryfs").chain(words.split_whitespace()).map(OsString::from))
    }

    fn settings(words: &str) -> Settings {
        match parse_words(words) {
            Ok(Wish::Serve(settings)) => *settings,
            other => panic!("{words}: {other:?}"),
        }
    }

    #[test]
    fn the_two_options_of_the_main_job_are_enough() {
        let settings = settings("--shared-dir /srv --socket-path=/run/s");
        assert_eq!(settings.shared_dir, PathBuf::from("/srv"));
        assert!(matches!(settings.socket, SocketSettings::Path { group: None, .. }));
        assert_eq!(settings.device.request_queues, 1);
        assert_eq!(settings.log_level, LevelFilter::Info);
    }

    #[test]
    fn the_last_of_repeated_options_wins() {
        let settings = settings("--shared-dir /a --fd 4 --fd=5 --tag x --tag y");
        assert!(matches!(settings.socket, SocketSettings::Fd(5)));
        assert_eq!(settings.device.tag, Tag::new("y"));
    }

    #[test]
    fn a_bad_command_line_is_explained_in_one_line() {
        let long = "t".repeat(37);
        let too_long = format!("--shared-dir / --fd 3 --tag {long}");
        for (words, option) in [
            ("", "--shared-dir"),
            ("--shared-dir /srv", "--socket-path"),
            ("--shared-dir", "--shared-dir"),
            ("--shared-dir / --fd x", "--fd"),
            ("--shared-dir / --fd 3 --socket-path /s", "--"),
            ("--shared-dir / --fd 3 --num-request-queues 0", "--num-request-queues"),
            ("--shared-dir / --fd 3 --num-request-queues 64", "--num-request-queues"),
            ("--shared-dir / --fd 3 --log-level loud", "--log-level"),
            ("--frobnicate", "--frobnicate"),
            ("--shared-dir / --fd 3 --tag=", "--tag"),
            (&too_long, "--tag"),
        ] {
            let line = parse_words(words).unwrap_err().to_string();
            assert!(line.starts_with(option), "{words}: {line}");
            assert!(!line.contains('\n') && line.contains("; "), "{words}: {line}");
        }
    }

    #[test]
    fn help_and_version_need_nothing_else() {
        for (words, expected) in [("--help", "--shared-dir"), ("-V", "ferryfs 0.")] {
            match parse_words(words) {
                Ok(Wish::Print(text)) => assert!(text.contains(expected), "{text}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
