//! What was measured.

use std::fmt::Write;
use std::time::Duration;

use ferryfs_bench::load::Measured;

use crate::args::Wait;

/// What was done, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) operation: &'static str,
    pub(crate) wait: Wait,
    pub(crate) depth: usize,
}

/// Medians over the rounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// Nanoseconds of processor time of the daemon per operation.
    pub(crate) cpu: f64,
    /// The least and the most of the rounds.
    pub(crate) cpu_range: (f64, f64),
    /// Operations per second.
    pub(crate) rate: f64,
    /// Nanoseconds that half, 99 and 99.9 percent of all operations took at most.
    pub(crate) latency: [f64; 3],
    /// Per operation.
    pub(crate) kicks: f64,
    pub(crate) calls: f64,
    pub(crate) switches: f64,
}

/// All cases, with the figures of each daemon that could do it.
pub(crate) struct Results {
    pub(crate) daemons: Vec<String>,
    pub(crate) cases: Vec<(Case, Vec<Option<Figures>>)>,
}

impl Results {
    pub(crate) fn new(daemons: impl Iterator<Item = String>) -> Self {
        Results { daemons: daemons.collect(), cases: Vec::new() }
    }

    pub(crate) fn add(&mut self, case: Case, runs: &[Vec<Measured>]) {
        let figures = runs.iter().map(|runs| Figures::of(runs)).collect();
        self.cases.push((case, figures));
    }

    /// The figures of a case, if it was measured.
    pub(crate) fn find(&self, operation: &str, wait: Wait, depth: usize) -> &[Option<Figures>] {
        let is_it =
            |case: &Case| (case.operation, case.wait, case.depth) == (operation, wait, depth);
        self.cases.iter().find(|(case, _)| is_it(case)).map_or(&[], |(_, figures)| figures)
    }

    /// Operations in the order in which they were measured.
    pub(crate) fn operations(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.cases.iter().map(|(case, _)| case.operation).collect();
        names.dedup();
        names
    }

    pub(crate) fn deepest(&self) -> usize {
        self.cases.iter().map(|(case, _)| case.depth).max().unwrap_or_default()
    }

    pub(crate) fn to_tsv(&self) -> String {
        let mut text = String::from(
            "operation\twait\tdepth\tdaemon\tcpu_ns\tcpu_min\tcpu_max\tper_second\tp50_ns\tp99_ns\t\
             p999_ns\tkicks\tcalls\tswitches\n",
        );
        for (case, figures) in &self.cases {
            for (name, figures) in self.daemons.iter().zip(figures) {
                let Some(figures) = figures else { continue };
                let Figures { cpu, cpu_range: (low, high), rate, latency, .. } = figures;
                let [p50, p99, p999] = latency;
                let Figures { kicks, calls, switches, .. } = figures;
                let Case { operation, wait, depth } = case;
                // Writing to a string does not fail.
                let _ = writeln!(
                    text,
                    "{operation}\t{wait}\t{depth}\t{name}\t{cpu:.0}\t{low:.0}\t{high:.0}\t{rate:.0}\
                     \t{p50:.0}\t{p99:.0}\t{p999:.0}\t{kicks:.3}\t{calls:.3}\t{switches:.3}"
                );
            }
        }
        text
    }
}

impl Figures {
    fn of(runs: &[Measured]) -> Option<Self> {
        let median = |of: &dyn Fn(&Measured) -> f64| median(runs.iter().map(of).collect());
        let per_unit = |value: f64, run: &Measured| value / float(run.units.max(1));
        let cpu = |run: &Measured| per_unit(nanoseconds(run.cpu), run);
        let latency =
            |thousandths| median(&|run: &Measured| nanoseconds(run.latency.quantile(thousandths)));
        let all = runs.iter().map(cpu);
        Some(Figures {
            cpu: median(&cpu)?,
            cpu_range: (all.clone().fold(f64::MAX, f64::min), all.fold(0.0, f64::max)),
            rate: median(&|run| float(run.units) / run.elapsed.as_secs_f64())?,
            latency: [latency(500)?, latency(990)?, latency(999)?],
            kicks: median(&|run| per_unit(float(run.kicks), run))?,
            calls: median(&|run| per_unit(float(run.calls), run))?,
            switches: median(&|run| per_unit(float(run.switches), run))?,
        })
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[expect(clippy::cast_precision_loss, reason = "figures have no more than 50 bits")]
fn float(value: u64) -> f64 {
    value as f64
}

fn nanoseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}
