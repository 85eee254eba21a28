//! Floor 4: the process. It knows arguments, logs, sockets and limits, and puts the floors below
//! together.

mod args;
mod background;
mod control;
mod ctl;
mod dax;
mod error;
mod inherited;
mod limits;
mod logging;
mod migration;
mod mount;
mod readiness;
mod run;
mod sandbox;
mod share;
mod shares;
mod socket;

#[cfg(fuzzing)]
pub use args::arguments;
pub use args::command;
pub use run::main;
