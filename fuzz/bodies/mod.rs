//! What the fuzzers do, as functions of bytes: for them and for tests.

pub mod extents;
pub mod messages;
#[path = "../../tests/model/mod.rs"]
mod model;
pub mod operations;
pub mod requests;
pub mod states;
#[path = "../../tests/support/mod.rs"]
mod support;
