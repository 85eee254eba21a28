//! The model, for others than its own test.

mod guest;
mod host;
pub(crate) mod random;
mod tree;
pub(crate) mod world;
