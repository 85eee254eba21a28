//! The two sides of a share take turns.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the other side may take.
const LONG: Duration = Duration::from_secs(60);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Tells the other side that it is its turn, and waits until it says that it is done by making
/// `path`. Looks by listing: what a listing shows, other than what a lookup finds, is never
/// cached by a guest.
pub(super) fn take(path: &Path) {
    let name = path.file_name().unwrap();
    eprintln!("turn: {}", name.display());
    let deadline = Instant::now() + LONG;
    let is_there = || {
        let mut entries = fs::read_dir(path.parent().unwrap()).unwrap();
        entries.any(|entry| entry.unwrap().file_name() == name)
    };
    while !is_there() {
        assert!(Instant::now() < deadline, "nobody made {}", path.display());
        std::thread::sleep(PAUSE);
    }
}
