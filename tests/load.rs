//! The load that benchmarks are made of.
#![expect(clippy::unwrap_used, reason = "a test may")]

use std::path::Path;
use std::time::Duration;

use ferryfs_bench::load::{OPERATIONS, Operation, Rig, Tree};
use ferryfs_bench::{Error, Mode};
use rustix::process::Signal;

const SHORT: Duration = Duration::from_millis(2);

fn tree() -> Tree {
    Tree::new(Path::new("/tmp")).unwrap()
}

fn start<'t>(tree: &'t Tree, options: &str, queues: usize) -> Rig<'t> {
    let binary = env!("CARGO_BIN_EXE_ferryfs");
    let command = format!("{binary} --socket-path={{socket}} --shared-dir={{share}} {options}");
    Rig::start(&command, tree, queues).unwrap()
}

#[test]
fn every_operation_runs_at_any_depth_on_any_queues() {
    let tree = tree();
    for (queues, mode) in [(1, Mode::Spin), (3, Mode::Block)] {
        let mut rig = start(&tree, "--posix-lock --xattr", queues);
        // Without the one that takes a hundred thousand files.
        for operation in OPERATIONS.iter().filter(|operation| operation.name != "readdirplus-100k")
        {
            for depth in [1, 5] {
                let mut load = rig.prepare(operation, depth, mode).unwrap();
                for _ in 0..2 {
                    let done = rig.run(&mut load, SHORT).unwrap();
                    assert!(done.units > 0, "{}", operation.name);
                    assert!(done.latency.quantile(500) > Duration::ZERO, "{}", operation.name);
                }
                rig.finish(load).unwrap();
            }
        }
    }
}

#[test]
fn what_a_run_costs_is_counted() {
    let tree = tree();
    let mut rig = start(&tree, "--poll-us=0", 1);
    let getattr = Operation::named("getattr").unwrap();
    let mut load = rig.prepare(&getattr, 1, Mode::Block).unwrap();
    let done = rig.run(&mut load, 10 * SHORT).unwrap();
    assert!(done.kicks > 0 && done.kicks <= done.units, "{} {}", done.kicks, done.units);
    assert!(done.calls > 0 && done.calls <= done.units, "{} {}", done.calls, done.units);
    assert!(done.switches > 0 && done.cpu > Duration::ZERO && done.elapsed >= 10 * SHORT);
    assert_eq!(rig.wakeups(SHORT).unwrap(), 0);
    assert!(rig.resident().unwrap() > 0);
}

#[test]
fn a_daemon_that_dies_ends_the_run_with_an_error() {
    let tree = tree();
    let mut rig = start(&tree, "", 1);
    let getattr = Operation::named("getattr").unwrap();
    for mode in [Mode::Spin, Mode::Block] {
        let mut load = rig.prepare(&getattr, 8, mode).unwrap();
        let pid = rustix::process::Pid::from_raw(rig.process().pid().cast_signed()).unwrap();
        let ended = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(10 * SHORT);
                rustix::process::kill_process(pid, Signal::KILL).unwrap();
            });
            rig.run(&mut load, Duration::from_secs(30))
        });
        assert!(matches!(ended, Err(Error::Gone)), "{mode:?}");
        rig = start(&tree, "", 1);
    }
    let none = Rig::start("/nonexistent", &tree, 1);
    assert!(matches!(none, Err(Error::Io(_))));
    let ended = Rig::start("/bin/false", &tree, 1);
    assert!(matches!(ended, Err(Error::Start(_))));
}
