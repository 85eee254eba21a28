//! Floor 1: the FUSE protocol. It knows messages, not files, sockets or threads.
//!
//! [`Session::serve`] turns one request into one reply by calling a [`Filesystem`]. The facts
//! rest on `include/uapi/linux/fuse.h` (7.45) and `fs/fuse/` of Linux.

pub mod abi;
mod account;
mod args;
mod backing;
mod change;
mod dirents;
mod dispatch;
mod ends;
mod errno;
mod extensions;
mod filesystem;
pub mod flags;
mod init;
mod migration;
mod name;
mod notice;
mod opcode;
mod reading;
mod session;
mod undo;
mod window;

pub use account::{OperationTotals, Totals};
pub use backing::{Backing, BackingId};
pub use change::{AttrChange, SetTime};
pub use dirents::{DirSink, Record};
pub use errno::{Errno, Result};
pub use extensions::SecurityContext;
pub use filesystem::{
    Attributes, Caller, CopyRange, Create, Created, Entry, Filesystem, Handle, Lock, NewNode,
    NodeId, Opened, StatxAttributes,
};
pub use init::{Carrier, Negotiated};
pub use migration::Migration;
pub use name::Name;
pub use notice::{Notice, Notify};
pub use opcode::Opcode;
pub(crate) use reading::PAGE;
pub use reading::Reading;
pub use session::{Patience, Scratch, Served, Session, Wait, give_up};
pub use window::{Abilities, MapRange, Mappings, Source, Window};
