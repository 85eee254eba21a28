//! Prometheus' text format (version 0.0.4).

use std::fmt::{Display, Write};

use super::super::control::Stats;
use crate::tally::BOUNDS;

/// What was served, as Prometheus reads it.
pub(super) fn metrics(stats: &Stats) -> String {
    let mut page = Page::default();
    page.family("info", "gauge", "The daemon that answers");
    page.sample("info", &[("version", &stats.version), ("shared_dir", &stats.shared_dir)], 1);
    page.gauge("uptime_seconds", "Time since the start", stats.uptime_seconds);

    page.family("requests_total", "counter", "Requests that were served");
    for one in &stats.operations {
        page.sample("requests_total", &[("operation", &one.name)], one.requests);
    }
    page.family("request_errors_total", "counter", "Requests whose reply was an error");
    for one in &stats.operations {
        page.sample("request_errors_total", &[("operation", &one.name)], one.errors);
    }
    page.family("errors_total", "counter", "Replies that were this error");
    for (name, count) in &stats.errors {
        page.sample("errors_total", &[("errno", name)], *count);
    }
    let about = "Time that serving took, estimated from a sample of the requests";
    page.family("request_duration_seconds", "histogram", about);
    for one in &stats.operations {
        let mut sum = 0;
        let bounds = BOUNDS.iter().map(|bound| seconds(*bound)).chain(["+Inf".to_owned()]);
        for (count, bound) in one.buckets.iter().zip(bounds) {
            sum += count;
            let labels = [("operation", &one.name), ("le", &bound)];
            page.sample("request_duration_seconds_bucket", &labels, sum);
        }
        let operation = [("operation", &one.name)];
        page.sample("request_duration_seconds_sum", &operation, seconds(one.nanos));
        page.sample("request_duration_seconds_count", &operation, sum);
    }

    page.counter("read_bytes_total", "Data that the guest has read", stats.read_bytes);
    page.counter("written_bytes_total", "Data that the guest has written", stats.written_bytes);
    let about = "Names that the guest was told it may take not to exist";
    page.counter("negative_names_total", about, stats.negative_names);
    let about = "Opened files whose data the guest was told to keep";
    page.counter("kept_caches_total", about, stats.kept_caches);

    let queues = [
        ("queue_requests_total", "counter", "Requests that were taken from the queue"),
        ("queue_in_flight", "gauge", "Requests that are being served"),
        ("queue_sleeps_total", "counter", "Times that there was nothing to do"),
        ("queue_signals_total", "counter", "Times that the guest was told of replies"),
    ];
    for (at, (name, kind, about)) in queues.into_iter().enumerate() {
        page.family(name, kind, about);
        for (index, queue) in stats.queues.iter().enumerate() {
            let numbers = [queue.requests, queue.in_flight, queue.sleeps, queue.signals];
            page.sample(name, &[("queue", &index.to_string())], numbers[at]);
        }
    }
    page.gauge("inodes", "Inodes that the guest knows", stats.inodes);
    page.gauge("open_files", "Files and directories that the guest has open", stats.open_files);
    page.gauge("descriptors", "Descriptors that are held for the guest", stats.descriptors);
    page.gauge("descriptor_budget", "How many of them may be", stats.descriptor_budget);
    page.0
}

/// Nanoseconds in seconds, exactly.
fn seconds(nanos: u64) -> String {
    let text = format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Text to which writing cannot fail.
#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, about: &str) {
        let _ = writeln!(self.0, "# HELP ferryfs_{name} {about}.");
        let _ = writeln!(self.0, "# TYPE ferryfs_{name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &String)], value: impl Display) {
        let labels = labels.iter().map(|(label, value)| {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            format!("{label}=\"{value}\"")
        });
        let labels = labels.collect::<Vec<_>>().join(",");
        let labels = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
        let _ = writeln!(self.0, "ferryfs_{name}{labels} {value}");
    }

    fn counter(&mut self, name: &str, about: &str, value: u64) {
        self.family(name, "counter", about);
        self.sample(name, &[], value);
    }

    fn gauge(&mut self, name: &str, about: &str, value: impl Display) {
        self.family(name, "gauge", about);
        self.sample(name, &[], value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_numbers_are_written_as_they_must_be() {
        let mut page = Page::default();
        page.sample("x", &[("a", &"q\"b\\n\n".to_owned()), ("b", &String::new())], 1);
        assert_eq!(page.0, "ferryfs_x{a=\"q\\\"b\\\\n\\n\",b=\"\"} 1\n");
        for (nanos, text) in [(0, "0"), (250, "0.00000025"), (4_000_000_000, "4")] {
            assert_eq!(seconds(nanos), text);
        }
    }
}
