//! A live view.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use super::super::control::{Operation, Stats};
use super::super::error::StartError;
use super::{get, text};

/// Puts the cursor in the corner and clears what is below it.
const CLEAR: &str = "\x1b[H\x1b[J";

/// Shows what was served since the last look, until the daemon is gone or `count` looks are over.
/// Returns what is left to be printed.
pub(super) fn watch(
    at: &Path,
    interval: Duration,
    count: Option<u64>,
) -> Result<String, StartError> {
    let mut before: Stats = get(at, "stats")?;
    let mut looks = 0;
    while count.is_none_or(|count| looks < count) {
        std::thread::sleep(interval);
        let Ok(now) = get::<Stats>(at, "stats") else {
            return Ok("The daemon has ended\n".to_owned());
        };
        let view = view(&before, &now);
        let mut out = io::stdout();
        let start = if out.is_terminal() { CLEAR } else { "" };
        if out.write_all(format!("{start}{view}\n").as_bytes()).is_err() {
            break;
        }
        before = now;
        looks += 1;
    }
    Ok(String::new())
}

fn view(before: &Stats, now: &Stats) -> String {
    let operations: Vec<_> = now
        .operations
        .iter()
        .map(|one| match before.operations.iter().find(|old| old.name == one.name) {
            Some(old) => since(old, one),
            None => one.clone(),
        })
        .collect();
    let requests: u64 = operations.iter().map(|one| one.requests).sum();
    let interval = (now.uptime_seconds - before.uptime_seconds).max(0.001);
    let in_flight: u64 = now.queues.iter().map(|queue| queue.in_flight).sum();
    let more = |now: u64, before: u64| text::bytes(now.saturating_sub(before));
    let mut view = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        view,
        "{}: {requests} requests in {interval:.1} s, {} read, {} written\n\
         {in_flight} in flight, {} inodes, {} open files, {} of {} descriptors\n",
        now.shared_dir,
        more(now.read_bytes, before.read_bytes),
        more(now.written_bytes, before.written_bytes),
        now.inodes,
        now.open_files,
        now.descriptors,
        now.descriptor_budget,
    );
    view + &text::operations(&operations)
}

fn since(old: &Operation, new: &Operation) -> Operation {
    let less = |new: u64, old: u64| new.saturating_sub(old);
    Operation {
        name: new.name.clone(),
        requests: less(new.requests, old.requests),
        errors: less(new.errors, old.errors),
        nanos: less(new.nanos, old.nanos),
        buckets: new.buckets.iter().zip(&old.buckets).map(|(new, old)| less(*new, *old)).collect(),
    }
}
