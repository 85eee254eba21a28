//! Floor 0: bytes that we touch but do not own, and tables that hand out ids.
//!
//! Guest memory is never a `&[u8]`: another party may change it at any time. A [`Segment`] is a
//! run of such bytes, a [`SegmentList`] is what a carrier gathers for one request, and
//! [`Input`] and [`Output`] walk it. Whatever will be judged is copied out once.

mod cursor;
mod file;
mod free;
pub(crate) mod prefetch;
mod segment;
mod slab;

pub use cursor::{Input, Output, Short};
pub use segment::{Full, Segment, SegmentList};
pub use slab::{Pin, Slab};
