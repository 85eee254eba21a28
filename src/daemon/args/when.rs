//! What not every kernel can do.

use clap::ValueEnum;

/// When something is done that not every kernel can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in super::super) enum When {
    Auto,
    On,
    Off,
}
