//! What all tests of the project need.

use std::io::Write;
use std::time::{Duration, Instant};

/// What no step of a test takes, on the slowest machine.
pub const LONG: Duration = Duration::from_secs(120);

/// Says why a test does not run here. Past the harness, which keeps what a passing test prints,
/// and on a line of its own: `scripts/test` counts such lines. Always true.
pub fn skip(test: &str, reason: &str) -> bool {
    // Nobody is left to be told if this fails.
    let _ = std::io::stderr().write_all(format!("\nSKIPPED: {test}: {reason}\n").as_bytes());
    true
}

/// Waits until something is so that nobody tells us of.
///
/// # Panics
/// Where it is not so within [`LONG`].
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < end, "in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
