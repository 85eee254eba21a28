//! A guest with a DAX window.

use std::fs;

use super::super::machine::{Machine, daemon};
use super::super::program::probe;
use super::super::slots::Slots;
use super::Flavour;

/// What QEMU 11 has; the tag is the device's.
const DAEMON: [&str; 3] = ["--tag=ferry", "--dax-window=32M", "--dax-policy=size:1M"];

flavours! {
    linux_6_1 = Linux61: files_in_a_window_are_the_files;
    linux_7 = Linux7: files_in_a_window_are_the_files;
}

fn files_in_a_window_are_the_files(flavour: Flavour) {
    if !Flavour::Linux7.is_there("files_in_a_window_are_the_files") {
        return;
    }
    let _slots = Slots::take(1);
    let daemon = daemon(flavour, &DAEMON);
    for file in [
        "fill blob 5 8388608",
        "fill store 4 4194304",
        "fill share 4 2097152",
        "fill big 8 50331648",
        "fill big-2 4 33554432",
        "fill plain 12 524288",
        "fill odd 6 5000001",
        "fill small 6 10",
        "fill page 6 3149824",
        "fill resized 10 4194304",
        "fill appended 4 2097152",
        "fill cut 4 4194304",
        "fill grown 4 2097152",
    ] {
        probe(daemon.share(), file);
    }
    let options = ["--dax-device", "--boots", "3"];
    let machine = Machine::boot(flavour, daemon, &options, include_str!("dax.sh"));
    let moved = || bytes_moved(&machine);
    let before = machine.turn("begun", moved);
    let after = machine.turn("read", moved);
    assert!(after < before + LITTLE, "{} bytes", after - before);
    machine.turn("stored", || {
        assert!(moved() < after + LITTLE, "{} bytes", moved() - after);
        machine.probe("same store 7 4194304");
    });
    machine.turn("shared", || machine.probe("shared share"));
    machine.turn("reclaimed", || machine.probe("same big-2 9 33554432"));
    machine.turn("grown", || {
        let path = machine.path("grown");
        let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
        std::io::Write::write_all(&mut file, b"host").unwrap();
    });
    machine.turn("remounted", || {
        machine.probe("same copy 12 524288");
        machine.probe("check cases");
        machine.probe("verify from-guest 2 100");
    });
    machine.finish();
}

/// Far less than the files that are mapped.
const LITTLE: u64 = 1 << 20;

/// Bytes that the daemon has read and written so far.
fn bytes_moved(machine: &Machine) -> u64 {
    let io = fs::read_to_string(machine.daemon().proc("io")).unwrap();
    let count = |name: &str| -> u64 {
        let line = io.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse().unwrap()
    };
    count("rchar:") + count("wchar:")
}
