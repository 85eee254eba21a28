//! Floor 3: Linux's own FUSE client as a carrier. It knows /dev/fuse and mounts, not files.

mod backing;
mod device;
mod entry;
mod error;
mod helper;
mod keeper;
mod mount;
mod notifier;
mod parked;
mod read_write;
mod readahead;
mod registrar;
mod rings;
mod serve;
mod slots;

pub use backing::BackingFiles;
pub use device::given;
pub use error::MountError;
pub use mount::{Attribute, Mount, MountOptions};
pub use notifier::Notifier;
pub use readahead::Readahead;
pub use registrar::Registrar;
pub use rings::{PARAMETER, Rings};
pub use serve::{Carriage, End, serve};
