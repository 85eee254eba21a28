//! The results for readers, in Markdown.

use crate::args::Wait;
use crate::results::{Figures, Results};

/// A table of processor time, of latencies at depth 1, and of rates at the greatest depth; the
/// first daemon compared with the best of the others.
pub(crate) fn render(results: &Results) -> String {
    let deepest = results.deepest();
    let cpu: Of = |figures| figures.cpu;
    let p50: Of = |figures| figures.latency[0] / 1000.0;
    let p99: Of = |figures| figures.latency[1] / 1000.0;
    let rate: Of = |figures| figures.rate / 1000.0;
    let parts = [
        ("CPU of the daemon per operation, ns", Wait::Poll, deepest, cpu, Better::Less),
        ("CPU of the daemon per operation, ns", Wait::Sleep, deepest, cpu, Better::Less),
        ("half of all done within, us", Wait::Poll, 1, p50, Better::Less),
        ("half of all done within, us", Wait::Sleep, 1, p50, Better::Less),
        ("99 % of all done within, us", Wait::Poll, 1, p99, Better::Less),
        ("99 % of all done within, us", Wait::Sleep, 1, p99, Better::Less),
        ("thousand operations per second", Wait::Poll, deepest, rate, Better::More),
        ("thousand operations per second", Wait::Sleep, deepest, rate, Better::More),
    ];
    parts
        .map(|(what, wait, depth, of, better)| part(results, what, (wait, depth), of, better))
        .concat()
}

type Of = fn(&Figures) -> f64;

#[derive(Clone, Copy)]
enum Better {
    Less,
    More,
}

fn part(
    results: &Results,
    what: &str,
    (wait, depth): (Wait, usize),
    of: Of,
    better: Better,
) -> String {
    let mut rows = String::new();
    for operation in results.operations() {
        let values: Vec<_> = results
            .find(operation, wait, depth)
            .iter()
            .map(|figures| figures.as_ref().map(of))
            .collect();
        let Some((ours, others)) = values.split_first() else { continue };
        let cell = |value: &Option<f64>| value.map_or("-".into(), digits);
        let cells: Vec<_> = values.iter().map(cell).collect();
        let ratio = ours.zip(best(others, better)).map(|(ours, best)| ours / best);
        let ratio = ratio.map_or("-".into(), |ratio| format!("{ratio:.2}"));
        rows += &format!("| {operation} | {} | {ratio} |\n", cells.join(" | "));
    }
    if rows.is_empty() {
        return rows;
    }
    let guest = match wait {
        Wait::Poll => "that polls",
        Wait::Sleep => "that sleeps",
    };
    format!(
        "\n{what}; {depth} in flight, a guest {guest}\n\n| operation | {} | ratio to the best other \
         |\n|---|{}\n{rows}",
        results.daemons.join(" | "),
        "--:|".repeat(results.daemons.len() + 1),
    )
}

fn best(others: &[Option<f64>], better: Better) -> Option<f64> {
    let others = others.iter().flatten().copied();
    match better {
        Better::Less => others.reduce(f64::min),
        Better::More => others.reduce(f64::max),
    }
}

fn digits(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
