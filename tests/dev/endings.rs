//! How a mount ends, by whoever's hand.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::process::Signal;

use super::*;

#[test]
fn it_ends_with_0_when_it_is_unmounted_or_told_to_end() {
    if cannot_mount("it_ends_with_0_when_it_is_unmounted_or_told_to_end") {
        return;
    }
    for signal in [None, Some(Signal::TERM), Some(Signal::INT), Some(Signal::HUP)] {
        let mut mounted = Mounted::new(&[]);
        fs::write(mounted.at("file"), "x").unwrap();
        match signal {
            None => leave(&mounted.folders.at()),
            Some(signal) => mounted.process.signal(signal).unwrap(),
        }
        assert_eq!(mounted.exit_code(), Some(0), "{signal:?}: {}", mounted.process.stderr());
        assert!(!is_mounted(&mounted.folders.at()), "{signal:?}");
        assert_eq!(fs::read(mounted.host("file")).unwrap(), b"x");
    }
}

#[test]
fn open_files_are_served_until_they_are_closed_or_a_second_signal_comes() {
    if cannot_mount("open_files_are_served_until_they_are_closed_or_a_second_signal_comes") {
        return;
    }
    for twice in [false, true] {
        let mut mounted = Mounted::new(&[]);
        let mut file = fs::File::create(mounted.at("file")).unwrap();
        mounted.process.signal(Signal::TERM).unwrap();
        wait_until("unmounted", || !is_mounted(&mounted.folders.at()));
        file.write_all(b"still here").unwrap();
        if twice {
            mounted.process.signal(Signal::TERM).unwrap();
        } else {
            drop(file);
        }
        assert_eq!(mounted.exit_code(), Some(0), "{}", mounted.process.stderr());
        assert_eq!(fs::read(mounted.host("file")).unwrap(), b"still here");
    }
}

#[test]
fn an_aborted_connection_ends_it_with_1_and_leaves_no_dead_mount() {
    if cannot_mount("an_aborted_connection_ends_it_with_1_and_leaves_no_dead_mount") {
        return;
    }
    aborted(Mounted::new(&["--passthrough=off"]));
}

/// Aborts the connection and looks how that ends.
pub(super) fn aborted(mut mounted: Mounted) {
    fs::write(mounted.at("file"), "x").unwrap();
    let control = mounted.folders.path("control");
    fs::create_dir(&control).unwrap();
    let none = rustix::mount::MountFlags::empty();
    rustix::mount::mount("none", &control, "fusectl", none, None).unwrap();
    let abort = control.join(mounted.connection().to_string()).join("abort");
    let aborted = fs::write(abort, "1");
    leave(&control);
    aborted.unwrap();
    assert_eq!(mounted.exit_code(), Some(1), "{}", mounted.process.stderr());
    assert!(mounted.process.stderr().contains("aborted"), "{}", mounted.process.stderr());
    assert!(!is_mounted(&mounted.folders.at()));
}

/// Reads and writes files in `folder` until told to stop; how often that went well.
fn load(folder: &Path, name: usize, stop: &AtomicBool, done: &AtomicU64) {
    let path = folder.join(format!("file {name}"));
    while !stop.load(Ordering::Relaxed) {
        let work = || -> std::io::Result<()> {
            fs::write(&path, vec![7; 100_000])?;
            let mut bytes = Vec::new();
            fs::File::open(&path)?.read_to_end(&mut bytes)?;
            assert_eq!(bytes.len(), 100_000);
            fs::read_dir(folder)?.for_each(drop);
            fs::remove_file(&path)
        };
        if work().is_ok() {
            done.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn a_daemon_killed_under_load_hangs_nobody_and_its_mount_can_be_cleaned() {
    if cannot_mount("a_daemon_killed_under_load_hangs_nobody_and_its_mount_can_be_cleaned") {
        return;
    }
    killed_under_load(Mounted::new(&["--passthrough=off"]));
}

/// Kills the daemon while others use its mount, and looks how that ends for them.
pub(super) fn killed_under_load(mut mounted: Mounted) {
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let at = mounted.folders.at();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|name| {
                let (at, stop, done) = (&at, &stop, &done);
                scope.spawn(move || load(at, name, stop, done))
            })
            .collect();
        wait_until("load", || done.load(Ordering::Relaxed) > 20);
        mounted.process.signal(Signal::KILL).unwrap();
        mounted.process.wait(LONG).unwrap();
        stop.store(true, Ordering::Relaxed);
        wait_until("all workers return", || workers.iter().all(|worker| worker.is_finished()));
    });
    let error = fs::metadata(&at).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::NOTCONN.raw_os_error()));
    // A second daemon says what is to be done, and that helps.
    let (code, said) =
        run(&[OsStr::new("mount"), mounted.folders.source().as_os_str(), at.as_os_str()]);
    assert_eq!(code, Some(2));
    assert!(said.contains("unmount it by fusermount3 -u"), "{said}");
    leave(&at);
    assert!(!is_mounted(&at));
}

#[test]
fn with_auto_unmount_nothing_is_left_of_a_killed_daemon() {
    if cannot_mount("with_auto_unmount_nothing_is_left_of_a_killed_daemon") {
        return;
    }
    let mounted = Mounted::new(&["-o", "auto_unmount"]);
    fs::write(mounted.at("file"), "x").unwrap();
    mounted.process.signal(Signal::KILL).unwrap();
    wait_until("unmounted", || !is_mounted(&mounted.folders.at()));
}

#[test]
fn with_auto_unmount_what_is_mounted_there_later_is_left_alone() {
    if cannot_mount("with_auto_unmount_what_is_mounted_there_later_is_left_alone") {
        return;
    }
    let mut first = Mounted::new(&["--auto-unmount"]);
    let at = first.folders.at();
    unmount(&at, UnmountFlags::DETACH).unwrap();
    let none = rustix::mount::MountFlags::empty();
    rustix::mount::mount("later", &at, "tmpfs", none, None).unwrap();
    assert_eq!(first.exit_code(), Some(0));
    assert!(is_mounted(&at));
}
