//! What not every kernel can do.

use clap::ValueEnum;

/// When something is done that not every kernel can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in super::super) enum When {
    Auto,
    On,
    Off,
}

impl When {
    /// How loudly it is said that it cannot be done; none if it is not to be tried.
    pub(in super::super) fn level(self) -> Option<log::Level> {
        match self {
            When::Off => None,
            When::Auto => Some(log::Level::Debug),
            When::On => Some(log::Level::Warn),
        }
    }
}
