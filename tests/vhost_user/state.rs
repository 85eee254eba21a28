//! A guest's session goes from one daemon to another.

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;

use ferryfs::fuse::Errno;
use ferryfs::fuse::abi::{FileLock, LkIn};
use ferryfs_bench::{Error, ROOT};
use vhost::vhost_user::message::VhostUserProtocolFeatures;

use super::*;

/// A machine on a directory that is there, with rings of its own, and whether it goes on with
/// `state`.
fn try_on(share: &Path, args: &[&str], state: &[u8]) -> (Machine, Result<(), Error>) {
    let daemon = Daemon::start_on(ferryfs(), args, share).unwrap();
    let mut guest = Guest::connect(&daemon.socket(), Setup::default()).unwrap();
    let loaded = guest.load(state);
    let (hiprio, fs) = (guest.client(0).unwrap(), guest.client(1).unwrap());
    (Machine { hiprio, fs, guest, daemon }, loaded)
}

/// A machine that goes on with `state`.
fn on_with(share: &Path, args: &[&str], state: &[u8]) -> Machine {
    let (machine, loaded) = try_on(share, args, state);
    assert!(loaded.is_ok(), "{loaded:?}: {}", machine.daemon.process().stderr());
    machine
}

/// Stops the guest, and returns its session.
fn saved(machine: &mut Machine) -> Vec<u8> {
    stop(machine);
    machine.guest.save().unwrap()
}

/// Stops both queues, which go on where they were.
fn stop(machine: &mut Machine) -> [u16; 2] {
    [0, 1].map(|index| machine.guest.stop(index).unwrap())
}

fn go_on(machine: &mut Machine, bases: [u16; 2]) {
    machine.guest.start(machine.hiprio.queue(), bases[0]).unwrap();
    machine.guest.start(machine.fs.queue(), bases[1]).unwrap();
}

fn names(entries: &[ferryfs_bench::DirEntry]) -> Vec<Vec<u8>> {
    entries.iter().map(|entry| entry.name.clone()).collect()
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    let source = from.join(".");
    let status = std::process::Command::new("cp").arg("-a").arg(source).arg(to.path()).status();
    assert!(status.unwrap().success());
    to
}

#[test]
fn a_guest_goes_on_at_another_daemon_with_all_that_it_had_open() {
    let mut sandboxes = vec![&["--sandbox=namespace", "--seccomp=kill"][..]];
    if is_root() {
        sandboxes.push(&["--sandbox=chroot", "--seccomp=kill"]);
        sandboxes.push(&["--sandbox=none", "--seccomp=kill"]);
    }
    for args in sandboxes {
        let mut machine = Machine::with(args, Setup::default());
        machine.fs.init(LINUX_6_18).unwrap();
        for name in 0..200 {
            machine.put(&format!("a file with number {name}"), "");
        }
        machine.put("file", pattern(100_000));
        fs::create_dir(machine.path("dir")).unwrap();
        machine.put("dir/deep", "deep");
        symlink("dir/deep", machine.path("link")).unwrap();
        let (file, dir) = (machine.find(ROOT, "file"), machine.find(ROOT, "dir"));
        let (deep, link) = (machine.find(dir, "deep"), machine.find(ROOT, "link"));
        let fh = machine.fs.open(file, libc::O_RDWR).unwrap().fh;
        let listing = machine.fs.opendir(ROOT).unwrap().fh;
        let first = machine.fs.readdir(ROOT, listing, 0, 2048).unwrap();
        let mut offset = first.last().unwrap().offset;
        let mut listed = names(&first);
        let bases = stop(&mut machine);
        let state = machine.guest.save().unwrap();

        let share = machine.daemon.share().to_owned();
        let copied = copy(&share);
        for (there, is_copy) in [(copied.path(), true), (&*share, false)] {
            let mut moved = on_with(there, args, &state);
            assert_eq!(
                moved.fs.read(file, fh, 50_000, 100).unwrap(),
                pattern(100_000)[50_000..50_100]
            );
            assert_eq!(moved.fs.write(file, fh, 100_000, b"more").unwrap(), 4);
            assert_eq!(fs::metadata(there.join("file")).unwrap().len(), 100_004);
            assert_eq!(moved.fs.getattr(deep, None).unwrap().attr.size, 4);
            assert_eq!(moved.fs.readlink(link).unwrap(), b"dir/deep");
            assert_eq!(moved.find(dir, "deep"), deep);
            assert_eq!(moved.find(ROOT, "file"), file);
            if !is_copy {
                loop {
                    let more = moved.fs.readdir(ROOT, listing, offset, 2048).unwrap();
                    let Some(last) = more.last() else { break };
                    offset = last.offset;
                    listed.extend(names(&more));
                }
                listed.sort();
                let count = listed.len();
                listed.dedup();
                assert_eq!((listed.len(), count), (2 + 203, 2 + 203), "{args:?}");
            }
            moved.fs.release(file, fh).unwrap();
            moved.fs.releasedir(ROOT, listing).unwrap();
            moved.hiprio.forget(deep, 2).unwrap();
            settle(&moved.daemon);
            assert_eq!(moved.fs.getattr(deep, None).unwrap_err(), Errno::ESTALE);
        }
        // Where it came from it goes on as well, as after a migration that was called off.
        go_on(&mut machine, bases);
        assert_eq!(machine.fs.read(file, fh, 0, 10).unwrap(), pattern(10));
    }
}

#[test]
fn a_guest_migrates_a_second_time_and_its_pages_are_logged_there() {
    let mut machine = Machine::new();
    machine.put("file", "content");
    let file = machine.find(ROOT, "file");
    let fh = machine.fs.open(file, libc::O_RDONLY).unwrap().fh;
    let share = machine.daemon.share().to_owned();
    let mut state = saved(&mut machine);
    for _ in 0..2 {
        let mut moved = on_with(&share, &[], &state);
        let log = moved.guest.set_log(256 << 20).unwrap();
        let features = moved.guest.features() | Setup::LOG_ALL;
        moved.guest.set_features(features).unwrap();
        assert_eq!(moved.fs.read(file, fh, 0, 100).unwrap(), b"content");
        settle(&moved.daemon);
        assert!(!log.take().is_empty());
        state = saved(&mut moved);
    }
}

#[test]
fn what_is_not_there_stops_the_guest_or_only_who_uses_it() {
    let mut machine = Machine::new();
    machine.put("file", "content");
    let path = machine.put("gone", "still there");
    let (file, gone) = (machine.find(ROOT, "file"), machine.find(ROOT, "gone"));
    let fh = machine.fs.open(gone, libc::O_RDWR).unwrap().fh;
    fs::remove_file(path).unwrap();
    let bases = stop(&mut machine);
    let state = machine.guest.save().unwrap();
    machine.daemon.process().wait_for_line("1 have no name any more", LONG).unwrap();
    let share = machine.daemon.share().to_owned();

    let (mut refused, loaded) = try_on(&share, &[], &state);
    assert!(loaded.is_err());
    refused.daemon.process().wait_for_line("--migration-on-error guest-error", LONG).unwrap();
    refused.fs.init(LINUX_6_18).unwrap();
    assert_eq!(refused.fs.getattr(file, None).unwrap_err(), Errno::ESTALE);

    let args = ["--migration-on-error=guest-error"];
    let mut moved = on_with(&share, &args, &state);
    assert_eq!(moved.fs.getattr(gone, None).unwrap_err(), Errno::ESTALE);
    assert_eq!(moved.fs.read(gone, fh, 0, 100).unwrap_err(), Errno::EIO);
    assert_eq!(moved.fs.getattr(file, None).unwrap().attr.size, 7);
    moved.daemon.process().wait_for_line("2 inodes and open files", LONG).unwrap();

    go_on(&mut machine, bases);
    assert_eq!(machine.fs.read(gone, fh, 0, 100).unwrap(), b"still there");
}

#[test]
fn by_handle_a_file_goes_along_that_has_no_name() {
    let args = ["--migration-mode=file-handles", "--inode-file-handles=mandatory"];
    let Ok(daemon) = Daemon::start(ferryfs(), &args) else {
        skip("by_handle_a_file_goes_along_that_has_no_name", "file handles cannot be opened");
        return;
    };
    drop(daemon);
    let mut machine = Machine::with(&args, Setup::default());
    machine.fs.init(LINUX_6_18).unwrap();
    let path = machine.put("gone", "still there");
    fs::create_dir(machine.path("dir")).unwrap();
    let (gone, dir) = (machine.find(ROOT, "gone"), machine.find(ROOT, "dir"));
    let fh = machine.fs.open(gone, libc::O_RDWR).unwrap().fh;
    fs::remove_file(path).unwrap();
    let state = saved(&mut machine);
    fs::rename(machine.path("dir"), machine.path("renamed")).unwrap();
    let share = machine.daemon.share().to_owned();
    let mut moved = on_with(&share, &args, &state);
    assert_eq!(moved.fs.read(gone, fh, 0, 100).unwrap(), b"still there");
    assert_eq!(moved.find(ROOT, "renamed"), dir);
}

#[test]
fn a_guest_whose_queues_run_is_not_taken_along() {
    let mut machine = Machine::new();
    machine.put("file", "content");
    let file = machine.find(ROOT, "file");
    assert!(machine.guest.save().is_err());
    assert!(machine.guest.check_state().is_err(), "nothing was transferred");
    assert!(machine.guest.load(b"anything").is_err());
    assert_eq!(machine.fs.getattr(file, None).unwrap().attr.size, 7);
}

/// A guest that knows more than a pipe holds, and stands still.
fn large() -> (Machine, [u16; 2], u64) {
    let mut machine = Machine::new();
    let mut node = 0;
    for file in 0..4000 {
        let name = format!("a file with a name that is not short at all {file}");
        machine.put(&name, "content");
        node = machine.find(ROOT, &name);
    }
    let bases = stop(&mut machine);
    (machine, bases, node)
}

#[test]
fn a_state_that_is_larger_than_a_pipe_goes_along() {
    let (mut machine, _, node) = large();
    let state = machine.guest.save().unwrap();
    assert!(state.len() > 128 << 10, "{}", state.len());
    let share = machine.daemon.share().to_owned();
    let mut moved = on_with(&share, &[], &state);
    assert_eq!(moved.fs.getattr(node, None).unwrap().attr.size, 7);
}

#[test]
fn a_front_end_that_does_not_read_or_write_holds_up_nothing() {
    let (mut machine, bases, node) = large();
    let threads = machine.daemon.process().threads().unwrap();
    // It asks how it went, and has not read; it reads no more; it begins once more.
    let (ours, theirs) = std::io::pipe().unwrap();
    machine.guest.transfer(true, theirs).unwrap();
    assert!(machine.guest.check_state().is_err());
    drop(ours);
    let (mut ours, theirs) = std::io::pipe().unwrap();
    machine.guest.transfer(true, theirs).unwrap();
    ours.read_exact(&mut [0; 100]).unwrap();
    drop(ours);
    assert!(machine.guest.check_state().is_err());
    let (ours, theirs) = std::io::pipe().unwrap();
    machine.guest.transfer(true, theirs).unwrap();
    let state = machine.guest.save().unwrap();
    drop(ours);
    go_on(&mut machine, bases);
    assert_eq!(machine.fs.getattr(node, None).unwrap().attr.size, 7);

    // It never says that this was all.
    stop(&mut machine);
    let (theirs, ours) = std::io::pipe().unwrap();
    machine.guest.transfer(false, theirs).unwrap();
    std::io::Write::write_all(&mut &ours, &state[..1000]).unwrap();
    assert!(machine.guest.check_state().is_err());
    drop(ours);
    machine.guest.load(&state).unwrap();
    wait_until("the threads have ended", || machine.daemon.process().threads().unwrap() <= threads);

    // It resets the device, or hangs up.
    let (theirs, ours) = std::io::pipe().unwrap();
    machine.guest.transfer(false, theirs).unwrap();
    machine.guest.reset_device().unwrap();
    let (theirs, _still_open) = std::io::pipe().unwrap();
    machine.guest.transfer(false, theirs).unwrap();
    drop(ours);
    let Machine { hiprio, fs, guest, mut daemon } = machine;
    drop((hiprio, fs, guest));
    assert_eq!(daemon.process_mut().wait(LONG).unwrap().code(), Some(0));
}

#[test]
fn a_line_that_is_none_is_a_transfer_that_fails() {
    let mut machine = Machine::new();
    let bases = stop(&mut machine);
    for save in [true, false] {
        let line = fs::File::open(machine.daemon.share()).unwrap();
        machine.guest.transfer(save, line).unwrap();
        assert!(machine.guest.check_state().is_err());
    }
    go_on(&mut machine, bases);
    assert_eq!(machine.fs.getattr(ROOT, None).unwrap_err(), Errno::EIO, "there is no session");
    machine.fs.init(LINUX_6_18).unwrap();
}

#[test]
fn several_shares_cannot_be_taken_along() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("share/a")).unwrap();
    let daemon = Daemon::start_shares(ferryfs(), &[], &["a=a"], folder).unwrap();
    let guest = Guest::connect(&daemon.socket(), Setup::default()).unwrap();
    assert!(!guest.offered_protocol().contains(VhostUserProtocolFeatures::DEVICE_STATE));
    daemon.process().wait_for_line("migrate only while", LONG).unwrap();
}

#[test]
fn locks_that_hold_on_the_host_are_told_of_and_left_behind() {
    let mut machine = Machine::with(&["--posix-lock"], Setup::default());
    machine.fs.init(LINUX_6_18).unwrap();
    machine.put("file", "content");
    let file = machine.find(ROOT, "file");
    let fh = machine.fs.open(file, libc::O_RDWR).unwrap().fh;
    for start in [0, 100] {
        let range = FileLock { start, end: start + 9, kind: libc::F_WRLCK.cast_unsigned(), pid: 1 };
        let lock = LkIn { fh, owner: 7, lk: range, lk_flags: 0, padding: 0 };
        machine.fs.setlk(file, &lock, false).unwrap();
    }
    let state = saved(&mut machine);
    machine.daemon.process().wait_for_line("2 ranges", LONG).unwrap();
    let share = machine.daemon.share().to_owned();
    let mut moved = on_with(&share, &["--posix-lock"], &state);
    assert_eq!(moved.fs.read(file, fh, 0, 100).unwrap(), b"content");
}
