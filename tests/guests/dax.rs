//! A guest with a DAX window.

use std::fs;
use std::path::Path;
use std::process::Command;

use ferryfs_bench::skip;
use rustix::process::Signal;

use super::super::machine::{Machine, daemon};
use super::super::program::probe;
use super::super::repo;
use super::super::slots::Slots;
use super::Flavour;

/// What QEMU 11 has; the tag is the device's.
const DAEMON: [&str; 3] = ["--tag=ferry", "--dax-window=32M", "--dax-policy=size:1M"];

flavours! {
    linux_6_1 = Linux61: files_in_a_window_are_the_files,
        random_operations_do_to_files_in_a_window_what_they_do_to_others;
    linux_7 = Linux7: files_in_a_window_are_the_files,
        random_operations_do_to_files_in_a_window_what_they_do_to_others,
        what_is_mapped_outlives_its_daemon;
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

fn what_is_mapped_outlives_its_daemon(flavour: Flavour) {
    let _slots = Slots::take(1);
    let daemon = daemon(flavour, &DAEMON);
    probe(daemon.share(), "fill blob 5 8388608");
    let script = "probe orphan /mnt/blob 5 8388608";
    let machine = Machine::boot(flavour, daemon, &["--dax-device"], script);
    machine.reach("orphaned");
    machine.daemon().signal(Signal::KILL).unwrap();
    machine.reach("survived");
}

/// The crate `fsx`, which scripts/conformance installs.
fn random_operations_do_to_files_in_a_window_what_they_do_to_others(flavour: Flavour) {
    let test = "random_operations_do_to_files_in_a_window_what_they_do_to_others";
    if !Flavour::Linux7.is_there(test) {
        return;
    }
    let fsx = repo().join("target/suites/bin/fsx");
    if !fsx.exists() {
        skip(test, "there is no fsx (scripts/conformance --setup installs it)");
        return;
    }
    let _slots = Slots::take(1);
    let daemon = daemon(flavour, &DAEMON);
    // One that is mapped and keeps its size; another has sizes that cannot be mapped as well.
    probe(daemon.share(), "fill mapped 5 4194304");
    fs::write(daemon.share().join("fixed.toml"), FIXED).unwrap();
    fs::write(daemon.share().join("any.toml"), ANY).unwrap();
    let mut options: Vec<String> = vec!["--dax-device".into()];
    for file in with_libraries(&fsx) {
        options.extend(["--put".into(), file]);
    }
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let machine = Machine::boot(flavour, daemon, &options, include_str!("fsx.sh"));
    let before = machine.turn("begun", || bytes_moved(&machine));
    let after = machine.turn("fixed", || bytes_moved(&machine));
    assert!(after < before + LITTLE, "{} bytes", after - before);
    machine.finish();
}

const FIXED: &str = "\
blockmode = true
[opsize]
max = 65536
[weights]
close_open = 0
truncate = 0
posix_fallocate = 0
mapread = 1
mapwrite = 1
read = 1
write = 1
fsync = 0.1
invalidate = 0.1
";

const ANY: &str = "\
flen = 6291456
[opsize]
max = 262144
[weights]
close_open = 0.5
mapread = 1
mapwrite = 1
read = 1
write = 1
truncate = 1
fsync = 0.1
punch_hole = 0.5
copy_file_range = 0.5
";

/// A program and what it is linked with.
fn with_libraries(program: &Path) -> Vec<String> {
    let mut command = Command::new("ldd");
    let said = String::from_utf8(command.arg(program).output().unwrap().stdout).unwrap();
    let libraries = said.split_whitespace().filter(|word| word.starts_with('/'));
    std::iter::once(program.to_str().unwrap()).chain(libraries).map(str::to_owned).collect()
}
