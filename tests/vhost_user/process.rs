//! The daemon as a process: how it starts, and how it ends.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;

use ferryfs_bench::{Error, Lease, Process, ROOT};
use rustix::process::Signal;
use tempfile::TempDir;

use super::*;

/// Runs the program until it ends by itself; its exit code and what it says.
fn run(args: &[&OsStr]) -> (Option<i32>, String) {
    let mut command = Command::new(ferryfs());
    command.args(args);
    let mut process = Process::start(command).unwrap();
    let status = process.wait(LONG).unwrap();
    (status.code(), process.stderr())
}

fn exit_code(machine: &mut Daemon) -> Option<i32> {
    machine.process_mut().wait(LONG).unwrap().code()
}

/// Expects that its socket and its pid file are gone.
fn nothing_is_left_of(daemon: &Daemon) {
    let entries = fs::read_dir(daemon.socket().parent().unwrap()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let left: Vec<_> = paths.filter(|path| path != daemon.share()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn it_ends_when_the_front_end_disconnects() {
    let Machine { hiprio, mut fs, guest, mut daemon } = Machine::new();
    let pid_file = daemon.socket().with_extension("pid");
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), format!("{}\n", daemon.process().pid()));
    fs.mkdir(ROOT, "dir", 0o755).unwrap();
    drop((hiprio, fs, guest));
    assert_eq!(exit_code(&mut daemon), Some(0));
    nothing_is_left_of(&daemon);
    assert!(daemon.share().join("dir").exists());
}

#[test]
fn it_ends_well_however_little_the_front_end_has_said() {
    for said in
        [&b""[..], b"x", &[1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], &[2, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0]]
    {
        let mut daemon = Daemon::start(ferryfs(), &[]).unwrap();
        let mut connection = UnixStream::connect(daemon.socket()).unwrap();
        connection.write_all(said).unwrap();
        drop(connection);
        let code = exit_code(&mut daemon);
        // A message without its body may count as a mistake of the front-end.
        assert!(code == Some(0) || code == Some(1) && said.len() == 12, "{code:?} after {said:?}");
        nothing_is_left_of(&daemon);
    }
}

#[test]
fn a_message_that_makes_no_sense_is_refused_and_the_next_is_served() {
    // An unknown request, a wrong version, a length that is too long, a message without its body.
    let nonsense = [[99u32, 1, 0], [1, 2, 0], [1, 1, 0xffff], [5, 1, 0]];
    let mut daemon = Daemon::start(ferryfs(), &[]).unwrap();
    let mut connection = UnixStream::connect(daemon.socket()).unwrap();
    connection.set_read_timeout(Some(LONG)).unwrap();
    for round in 0..50 {
        for message in nonsense {
            connection.write_all(&words(&message)).unwrap();
        }
        // GET_FEATURES
        connection.write_all(&words(&[1, 1, 0])).unwrap();
        let mut reply = [0; 20];
        connection.read_exact(&mut reply).unwrap();
        assert_eq!(reply[..12], words(&[1, 5, 8]), "round {round}");
    }
    drop(connection);
    assert_eq!(exit_code(&mut daemon), Some(0));
    nothing_is_left_of(&daemon);
}

#[test]
fn it_gives_up_on_a_front_end_that_talks_nothing_but_nonsense() {
    let mut daemon = Daemon::start(ferryfs(), &[]).unwrap();
    let mut connection = UnixStream::connect(daemon.socket()).unwrap();
    for _ in 0..64 {
        connection.write_all(&words(&[99, 1, 0])).unwrap();
    }
    assert_eq!(exit_code(&mut daemon), Some(1));
    let said = daemon.process().stderr();
    assert_eq!(said.matches("ERROR").count(), 1, "{said}");
    nothing_is_left_of(&daemon);
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

#[test]
fn it_finishes_what_was_begun_before_it_ends() {
    let mut machine = Machine::new();
    let path = machine.put("leased", "");
    let node = machine.find(ROOT, "leased");
    let lease = Lease::take(&path).unwrap();
    machine.fs.timeout = Duration::ZERO;
    let opened = machine.fs.open(node, libc::O_RDWR);
    assert!(matches!(opened, Err(Error::Timeout)));
    wait_until("the daemon waits for the file", || lease.is_wanted());
    let Machine { hiprio, fs, guest, mut daemon } = machine;
    drop((hiprio, fs, guest));
    assert!(daemon.socket().exists());
    drop(lease);
    assert_eq!(exit_code(&mut daemon), Some(0));
    nothing_is_left_of(&daemon);
}

#[test]
fn it_ends_by_a_signal_at_any_time() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut daemon = Daemon::start(ferryfs(), &[]).unwrap();
        daemon.process().signal(signal).unwrap();
        assert_eq!(exit_code(&mut daemon), Some(0), "{signal:?}");
        nothing_is_left_of(&daemon);

        let mut machine = Machine::new();
        machine.fs.mkdir(ROOT, "dir", 0o755).unwrap();
        machine.daemon.process().signal(signal).unwrap();
        assert_eq!(exit_code(&mut machine.daemon), Some(0), "{signal:?}");
        nothing_is_left_of(&machine.daemon);
        assert!(matches!(machine.fs.getattr(ROOT, None), Err(Error::Gone)));
    }
}

#[test]
fn a_signal_does_not_wait_for_requests() {
    let mut machine = Machine::new();
    let path = machine.put("leased", "");
    let node = machine.find(ROOT, "leased");
    let lease = Lease::take(&path).unwrap();
    machine.fs.timeout = Duration::ZERO;
    assert!(machine.fs.open(node, libc::O_RDWR).is_err());
    wait_until("the daemon waits for the file", || lease.is_wanted());
    machine.daemon.process().signal(Signal::TERM).unwrap();
    assert_eq!(exit_code(&mut machine.daemon), Some(0));
    nothing_is_left_of(&machine.daemon);
}

/// A folder with a directory, a file and a socket that is in use.
fn premises() -> (TempDir, UnixListener) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("dir")).unwrap();
    fs::write(folder.path().join("file"), "precious").unwrap();
    let listener = UnixListener::bind(folder.path().join("busy")).unwrap();
    (folder, listener)
}

#[test]
fn a_start_that_cannot_be_is_explained_in_one_line() {
    let (folder, _listener) = premises();
    let path = |name: &str| folder.path().join(name).into_os_string();
    let (dir, sock) = (path("dir"), path("sock"));
    let (share, socket) = (OsStr::new("--shared-dir"), OsStr::new("--socket-path"));
    let good: [&OsStr; 4] = [share, &dir, socket, &sock];
    let with = |more: &[&str]| -> Vec<std::ffi::OsString> {
        good.iter().copied().chain(more.iter().map(OsStr::new)).map(OsStr::to_owned).collect()
    };
    let long = "t".repeat(37);
    let cases = [
        ("--shared-dir", vec![socket.into(), sock.clone()]),
        ("--socket-path", vec![share.into(), dir.clone()]),
        ("--shared-dir", vec![share.into(), path("none"), socket.into(), sock.clone()]),
        ("--shared-dir", vec![share.into(), path("file"), socket.into(), sock.clone()]),
        ("--socket-path", vec![share.into(), dir.clone(), socket.into(), path("busy")]),
        ("--socket-path", vec![share.into(), dir.clone(), socket.into(), path("file")]),
        ("--socket-path", vec![share.into(), dir.clone(), socket.into(), path("no/sock")]),
        ("--socket-path", vec![share.into(), dir.clone(), socket.into(), path(&"s".repeat(200))]),
        ("--tag", with(&["--tag", ""])),
        ("--tag", with(&["--tag", &long])),
        ("--tag", with(&["--tag", "a\nb"])),
        ("--num-request-queues", with(&["--num-request-queues", "0"])),
        ("--num-request-queues", with(&["--num-request-queues", "64"])),
        ("--socket-group", with(&["--socket-group", "no such group"])),
        ("--fd", vec![share.into(), dir.clone(), "--fd".into(), "99".into()]),
        ("--fd", vec![share.into(), dir.clone(), "--fd".into(), "2".into()]),
        ("--frobnicate", with(&["--frobnicate"])),
    ];
    for (option, args) in cases {
        let args: Vec<_> = args.iter().map(AsRef::as_ref).collect();
        let (code, said) = run(&args);
        assert_eq!(code, Some(2), "{args:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{args:?}: {said}");
        assert!(said.starts_with(&format!("ferryfs: {option}")), "{args:?}: {said}");
    }
    let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, ["busy", "dir", "file"], "nothing is left behind");
    assert_eq!(fs::read_to_string(folder.path().join("file")).unwrap(), "precious");
    UnixStream::connect(folder.path().join("busy")).unwrap();
}

#[test]
fn two_daemons_cannot_share_a_socket() {
    let first = Daemon::start(ferryfs(), &[]).unwrap();
    let args = ["--shared-dir".as_ref(), first.share().as_os_str()];
    let socket = first.socket();
    let (code, said) = run(&[args[0], args[1], "--socket-path".as_ref(), socket.as_os_str()]);
    assert_eq!((code, said.lines().count()), (Some(2), 1), "{said}");
    let mut guest = Guest::connect(&socket, Setup::default()).unwrap();
    guest.client(1).unwrap().init(LINUX_6_18).unwrap();
    assert!(socket.with_extension("pid").exists());
}

#[test]
fn what_a_killed_daemon_left_behind_is_taken_over() {
    let (folder, _listener) = premises();
    let (dir, sock) = (folder.path().join("dir"), folder.path().join("sock"));
    let pid_file = folder.path().join("sock.pid");
    let start = || {
        let mut command = Command::new(ferryfs());
        command.arg("--shared-dir").arg(&dir).arg("--socket-path").arg(&sock);
        let process = Process::start(command).unwrap();
        process.wait_for_line("Waiting for vhost-user socket connection...", LONG).unwrap();
        process
    };
    let mut first = start();
    first.signal(Signal::KILL).unwrap();
    first.wait(LONG).unwrap();
    assert!(sock.exists() && pid_file.exists());
    fs::write(&pid_file, "a long line\nand another one that was left behind\n").unwrap();
    let second = start();
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), format!("{}\n", second.pid()));
    let mut guest = Guest::connect(&sock, Setup::default()).unwrap();
    guest.client(1).unwrap().init(LINUX_6_18).unwrap();
}

#[test]
fn only_its_user_and_the_group_that_is_named_may_connect() {
    let mode = |daemon: &Daemon| fs::metadata(daemon.socket()).unwrap().permissions().mode();
    let alone = Daemon::start(ferryfs(), &[]).unwrap();
    assert_eq!(mode(&alone) & 0o077, 0);
    let gid = rustix::process::getegid().as_raw();
    let group = Daemon::start(ferryfs(), &["--socket-group", &gid.to_string()]).unwrap();
    let owner = fs::metadata(group.socket()).unwrap().gid();
    assert_eq!((mode(&group) & 0o077, owner), (0o070, gid));
}

#[test]
fn it_serves_a_socket_that_it_is_given_and_a_client_that_is_there_already() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, sock) = (folder.path().join("dir"), folder.path().join("sock"));
    fs::create_dir(&dir).unwrap();
    let listener = UnixListener::bind(&sock).unwrap();
    let connection = UnixStream::connect(&sock).unwrap();
    let mut command = Command::new(ferryfs());
    command.arg("--shared-dir").arg(&dir).args(["--fd", "0"]).stdin(OwnedFd::from(listener));
    let mut process = Process::start(command).unwrap();
    let mut guest = Guest::over(connection, Setup::default()).unwrap();
    let mut fs = guest.client(1).unwrap();
    fs.init(LINUX_6_18).unwrap();
    fs.mkdir(ROOT, "made", 0o755).unwrap();
    assert!(dir.join("made").exists());
    drop((fs, guest));
    assert_eq!(process.wait(LONG).unwrap().code(), Some(0), "{}", process.stderr());
    assert!(sock.exists(), "the socket is not ours to remove");
    assert!(!folder.path().join("sock.pid").exists());
}

#[test]
fn help_and_version_are_printed() {
    for (option, text) in [("--help", "--shared-dir"), ("--version", "ferryfs ")] {
        let output = Command::new(ferryfs()).arg(option).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8(output.stdout).unwrap().contains(text));
        assert_eq!(output.stderr, b"");
    }
}

#[test]
fn a_guest_that_holds_many_files_costs_little_when_it_lets_go() {
    let mut machine = Machine::new();
    machine.put("a", "");
    let node = machine.find(ROOT, "a");
    machine.fs.getattr(node, None).unwrap();
    let (descriptors, threads) = (machine.descriptors(), machine.daemon.process().threads());
    let handles: Vec<_> = (0..500).map(|_| machine.fs.open(node, 0).unwrap().fh).collect();
    assert_eq!(machine.descriptors(), descriptors + 500);
    for fh in handles {
        machine.fs.release(node, fh).unwrap();
    }
    assert_eq!(machine.descriptors(), descriptors);
    assert_eq!(machine.daemon.process().threads().unwrap(), threads.unwrap());
    assert!(machine.daemon.process().resident().unwrap() < 64 << 20);
}

#[test]
fn the_limit_of_open_files_is_the_guests_too() {
    let mut machine = Machine::with(&["--rlimit-nofile", "100"], Setup::default());
    machine.fs.init(LINUX_6_18).unwrap();
    machine.put("a", "");
    let node = machine.find(ROOT, "a");
    let mut handles = Vec::new();
    let error = loop {
        match machine.fs.open(node, libc::O_RDONLY) {
            Ok(opened) => handles.push(opened.fh),
            Err(error) => break error,
        }
        assert!(handles.len() < 100);
    };
    // Not EMFILE: the guest's process has not opened too many.
    assert_eq!(error, ferryfs::fuse::Errno::ENFILE);
    for fh in handles {
        machine.fs.release(node, fh).unwrap();
    }
    machine.fs.open(node, libc::O_RDONLY).unwrap();
}
