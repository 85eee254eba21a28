//! Load on a daemon: requests as Linux sends them, many at a time, and what they cost.
//!
//! A [`Rig`] is one daemon with its guest. An [`Operation`] is a short cycle of requests; so many
//! slots as the depth says go through it again and again on every queue, each on files of its
//! own. FORGETs go to the hiprio queue and nobody waits for them, as in Linux.

mod forgets;
mod histogram;
mod lane;
mod message;
mod operations;
mod rig;
mod script;
mod tree;

pub use histogram::Histogram;
pub use operations::{OPERATIONS, Operation, Place};
pub use rig::{Load, Measured, Rig};
pub use tree::Tree;
