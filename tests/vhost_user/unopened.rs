//! Guests that use files and directories of a read-only share, or directories of which they keep
//! the listings, without opening them.

use std::collections::BTreeSet;

use ferryfs::fuse::{Errno, flags};
use ferryfs_bench::ROOT;

use super::*;

/// What such a guest gives for a handle.
const NONE: u64 = 0;

fn machine(more: &[&str]) -> Machine {
    let args = [&["--readonly", "--no-open"], more].concat();
    let mut machine = Machine::with(&args, Setup::default());
    let init = machine.fs.init(LINUX_6_18).unwrap();
    assert_eq!(u64::from(init.flags) & flags::init::ATOMIC_O_TRUNC, 0, "it would go unnoticed");
    machine
}

/// The names in a directory, some at a time.
fn names(fs: &mut Client, dir: u64) -> BTreeSet<String> {
    let (mut names, mut offset) = (BTreeSet::new(), 0);
    loop {
        let entries = fs.readdir(dir, NONE, offset, 600).unwrap();
        let Some(last) = entries.last() else { break };
        offset = last.offset;
        names.extend(entries.into_iter().map(|entry| String::from_utf8(entry.name).unwrap()));
    }
    names.remove(".");
    names.remove("..");
    names
}

#[test]
fn the_guest_is_told_not_to_open_and_reads_all_the_same() {
    let mut machine = machine(&[]);
    machine.put("file", "content");
    let node = machine.find(ROOT, "file");
    let fs = &mut machine.fs;
    assert_eq!(fs.open(node, libc::O_RDONLY).unwrap_err(), Errno::ENOSYS);
    assert_eq!(fs.opendir(ROOT).unwrap_err(), Errno::ENOSYS);
    for _ in 0..2 {
        assert_eq!(fs.read(node, NONE, 3, 100).unwrap(), b"tent");
        assert_eq!(fs.getattr(node, Some(NONE)).unwrap().attr.size, 7);
        assert_eq!(names(fs, ROOT), BTreeSet::from(["file".to_owned()]));
    }
    assert_eq!(fs.write(node, NONE, 0, b"x").unwrap_err(), Errno::EROFS);
    assert_eq!(fs.read(ROOT, NONE, 0, 100).unwrap_err(), Errno::EISDIR);
    assert_eq!(fs.readdir(node, NONE, 0, 100).unwrap_err(), Errno::ENOTDIR);
    assert_eq!(fs.read(node, 12345, 0, 100).unwrap_err(), Errno::EBADF);
}

#[test]
fn a_listing_from_the_beginning_is_of_now() {
    let mut machine = machine(&[]);
    let mut expected = BTreeSet::new();
    for round in 0..40 {
        let name = format!("a name of some length {round}");
        machine.put(&name, "");
        expected.insert(name);
        assert_eq!(names(&mut machine.fs, ROOT), expected);
    }
    // Two at the same time, each with its own place.
    let fs = &mut machine.fs;
    let first = fs.readdir(ROOT, NONE, 0, 600).unwrap();
    assert_eq!(names(fs, ROOT), expected);
    let rest = fs.readdir(ROOT, NONE, first.last().unwrap().offset, 1 << 16).unwrap();
    assert_eq!(first.len() + rest.len(), expected.len() + 2);
}

#[test]
fn only_so_many_stay_open_and_none_that_is_forgotten() {
    let mut machine = machine(&["--rlimit-nofile=256", "--inode-file-handles=never"]);
    for name in 0..400 {
        machine.put(&format!("file {name}"), name.to_string());
    }
    let before = machine.descriptors();
    let mut nodes = Vec::new();
    for name in 0..400 {
        let node = machine.find(ROOT, &format!("file {name}"));
        assert_eq!(machine.fs.read(node, NONE, 0, 100).unwrap(), name.to_string().as_bytes());
        nodes.push(node);
    }
    for (name, node) in nodes.iter().enumerate().rev() {
        assert_eq!(machine.fs.read(*node, NONE, 0, 100).unwrap(), name.to_string().as_bytes());
    }
    assert!(machine.descriptors() <= 256);
    for node in nodes {
        machine.fs.forget(node, 1).unwrap();
    }
    machine.fs.statfs(ROOT).unwrap();
    assert_eq!(machine.descriptors(), before);
}

#[test]
fn directories_are_not_opened_where_listings_are_kept_and_files_are() {
    for (cache, kept) in [("always", true), ("metadata", true), ("auto", false), ("never", false)] {
        for handles in ["prefer", "never"] {
            let args = [format!("--cache={cache}"), format!("--inode-file-handles={handles}")];
            let mut machine = Machine::with(&[&args[0], &args[1]], Setup::default());
            machine.fs.init(LINUX_6_18).unwrap();
            let fs = &mut machine.fs;
            let dir = fs.mkdir(ROOT, "dir", 0o755).unwrap().nodeid;
            if !kept {
                let fh = fs.opendir(dir).unwrap().fh;
                assert_eq!(fs.readdir(dir, NONE, 0, 600).unwrap_err(), Errno::EBADF);
                fs.releasedir(dir, fh).unwrap();
                continue;
            }
            assert_eq!(fs.opendir(dir).unwrap_err(), Errno::ENOSYS);
            let mut expected = BTreeSet::new();
            assert_eq!(names(fs, dir), expected);
            for name in ["one", "two"] {
                fs.mkdir(dir, name, 0o755).unwrap();
                expected.insert(name.to_owned());
                assert_eq!(names(fs, dir), expected);
            }
            fs.fsyncdir(dir, NONE, false).unwrap();
            for name in ["one", "two"] {
                fs.rmdir(dir, name).unwrap();
                expected.remove(name);
                assert_eq!(names(fs, dir), expected);
            }
            fs.rmdir(ROOT, "dir").unwrap();
            // A program may still have it open. Linux says so of what is removed.
            assert_eq!(fs.getattr(dir, None).unwrap().attr.nlink, 0);
            assert_eq!(fs.readdir(dir, NONE, 0, 600).unwrap_err(), Errno::ENOENT);
            machine.put("file", "content");
            let node = machine.find(ROOT, "file");
            let fh = machine.fs.open(node, libc::O_RDONLY).unwrap().fh;
            assert_eq!(machine.fs.read(node, NONE, 0, 100).unwrap_err(), Errno::EBADF);
            assert_eq!(machine.fs.opendir(node).unwrap_err(), Errno::ENOTDIR);
            assert_eq!(machine.fs.read(node, fh, 0, 100).unwrap(), b"content");
        }
    }
}

#[test]
fn a_guest_that_has_to_open_may() {
    let args = ["--readonly", "--no-open"];
    let mut machine = Machine::with(&args, Setup::default());
    let (minor, offered) = LINUX_6_18;
    let unable = flags::init::NO_OPEN_SUPPORT | flags::init::NO_OPENDIR_SUPPORT;
    machine.fs.init((minor, offered & !unable)).unwrap();
    machine.put("file", "content");
    let node = machine.find(ROOT, "file");
    let fs = &mut machine.fs;
    assert_eq!(fs.read(node, NONE, 0, 100).unwrap_err(), Errno::EBADF);
    let fh = fs.open(node, libc::O_RDONLY).unwrap().fh;
    assert_eq!(fs.read(node, fh, 0, 100).unwrap(), b"content");
    let fh = fs.opendir(ROOT).unwrap().fh;
    assert_eq!(fs.readdir(ROOT, fh, 0, 4096).unwrap().len(), 3);
}

#[test]
fn it_is_only_for_shares_that_suit_it() {
    for (more, said) in [
        (&[][..], "ferryfs: --no-open: the share can be written; add --readonly"),
        (&["--readonly", "--cache=never"], "use --cache auto or always"),
        (&["--readonly", "--flock"], "ferryfs: --no-open: it cannot be used with --flock"),
    ] {
        let mut command = std::process::Command::new(ferryfs());
        command
            .args(["--shared-dir", "/tmp", "--socket-path", "/tmp/never", "--no-open"])
            .args(more);
        let mut process = ferryfs_bench::Process::start(command).unwrap();
        assert_eq!(process.wait(LONG).unwrap().code(), Some(2));
        assert!(process.stderr().contains(said), "{}", process.stderr());
    }
}
