//! The daemon as real guests meet it: Linux under QEMU, and User-Mode Linux.
#![cfg(test)]

mod debian;
mod flavour;
mod machine;
#[path = "probe/main.rs"]
#[expect(dead_code, reason = "the program that is put into guests; here it is only linted")]
mod probe;
mod program;
mod scenarios;
mod slots;

use std::path::Path;
use std::time::Duration;

/// How long a guest may run.
const BOOT: Duration = Duration::from_secs(180);

/// What no step of a guest or of the host may take longer than.
const STEP: Duration = Duration::from_secs(120);

/// The repository.
fn repo() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
