//! What threads share memory by, for the files that `proofs/` runs in every order: there it is
//! loom's, and everywhere else the standard library's.

#[cfg(loom)]
pub(crate) use loom::sync::*;
#[cfg(not(loom))]
pub(crate) use std::sync::*;
