//! Floor 3: Linux's own FUSE client as a carrier. It knows /dev/fuse and mounts, not files.

mod device;
mod mount;
mod parked;
mod read_write;

pub use mount::{Mount, MountOptions};
pub use read_write::serve;
