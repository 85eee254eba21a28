//! What guests do, and what has to come of it.

use std::fs;
use std::process::Command;

use ferryfs_bench::wait_until;

use super::debian::{Layered, debian};
use super::flavour::Flavour;
use super::machine::{Machine, daemon, daemon_of, daemon_on};
use super::program::probe;
use super::slots::Slots;

/// One module for each flavour, with the tests that are named.
macro_rules! flavours {
    ($($module:ident = $flavour:ident: $($test:ident),+;)+) => { $(
        mod $module {
            $(#[test]
            fn $test() {
                let flavour = super::Flavour::$flavour;
                if flavour.is_there(stringify!($test)) {
                    super::$test(flavour);
                }
            })+
        }
    )+ };
}

#[path = "dax.rs"]
mod dax;
#[path = "demo.rs"]
mod demo;
#[path = "migration.rs"]
mod migration;

flavours! {
    linux_6_1 = Linux61: a_share_is_as_good_as_a_disk, a_share_outlives_resets_and_reboots,
        shares_are_mounts_that_come_and_go;
    linux_7 = Linux7: a_share_is_as_good_as_a_disk, a_share_outlives_resets_and_reboots,
        a_share_is_a_guests_root, shares_are_mounts_that_come_and_go;
    uml_7 = Uml7: a_share_is_as_good_as_a_disk, a_share_works_without_a_cache,
        a_share_works_with_a_cache_for_ever, a_share_works_with_late_writes,
        a_share_is_a_guests_root, shares_are_mounts_that_come_and_go;
}

fn a_share_is_as_good_as_a_disk(flavour: Flavour) {
    let _slots = Slots::take(1);
    let daemon = daemon(flavour, &[]);
    for tree in ["make from-host 1 2000", "make small 3 80", "fill blob 5 3000000"] {
        probe(daemon.share(), tree);
    }
    probe(daemon.share(), "offer hold");
    probe(daemon.share(), "before changes");

    let machine = Machine::boot(flavour, daemon, flavour.queues(), include_str!("work.sh"));
    let descriptors = || machine.descriptors();
    let fresh = machine.turn("fresh", descriptors);
    machine.turn("held", || {
        machine.probe("held hold");
        assert!(descriptors() > fresh + 100, "a file that is open needs a descriptor");
    });
    machine.turn("changed", || machine.probe("after changes"));
    machine.turn("loaded", || {
        let (busy, least) = (busy_queues(&machine), flavour.queues_in_use());
        assert!(busy >= least, "{busy} queues in use, not {least}");
    });
    assert_eq!(machine.turn("remounted", descriptors), fresh, "descriptors after an unmount");
    machine.turn("surveyed", || {
        // First, because the other checks make files.
        for tree in ["from-guest", "cases"] {
            machine.probe(&format!("surveyed {tree} surveys/{tree}"));
        }
        machine.probe("verify from-guest 2 2000");
        machine.probe("verify from-host 1 2000");
        machine.probe("check cases");
        machine.probe("lines log 100 one two");
        machine.probe("verify crowd/made 4 80");
        machine.probe("copied crowd/copied 3 80");
        machine.probe("copied crowd/unpacked 3 80");
        machine.probe("same crowd/blocks-2 5 3000000");
    });
    machine.reach("forgotten");
    // The guest forgets in its own time, and nobody waits for that.
    wait_until("they are forgotten", || descriptors() <= fresh);
    machine.end_turn("forgotten");
    machine.finish();
}

/// Request queues whose threads have done a good part of the work.
fn busy_queues(machine: &Machine) -> usize {
    let tasks = fs::read_dir(machine.daemon().proc("task")).unwrap();
    let nanoseconds = tasks.filter_map(|task| {
        let path = task.unwrap().path();
        let read = |name| fs::read_to_string(path.join(name)).unwrap();
        let name = read("comm");
        // Queue 0 is the one for FORGETs.
        let queue = name.trim().strip_prefix("queue ").filter(|queue| *queue != "0");
        queue.map(|_| read("schedstat").split(' ').next().unwrap().parse::<u64>().unwrap())
    });
    let nanoseconds: Vec<_> = nanoseconds.collect();
    let all: u64 = nanoseconds.iter().sum();
    nanoseconds.iter().filter(|time| **time > all / 10).count()
}

fn a_share_outlives_resets_and_reboots(flavour: Flavour) {
    let _slots = Slots::take(1);
    let daemon = daemon(flavour, &[]);
    probe(daemon.share(), "make from-host 1 100");
    probe(daemon.share(), "offer hold");
    let machine = Machine::boot(flavour, daemon, &["--boots", "3"], include_str!("reboots.sh"));
    let descriptors = || machine.descriptors();
    let fresh = machine.turn("fresh-1", descriptors);
    machine.reach("never");
    machine.turn("held", || assert!(descriptors() > fresh + 100));
    assert_eq!(machine.turn("fresh-2", descriptors), fresh, "descriptors after a reset");
    assert_eq!(machine.turn("fresh-3", descriptors), fresh, "descriptors after a reboot");
    let sessions = machine.daemon().stderr().matches("session, guest offers").count();
    assert_eq!(sessions, 3, "sessions");
    machine.probe("verify from-guest 3 100");
    machine.finish();
}

fn a_share_works_without_a_cache(flavour: Flavour) {
    // And with every line of the log.
    works_with(flavour, &["--cache=never", "--log-level=trace"]);
}

fn a_share_works_with_a_cache_for_ever(flavour: Flavour) {
    works_with(flavour, &["--cache=always"]);
}

fn a_share_works_with_late_writes(flavour: Flavour) {
    works_with(flavour, &["--writeback"]);
}

fn works_with(flavour: Flavour, args: &[&str]) {
    let _slots = Slots::take(1);
    let daemon = daemon(flavour, args);
    probe(daemon.share(), "make from-host 1 100");
    let machine = Machine::boot(flavour, daemon, &["--timeout", "60"], include_str!("policies.sh"));
    machine.turn("written", || ());
    machine.probe("verify from-guest 2 100");
    machine.probe("check cases");
    machine.finish();
}

fn shares_are_mounts_that_come_and_go(flavour: Flavour) {
    let _slots = Slots::take(1);
    let folder = tempfile::tempdir().unwrap();
    let share = folder.path().join("share");
    for dir in ["", "a", "safe", "turns"] {
        fs::create_dir(share.join(dir)).unwrap();
    }
    for (file, content) in [("a/file", "a"), ("safe/file", "safe"), ("one", "of the host")] {
        fs::write(share.join(file), content).unwrap();
    }
    let control = tempfile::tempdir().unwrap();
    let control = control.path().join("ctl");
    let args = [&flavour.daemon_args("ferry")[..], &["--control", control.to_str().unwrap()]];
    let shares = ["a=a", "one=one", "safe=safe:ro", "turns=turns"];
    let daemon = daemon_of(&args.concat(), &shares, folder);
    probe(&share.join("a"), "make from-host 1 100");
    let machine = Machine::boot(flavour, daemon, &["--timeout", "60"], include_str!("shares.sh"));
    let change = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ferryfs"));
        command.current_dir(&share).args(["ctl", "--control"]).arg(&control).arg("share");
        assert!(command.args(words).output().unwrap().status.success(), "{words:?}");
    };
    machine.turn("changed", || {
        change(&["remove", "safe"]);
        change(&["add", "late=safe"]);
    });
    machine.turn("again", || {
        change(&["remove", "late"]);
        change(&["add", "safe=safe:ro"]);
    });
    assert_eq!(fs::read(share.join("one")).unwrap(), b"of the guest\n");
    probe(&share.join("a"), "verify from-guest 2 100");
    probe(&share.join("a"), "check cases");
    machine.finish();
}

fn a_share_is_a_guests_root(flavour: Flavour) {
    let _slots = Slots::take(1);
    let image = debian();
    let layered = Layered::over(&image);
    let args = &["--xattr", "--xattr-preset", "overlay"];
    let root = daemon_on((flavour, "ferry"), args, &layered.path());
    let other = daemon_on((flavour, "other"), &["--readonly"], &image);
    Machine::boot_from(flavour, (root, other), include_str!("rootfs.sh")).finish();
}

#[test]
fn two_guests_share_one_directory() {
    let flavour = Flavour::Uml7;
    if !flavour.is_there("two_guests_share_one_directory") {
        return;
    }
    let _slots = Slots::take(2);
    let share = tempfile::tempdir().unwrap();
    let [one, two] = [("one", "two"), ("two", "one")].map(|(me, other)| {
        let script = format!("ME={me} OTHER={other}\n{}", include_str!("pair.sh"));
        Machine::boot(flavour, daemon_on((flavour, "ferry"), &[], share.path()), &[], &script)
    });
    for step in ["made", "seen", "replaced"] {
        let (first, second) = (format!("one-{step}"), format!("two-{step}"));
        one.reach(&first);
        two.reach(&second);
        one.end_turn(&first);
        two.end_turn(&second);
    }
    one.finish();
    two.finish();
    for check in ["verify by-one 2 200", "verify by-two 2 200", "lines log 200 one two"] {
        probe(share.path(), check);
    }
}
