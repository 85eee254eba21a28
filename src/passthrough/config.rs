//! How a directory is to be served.

use std::time::Duration;

/// Settings of a [`Passthrough`](super::Passthrough).
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// How many descriptors inodes may hold.
    pub descriptors: usize,
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
            attr_valid: second,
            entry_valid: second,
            negative_valid: second,
        }
    }
}
