//! The results for readers, in Markdown.

use std::fmt::Write;

use ferryfs_bench::load::Operation;

use crate::args::Wait;
use crate::results::{Figures, Results};

/// One row an operation: processor time of every daemon with many requests in flight, and what the
/// first and the best of the others reach besides. Then what others' slow requests do to a quick
/// one.
pub(crate) fn render(results: &Results) -> String {
    let (beside, alone): (Vec<_>, Vec<_>) =
        results.operations().into_iter().partition(|name| is_beside(name));
    match (&alone[..], &beside[..]) {
        (_, []) => costs(results, &alone),
        // It is only there to compare with.
        (["getattr"] | [], _) => delays(results, &beside),
        _ => costs(results, &alone) + &delays(results, &beside),
    }
}

fn is_beside(name: &str) -> bool {
    Operation::named(name).is_some_and(|operation| operation.is_beside_others())
}

fn costs(results: &Results, operations: &[&str]) -> String {
    let depth = results.deepest();
    let mut text = format!(
        "| operation | {} | ratio | us, polling | us, sleeping | thousand a second |\n|---|{}\n",
        results.daemons.join(" | "),
        "--:|".repeat(results.daemons.len() + 4),
    );
    for operation in operations {
        let cpu = values(results.find(operation, Wait::Poll, depth), |figures| figures.cpu);
        let cells: Vec<_> = cpu.iter().map(|value| value.map_or("-".into(), digits)).collect();
        let p50 =
            |wait| values(results.find(operation, wait, 1), |figures| figures.latency[0] / 1000.0);
        let rate = values(results.find(operation, Wait::Poll, depth), |figures| figures.rate / 1e3);
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {operation} | {} | {} | {} | {} | {} |",
            cells.join(" | "),
            ratio(&cpu),
            pair(&p50(Wait::Poll), f64::min),
            pair(&p50(Wait::Sleep), f64::min),
            pair(&rate, f64::max),
        );
    }
    let first = results.daemons.first().map_or("", String::as_str);
    text += &format!(
        "\nProcessor time of the daemon per operation in ns, {depth} in flight, a guest that polls; \
         ratio: {first} to the best of the others. us: half of all are done within, one in flight, a \
         guest that polls or sleeps, {first} : best of the others; then the same for the rate with \
         {depth} in flight. -: not implemented, so that guests do not ask.\n"
    );
    text
}

/// Half and 99 percent of all requests are done within, with other requests under way.
fn delays(results: &Results, beside: &[&str]) -> String {
    let mut text = format!(
        "\n| beside | {} |\n|---|{}\n",
        results.daemons.join(" | "),
        "--:|".repeat(results.daemons.len())
    );
    for operation in ["getattr"].iter().chain(beside) {
        let figures = results.find(operation, Wait::Poll, 1);
        if figures.is_empty() {
            continue;
        }
        let cell = |figures: &Option<Figures>| {
            figures.as_ref().map_or("-".into(), |Figures { latency: [p50, p99, _], .. }| {
                format!("{} : {}", digits(p50 / 1000.0), digits(p99 / 1000.0))
            })
        };
        let cells: Vec<_> = figures.iter().map(cell).collect();
        let others = operation.strip_prefix("getattr-").unwrap_or("nothing");
        let _ = writeln!(text, "| {others} | {} |", cells.join(" | "));
    }
    text + "\nGETATTR of a guest that polls, one in flight beside others' slow requests on its queue: \
            half and 99 percent are done within, us.\n"
}

fn values(figures: &[Option<Figures>], of: fn(&Figures) -> f64) -> Vec<Option<f64>> {
    figures.iter().map(|figures| figures.as_ref().map(of)).collect()
}

/// The first value, and the best of the others.
fn contest(values: &[Option<f64>], better: fn(f64, f64) -> f64) -> Option<(f64, f64)> {
    let (ours, others) = values.split_first()?;
    ours.zip(others.iter().flatten().copied().reduce(better))
}

fn ratio(values: &[Option<f64>]) -> String {
    contest(values, f64::min).map_or("-".into(), |(ours, best)| format!("{:.2}", ours / best))
}

fn pair(values: &[Option<f64>], better: fn(f64, f64) -> f64) -> String {
    contest(values, better)
        .map_or("-".into(), |(ours, best)| format!("{} : {}", digits(ours), digits(best)))
}

fn digits(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
