//! What an operator asks a running daemon.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use log::LevelFilter;

use super::super::shares::NamedShare;
use super::log_options::level;

/// Whom to ask, and what.
#[derive(Debug, Args)]
pub(in super::super) struct CtlSettings {
    /// The daemon's control socket, as its --control names it
    #[arg(long, value_name = "PATH")]
    pub(in super::super) control: PathBuf,

    /// Print the answer as JSON
    #[arg(long)]
    pub(in super::super) json: bool,

    #[command(subcommand)]
    pub(in super::super) question: Question,
}

/// What an operator wants to know or to have done.
#[derive(Clone, Debug, Subcommand)]
pub(in super::super) enum Question {
    /// What was served since the start, how fast, and what is held now
    Stats,
    /// What inodes are held, and how
    Inodes,
    /// Who is served
    Sessions,
    /// What `stats` says as Prometheus reads it
    Metrics,
    /// What is served right now, again and again
    Top {
        /// Seconds between looks
        #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
        interval: Duration,

        /// Looks before it ends [default: as long as the daemon runs]
        #[arg(long, value_name = "N")]
        count: Option<u64>,
    },
    /// Share more, or less, without a restart: of a daemon that was started with --share
    #[command(subcommand)]
    Share(ShareChange),
    /// How much is logged, or to log so much from now on
    LogLevel {
        /// off, error, warn, info, debug or trace
        #[arg(value_parser = level)]
        level: Option<LevelFilter>,
    },
}

/// What is shared from now on.
#[derive(Clone, Debug, Subcommand)]
pub(in super::super) enum ShareChange {
    /// Share a directory or a regular file
    Add {
        /// As --share has it
        #[arg(value_name = "NAME=PATH[:ro]", value_parser = NamedShare::parser())]
        share: NamedShare,
    },
    /// Share it no longer: what the guest still uses of it is stale
    Remove {
        /// Its name
        name: String,
    },
}

fn interval(text: &str) -> Result<Duration, &'static str> {
    let seconds = text.parse().ok().filter(|seconds| *seconds >= 0.01);
    let interval = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    interval.ok_or("it is not a number of seconds, or too small")
}
