//! Several shares from one daemon, as guests and operators meet them.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Output};

use ferryfs::fuse::Errno;
use ferryfs::fuse::abi::CopyFileRangeIn;
use ferryfs::fuse::flags::attr;
use ferryfs_bench::{Process, ROOT};
use rustix::mount::{self, MountFlags, MountPropagationFlags, UnmountFlags};
use tempfile::TempDir;

use super::*;

/// Directories `a` and `b`, a file in each, a file `one`, and what is not shared.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join("share").join(name);
    for dir in ["", "a", "a/dir", "b", "c"] {
        fs::create_dir(at(dir)).unwrap();
    }
    for (file, content) in [("a/file", "a"), ("b/file", "b"), ("c/file", "c"), ("one", "one")] {
        fs::write(at(file), content).unwrap();
    }
    fs::write(at("secret"), "nobody's").unwrap();
    symlink("../secret", at("a/up")).unwrap();
    symlink("../b", at("a/over")).unwrap();
    folder
}

/// `a`, `b` that is only read, and the file `one`.
fn start(args: &[&str]) -> Machine {
    let folder = folder();
    let daemon = Daemon::start_shares(ferryfs(), args, &["a=a", "b=b:ro", "one=one"], folder);
    meet(daemon.unwrap())
}

fn meet(daemon: Daemon) -> Machine {
    let mut guest = Guest::connect(&daemon.socket(), Setup::default()).unwrap();
    let (hiprio, mut fs) = (guest.client(0).unwrap(), guest.client(1).unwrap());
    fs.init(LINUX_6_18).unwrap();
    Machine { hiprio, fs, guest, daemon }
}

/// A daemon with a control socket.
fn controlled(args: &[&str]) -> Machine {
    start(&[&["--control", "ctl"], args].concat())
}

fn ctl(machine: &Machine, args: &[&str]) -> Output {
    let mut command = Command::new(ferryfs());
    command.current_dir(machine.daemon.share()).args(["ctl", "--control", "ctl"]);
    command.args(args).output().unwrap()
}

/// What is shared after a change that is made.
fn change(machine: &Machine, args: &[&str]) -> Vec<String> {
    let done = ctl(machine, &[&["share"], args].concat());
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!((done.status.code(), &*said), (Some(0), ""), "{args:?}");
    String::from_utf8(done.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Why a change is not made, in one line.
fn refused(machine: &Machine, args: &[&str]) -> String {
    let done = ctl(machine, &[&["share"], args].concat());
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.code() != Some(0) && said.lines().count() == 1, "{args:?}: {said}");
    assert!(said.starts_with("ferryfs: ") && said.contains("; "), "{said}");
    said
}

fn content(machine: &mut Machine, path: &str) -> Vec<u8> {
    let node = path.split('/').fold(ROOT, |dir, name| machine.find(dir, name));
    let fh = machine.fs.open(node, libc::O_RDONLY).unwrap().fh;
    let content = machine.fs.read(node, fh, 0, 4096).unwrap();
    machine.fs.release(node, fh).unwrap();
    content
}

fn needs_root(test: &str) -> bool {
    !is_root() && skip(test, "it needs root")
}

/// How a daemon may be confined on this host.
fn ways() -> Vec<&'static [&'static str]> {
    vec![
        &["--sandbox", "namespace"],
        &["--sandbox", "namespace", "--inode-file-handles", "never"],
        &["--sandbox", "none"],
        &["--sandbox", "none", "--inode-file-handles", "never", "--no-announce-submounts"],
        &["--sandbox", "auto", "--cache", "always", "--posix-lock", "--flock"],
    ]
}

#[test]
fn each_share_is_served_in_every_sandbox() {
    for way in ways() {
        let machine = &mut start(way);
        for (path, expected) in [("a/file", "a"), ("b/file", "b"), ("one", "one")] {
            assert_eq!(content(machine, path), expected.as_bytes(), "{way:?}");
        }
        let (a, b) = (machine.find(ROOT, "a"), machine.find(ROOT, "b"));
        let fs = &mut machine.fs;
        assert_ne!(fs.mkdir(a, "made", 0o755).unwrap().nodeid, 0);
        assert_eq!(fs.mkdir(b, "made", 0o755).unwrap_err(), Errno::EROFS);
        assert_eq!(fs.mkdir(ROOT, "made", 0o755).unwrap_err(), Errno::EROFS);
        assert_eq!(fs.rename((a, "file"), (b, "other")).unwrap_err(), Errno::EXDEV);
        let names: Vec<_> = list(fs, ROOT);
        assert_eq!(names, [".", "..", "a", "b", "one"]);
        fs.setxattr(a, "user.x", b"1", 0).unwrap();
        assert_eq!(fs.getxattr(a, "user.x", 10).unwrap(), b"1");
        assert_eq!(fs.setxattr(ROOT, "user.x", b"1", 0).unwrap_err(), Errno::EROFS);
        assert_eq!(fs.getxattr(ROOT, "user.x", 10).unwrap_err(), Errno::ENODATA);
        for node in [ROOT, a, b] {
            fs.syncfs(node).unwrap();
            assert_eq!(fs.statfs(node).unwrap().namelen, 255);
        }
        let one = machine.find(ROOT, "one");
        let fh = machine.fs.open(one, libc::O_WRONLY | libc::O_TRUNC).unwrap().fh;
        assert_eq!(machine.fs.write(one, fh, 0, b"two").unwrap(), 3);
        assert!(machine.path("a/made").is_dir() && !machine.path("b/made").exists());
        assert_eq!(fs::read(machine.path("one")).unwrap(), b"two");
        let said = machine.daemon.process().stderr();
        assert!(!["WARN", "ERROR"].iter().any(|word| said.contains(word)), "{said}");
    }
}

fn list(fs: &mut Client, node: u64) -> Vec<String> {
    let fh = fs.opendir(node).unwrap().fh;
    let found = fs.readdirplus(node, fh, 0, 8192).unwrap();
    fs.releasedir(node, fh).unwrap();
    found.into_iter().map(|found| String::from_utf8(found.name).unwrap()).collect()
}

#[test]
fn shares_are_submounts_to_guests_that_know_them() {
    let machine = &mut start(&[]);
    for (name, flags) in [("a", attr::SUBMOUNT), ("b", attr::SUBMOUNT), ("one", 0)] {
        assert_eq!(machine.fs.lookup(ROOT, name).unwrap().attr.flags, flags, "{name}");
    }
    let machine = &mut start(&["--no-announce-submounts"]);
    assert_eq!(machine.fs.lookup(ROOT, "a").unwrap().attr.flags, 0);
}

#[test]
fn no_name_leads_out_of_a_share() {
    for way in ways() {
        let machine = &mut start(way);
        let (a, one) = (machine.find(ROOT, "a"), machine.find(ROOT, "one"));
        let secret = machine.path("secret").to_str().unwrap().to_owned();
        for name in ["..", ".", "../b", "../secret", "/", "dir/..", "over/file", &secret] {
            for node in [ROOT, a, one] {
                let found = machine.fs.lookup(node, name).unwrap_err();
                assert!(found == Errno::EINVAL || found == Errno::ENOTDIR, "{name}: {found}");
            }
            assert_eq!(machine.fs.mkdir(a, name, 0o755).unwrap_err(), Errno::EINVAL, "{name}");
        }
        for name in ["secret", "c", "later", "0", "share"] {
            assert_eq!(machine.fs.lookup(ROOT, name).unwrap_err(), Errno::ENOENT);
        }
        // Links are for the guest to follow, in its own file system.
        for link in ["up", "over"] {
            let node = machine.find(a, link);
            assert_eq!(machine.fs.open(node, libc::O_RDONLY).unwrap_err(), Errno::ELOOP);
            assert_eq!(machine.fs.lookup(node, "file").unwrap_err(), Errno::ENOTDIR);
        }
        assert_eq!(machine.fs.opendir(one).unwrap_err(), Errno::ENOTDIR);
    }
}

#[test]
fn handles_and_nodeids_that_a_guest_makes_up_are_refused() {
    let machine = &mut start(&[]);
    let (a, b) = (machine.find(ROOT, "a"), machine.find(ROOT, "b"));
    let (mine, other) = (machine.find(a, "file"), machine.find(b, "file"));
    let fh = machine.fs.open(mine, libc::O_RDWR).unwrap().fh;
    // It is read-only there: the handle of a writable file must not do for it.
    assert_eq!(machine.fs.write(other, fh, 0, b"x").unwrap_err(), Errno::EROFS);
    assert_eq!(machine.fs.read(other, fh, 0, 1).unwrap_err(), Errno::EBADF);
    assert_eq!(machine.fs.read(ROOT, fh, 0, 1).unwrap_err(), Errno::EBADF);
    let (nodeid_out, fh_out) = (other, fh);
    let copy =
        CopyFileRangeIn { fh_in: fh, off_in: 0, nodeid_out, fh_out, off_out: 0, len: 1, flags: 0 };
    assert_eq!(machine.fs.copy_file_range(mine, &copy).unwrap_err(), Errno::EXDEV);
    for node in [0, a + 1, a ^ 1 << 30, b << 8, u64::MAX] {
        assert_eq!(machine.fs.getattr(node, None).unwrap_err(), Errno::ESTALE);
        assert_eq!(machine.fs.lookup(node, "file").unwrap_err(), Errno::ESTALE);
    }
    assert_eq!(fs::read(machine.path("b/file")).unwrap(), b"b");
}

#[test]
fn a_guest_that_opens_nothing_reads_all_shares() {
    let machine = &mut controlled(&["--readonly", "--no-open"]);
    change(machine, &["add", "c=c"]);
    for (path, expected) in [("a/file", "a"), ("b/file", "b"), ("one", "one"), ("c/file", "c")] {
        let node = path.split('/').fold(ROOT, |dir, name| machine.find(dir, name));
        assert_eq!(machine.fs.open(node, libc::O_RDONLY).unwrap_err(), Errno::ENOSYS);
        assert_eq!(machine.fs.read(node, 0, 0, 10).unwrap(), expected.as_bytes());
    }
    let c = machine.find(ROOT, "c");
    assert_eq!(machine.fs.opendir(c).unwrap_err(), Errno::ENOSYS);
    assert_eq!(machine.fs.readdir(c, 0, 0, 4096).unwrap().len(), 3);
    assert_eq!(machine.fs.readdir(ROOT, 0, 0, 4096).unwrap().len(), 6);
    change(machine, &["remove", "c"]);
    assert_eq!(machine.fs.readdir(c, 0, 0, 4096).unwrap_err(), Errno::ESTALE);
}

#[test]
fn shares_come_and_go_while_the_daemon_runs() {
    let machine = &mut controlled(&[]);
    assert_eq!(machine.fs.lookup(ROOT, "c").unwrap_err(), Errno::ENOENT);
    let all = change(machine, &["add", "c=c:ro"]);
    assert_eq!(all.len(), 4);
    assert!(all[3].starts_with("c=/") && all[3].ends_with("/c:ro"), "{all:?}");
    assert_eq!(content(machine, "c/file"), b"c");
    let c = machine.find(ROOT, "c");
    assert_eq!(machine.fs.mkdir(c, "made", 0o755).unwrap_err(), Errno::EROFS);
    change(machine, &["add", "two=one"]);
    change(machine, &["add", "w=c"]);
    assert_eq!(content(machine, "two"), b"one");
    let w = machine.find(ROOT, "w");
    machine.fs.mkdir(w, "made", 0o755).unwrap();
    assert_eq!(list(&mut machine.fs, ROOT), [".", "..", "a", "b", "one", "c", "two", "w"]);

    let file = machine.find(c, "file");
    let fh = machine.fs.open(file, libc::O_RDONLY).unwrap().fh;
    assert_eq!(change(machine, &["remove", "c"]).len(), 5);
    assert_eq!(machine.fs.read(file, fh, 0, 1).unwrap_err(), Errno::ESTALE);
    assert_eq!(machine.fs.getattr(c, None).unwrap_err(), Errno::ESTALE);
    assert_eq!(machine.fs.lookup(ROOT, "c").unwrap_err(), Errno::ENOENT);
    change(machine, &["add", "c=b"]);
    assert_eq!(content(machine, "c/file"), b"b");
    assert_eq!(machine.fs.getattr(c, None).unwrap_err(), Errno::ESTALE);
    // One from the beginning goes like any other.
    change(machine, &["remove", "a"]);
    assert_eq!(machine.fs.lookup(ROOT, "a").unwrap_err(), Errno::ENOENT);
    let said = machine.daemon.process().stderr();
    assert!(!["WARN", "ERROR"].iter().any(|word| said.contains(word)), "{said}");
}

#[test]
fn nothing_of_a_share_that_has_gone_is_left() {
    let machine = &mut controlled(&[]);
    let mounts = |machine: &Machine| {
        let table = fs::read_to_string(machine.daemon.process().proc("mountinfo")).unwrap();
        table.lines().count()
    };
    change(machine, &["add", "c=c"]);
    content(machine, "c/file");
    change(machine, &["remove", "c"]);
    let (descriptors, before) = (machine.descriptors(), mounts(machine));
    for round in 0..40 {
        change(machine, &["add", "c=c"]);
        assert_eq!(content(machine, "c/file"), b"c", "{round}");
        change(machine, &["add", "d=one"]);
        assert_eq!(content(machine, "d"), b"one", "{round}");
        change(machine, &["remove", "c"]);
        change(machine, &["remove", "d"]);
    }
    assert_eq!(mounts(machine), before);
    // The last connection may not be closed yet.
    wait_until("no more descriptors", || machine.descriptors() <= descriptors);
    let stats = ctl(machine, &["--json", "stats"]);
    let stats: serde_json::Value = serde_json::from_slice(&stats.stdout).unwrap();
    assert_eq!(stats["shares"].as_array().unwrap().len(), 3);
    assert_eq!(stats["inodes"], 4, "the root and the three shares");
}

#[test]
fn changes_that_cannot_be_are_explained() {
    let machine = &controlled(&[]);
    for (args, part) in [
        (&["add", "a=c"][..], "a is shared already"),
        (&["add", "x=nothing"], "No such file"),
        (&["add", "x"], "it is not NAME=PATH"),
        (&["add", "x/y=c"], "its name"),
        (&["add", "x=/dev/null"], "neither a directory nor a regular file"),
        (&["remove", "x"], "there is no share x"),
        (&["remove", "../a"], "its name"),
    ] {
        let said = refused(machine, args);
        assert!(said.contains(part), "{args:?}: {said}");
    }
    for number in 0..64 {
        change(machine, &["add", &format!("{number}=c")]);
    }
    assert!(refused(machine, &["add", "more=c"]).contains("too many shares"));
    change(machine, &["remove", "7"]);
    change(machine, &["add", "more=c"]);
}

#[test]
fn a_daemon_that_shares_one_directory_takes_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let control = folder.path().join("ctl");
    let machine = Machine::with(&["--control", control.to_str().unwrap()], Setup::default());
    let mut command = Command::new(ferryfs());
    command.args(["ctl", "--control"]).arg(control).args(["share", "add", "x=/tmp"]);
    let done = command.output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(said.contains("--shared-dir and not with --share"), "{said}");
    drop(machine);
}

#[test]
fn a_daemon_that_sees_the_host_takes_others_unless_it_is_confined_otherwise() {
    if needs_root("a_daemon_that_sees_the_host_takes_others") {
        return;
    }
    let machine = &mut controlled(&["--sandbox", "none", "--inode-file-handles", "mandatory"]);
    // With the right to open file handles there is no Landlock.
    change(machine, &["add", "c=c"]);
    assert_eq!(content(machine, "c/file"), b"c");
    change(machine, &["remove", "c"]);
    assert_eq!(machine.fs.lookup(ROOT, "c").unwrap_err(), Errno::ENOENT);
    let machine = &controlled(&["--sandbox", "none", "--inode-file-handles", "never"]);
    if machine.daemon.process().stderr().contains("no Landlock") {
        return;
    }
    assert!(refused(machine, &["add", "c=c"]).contains("Landlock confines the daemon"));
}

#[test]
fn command_lines_that_cannot_be_are_explained() {
    let folder = folder();
    for (args, part) in [
        (&["--share", "a=nothing"][..], "--share: cannot share nothing: No such file"),
        (&["--share", "a=/dev/null"], "--share: cannot share /dev/null: "),
        (&["--share", "a=a", "--share", "a=b"], "--share: a is given twice; "),
        (&["--share", "a=a", "--shared-dir", "b"], "--share"),
        (&["--share", "a=a", "--sandbox", "chroot"], "--sandbox: chroot has room for one"),
        (&["--share", "a=a", "--require-mountpoint"], "--require-mountpoint: a is not"),
        (&["--share", "a=a", "--dax-window", "2M"], "--share"),
    ] {
        let mut command = Command::new(ferryfs());
        command.current_dir(folder.path().join("share")).args(args);
        command.args(["--socket-path", "../socket"]);
        let mut process = Process::start(command).unwrap();
        let status = process.wait(LONG).unwrap();
        let said = process.stderr();
        let line = said.lines().last().unwrap();
        assert_eq!(status.code(), Some(2), "{args:?}: {said}");
        assert!(line.starts_with("ferryfs: ") && line.contains(part), "{args:?}: {said}");
        assert!(!folder.path().join("socket").exists());
    }
}

/// A mount, until the end of a test.
struct Mounted(PathBuf);

impl Mounted {
    /// A file system in memory, of which other namespaces hear what is mounted in it.
    fn new(at: &Path) -> Self {
        let flags = MountFlags::empty();
        mount::mount("tmpfs", at, "tmpfs", flags, None).unwrap();
        mount::mount_change(at, MountPropagationFlags::SHARED).unwrap();
        Mounted(at.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = mount::unmount(&self.0, UnmountFlags::DETACH);
    }
}

#[test]
fn a_share_sees_what_the_host_mounts_in_it_later() {
    if needs_root("a_share_sees_what_the_host_mounts_in_it_later") {
        return;
    }
    let folder = folder();
    let share = folder.path().join("share");
    let outer = ["a", "c"].map(|name| Mounted::new(&share.join(name)));
    let args = ["--control", "ctl"];
    let machine = &mut meet(Daemon::start_shares(ferryfs(), &args, &["a=a"], folder).unwrap());
    change(machine, &["add", "c=c"]);
    for name in ["a", "c"] {
        let at = share.join(name).join("mounted");
        fs::create_dir(&at).unwrap();
        let _inner = Mounted::new(&at);
        fs::write(at.join("inside"), "new").unwrap();
        assert_eq!(content(machine, &format!("{name}/mounted/inside")), b"new");
    }
    drop(outer);
}
