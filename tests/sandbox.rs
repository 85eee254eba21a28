//! What the serving process has left of the host, in every kind of sandbox.
#![expect(clippy::unwrap_used, reason = "a test may")]

#[path = "user/mod.rs"]
mod user;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ferryfs::fuse::Errno;
use ferryfs_bench::{
    Daemon, Error, Guest, LINUX_6_18, LONG, Process, ROOT, Setup, skip, wait_until,
};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use user::User;

fn ferryfs() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ferryfs"))
}

/// True, and said so, if a test needs root and is run by another user.
fn needs_root(test: &str) -> bool {
    let other = !geteuid().is_root();
    if other {
        skip(test, "it needs root");
    }
    other
}

fn start(args: &[&str]) -> Daemon {
    Daemon::start(ferryfs(), args).unwrap()
}

/// The daemon serves a guest: it makes a directory, and what it makes is seen on the host.
fn serves(daemon: &Daemon) -> Guest {
    serves_at(&daemon.socket(), daemon.share())
}

fn serves_at(socket: &Path, share: &Path) -> Guest {
    let mut guest = Guest::connect(socket, Setup::default()).unwrap();
    let mut fs = guest.client(1).unwrap();
    fs.init(LINUX_6_18).unwrap();
    fs.mkdir(ROOT, "made by the guest", 0o755).unwrap();
    assert!(share.join("made by the guest").is_dir());
    guest
}

/// A line of `/proc/PID/status` of the serving process.
fn status(process: &Process, key: &str) -> String {
    let text = fs::read_to_string(process.proc("status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap().trim().to_owned()
}

fn capabilities(process: &Process, set: &str) -> u64 {
    u64::from_str_radix(&status(process, set), 16).unwrap()
}

/// True if the serving process has this namespace to itself.
fn own(process: &Process, namespace: &str) -> bool {
    let of = |path: PathBuf| fs::read_link(path).unwrap();
    of(process.proc("ns").join(namespace)) != of(Path::new("/proc/self/ns").join(namespace))
}

/// What the serving process finds at its root.
fn view(process: &Process) -> BTreeSet<String> {
    let entries = fs::read_dir(process.proc("root")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn said(process: &Process, what: &str) -> bool {
    process.stderr().contains(what)
}

#[test]
fn in_a_namespace_there_is_nothing_but_the_share() {
    if needs_root("in_a_namespace_there_is_nothing_but_the_share") {
        return;
    }
    let daemon = start(&[]);
    let process = daemon.process();
    let _guest = serves(&daemon);
    assert!(["mnt", "pid", "net", "ipc"].iter().all(|namespace| own(process, namespace)));
    assert!(!own(process, "user"));
    assert_eq!(view(process), BTreeSet::from(["share".to_owned()]));
    let share = fs::metadata(process.proc("root").join("share")).unwrap();
    let there = fs::metadata(daemon.share()).unwrap();
    assert_eq!((share.dev(), share.ino()), (there.dev(), there.ino()));
    let mounts = fs::read_to_string(process.proc("mountinfo")).unwrap();
    assert_eq!(mounts.lines().count(), 2, "{mounts}");
    assert!(mounts.lines().any(|mount| mount.contains(" / / ro,")), "{mounts}");
}

#[test]
fn after_chroot_the_share_is_the_root() {
    if needs_root("after_chroot_the_share_is_the_root") {
        return;
    }
    let daemon = start(&["--sandbox", "chroot"]);
    let process = daemon.process();
    let _guest = serves(&daemon);
    assert!(!own(process, "mnt") && !own(process, "pid"));
    let root = fs::metadata(process.proc("root")).unwrap();
    let there = fs::metadata(daemon.share()).unwrap();
    assert_eq!((root.dev(), root.ino()), (there.dev(), there.ino()));
}

#[test]
fn every_sandbox_has_the_rights_that_it_needs_and_no_others() {
    if needs_root("every_sandbox_has_the_rights_that_it_needs_and_no_others") {
        return;
    }
    // chown, dac_override, fowner, fsetid, setgid, setuid, mknod, setfcap; dac_read_search.
    let (usual, handles) = (0x8800_00db, 1 << 2);
    for (args, expected) in [
        (&["--sandbox", "namespace"][..], usual | handles),
        (&["--sandbox", "chroot"], usual | handles),
        (&["--sandbox", "none", "--inode-file-handles", "mandatory"], usual | handles),
        (&["--sandbox", "none", "--inode-file-handles", "never"], usual),
        (
            &["--inode-file-handles", "never", "--modcaps=-mknod:-setfcap"],
            usual & !(1 << 27 | 1 << 31),
        ),
        (&["--modcaps", "+sys_admin:+CAP_LINUX_IMMUTABLE"], usual | handles | 1 << 21 | 1 << 9),
    ] {
        let daemon = start(args);
        let process = daemon.process();
        let guest = serves(&daemon);
        for set in ["CapEff", "CapPrm", "CapBnd"] {
            assert_eq!(capabilities(process, set), expected, "{args:?} {set}");
        }
        for set in ["CapAmb", "CapInh"] {
            assert_eq!(capabilities(process, set), 0, "{args:?} {set}");
        }
        assert_eq!(status(process, "NoNewPrivs"), "1", "{args:?}");
        assert_eq!(status(process, "Seccomp"), "2", "{args:?}");
        assert_eq!(status(process, "Groups"), "", "{args:?}");
        assert_eq!(status(process, "Umask"), "0077", "{args:?}");
        drop(guest);
    }
}

#[test]
fn the_filter_is_left_out_if_asked_for() {
    let daemon = start(&["--seccomp", "none"]);
    let _guest = serves(&daemon);
    assert_eq!(status(daemon.process(), "Seccomp"), "0");
}

#[test]
fn without_a_sandbox_files_are_opened_by_landlocks_leave_alone() {
    let daemon = start(&["--sandbox", "none"]);
    let _guest = serves(&daemon);
    assert!(said(daemon.process(), "Sandbox: none, Landlock, seccomp kill"));
    let handles = start(&["--sandbox", "none", "--inode-file-handles", "never"]);
    assert!(said(handles.process(), "Sandbox: none, Landlock, seccomp kill"));
}

/// What a guest can still do with what it knew when the host takes that out of the share: open a
/// file, and make one.
fn reach(args: &[&str]) -> [Option<Errno>; 2] {
    let daemon = start(args);
    let (inside, outside) = (daemon.share().join("dir"), daemon.share().with_extension("moved"));
    fs::create_dir(&inside).unwrap();
    fs::write(inside.join("file"), "content").unwrap();
    let mut guest = serves(&daemon);
    let mut fs = guest.client(2).unwrap();
    let dir = fs.lookup(ROOT, "dir").unwrap().nodeid;
    let file = fs.lookup(dir, "file").unwrap().nodeid;
    fs.open(file, libc::O_RDWR).unwrap();
    fs.mkdir(dir, "before", 0o755).unwrap();
    fs::rename(&inside, &outside).unwrap();
    let error = |error: Error| match error {
        Error::Errno(error) => error,
        other => panic!("{other}"),
    };
    let opened = fs.open(file, libc::O_RDWR).err().map(error);
    let made = fs.mkdir(dir, "after", 0o755).err().map(error);
    assert_eq!(made.is_none(), outside.join("after").exists());
    [opened, made]
}

#[test]
fn nothing_beyond_the_share_is_opened_or_made_where_there_is_landlock() {
    let test = "nothing_beyond_the_share_is_opened_or_made_where_there_is_landlock";
    // In a namespace it is beyond what is mounted there, of which Landlock does not know more.
    for mode in ["none", "chroot"] {
        if mode == "chroot" && needs_root(test) {
            continue;
        }
        let args = ["--sandbox", mode, "--inode-file-handles", "never"];
        if !said(start(&args).process(), ", Landlock,") {
            skip(test, "the kernel has no Landlock");
            return;
        }
        let refused = Some(Errno::EACCES);
        assert_eq!(reach(&args), [refused; 2], "{mode}");
        let args = [&args[..], &["--no-landlock"]].concat();
        assert_eq!(reach(&args), [None; 2], "{mode}, without Landlock");
    }
}

#[test]
fn landlock_is_left_out_if_asked_for() {
    for args in [&["--no-landlock"][..], &["--no-landlock", "--sandbox=none"]] {
        let daemon = start(args);
        let _guest = serves(&daemon);
        assert!(said(daemon.process(), "no Landlock,"), "{}", daemon.process().stderr());
    }
}

#[test]
fn auto_takes_the_best_and_says_which() {
    let daemon = start(&["--sandbox", "auto"]);
    let _guest = serves(&daemon);
    assert!(said(daemon.process(), "Sandbox: namespace,"), "{}", daemon.process().stderr());
}

/// In a user namespace there may be no namespaces of mounts, by its own limit.
#[test]
fn auto_does_without_what_cannot_be_had_and_says_why() {
    let test = "auto_does_without_what_cannot_be_had_and_says_why";
    let folder = tempfile::tempdir().unwrap();
    let (share, socket) = (folder.path().join("share"), folder.path().join("sock"));
    fs::create_dir(&share).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c"]);
    command.arg("echo 0 > /proc/sys/user/max_mnt_namespaces || exit 77; exec \"$@\"");
    let mut limited = Command::new("unshare");
    limited.args(command.get_args()).args(["sh", "true"]);
    if !limited.output().is_ok_and(|done| done.status.success()) {
        skip(test, "a user namespace cannot be limited here");
        return;
    }
    command.arg("sh").arg(ferryfs()).args(["--sandbox", "auto"]);
    command.arg("--shared-dir").arg(&share).arg("--socket-path").arg(&socket);
    let process = Process::start(command).unwrap();
    process.wait_for_line("Waiting for", LONG).unwrap();
    let _guest = serves_at(&socket, &share);
    assert!(said(&process, "The sandbox cannot be namespace: "), "{}", process.stderr());
    assert!(said(&process, "Sandbox: chroot, "), "{}", process.stderr());
    assert!(!own(&process, "mnt"));
}

#[test]
fn groups_that_cannot_be_dropped_are_named_in_the_log() {
    let Some(user) = User::find("groups_that_cannot_be_dropped_are_named_in_the_log") else {
        return;
    };
    let (share, socket) = (user.path("share"), user.path("sock"));
    for (mode, groups) in
        [("none", "--groups=7,8"), ("none", "--clear-groups"), ("namespace", "--groups=7,8")]
    {
        let mut command = Command::new("setpriv");
        command.arg(format!("--reuid={}", user.uid)).arg(format!("--regid={}", user.gid));
        command.arg(groups).arg(user.path("ferryfs")).args(["--sandbox", mode]);
        command.arg("--shared-dir").arg(&share).arg("--socket-path").arg(&socket);
        let process = Process::start(command).unwrap();
        process.wait_for_line("Waiting for", LONG).unwrap();
        let keeps = !status(&process, "Groups").is_empty();
        assert_eq!(said(&process, "supplementary groups"), keeps, "{mode}: {}", process.stderr());
        assert_eq!(keeps, groups != "--clear-groups", "{mode}");
    }
}

#[test]
fn leaked_descriptors_do_not_get_in() {
    let folder = tempfile::tempdir().unwrap();
    let (share, socket) = (folder.path().join("share"), folder.path().join("sock"));
    fs::create_dir(&share).unwrap();
    let host = File::open("/").unwrap();
    rustix::io::fcntl_setfd(&host, rustix::io::FdFlags::empty()).unwrap();
    let mut command = Command::new(ferryfs());
    command.arg("--shared-dir").arg(&share).arg("--socket-path").arg(&socket);
    let process = Process::start(command).unwrap();
    drop(host);
    process.wait_for_line("Waiting for", LONG).unwrap();
    let _guest = serves_at(&socket, &share);
    let has = |process: u32, path: &Path| {
        let id = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
        let fds = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
        fds.map(|fd| id(&fd.unwrap().path())).any(|found| found == id(path))
    };
    let (outside, inside) = (process.pid(), process.serving());
    let pid_file = folder.path().join("sock.pid");
    assert!(has(outside, Path::new("/")) && has(outside, &pid_file), "the test leaks nothing");
    assert!(!has(inside, Path::new("/")) && !has(inside, &pid_file));
}

fn end_of(pid: u32) {
    let process = format!("/proc/{pid}");
    wait_until("the process is gone", || !Path::new(&process).exists());
}

#[test]
fn the_serving_process_does_not_outlive_the_other() {
    for mode in ["namespace", "chroot", "none"] {
        if mode == "chroot" && needs_root("the_serving_process_does_not_outlive_the_other") {
            continue;
        }
        let mut daemon = start(&["--sandbox", mode]);
        let _guest = serves(&daemon);
        let serving = daemon.process().serving();
        assert_ne!(serving, daemon.process().pid());
        daemon.process().signal(Signal::KILL).unwrap();
        daemon.process_mut().wait(LONG).unwrap();
        end_of(serving);
    }
}

#[test]
fn nothing_is_left_behind_by_a_serving_process_that_is_killed() {
    let mut daemon = start(&[]);
    let _guest = serves(&daemon);
    let pid = Pid::from_raw(daemon.process().serving().cast_signed()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    let status = daemon.process_mut().wait(LONG).unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(said(daemon.process(), "ended by signal 9"), "{}", daemon.process().stderr());
    assert!(!daemon.socket().exists() && !daemon.socket().with_extension("pid").exists());
}

#[test]
fn a_file_that_becomes_too_large_is_no_reason_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let (share, socket) = (folder.path().join("share"), folder.path().join("sock"));
    fs::create_dir(&share).unwrap();
    let mut command = Command::new("prlimit");
    command.arg("--fsize=4096").arg(ferryfs());
    command.arg("--shared-dir").arg(&share).arg("--socket-path").arg(&socket);
    let process = Process::start(command).unwrap();
    process.wait_for_line("Waiting for", LONG).unwrap();
    let mut guest = serves_at(&socket, &share);
    let mut fs = guest.client(2).unwrap();
    let file = fs.create(ROOT, "file", libc::O_RDWR, 0o644).unwrap();
    let (node, fh) = (file.entry.nodeid, file.open.fh);
    assert_eq!(fs.write(node, fh, 0, &[1; 100]).unwrap(), 100);
    let error = fs.write(node, fh, 8192, &[1; 100]).unwrap_err();
    assert_eq!(error, Errno::EFBIG);
    assert_eq!(fs.write(node, fh, 0, &[2; 100]).unwrap(), 100);
}

#[test]
fn an_ordinary_user_has_a_namespace_as_well() {
    let Some(user) = User::find("an_ordinary_user_has_a_namespace_as_well") else { return };
    let (uid, gid) = (user.uid.to_string(), user.gid.to_string());
    for mode in ["namespace", "none", "auto"] {
        let process = user.start(&["--sandbox".into(), mode.into()]);
        let guest = serves_at(&user.path("sock"), &user.path("share"));
        assert_eq!(own(&process, "user"), mode != "none", "{mode}");
        assert_eq!(own(&process, "mnt"), mode != "none", "{mode}");
        if mode != "none" {
            assert_eq!(view(&process), BTreeSet::from(["share".to_owned()]));
            let map = fs::read_to_string(process.proc("uid_map")).unwrap();
            assert_eq!(map.split_whitespace().collect::<Vec<_>>(), [&uid, &uid, "1"]);
            let map = fs::read_to_string(process.proc("gid_map")).unwrap();
            assert_eq!(map.split_whitespace().collect::<Vec<_>>(), [&gid, &gid, "1"]);
        }
        assert!(said(&process, ", Landlock, seccomp kill"), "{}", process.stderr());
        assert_eq!(user.owner("made by the guest"), (user.uid, user.gid));
        drop(guest);
        fs::remove_dir(user.path("share").join("made by the guest")).unwrap();
    }
}

#[test]
fn an_ordinary_user_gives_the_guest_ids_of_its_own() {
    let Some(user) = User::find("an_ordinary_user_gives_the_guest_ids_of_its_own") else { return };
    let (first, count) = user.subuids;
    let map = |option: &str, own: u32| {
        [format!("--{option}=:0:{own}:1:"), format!("--{option}"), format!("1:{first}:{count}")]
    };
    let args = [map("uid-map", user.uid), map("gid-map", user.gid)].concat();
    let process = user.start(&args);
    let mut guest = serves_at(&user.path("sock"), &user.path("share"));
    assert_eq!(user.owner("made by the guest"), (user.uid, user.gid), "root's");
    let mut fs = guest.client(2).unwrap();
    (fs.caller.uid, fs.caller.gid) = (1000, 1000);
    let made = fs.create(ROOT, "file", libc::O_RDWR, 0o644).unwrap();
    assert_eq!((made.entry.attr.uid, made.entry.attr.gid), (1000, 1000));
    assert_eq!(user.owner("file"), (first + 999, first + 999));
    assert_eq!(fs.write(made.entry.nodeid, made.open.fh, 0, b"hers").unwrap(), 4);
    assert_eq!(capabilities(&process, "CapEff") & 1, 1, "it may give files away");
    assert_eq!(capabilities(&process, "CapEff") & (1 << 21), 0, "and mount nothing");
}

#[test]
fn an_ordinary_user_has_shares_come_and_go() {
    let Some(user) = User::find("an_ordinary_user_has_shares_come_and_go") else { return };
    for name in ["a", "b"] {
        fs::create_dir(user.path(name)).unwrap();
        fs::write(user.path(name).join("file"), name).unwrap();
    }
    let command = |args: &[&str]| {
        let mut command = Command::new(user.path("ferryfs"));
        command.uid(user.uid).gid(user.gid).current_dir(user.path("")).args(args);
        command
    };
    let process = Process::start(command(&["--share=a=a", "--socket-path=sock", "--control=ctl"]));
    let process = process.unwrap();
    let ready = process.wait_for_line("Waiting for", LONG);
    assert!(ready.is_ok(), "{}", process.stderr());
    let mut guest = Guest::connect(&user.path("sock"), Setup::default()).unwrap();
    let mut fs = guest.client(1).unwrap();
    fs.init(LINUX_6_18).unwrap();
    // By the user, and by root.
    for by in [user.uid, 0] {
        for (change, expected) in [(&["add", "b=b"][..], "a=a"), (&["remove", "b"], "a=a")] {
            let mut ctl = command(&["ctl", "--control=ctl", "share"]);
            let done = ctl.args(change).uid(by).output().unwrap();
            let said = String::from_utf8(done.stderr).unwrap();
            assert_eq!((done.status.code(), &*said), (Some(0), ""), "{change:?} by {by}");
            assert!(String::from_utf8(done.stdout).unwrap().starts_with(expected));
            if change[0] == "add" {
                let dir = fs.lookup(ROOT, "b").unwrap().nodeid;
                let file = fs.lookup(dir, "file").unwrap().nodeid;
                let fh = fs.open(file, libc::O_RDONLY).unwrap().fh;
                assert_eq!(fs.read(file, fh, 0, 9).unwrap(), b"b");
                fs.release(file, fh).unwrap();
            }
        }
        assert_eq!(fs.lookup(ROOT, "b").unwrap_err(), Errno::ENOENT);
    }
}

#[test]
fn several_shares_are_all_that_the_daemon_sees() {
    if needs_root("several_shares_are_all_that_the_daemon_sees") {
        return;
    }
    for (more, places) in [(&[][..], &["0", "1"][..]), (&["--control=ctl"], &["0", "1", "later"])] {
        let folder = tempfile::tempdir().unwrap();
        for name in ["share", "share/a", "share/b"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let shares = ["a=a", "b=b:ro"];
        let daemon = Daemon::start_shares(ferryfs(), more, &shares, folder).unwrap();
        let places = places.iter().map(ToString::to_string).collect();
        assert_eq!(view(daemon.process()), places);
        let options = fs::read_to_string(daemon.process().proc("mountinfo")).unwrap();
        let root = options.lines().find(|line| line.contains(" / / ")).unwrap();
        assert!(root.contains(" ro,nosuid,nodev,noexec"), "{root}");
    }
}

#[test]
fn ids_that_nobody_granted_are_refused() {
    let Some(user) = User::find("ids_that_nobody_granted_are_refused") else { return };
    let mut command = Command::new(user.path("ferryfs"));
    command.uid(user.uid).gid(user.gid).arg("--shared-dir").arg(user.path("share"));
    command.arg("--socket-path").arg(user.path("sock")).args(["--uid-map", ":0:0:1:"]);
    let mut process = Process::start(command).unwrap();
    assert_eq!(process.wait(LONG).unwrap().code(), Some(2));
    let said = process.stderr();
    assert!(said.starts_with("ferryfs: --uid-map: newuidmap failed"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(!user.path("sock").exists() && !user.path("sock.pid").exists());
}

#[test]
fn a_sandbox_that_cannot_be_is_explained_in_one_line() {
    let Some(user) = User::find("a_sandbox_that_cannot_be_is_explained_in_one_line") else {
        return;
    };
    let cases: [(&str, &[&str]); 6] = [
        ("--sandbox", &["--sandbox", "chroot"]),
        ("--sandbox", &["--sandbox", "box"]),
        ("--seccomp", &["--seccomp", "maybe"]),
        ("--modcaps", &["--modcaps", "+everything"]),
        ("--uid-map", &["--uid-map", "0-1"]),
        ("--gid-map", &["--sandbox", "none", "--gid-map", "0:1:1"]),
    ];
    for (option, args) in cases {
        let mut command = Command::new(user.path("ferryfs"));
        command.uid(user.uid).gid(user.gid).arg("--shared-dir").arg(user.path("share"));
        command.arg("--socket-path").arg(user.path("sock")).args(args);
        let mut process = Process::start(command).unwrap();
        assert_eq!(process.wait(LONG).unwrap().code(), Some(2), "{args:?}");
        let said = process.stderr();
        assert!(said.starts_with(&format!("ferryfs: {option}")), "{args:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{args:?}: {said}");
        assert!(!user.path("sock").exists() && !user.path("sock.pid").exists());
    }
}
