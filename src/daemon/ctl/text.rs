//! Answers for people.

use std::fmt::Write;

use super::super::control::{Inodes, Operation, Sessions, Stats};
use crate::tally::BOUNDS;

/// What was served, as a table; writing to a string cannot fail.
pub(in super::super) fn stats(stats: &Stats) -> String {
    let mut text = String::new();
    let Stats { version, pid, shared_dir, .. } = stats;
    let up = seconds(stats.uptime_seconds);
    let _ = writeln!(text, "ferryfs {version}, process {pid}, has shared {shared_dir} for {up}\n");
    text += &operations(&stats.operations);
    let _ = writeln!(text);
    for (name, count) in &stats.errors {
        let _ = writeln!(text, "{name:<18} {count:>10}");
    }
    let (read, written) = (bytes(stats.read_bytes), bytes(stats.written_bytes));
    let _ = writeln!(text, "Data: {read} read, {written} written");
    let _ = writeln!(
        text,
        "Guest's cache: kept for {} opened files, {} names that do not exist",
        stats.kept_caches, stats.negative_names
    );
    let _ = writeln!(
        text,
        "Held: {} inodes, {} open files, {} of {} descriptors",
        stats.inodes, stats.open_files, stats.descriptors, stats.descriptor_budget
    );
    for (index, queue) in stats.queues.iter().enumerate().filter(|(_, queue)| queue.requests > 0) {
        let _ = writeln!(
            text,
            "Queue {index}: {} requests, {} in flight, slept {} times, signalled {} times",
            queue.requests, queue.in_flight, queue.sleeps, queue.signals
        );
    }
    text
}

/// A line an operation, the most frequent first.
pub(super) fn operations(operations: &[Operation]) -> String {
    let mut text = format!(
        "{:<18} {:>10} {:>8} {:>9} {:>9} {:>9}\n",
        "operation", "requests", "errors", "mean", "median", "99 %"
    );
    let mut sorted: Vec<_> = operations.iter().filter(|one| one.requests > 0).collect();
    sorted.sort_by_key(|one| std::cmp::Reverse(one.requests));
    for one in sorted {
        let _ = writeln!(
            text,
            "{:<18} {:>10} {:>8} {:>9} {:>9} {:>9}",
            one.name,
            one.requests,
            one.errors,
            mean(one),
            at_most(one, 50),
            at_most(one, 99),
        );
    }
    text
}

/// What inodes are held.
pub(super) fn inodes(inodes: &Inodes) -> String {
    let Inodes { directories, files, .. } = inodes;
    let others = inodes.inodes.saturating_sub(directories + files);
    format!(
        "{} inodes: {directories} directories, {files} files, {others} others\n\
         {} have a descriptor, {} are found by their file handle\n\
         {} files and {} directories are open\n\
         {} of {} descriptors are used\n",
        inodes.inodes,
        inodes.with_descriptor,
        inodes.by_file_handle,
        inodes.open_files,
        inodes.open_directories,
        inodes.descriptors,
        inodes.descriptor_budget,
    )
}

/// Who is served.
pub(super) fn sessions(sessions: &Sessions) -> String {
    let Some(connected) = sessions.connected_seconds else {
        return "No front-end is connected\n".to_owned();
    };
    let since = seconds(connected);
    let guest = match sessions.agreed_flags {
        None => "Its guest has not mounted the share".to_owned(),
        Some(flags) => format!("Its guest has mounted the share, with features {flags:#x}"),
    };
    format!("A front-end has been connected for {since}\n{guest}\n")
}

/// The upper bound of the time that so many per cent took at most.
fn at_most(operation: &Operation, percent: u64) -> String {
    let all: u64 = operation.buckets.iter().sum();
    let mut left = (all * percent).div_ceil(100);
    if left == 0 {
        return "-".to_owned();
    }
    for (count, bound) in operation.buckets.iter().zip(BOUNDS) {
        if left <= *count {
            return format!("<{}", nanos(bound));
        }
        left -= count;
    }
    format!(">{}", nanos(BOUNDS[BOUNDS.len() - 1]))
}

fn mean(operation: &Operation) -> String {
    let measured: u64 = operation.buckets.iter().sum();
    operation.nanos.checked_div(measured).map_or_else(|| "-".to_owned(), nanos)
}

/// A time in the unit that suits it.
fn nanos(nanos: u64) -> String {
    let in_unit = |unit: u64, name| format!("{}.{}{name}", nanos / unit, nanos % unit * 10 / unit);
    match nanos {
        0..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => in_unit(1_000, "us"),
        1_000_000..1_000_000_000 => in_unit(1_000_000, "ms"),
        _ => in_unit(1_000_000_000, "s"),
    }
}

/// Bytes in the unit that suits them.
pub(super) fn bytes(bytes: u64) -> String {
    for (shift, name) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
        let unit = 1 << shift;
        if bytes >= unit {
            return format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit);
        }
    }
    format!("{bytes} B")
}

fn seconds(seconds: f64) -> String {
    let whole = std::time::Duration::from_secs_f64(seconds.max(0.0)).as_secs();
    match (whole / 86400, whole / 3600 % 24, whole / 60 % 60, whole % 60) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
        (days, hours, _, _) => format!("{days} days {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_unit_that_suits_them() {
        for (number, text) in [(0, "0ns"), (999, "999ns"), (1_250, "1.2us"), (3_999_999, "3.9ms")] {
            assert_eq!(nanos(number), text);
        }
        assert_eq!(nanos(u64::MAX), "18446744073.7s");
        for (number, text) in [(1023, "1023 B"), (1536, "1.5 KiB"), (u64::MAX, "16777215.9 TiB")] {
            assert_eq!(bytes(number), text);
        }
        for (number, text) in [(59.9, "59 s"), (3601.0, "1 h 0 min"), (90000.0, "1 days 1 h")] {
            assert_eq!(seconds(number), text);
        }
    }

    #[test]
    fn percentiles_are_the_bounds_of_their_buckets() {
        let mut buckets = vec![0; BOUNDS.len() + 1];
        (buckets[0], buckets[3]) = (98, 2);
        let name = "READ".to_owned();
        let mut operation = Operation { name, requests: 100, errors: 0, nanos: 40_000, buckets };
        assert_eq!(at_most(&operation, 50), "<250ns");
        assert_eq!(at_most(&operation, 99), "<2.0us");
        assert_eq!(mean(&operation), "400ns");
        operation.buckets = vec![0; BOUNDS.len() + 1];
        assert_eq!((at_most(&operation, 50), mean(&operation)), ("-".to_owned(), "-".to_owned()));
        operation.buckets[BOUNDS.len()] = 1;
        assert_eq!(at_most(&operation, 50), ">4.1s");
    }
}
