//! The log: a line a message, to the standard error output or to syslog.
//!
//! Whatever it needs is opened at the start, so that it works inside every sandbox.

mod limit;
mod line;
mod syslog;
mod time;

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Instant, SystemTime};

use env_filter::Filter;
use log::{LevelFilter, Log, Metadata, Record};

use super::args::{LogFormat, LogOptions};
use limit::{Limit, Verdict};
use line::{Form, Message};
use syslog::Syslog;

/// The target of messages that the administrator has asked for: all of them are logged.
pub(super) const ASKED_FOR: &str = "ferryfs";

static LOGGER: OnceLock<Logger> = OnceLock::new();

/// Starts logging as `options` say, at the level that the environment variable `RUST_LOG` says,
/// if it does.
pub(super) fn start(options: &LogOptions) {
    let mut filter = env_filter::Builder::new();
    filter.filter_level(options.level());
    let wish = std::env::var("RUST_LOG").unwrap_or_default();
    let bad_wish = match wish.as_str() {
        "" => None,
        wish => filter.try_parse(wish).err(),
    };
    let (syslog, no_syslog) = match options.syslog.then(Syslog::open).transpose() {
        Ok(syslog) => (syslog, None),
        Err(error) => (None, Some(error)),
    };
    let form = match options.log_format {
        LogFormat::Json => Form::Json,
        LogFormat::Text if goes_to_journal() => Form::Journal,
        LogFormat::Text => Form::Text,
    };
    let level = AtomicU8::new(AS_STARTED);
    let logger = Logger { filter: filter.build(), level, limit: Limit::default(), form, syslog };
    let logger = LOGGER.get_or_init(|| logger);
    // Fails if another log was started in this process, which then is the log.
    if log::set_logger(logger).is_ok() {
        log::set_max_level(logger.filter.filter());
    }
    if let Some(error) = no_syslog {
        log::info!("There is no syslog here ({error}): logging to the standard error output");
    }
    if let Some(error) = bad_wish {
        log::warn!("RUST_LOG is not a filter ({error}); logging as --log-level says");
    }
}

/// Logs at another level from now on.
pub(super) fn set_level(level: LevelFilter) {
    if let Some(logger) = LOGGER.get() {
        logger.level.store(level as u8, Ordering::Relaxed);
        log::set_max_level(level);
    }
}

struct Logger {
    filter: Filter,
    /// A [`LevelFilter`] that was set since the start, or [`AS_STARTED`].
    level: AtomicU8,
    limit: Limit,
    form: Form,
    syslog: Option<Syslog>,
}

const AS_STARTED: u8 = u8::MAX;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        match self.level.load(Ordering::Relaxed) {
            AS_STARTED => self.filter.enabled(metadata),
            level => metadata.level() as u8 <= level,
        }
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let left_out = match self.limit.judge(record, Instant::now()) {
            Verdict::Suppress => return,
            Verdict::Log { left_out } => left_out,
        };
        let message = Message { record, left_out, time: SystemTime::now() };
        if let Some(syslog) = &self.syslog
            && syslog.send(&message).is_ok()
        {
            return;
        }
        // Nobody is left to be told if this fails.
        let _ = io::stderr().write_all(&message.line(self.form));
    }

    fn flush(&self) {}
}

/// True if systemd reads the standard error output, so that it wants levels as numbers and no time.
fn goes_to_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(stat) = rustix::fs::fstat(io::stderr()) else { return false };
    stream == format!("{}:{}", stat.st_dev, stat.st_ino)
}
