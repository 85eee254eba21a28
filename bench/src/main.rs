//! Measures virtio-fs daemons side by side.

mod args;
mod footprint;
mod plot;
mod results;
mod table;

use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use ferryfs_bench::Error;
use ferryfs_bench::load::{Measured, Operation, Place, Rig, Tree};

use args::{Arguments, Contender};
use results::{Case, Results};

/// Why there are no results.
type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to be told if this fails.
            let _ = writeln!(io::stderr(), "ferryfs-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut text = String::new();
    if !arguments.operations()?.is_empty() {
        let results = measure(arguments)?;
        text += &table::render(&results);
        if let Some(path) = &arguments.tsv {
            fs::write(path, results.to_tsv())?;
        }
        if let Some(path) = &arguments.svg {
            fs::write(path, plot::render(&results))?;
        }
    }
    if let Some(count) = arguments.inodes {
        text += &footprint::measure(arguments, count)?;
    }
    io::stdout().write_all(text.as_bytes())?;
    if let Some(path) = &arguments.table {
        fs::write(path, text)?;
    }
    Ok(())
}

/// A contender and its daemons on the two trees, which start when they are needed.
struct Seat<'a> {
    contender: &'a Contender,
    trees: [&'a Tree; 2],
    rigs: [Option<Rig<'a>>; 2],
    queues: usize,
}

impl<'a> Seat<'a> {
    fn rig(&mut self, place: Place) -> Result<&mut Rig<'a>, Error> {
        let at = usize::from(place == Place::Memory);
        if self.rigs[at].is_none() {
            self.rigs[at] = Some(Rig::start(&self.contender.command, self.trees[at], self.queues)?);
        }
        self.rigs[at].as_mut().ok_or(Error::Gone)
    }

    /// A daemon that does not do what is wanted may have requests left: the next gets a new one.
    fn give_up(&mut self, place: Place) {
        self.rigs[usize::from(place == Place::Memory)] = None;
    }
}

fn measure(arguments: &Arguments) -> Result<Results, Failure> {
    let storage = Tree::new(&arguments.storage)?;
    let memory = Tree::new(&arguments.memory)?;
    let seat = |contender| Seat {
        contender,
        trees: [&storage, &memory],
        rigs: [None, None],
        queues: arguments.queues,
    };
    let mut seats: Vec<_> = arguments.daemons.iter().map(seat).collect();
    let mut results = Results::new(arguments.daemons.iter().map(|daemon| daemon.name.clone()));
    for operation in arguments.operations()? {
        for mode in &arguments.wait {
            for &depth in &arguments.depth {
                let case = Case { operation: operation.name, wait: *mode, depth };
                progress(&case);
                let runs = interleave(arguments, &mut seats, &operation, &case)?;
                results.add(case, &runs);
            }
        }
    }
    Ok(results)
}

/// All daemons in turn, round by round; none for one that cannot do it.
fn interleave(
    arguments: &Arguments,
    seats: &mut [Seat<'_>],
    operation: &Operation,
    case: &Case,
) -> Result<Vec<Vec<Measured>>, Failure> {
    let time = Duration::from_millis(arguments.millis);
    let mut loads = Vec::new();
    for seat in &mut *seats {
        let rig = seat.rig(operation.place)?;
        let prepared = rig.prepare(operation, case.depth, case.wait.mode()).and_then(|mut load| {
            rig.run(&mut load, time / 4)?;
            Ok(load)
        });
        loads.push(judge(prepared, seat, operation)?);
    }
    let mut runs = vec![Vec::new(); seats.len()];
    for _ in 0..arguments.rounds {
        for ((seat, load), runs) in seats.iter_mut().zip(&mut loads).zip(&mut runs) {
            if let Some(ready) = load {
                let run = seat.rig(operation.place)?.run(ready, time);
                match judge(run, seat, operation)? {
                    Some(run) => runs.push(run),
                    None => *load = None,
                }
            }
        }
    }
    for (seat, load) in seats.iter_mut().zip(loads) {
        if let Some(load) = load {
            seat.rig(operation.place)?.finish(load)?;
        }
    }
    Ok(runs)
}

/// What a daemon does not implement is left out; its death ends all.
fn judge<T>(
    outcome: Result<T, Error>,
    seat: &mut Seat<'_>,
    operation: &Operation,
) -> Result<Option<T>, Failure> {
    let name = &seat.contender.name;
    match outcome {
        Ok(done) => Ok(Some(done)),
        Err(Error::Errno(errno)) => {
            note(&format!("{name} cannot do {}: {errno}", operation.name));
            seat.give_up(operation.place);
            Ok(None)
        }
        Err(error) => {
            let said = seat.rig(operation.place).map(|rig| rig.process().stderr());
            Err(format!("{name}, {}: {error}\n{}", operation.name, said.unwrap_or_default()).into())
        }
    }
}

fn progress(case: &Case) {
    note(&format!("{} {} {}", case.operation, case.wait, case.depth));
}

fn note(text: &str) {
    // It is only for those who wait.
    let _ = writeln!(io::stderr(), "ferryfs-bench: {text}");
}
