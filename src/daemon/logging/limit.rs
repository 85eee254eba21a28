//! How often one message is logged: a guest must not be able to fill the host's disk.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::{Level, Record};

use super::ASKED_FOR;

/// So many messages from one place in the source are logged in [`WINDOW`].
const BURST: u64 = 20;
const WINDOW: Duration = Duration::from_secs(10);

/// Counts messages by where in the source they come from.
#[derive(Default)]
pub(super) struct Limit(Mutex<HashMap<(&'static str, u32), Window>>);

struct Window {
    since: Instant,
    logged: u64,
    left_out: u64,
}

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is logged; so many like it before it were not.
    Log {
        left_out: u64,
    },
    Suppress,
}

impl Limit {
    /// Whether a message is logged. Who asks for messages gets them all.
    pub(super) fn judge(&self, record: &Record<'_>, now: Instant) -> Verdict {
        if record.level() >= Level::Debug || record.target() == ASKED_FOR {
            return Verdict::Log { left_out: 0 };
        }
        let place = (record.file_static().unwrap_or_default(), record.line().unwrap_or_default());
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = Window { since: now, logged: 0, left_out: 0 };
        let window = windows.entry(place).or_insert(new);
        if now.duration_since(window.since) >= WINDOW {
            *window = Window { since: now, logged: 0, left_out: window.left_out };
        }
        if window.logged == BURST {
            window.left_out += 1;
            return Verdict::Suppress;
        }
        window.logged += 1;
        Verdict::Log { left_out: std::mem::take(&mut window.left_out) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted() {
        let limit = Limit::default();
        let start = Instant::now();
        let at = |line, level, now| {
            let mut record = Record::builder();
            record.file_static(Some("a.rs")).line(Some(line)).level(level);
            limit.judge(&record.build(), now)
        };
        for _ in 0..BURST {
            assert_eq!(at(1, Level::Warn, start), Verdict::Log { left_out: 0 });
        }
        for _ in 0..1000 {
            assert_eq!(at(1, Level::Warn, start), Verdict::Suppress);
        }
        assert_eq!(at(2, Level::Warn, start), Verdict::Log { left_out: 0 }, "another place");
        assert_eq!(at(1, Level::Debug, start), Verdict::Log { left_out: 0 }, "asked for");
        assert_eq!(at(1, Level::Warn, start + WINDOW), Verdict::Log { left_out: 1000 });
        assert_eq!(at(1, Level::Warn, start + WINDOW), Verdict::Log { left_out: 0 });
    }
}
