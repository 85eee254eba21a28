//! Threads for what has to wait, so that a carrier's own never do. Floor 0: it knows neither
//! requests nor files.

mod pool;
mod retry;

pub use pool::Pool;
pub use retry::Retry;
