//! A guest that moves to another QEMU, with another daemon.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use ferryfs_bench::wait_until;

use super::super::STEP;
use super::super::machine::{Machine, daemon_on};
use super::super::slots::Slots;
use super::Flavour;

// Debian 12's QEMU is older than migration of such devices.
flavours! {
    linux_7 = Linux7: a_guest_migrates_with_files_open, a_guest_is_saved_and_goes_on_with_a_copy;
}

/// Where QEMU has the folder of the daemon's socket.
const FOLDER: &str = "/run/socket0";

fn boot(flavour: Flavour, share: &Path, more: &[&str]) -> Machine {
    let options = [flavour.queues(), &["--monitor", "monitor"], more].concat();
    let daemon = daemon_on((flavour, "ferry"), &[], share);
    Machine::boot(flavour, daemon, &options, include_str!("migration.sh"))
}

/// Has a guest leave, and gives all that it says of itself to `to`.
fn leave(machine: &Machine, mut to: impl Write) {
    let monitor = machine.socket("monitor");
    let outgoing = monitor.with_file_name("outgoing");
    let listener = UnixListener::bind(&outgoing).unwrap();
    let mut monitor = UnixStream::connect(monitor).unwrap();
    writeln!(monitor, "migrate -d unix:{FOLDER}/outgoing").unwrap();
    let (mut guest, _) = listener.accept().unwrap();
    guest.set_read_timeout(Some(STEP)).unwrap();
    std::io::copy(&mut guest, &mut to).unwrap();
    fs::remove_file(outgoing).unwrap();
    // It may not have noticed that it is over, and then would not end.
    let mut said = Vec::new();
    monitor.set_read_timeout(Some(STEP)).unwrap();
    while !said.windows(9).any(|word| word == b"completed") {
        writeln!(monitor, "info migrate").unwrap();
        let mut bytes = [0; 4096];
        let len = monitor.read(&mut bytes).unwrap();
        assert_ne!(len, 0, "{}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&bytes[..len]);
        assert!(!said.windows(6).any(|word| word == b"failed"), "QEMU could not migrate");
    }
    writeln!(monitor, "quit").unwrap();
    // Hanging up at once would take it back. It may end with a reset.
    let _ = monitor.read_to_end(&mut said);
}

fn come(machine: &Machine) -> UnixStream {
    let (socket, mut connected) = (machine.socket("incoming"), None);
    wait_until("QEMU waits for the guest", || {
        connected = UnixStream::connect(&socket).ok();
        connected.is_some()
    });
    connected.unwrap()
}

/// What was going on in the guest has gone on.
fn finish(machine: Machine, share: &Path) {
    machine.end_turn("leaving");
    machine.turn("arrived", || {
        let log = fs::read_to_string(share.join("log")).unwrap();
        let count: usize = fs::read_to_string(share.join("count")).unwrap().trim().parse().unwrap();
        let lines: Vec<_> = log.lines().collect();
        assert_eq!(lines.len(), count);
        assert!(lines.iter().enumerate().all(|(at, line)| **line == format!("line {at}")));
        assert_eq!(fs::read(share.join("held")).unwrap(), b"content\nmore\n");
        assert_eq!(fs::read(share.join("dir/sub/here")).unwrap(), b"here\n");
    });
    machine.finish();
}

fn a_guest_migrates_with_files_open(flavour: Flavour) {
    let _slots = Slots::take(2);
    let share = tempfile::tempdir().unwrap();
    let source = boot(flavour, share.path(), &[]);
    source.reach("leaving");
    let target = boot(flavour, share.path(), &["--incoming", "incoming"]);
    leave(&source, come(&target));
    source.has_left();
    finish(target, share.path());
}

fn a_guest_is_saved_and_goes_on_with_a_copy(flavour: Flavour) {
    let _slots = Slots::take(1);
    let share = tempfile::tempdir().unwrap();
    let source = boot(flavour, share.path(), &[]);
    source.reach("leaving");
    let mut state = Vec::new();
    leave(&source, &mut state);
    source.has_left();
    let copy = tempfile::tempdir().unwrap();
    let copied = Command::new("cp").arg("-a").arg(share.path().join(".")).arg(copy.path()).status();
    assert!(copied.unwrap().success());
    drop(share);
    let target = boot(flavour, copy.path(), &["--incoming", "incoming"]);
    come(&target).write_all(&state).unwrap();
    finish(target, copy.path());
}
