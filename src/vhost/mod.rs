//! Floor 3: virtqueues over vhost-user. It knows rings and memory tables, not FUSE messages or
//! files: a request is two lists of segments in, one length out.

mod bounce;
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/bodies/chains.rs"]
pub mod chains;
mod completion;
mod deferred;
mod device;
mod event;
mod frontend;
mod gate;
mod idle;
mod log;
mod lost;
mod memory;
mod queue;
mod reads;
mod ring;
#[cfg(test)]
mod ring_tests;
mod server;
mod state;
mod telling;
mod terms;
mod traffic;
mod unshared;
mod window;

pub use device::{DeviceConfig, MAX_REQUEST_QUEUES, Tag};
pub use reads::ReadRings;
pub use server::{ServeError, serve};
pub use traffic::{QueueTotals, Traffic};
