//! The log goes to the standard error output, a line a message.

use log::LevelFilter;

/// Starts logging at `level`, or as the environment variable `RUST_LOG` says.
pub(super) fn start(level: LevelFilter) {
    env_logger::Builder::new().filter_level(level).parse_default_env().init();
}
