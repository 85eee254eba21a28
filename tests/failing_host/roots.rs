//! A share that goes away from where it was.

use ferryfs::fuse::Errno;
use ferryfs_bench::ROOT;

use super::*;

const SANDBOXES: [&str; 3] = ["namespace", "chroot", "none"];

#[test]
fn a_share_that_is_unmounted_while_it_is_used_is_served_to_the_end() {
    if cannot_mount("failing_host::roots") {
        return;
    }
    for sandbox in SANDBOXES {
        for handles in ["--inode-file-handles=never", "--inode-file-handles=prefer"] {
            let place = Place::new();
            let share = place.tmpfs("share", c"");
            fs::create_dir(share.join("dir")).unwrap();
            fs::write(share.join("dir/file"), "content").unwrap();
            let mut machine = Machine::new(&share, &["--sandbox", sandbox, handles]);
            let dir = machine.find(ROOT, "dir");
            unmount(&share, UnmountFlags::DETACH).unwrap();
            fs::write(share.join("below"), "what was below the mount").unwrap();
            let fs = &mut machine.fs;
            let node = fs.lookup(dir, "file").unwrap().nodeid;
            let fh = fs.open(node, libc::O_RDWR).unwrap().fh;
            assert_eq!(fs.read(node, fh, 0, 100).unwrap(), b"content", "{sandbox} {handles}");
            fs.write(node, fh, 0, b"CONTENT").unwrap();
            fs.fsync(node, fh, false).unwrap();
            let made = fs.mkdir(ROOT, "new", 0o755).unwrap().nodeid;
            fs.create(made, "file", libc::O_RDWR, 0o644).unwrap();
            let list = fs.opendir(ROOT).unwrap().fh;
            let entries = fs.readdirplus(ROOT, list, 0, 4096).unwrap();
            let mut names: Vec<_> = entries.into_iter().map(|entry| entry.name).collect();
            names.sort();
            assert_eq!(names, [&b"."[..], b"..", b"dir", b"new"], "{sandbox} {handles}");
            assert!(!share.join("new").exists());
        }
    }
}

#[test]
fn a_share_that_is_removed_takes_nothing_and_gives_what_is_open() {
    for sandbox in SANDBOXES {
        if sandbox != "namespace" && cannot_mount("failing_host::roots::removed") {
            continue;
        }
        let place = Place::new();
        let share = place.dir("share");
        fs::write(share.join("file"), "content").unwrap();
        let mut machine = Machine::new(&share, &["--sandbox", sandbox]);
        let node = machine.find(ROOT, "file");
        let fs = &mut machine.fs;
        let fh = fs.open(node, libc::O_RDWR).unwrap().fh;
        fs::remove_dir_all(&share).unwrap();
        fs::create_dir(&share).unwrap();
        fs::write(share.join("another"), "share").unwrap();
        for _ in 0..3 {
            assert_eq!(fs.getattr(ROOT, None).unwrap().attr.nlink, 0, "{sandbox}");
            assert_eq!(fs.mkdir(ROOT, "dir", 0o755).unwrap_err(), Errno::ENOENT);
            assert_eq!(fs.create(ROOT, "a", libc::O_RDWR, 0).unwrap_err(), Errno::ENOENT);
            assert_eq!(fs.lookup(ROOT, "another").unwrap().nodeid, 0);
            assert_eq!(fs.read(node, fh, 0, 100).unwrap(), b"content");
            let opened = fs.opendir(ROOT);
            let listed = opened.and_then(|dir| fs.readdirplus(ROOT, dir.fh, 0, 4096));
            assert_eq!(listed.unwrap_err(), Errno::ENOENT);
        }
        machine.other.statfs(ROOT).unwrap();
    }
}

#[test]
fn a_mount_in_the_share_that_goes_away_leaves_what_is_open_and_what_is_below_it() {
    if cannot_mount("failing_host::roots::submount") {
        return;
    }
    let place = Place::new();
    let share = place.dir("share");
    let sub = place.tmpfs("share/sub", c"");
    fs::write(sub.join("file"), "content").unwrap();
    // In a namespace it would stay for the guest.
    let mut machine = Machine::new(&share, &["--sandbox", "none"]);
    let dir = machine.find(ROOT, "sub");
    let node = machine.find(dir, "file");
    let fs = &mut machine.fs;
    let fh = fs.open(node, libc::O_RDWR).unwrap().fh;
    unmount(&sub, UnmountFlags::DETACH).unwrap();
    fs::write(sub.join("below"), "").unwrap();
    assert_eq!(fs.read(node, fh, 0, 100).unwrap(), b"content");
    let below = fs.lookup(ROOT, "sub").unwrap().nodeid;
    assert_ne!(below, dir);
    assert_eq!(fs.lookup(below, "file").unwrap().nodeid, 0);
    fs.lookup(below, "below").unwrap();
    // The guest may still be in the directory that it knew.
    assert_eq!(fs.lookup(dir, "file").unwrap().nodeid, node);
    fs.release(node, fh).unwrap();
}
