//! The guest's side of a vhost-user virtio-fs device, in user space: a front-end ([`Guest`]), a
//! driver of its virtqueues ([`Queue`]), a FUSE client ([`Client`]), and a [`Daemon`] to talk to.
//!
//! Everything that waits has a deadline, and tells a daemon that died from one that is slow.
//! Whatever the device does is checked; what it breaks is an [`Error::Device`].

mod client;
mod daemon;
mod dirents;
mod error;
mod event;
mod frame;
mod guest;
mod handles;
mod harness;
mod lease;
pub mod load;
mod memory;
mod process;
mod queue;
mod requests;
mod ring;
mod tracer;
mod usage;
mod window;

pub use client::{Caller, Client, Mode, Reply};
pub use daemon::Daemon;
pub use dirents::DirEntry;
pub use error::{Error, Result};
pub use event::Event;
pub use frame::{Frame, Layout, Request};
pub use guest::{DirtyLog, Guest, Setup};
pub use harness::{LONG, skip, wait_until};
pub use lease::Lease;
pub use memory::{PAGE, Region};
pub use process::Process;
pub use queue::{Counts, Queue};
pub use requests::{LINUX_6_1, LINUX_6_18, ROOT};
pub use ring::{Desc, Ring, Span, Used};
pub use tracer::{Calls, Tracer};
pub use window::{DaxWindow, Profile};
