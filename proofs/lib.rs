//! What has to hold in whatever order threads take their steps, for the files themselves.

#[path = "../src/mem/slab.rs"]
pub mod slab;
#[path = "../src/sync.rs"]
mod sync;

#[cfg(test)]
mod slabs;
