//! Random operations of a guest and of the host, on a daemon with few descriptors and on a model.
//! A failure prints the seed: `FERRY_MODEL_SEED=N cargo test --test model` runs it again, and
//! `FERRY_MODEL_STEPS=N` makes all runs longer.
#![cfg(test)]

mod guest;
mod host;
mod random;
mod tree;
mod world;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ferryfs_bench::{Daemon, Guest, Setup};
use random::Random;
use world::World;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

fn run(args: &[&str]) {
    let steps = variable("FERRY_MODEL_STEPS").unwrap_or(5_000);
    let seeds = variable("FERRY_MODEL_SEED").map_or(1..=3, |seed| seed..=seed);
    for seed in seeds {
        eprintln!("seed {seed}");
        let daemon = Daemon::start(Path::new(env!("CARGO_BIN_EXE_ferryfs")), args).unwrap();
        let share = daemon.share().to_owned();
        fs::set_permissions(&share, PermissionsExt::from_mode(0o755)).unwrap();
        let guest = Guest::connect(&daemon.socket(), Setup::default()).unwrap();
        let by_name = args.contains(&"--inode-file-handles=never");
        let said = move || daemon.process().stderr();
        let mut world = World::new(guest, &share, said, by_name, Random::new(seed));
        for _ in 0..steps {
            world.step();
        }
        world.compare_all();
    }
}

#[test]
fn inodes_that_are_kept_by_file_handle_are_as_in_the_model() {
    run(&["--inode-file-handles=prefer", "--rlimit-nofile=64"]);
}

#[test]
fn inodes_that_are_kept_by_name_are_as_in_the_model() {
    run(&["--inode-file-handles=never", "--rlimit-nofile=64"]);
}

#[test]
fn inodes_that_keep_their_descriptors_are_as_in_the_model() {
    run(&["--inode-file-handles=never", "--cache=never"]);
}
