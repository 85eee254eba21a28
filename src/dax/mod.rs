//! Floor 2: a DAX window, as a [`Window`](crate::fuse::Window) for file systems. It knows what is
//! mapped where, not who maps it or what the files are.

mod extents;
mod guest;
mod probe;
mod window;

pub use extents::{Extents, Mapping, PAGE, Step};
pub use window::{Channel, DaxWindow, Halt, Refusal};
