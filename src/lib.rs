//! Ferry: one FUSE core that serves a host directory to virtio-fs guests.
//!
//! The modules are floors; each uses only those listed above it (`tests/floors.rs` enforces it).

#[cfg(test)]
#[path = "../fuzz/bodies/mutate.rs"]
mod mutate;

mod sync;

pub mod mem;

pub mod rights;

pub mod tally;

pub mod work;

pub mod fuse;

pub mod passthrough;

pub mod shares;

pub mod dax;

pub mod vhost;

pub mod dev;

pub mod daemon;
