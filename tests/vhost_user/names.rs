//! Names and directories, seen by the guest and by the host.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};

use ferryfs::fuse::{Errno, Opcode};
use ferryfs_bench::{Caller, ROOT, Request};

use super::*;

const RDWR: i32 = libc::O_RDWR;

#[test]
fn creating_what_is_there_opens_it_unless_that_is_forbidden() {
    let mut machine = Machine::new();
    machine.put("a", "old");
    let node = machine.find(ROOT, "a");
    // Its owner: others are to ask their kernel.
    machine.fs.caller.uid = rustix::process::geteuid().as_raw();
    let made = machine.fs.create(ROOT, "a", RDWR, 0o600).unwrap();
    assert_eq!(made.entry.nodeid, node);
    assert_eq!(machine.fs.read(node, made.open.fh, 0, 9).unwrap(), b"old");
    let exclusive = machine.fs.create(ROOT, "a", RDWR | libc::O_EXCL, 0o600);
    assert_eq!(exclusive.unwrap_err(), Errno::EEXIST);
}

#[test]
fn what_a_caller_makes_is_its_own() {
    if !is_root() {
        return;
    }
    let Machine { mut fs, daemon, .. } = Machine::new();
    fs.caller = Caller { uid: 1000, gid: 2000, pid: 7 };
    fs.create(ROOT, "file", RDWR, 0o600).unwrap();
    fs.mkdir(ROOT, "dir", 0o700).unwrap();
    fs.symlink(ROOT, "link", "target").unwrap();
    fs.mknod(ROOT, "fifo", libc::S_IFIFO | 0o600, 0).unwrap();
    for name in ["file", "dir", "link", "fifo"] {
        let host = fs::symlink_metadata(daemon.share().join(name)).unwrap();
        assert_eq!((host.uid(), host.gid()), (1000, 2000), "{name}");
    }
    fs.caller = Caller::default();
    fs.mkdir(ROOT, "root's", 0o700).unwrap();
    assert_eq!(fs::metadata(daemon.share().join("root's")).unwrap().uid(), 0);
}

#[test]
fn a_member_of_the_directorys_group_makes_files_of_that_group() {
    if !is_root() {
        return;
    }
    let mut machine = Machine::new();
    let dir = machine.fs.mkdir(ROOT, "dir", 0o770).unwrap().nodeid;
    chown(machine.path("dir"), Some(0), Some(3000)).unwrap();
    let mode = fs::Permissions::from_mode(0o2770);
    fs::set_permissions(machine.path("dir"), mode).unwrap();
    let fs = &mut machine.fs;
    fs.caller = Caller { uid: 1000, gid: 2000, pid: 7 };
    fs.extensions = [16u32, 32, 1, 3000].into_iter().flat_map(u32::to_ne_bytes).collect();
    fs.create(dir, "file", RDWR, 0o2770).unwrap();
    let host = fs::metadata(machine.path("dir/file")).unwrap();
    assert_eq!((host.uid(), host.gid(), host.mode()), (1000, 3000, 0o102_770));
}

#[test]
fn a_rename_with_a_whiteout_leaves_one() {
    let mut machine = Machine::new();
    machine.put("a", "content");
    let node = machine.find(ROOT, "a");
    let renamed = machine.fs.rename2((ROOT, "a"), (ROOT, "b"), libc::RENAME_WHITEOUT);
    // Who may not make devices may not make this one either, where Linux asks that (until 6.1).
    if let Err(error) = renamed {
        assert!(!is_root() && error == Errno::EPERM, "{error}");
        return;
    }
    assert_eq!(machine.find(ROOT, "b"), node);
    assert_eq!(fs::read(machine.path("b")).unwrap(), b"content");
    let left = fs::symlink_metadata(machine.path("a")).unwrap();
    assert!(left.file_type().is_char_device(), "{left:?}");
    assert_eq!((left.rdev(), left.mode() & 0o7777), (0, 0));
    // The guest's overlayfs finds it as well.
    let seen = machine.fs.lookup(ROOT, "a").unwrap();
    assert_eq!((seen.attr.mode & libc::S_IFMT, seen.attr.rdev), (libc::S_IFCHR, 0));
    let both = libc::RENAME_WHITEOUT | libc::RENAME_EXCHANGE;
    let refused = machine.fs.rename2((ROOT, "a"), (ROOT, "b"), both);
    assert_eq!(refused.unwrap_err(), Errno::EINVAL);
}

#[test]
fn names_are_made_moved_and_removed() {
    let mut machine = Machine::new();
    let share = machine.daemon.share().to_owned();
    let there = |name: &str| fs::symlink_metadata(share.join(name)).is_ok();
    let fs = &mut machine.fs;
    let dir = fs.mkdir(ROOT, "dir", 0o755).unwrap().nodeid;
    let sub = fs.mkdir(dir, "sub", 0o755).unwrap().nodeid;
    let node = fs.create(dir, "a", RDWR, 0o644).unwrap().entry.nodeid;
    assert!(there("dir/sub") && there("dir/a"));

    fs.rename((dir, "a"), (sub, "b")).unwrap();
    assert!(!there("dir/a") && there("dir/sub/b"));
    assert_eq!(fs.lookup(dir, "a").unwrap().nodeid, 0);
    assert_eq!(fs.lookup(sub, "b").unwrap().nodeid, node, "the inode is the same");
    fs.mknod(sub, "c", libc::S_IFREG | 0o600, 0).unwrap();
    let keep = fs.rename2((sub, "b"), (sub, "c"), libc::RENAME_NOREPLACE);
    assert_eq!(keep.unwrap_err(), Errno::EEXIST);
    fs.rename2((sub, "b"), (sub, "c"), libc::RENAME_EXCHANGE).unwrap();
    assert_eq!(fs.lookup(sub, "c").unwrap().nodeid, node);
    assert_eq!(fs.rename2((sub, "b"), (sub, "c"), 1 << 9).unwrap_err(), Errno::EINVAL);

    let linked = fs.link(node, (ROOT, "hard")).unwrap();
    assert_eq!((linked.nodeid, linked.attr.nlink), (node, 2));
    assert_eq!(fs::metadata(share.join("hard")).unwrap().nlink(), 2);
    assert_eq!(fs.link(node, (ROOT, "hard")).unwrap_err(), Errno::EEXIST);
    let long = "x".repeat(4000);
    for (name, target) in [("s1", "../../etc/passwd"), ("s2", &long), ("s3", "a b\n\u{e9}")] {
        let node = fs.symlink(ROOT, name, target).unwrap().nodeid;
        assert_eq!(fs::read_link(share.join(name)).unwrap(), Path::new(target));
        assert_eq!(fs.readlink(node).unwrap(), target.as_bytes());
        assert_eq!(fs.open(node, libc::O_RDONLY).unwrap_err(), Errno::ELOOP);
    }
    assert_eq!(fs.readlink(dir).unwrap_err(), Errno::EINVAL);

    assert_eq!(fs.rmdir(dir, "sub").unwrap_err(), Errno::ENOTEMPTY);
    assert_eq!(fs.rmdir(sub, "b").unwrap_err(), Errno::ENOTDIR);
    assert_eq!(fs.unlink(dir, "sub").unwrap_err(), Errno::EISDIR);
    assert_eq!(fs.unlink(sub, "nothing").unwrap_err(), Errno::ENOENT);
    assert_eq!(fs.mkdir(sub, "b", 0o755).unwrap_err(), Errno::EEXIST);
    assert_eq!(fs.lookup(node, "x").unwrap_err(), Errno::ENOTDIR);
    fs.unlink(sub, "b").unwrap();
    fs.unlink(sub, "c").unwrap();
    fs.rmdir(dir, "sub").unwrap();
    fs.rmdir(ROOT, "dir").unwrap();
    assert!(!there("dir") && there("hard"));
}

#[test]
fn nodes_of_every_kind_are_made() {
    let mut machine = Machine::new();
    let share = machine.daemon.share().to_owned();
    let kind = |name: &str| fs::symlink_metadata(share.join(name)).unwrap().file_type();
    let fs = &mut machine.fs;
    fs.mknod(ROOT, "file", 0o600, 0).unwrap();
    let fifo = fs.mknod(ROOT, "fifo", libc::S_IFIFO | 0o600, 0).unwrap().nodeid;
    let socket = fs.mknod(ROOT, "socket", libc::S_IFSOCK | 0o600, 0).unwrap().nodeid;
    assert!(kind("file").is_file() && kind("fifo").is_fifo() && kind("socket").is_socket());
    for node in [fifo, socket] {
        assert_eq!(fs.open(node, RDWR).unwrap_err(), Errno::ENXIO, "it could block");
    }
    let wrong = fs.mknod(ROOT, "dir", libc::S_IFDIR | 0o700, 0);
    assert_eq!(wrong.unwrap_err(), Errno::EINVAL);
    if is_root() {
        // /dev/null, in the kernel's encoding.
        let null = fs.mknod(ROOT, "null", libc::S_IFCHR | 0o666, 0x103).unwrap();
        assert_eq!(null.attr.rdev, 0x103);
        assert!(kind("null").is_char_device());
        assert_eq!(fs::metadata(share.join("null")).unwrap().rdev(), libc::makedev(1, 3));
        assert_eq!(fs.open(null.nodeid, RDWR).unwrap_err(), Errno::ENXIO);
    }
}

#[test]
fn a_directory_is_read_whole_however_little_fits_at_a_time() {
    let mut machine = Machine::new();
    let mut expected = BTreeMap::new();
    for number in 0..200 {
        let name = format!("{number}{}", "x".repeat(number));
        let path = machine.put(&name, "");
        expected.insert(name.into_bytes(), fs::metadata(path).unwrap().ino());
    }
    expected.insert(b".".to_vec(), fs::metadata(machine.daemon.share()).unwrap().ino());
    // What is above the share is none of the guest's business.
    expected.insert(b"..".to_vec(), expected[&b"."[..]]);
    let fs = &mut machine.fs;
    let fh = fs.opendir(ROOT).unwrap().fh;
    for size in [376, 512, 4096, 32 << 10, 1 << 20] {
        for plus in [false, true] {
            let mut found = BTreeMap::new();
            let mut offset = 0;
            loop {
                let read = if plus {
                    fs.readdirplus(ROOT, fh, offset, size)
                } else {
                    fs.readdir(ROOT, fh, offset, size)
                };
                let entries = read.unwrap();
                let Some(last) = entries.last() else {
                    break;
                };
                offset = last.offset;
                for entry in entries {
                    assert_eq!(entry.entry.is_some(), plus);
                    if let Some(inode) = entry.entry.filter(|inode| inode.nodeid != 0) {
                        assert_eq!(inode.attr.ino, entry.ino);
                    }
                    assert_eq!(found.insert(entry.name, entry.ino), None, "seen twice");
                }
            }
            assert_eq!(found, expected, "{size} bytes at a time");
        }
    }
    let some = fs.readdir(ROOT, fh, 0, 4096).unwrap();
    let again = fs.readdir(ROOT, fh, some[3].offset, 4096).unwrap();
    assert_eq!(again[0].name, some[4].name, "reading goes on behind any entry");
    assert_eq!(fs.readdir(ROOT, fh, 0, 16).unwrap().len(), 0, "nothing fits");
    fs.fsyncdir(ROOT, fh, false).unwrap();
    fs.releasedir(ROOT, fh).unwrap();
    assert_eq!(fs.readdir(ROOT, fh, 0, 4096).unwrap_err(), Errno::EBADF);
}

#[test]
fn an_entry_of_readdirplus_is_a_lookup() {
    let mut machine = Machine::new();
    machine.put("a", "content");
    let fs = &mut machine.fs;
    let fh = fs.opendir(ROOT).unwrap().fh;
    let entries = fs.readdirplus(ROOT, fh, 0, 4096).unwrap();
    let entry = entries.into_iter().find(|entry| entry.name == b"a").unwrap().entry.unwrap();
    assert_eq!(entry.attr.size, 7);
    let file = fs.open(entry.nodeid, libc::O_RDONLY).unwrap().fh;
    assert_eq!(fs.read(entry.nodeid, file, 0, 99).unwrap(), b"content");
    assert_eq!(fs.lookup(ROOT, "a").unwrap().nodeid, entry.nodeid);
    machine.hiprio.forget(entry.nodeid, 1).unwrap();
    machine.fs.getattr(entry.nodeid, None).unwrap();
    machine.hiprio.forget(entry.nodeid, 1).unwrap();
    assert_eq!(machine.fs.getattr(entry.nodeid, None).unwrap_err(), Errno::ESTALE);
}

#[test]
fn entries_that_vanish_while_a_directory_is_listed_are_left_out() {
    let mut machine = Machine::new();
    for file in 0..100 {
        machine.put(&format!("file{file}"), "");
    }
    let fh = machine.fs.opendir(ROOT).unwrap().fh;
    // The daemon has read them all by now, and the guest has some of them.
    let first = machine.fs.readdirplus(ROOT, fh, 0, 2000).unwrap();
    let mut offset = first.last().unwrap().offset;
    let mut left: BTreeSet<_> = (0..100).map(|file| format!("file{file}").into_bytes()).collect();
    left.retain(|name| !first.iter().any(|entry| entry.name == *name));
    let order = machine.fs.readdir(ROOT, fh, offset, 100_000).unwrap();
    let names = order.into_iter().map(|entry| entry.name);
    let order: Vec<_> = names.filter(|name| name.starts_with(b"file")).collect();
    assert_eq!(order.len(), left.len());
    let fh = machine.fs.opendir(ROOT).unwrap().fh;
    machine.fs.readdirplus(ROOT, fh, 0, 2000).unwrap();
    // The first of a reply, some in the middle, all of a whole reply, and the last.
    let gone = |at: usize| at.is_multiple_of(7) || (20..60).contains(&at) || at + 1 == order.len();
    for (at, name) in order.iter().enumerate().filter(|(at, _)| gone(*at)) {
        let name = std::str::from_utf8(name).unwrap();
        fs::remove_file(machine.path(name)).unwrap();
        assert!(left.remove(name.as_bytes()), "{at}");
    }
    let mut listed = BTreeSet::new();
    loop {
        let entries = machine.fs.readdirplus(ROOT, fh, offset, 2000).unwrap();
        let Some(last) = entries.last() else { break };
        offset = last.offset;
        for entry in entries.into_iter().filter(|entry| entry.name.starts_with(b"file")) {
            assert_ne!(entry.entry.unwrap().nodeid, 0);
            assert!(listed.insert(entry.name));
        }
    }
    assert_eq!(listed, left);
}

#[test]
fn names_may_be_any_bytes() {
    let Machine { mut fs, daemon, .. } = Machine::new();
    let longest = [0xe9; 255];
    for name in [&b"\xff\xfe"[..], b"a\nb", b" ", b"...", b"-rf", &longest] {
        fs.mkdir(ROOT, name, 0o755).unwrap();
        assert!(daemon.share().join(OsStr::from_bytes(name)).is_dir());
        assert_ne!(fs.lookup(ROOT, name).unwrap().nodeid, 0);
        fs.rmdir(ROOT, name).unwrap();
    }
}

#[test]
fn no_name_leads_out_of_its_directory() {
    let outside = tempfile::tempdir().unwrap();
    let share = outside.path().join("share");
    fs::create_dir_all(share.join("d/d")).unwrap();
    for victim in ["victim", "share/victim", "share/d/victim"] {
        fs::write(outside.path().join(victim), victim).unwrap();
    }
    let list = |dir: &Path| {
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        names.collect::<BTreeSet<_>>()
    };
    let everything = || [outside.path(), &share, &share.join("d")].map(list);
    let before = everything();

    let daemon = Daemon::start_on(ferryfs(), &[], &share).unwrap();
    let mut guest = Guest::connect(&daemon.socket(), Setup::default()).unwrap();
    let mut fs = guest.client(1).unwrap();
    fs.init(LINUX_6_18).unwrap();
    let dir = fs.lookup(ROOT, "d").unwrap().nodeid;
    let victim = fs.lookup(dir, "victim").unwrap().nodeid;
    let absolute = outside.path().join("victim");
    let absolute = absolute.to_str().unwrap();
    let long = "x".repeat(256);
    for (name, errno) in [
        ("", Errno::EINVAL),
        (".", Errno::EINVAL),
        ("..", Errno::EINVAL),
        ("/", Errno::EINVAL),
        ("../victim", Errno::EINVAL),
        ("../../victim", Errno::EINVAL),
        ("d/../d", Errno::EINVAL),
        ("d/", Errno::EINVAL),
        (absolute, Errno::EINVAL),
        (&long, Errno::ENAMETOOLONG),
    ] {
        assert_eq!(fs.lookup(dir, name).unwrap_err(), errno, "{name}");
        assert_eq!(fs.unlink(dir, name).unwrap_err(), errno, "{name}");
        assert_eq!(fs.rmdir(dir, name).unwrap_err(), errno, "{name}");
        assert_eq!(fs.mkdir(dir, name, 0o755).unwrap_err(), errno, "{name}");
        assert_eq!(fs.mknod(dir, name, 0o644, 0).unwrap_err(), errno, "{name}");
        assert_eq!(fs.symlink(dir, name, "x").unwrap_err(), errno, "{name}");
        assert_eq!(fs.create(dir, name, RDWR, 0o644).unwrap_err(), errno, "{name}");
        assert_eq!(fs.link(victim, (dir, name)).unwrap_err(), errno, "{name}");
        assert_eq!(fs.rename((dir, "victim"), (dir, name)).unwrap_err(), errno, "{name}");
        assert_eq!(fs.rename((dir, name), (dir, "new")).unwrap_err(), errno, "{name}");
        assert_eq!(fs.rename2((dir, name), (dir, "new"), 1).unwrap_err(), errno, "{name}");
        assert_eq!(everything(), before, "{name}");
    }
    // A name ends at its NUL, whatever follows.
    let request = Request {
        opcode: Opcode::Lookup as u32,
        node: dir,
        args: &[b"victim\0/../x\0"],
        reply: 128,
        ..Request::default()
    };
    fs.call(&request).unwrap();
}
