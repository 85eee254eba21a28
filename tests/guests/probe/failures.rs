//! What went wrong so far.

use std::fmt::{Debug, Display};
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// More lines help nobody.
const SHOWN: usize = 40;

static COUNT: AtomicUsize = AtomicUsize::new(0);
static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

/// Prints a failure, on one line.
pub(super) fn report(what: impl Debug, problem: impl Display) {
    if COUNT.fetch_add(1, Ordering::Relaxed) < SHOWN {
        let problem = problem.to_string().replace('\n', "; ");
        eprintln!("FAILED {what:?}: {problem}");
    }
}

/// Runs a check; its panic is its failure.
pub(super) fn attempt(what: impl Debug, run: impl FnOnce()) {
    if panic::catch_unwind(AssertUnwindSafe(run)).is_err() {
        report(what, LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Keeps the message of a panic for the line that is printed. One outside of a check is a
/// failure as well.
pub(super) fn install_hook() {
    panic::set_hook(Box::new(|info| {
        let message = info.payload_as_str().unwrap_or("panic");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let text = format!("{message} ({place})");
        *LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }));
}

/// The status to end with.
pub(super) fn exit_code() -> ExitCode {
    match COUNT.load(Ordering::Relaxed) {
        0 => ExitCode::SUCCESS,
        count => {
            if count > SHOWN {
                eprintln!("FAILED {} more", count - SHOWN);
            }
            ExitCode::FAILURE
        }
    }
}
