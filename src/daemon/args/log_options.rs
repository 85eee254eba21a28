//! Options that say what is logged, and where.

use clap::{Args, ValueEnum};
use log::LevelFilter;

/// How a message is written on the standard error output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in super::super) enum LogFormat {
    /// A line with its time and level
    Text,
    /// A JSON object a line
    Json,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Log")]
pub(in super::super) struct LogOptions {
    /// How much to log: off, error, warn, info, debug or trace; RUST_LOG overrides it
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = level)]
    log_level: LevelFilter,

    /// Log to syslog; without one, to the standard error output
    #[arg(long)]
    pub(in super::super) syslog: bool,

    /// How to write the log: text, or json (an object a line)
    #[arg(long, value_name = "FORMAT", default_value = "text", hide_possible_values = true)]
    pub(in super::super) log_format: LogFormat,
}

impl LogOptions {
    /// What is logged if the environment does not say otherwise.
    pub(in super::super) fn level(&self) -> LevelFilter {
        self.log_level
    }
}

pub(super) fn level(text: &str) -> Result<LevelFilter, &'static str> {
    match text {
        // The C daemon's word.
        "err" => Ok(LevelFilter::Error),
        _ => text.parse().map_err(|_| "it is not a level"),
    }
}
