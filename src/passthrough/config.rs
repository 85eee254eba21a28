//! How a directory is to be served.

use std::time::Duration;

use super::ids::IdMap;

/// Whether inodes are kept by file handle, which needs `CAP_DAC_READ_SEARCH` and a host file
/// system that has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileHandles {
    /// No: by descriptor, and by name when there are too many.
    Never,
    /// Where it works.
    #[default]
    Prefer,
    /// Nothing else is shared.
    Mandatory,
}

/// Settings of a [`Passthrough`](super::Passthrough).
#[derive(Clone, Debug)]
pub struct Config {
    /// How many descriptors may be held for the guest.
    pub descriptors: usize,
    /// How inodes are kept.
    pub file_handles: FileHandles,
    /// How user ids are translated.
    pub uids: IdMap,
    /// How group ids are translated.
    pub gids: IdMap,
    /// How long a guest may use attributes without asking again.
    pub attr_valid: Duration,
    /// How long a guest may use a name without asking again.
    pub entry_valid: Duration,
    /// How long a guest may take a name not to exist without asking again.
    pub negative_valid: Duration,
}

impl Default for Config {
    /// A share that others change as well: everything is asked for again after a second.
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Config {
            descriptors: 4096,
            file_handles: FileHandles::Prefer,
            uids: IdMap::default(),
            gids: IdMap::default(),
            attr_valid: second,
            entry_valid: second,
            negative_valid: second,
        }
    }
}
