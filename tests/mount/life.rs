//! How a mount begins and ends.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;

use rustix::process::Signal;

use super::*;

#[test]
fn it_serves_until_it_is_unmounted() {
    if !can_mount() {
        return;
    }
    for handles in HANDLES {
        let mount = Mounted::new(&[handles]);
        assert!(mount.is_mounted());
        fs::write(mount.at("file"), "content").unwrap();
        assert_eq!(fs::read(mount.on_host("file")).unwrap(), b"content");
        fs::create_dir_all(mount.on_host("a/b/c")).unwrap();
        fs::rename(mount.at("file"), mount.at("a/b/c/file")).unwrap();
        assert_eq!(fs::read(mount.on_host("a/b/c/file")).unwrap(), b"content");
        let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let source = mount.on_host("");
        let source = format!(" fuse.ferryfs {} ", source.to_string_lossy().trim_end_matches('/'));
        assert!(table.contains(&source), "{table}");
        mount.finish();
    }
}

#[test]
fn the_kernel_reads_ahead_as_far_as_it_is_told() {
    if !can_mount() {
        return;
    }
    let bdi = Path::new("/sys/class/bdi");
    for (args, expected) in [
        (&["--io-uring=off"][..], "512\n"),
        (&["--io-uring=off", "-o", "max_readahead=65536"], "64\n"),
        (&["--max-readahead=1048576"], "1024\n"),
    ] {
        let mount = Mounted::new(args);
        let device = fs::metadata(mount.root()).unwrap().dev();
        let name = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
        let path = bdi.join(name).join("read_ahead_kb");
        if File::options().write(true).open(&path).is_err() {
            skip("the_kernel_reads_ahead_as_far_as_it_is_told", "/sys cannot be written");
            return;
        }
        assert_eq!(fs::read_to_string(path).unwrap(), expected, "{args:?}");
        mount.finish();
    }
}

#[test]
fn it_can_be_mounted_on_its_source_and_on_what_that_is_in() {
    if !can_mount() {
        return;
    }
    for sandbox in ["--sandbox=namespace", "--sandbox=chroot", "--sandbox=none"] {
        for source in ["dir", "dir/inner"] {
            let folder = tempfile::tempdir().unwrap();
            let at = folder.path().join("dir");
            fs::create_dir_all(at.join("inner")).unwrap();
            let below = File::open(folder.path().join(source)).unwrap();
            let mut command = ferryfs();
            // By names that lead elsewhere from another directory.
            command.args(["mount", source, "dir", sandbox]).current_dir(folder.path());
            let mut process = Process::start(command).unwrap();
            let mounted = process.wait_for_line("Mounted", LONG);
            assert!(mounted.is_ok(), "{sandbox}, {source}: {}", process.stderr());
            fs::write(at.join("file"), "content").unwrap();
            let below = format!("/proc/self/fd/{}/file", below.as_raw_fd());
            assert_eq!(fs::read(below).unwrap(), b"content", "{sandbox}, {source}");
            wait_until("it is free", || unmount(&at, UnmountFlags::empty()).is_ok());
            // Nobody has kept a copy of the mount.
            assert_eq!(process.wait(LONG).unwrap().code(), Some(0), "{sandbox}, {source}");
        }
    }
}

#[test]
fn a_signal_unmounts_it_and_files_that_are_open_can_be_used_to_their_end() {
    if !can_mount() {
        return;
    }
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut mount = Mounted::new(&[]);
        fs::write(mount.on_host("file"), "content").unwrap();
        let mut file = File::open(mount.at("file")).unwrap();
        mount.process.signal(signal).unwrap();
        wait_until("it is unmounted", || !mount.is_mounted());
        let mut content = String::new();
        file.read_to_string(&mut content).unwrap();
        assert_eq!(content, "content", "{signal:?}");
        drop(file);
        assert_eq!(mount.exit().code(), Some(0), "{signal:?}: {}", mount.process.stderr());
    }
}

#[test]
fn a_mount_whose_program_was_killed_says_so_and_can_be_unmounted() {
    if !can_mount() {
        return;
    }
    // What the kernel serves by itself would go on.
    let mut mount = Mounted::new(&["--passthrough=off"]);
    let mut file = File::create(mount.at("file")).unwrap();
    mount.process.signal(Signal::KILL).unwrap();
    mount.exit();
    // What is asked just before the end is cut off, with another error.
    wait_until("it has ended", || {
        let seen = fs::metadata(mount.root());
        seen.is_err_and(|error| error.raw_os_error() == Some(libc::ENOTCONN))
    });
    assert_eq!(errno(file.write_all(b"x")), libc::ENOTCONN);
    drop(file);
    wait_until("it is unmounted", || unmount(mount.root(), UnmountFlags::empty()).is_ok());
    assert_eq!(fs::metadata(mount.on_host("file")).unwrap().len(), 0);
}

#[test]
fn a_read_only_mount_changes_nothing() {
    if !can_mount() {
        return;
    }
    let mount = Mounted::new(&["--readonly"]);
    fs::write(mount.on_host("file"), "content").unwrap();
    let (file, new) = (mount.at("file"), mount.at("new"));
    assert_eq!(fs::read(&file).unwrap(), b"content");
    assert_eq!(errno(fs::write(&file, "other")), libc::EROFS);
    assert_eq!(errno(fs::write(&new, "")), libc::EROFS);
    assert_eq!(errno(fs::create_dir(&new)), libc::EROFS);
    assert_eq!(errno(fs::remove_file(&file)), libc::EROFS);
    assert_eq!(errno(fs::rename(&file, &new)), libc::EROFS);
    assert_eq!(errno(fs::set_permissions(&file, PermissionsExt::from_mode(0o600))), libc::EROFS);
    mount.finish();
}

#[test]
fn a_mount_that_cannot_be_is_explained_in_one_line() {
    if !can_mount() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // Others have to get here.
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let (dir, file, missing) =
        (folder.path().join("dir"), folder.path().join("file"), folder.path().join("missing"));
    fs::create_dir(&dir).unwrap();
    fs::write(&file, "").unwrap();
    let (dir, file, missing) = (dir.as_os_str(), file.as_os_str(), missing.as_os_str());
    let option = OsStr::new;
    for (args, culprit) in [
        (&[][..], "SOURCE"),
        (&[dir], "MOUNTPOINT"),
        (&[missing, dir], "SOURCE"),
        (&[file, dir], "SOURCE"),
        (&[dir, missing], "MOUNTPOINT"),
        (&[dir, file], "MOUNTPOINT"),
        (&[dir, dir, dir], "/dir: "),
        (&[dir, dir, option("--threads=0")], "--threads"),
        (&[dir, dir, option("--threads=many")], "--threads"),
        (&[dir, dir, option("--cache=sometimes")], "--cache"),
        (&[dir, dir, option("--inode-file-handles=maybe")], "--inode-file-handles"),
        (&[dir, dir, option("--attr-timeout=-1")], "--attr-timeout"),
        (&[dir, dir, option("--xattrmap=:prefix:all::user.x.:")], "--xattrmap"),
        (&[dir, dir, option("--translate-uid=map:0:5")], "--translate-uid"),
        (&[dir, dir, option("--translate-uid=map:0:5:9"), option("--map-owner=1:1")], "--"),
        (&[dir, dir, option("--map-owner=1")], "--map-owner"),
        (&[dir, dir, option("--log-level=loud")], "--log-level"),
        (&[dir, dir, option("--frobnicate")], "--frobnicate"),
    ] {
        let mut command = ferryfs();
        command.arg("mount").args(args);
        refuses(command, culprit);
    }
    // Where cargo builds may be out of other users' reach.
    let copied = Command::new("cp").arg(ferryfs().get_program()).arg(folder.path()).status();
    assert!(copied.unwrap().success());
    let mut command = Command::new(folder.path().join("ferryfs"));
    command.arg("mount").args([dir, dir]).uid(65534).gid(65534);
    refuses(command, "MOUNTPOINT");
}

/// Expects that a start fails with exit code 2 and one line that names the culprit, the problem
/// and what to do.
fn refuses(command: Command, culprit: &str) {
    let shown = format!("{command:?}");
    let mut process = Process::start(command).unwrap();
    let status = process.wait(LONG).unwrap();
    let said = process.stderr();
    let (problems, warnings): (Vec<_>, Vec<_>) =
        said.lines().partition(|line| !line.contains("WARN"));
    assert_eq!(status.code(), Some(2), "{shown}: {said}");
    let [line] = problems[..] else { panic!("{shown}: {said}") };
    assert!(line.contains(culprit) && line.contains("; "), "{shown}: {line}");
    assert!(warnings.is_empty(), "{shown}: {said}");
}
