//! Storage without room, or that must not be written to any more.

use ferryfs::fuse::Errno;
use ferryfs_bench::ROOT;
use rustix::mount::mount_remount;

use super::*;

/// Writes until an error; how many bytes were taken.
fn fill(fs: &mut Client, node: u64, fh: u64) -> (u64, Errno) {
    let block = vec![b'x'; 64 << 10];
    let mut at = 0;
    loop {
        match fs.write(node, fh, at, &block) {
            Ok(0) => panic!("nothing is written, without an error"),
            Ok(count) => at += u64::from(count),
            Err(ferryfs_bench::Error::Errno(error)) => return (at, error),
            Err(other) => panic!("{other}"),
        }
        assert!(at < 300 << 20, "there is too much room");
    }
}

#[test]
fn a_full_file_system_takes_what_it_can_and_goes_on_when_there_is_room() {
    if cannot_mount("failing_host::full") {
        return;
    }
    let place = Place::new();
    let share = place.tmpfs("share", c"size=1m,nr_inodes=12");
    let mut machine = Machine::new(&share, &[]);
    let fs = &mut machine.fs;
    let made = fs.create(ROOT, "a", libc::O_RDWR, 0o644).unwrap();
    let (node, fh) = (made.entry.nodeid, made.open.fh);
    let (taken, error) = fill(fs, node, fh);
    assert_eq!(error, Errno::from_raw(libc::ENOSPC));
    assert!(taken > 512 << 10);
    assert!(fs::read(share.join("a")).unwrap() == vec![b'x'; usize::try_from(taken).unwrap()]);
    let full = fs.fallocate(node, fh, (taken, 1 << 20), 0);
    assert_eq!(full.unwrap_err(), Errno::from_raw(libc::ENOSPC));
    // What needs no room goes on.
    assert_eq!(fs.getattr(node, None).unwrap().attr.size, taken);
    assert_eq!(fs.write(node, fh, 0, b"y").unwrap(), 1);
    assert_eq!(fs.read(node, fh, 0, 2).unwrap(), b"yx");
    // Nor is there room for more inodes.
    let mut dirs = Vec::new();
    let error = loop {
        match fs.mkdir(ROOT, format!("dir{}", dirs.len()), 0o755) {
            Ok(made) => dirs.push(made.nodeid),
            Err(error) => break error,
        }
    };
    assert_eq!(error, Errno::from_raw(libc::ENOSPC));
    assert_eq!(fs.symlink(ROOT, "l", "t").unwrap_err(), Errno::from_raw(libc::ENOSPC));
    let unnamed = fs.tmpfile(ROOT, libc::O_RDWR, 0o600);
    assert_eq!(unnamed.unwrap_err(), Errno::from_raw(libc::ENOSPC));
    assert!(!share.join("l").exists());

    fs.rmdir(ROOT, "dir0").unwrap();
    fs.forget(dirs[0], 1).unwrap();
    fs.mkdir(ROOT, "again", 0o755).unwrap();
    fs::File::options().write(true).open(share.join("a")).unwrap().set_len(100).unwrap();
    assert_eq!(fs.write(node, fh, 100, &[b'z'; 9000]).unwrap(), 9000);
    assert_eq!(fs::read(share.join("a")).unwrap().len(), 9100);
}

/// Runs a tool; false if it is not there or fails.
fn run(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
}

#[test]
fn who_has_used_up_a_quota_is_told_so() {
    const TEST: &str = "failing_host::full::quota";
    if cannot_mount(TEST) {
        return;
    }
    let place = Place::new();
    let (image, at) = (place.dir("").join("image"), place.dir("btrfs"));
    fs::File::create(&image).unwrap().set_len(256 << 20).unwrap();
    let (image, at) = (image.to_str().unwrap(), at.to_str().unwrap());
    let ready = run("mkfs.btrfs", &["-q", image])
        && run("mount", &["-o", "loop", image, at])
        && run("btrfs", &["quota", "enable", at])
        && run("btrfs", &["subvolume", "create", &format!("{at}/share")])
        && run("btrfs", &["qgroup", "limit", "4M", &format!("{at}/share")]);
    if !ready {
        skip(TEST, "there is no Btrfs with quotas here");
        return;
    }
    let mut machine = Machine::new(&Path::new(at).join("share"), &[]);
    let fs = &mut machine.fs;
    let made = fs.create(ROOT, "a", libc::O_RDWR, 0o644).unwrap();
    let (node, fh) = (made.entry.nodeid, made.open.fh);
    let (taken, error) = fill(fs, node, fh);
    assert_eq!(error, Errno::from_raw(libc::EDQUOT));
    assert!(taken < 4 << 20);
    assert_eq!(fs.read(node, fh, 0, 3).unwrap(), b"xxx");
    assert!(run("btrfs", &["qgroup", "limit", "none", &format!("{at}/share")]));
    assert_eq!(fs.write(node, fh, taken, b"more").unwrap(), 4);
    fs.fsync(node, fh, false).unwrap();
}

#[test]
fn a_file_system_that_becomes_read_only_is_read_on() {
    if cannot_mount("failing_host::full::read_only") {
        return;
    }
    for sandbox in ["namespace", "none"] {
        let place = Place::new();
        let share = place.tmpfs("share", c"");
        fs::write(share.join("a"), "content").unwrap();
        let mut machine = Machine::new(&share, &["--sandbox", sandbox, "--xattr"]);
        let node = machine.find(ROOT, "a");
        let fs = &mut machine.fs;
        let read = fs.open(node, libc::O_RDONLY).unwrap().fh;
        for _ in 0..2 {
            mount_remount(&share, MountFlags::RDONLY, c"").unwrap();
            assert_eq!(fs.open(node, libc::O_RDWR).unwrap_err(), Errno::EROFS);
            assert_eq!(fs.mkdir(ROOT, "dir", 0o755).unwrap_err(), Errno::EROFS);
            assert_eq!(fs.unlink(ROOT, "a").unwrap_err(), Errno::EROFS);
            assert_eq!(fs.setxattr(node, "user.a", b"1", 0).unwrap_err(), Errno::EROFS);
            assert_eq!(fs.rename((ROOT, "a"), (ROOT, "b")).unwrap_err(), Errno::EROFS);
            assert_eq!(fs.read(node, read, 0, 100).unwrap(), b"content");
            mount_remount(&share, MountFlags::empty(), c"").unwrap();
            let write = fs.open(node, libc::O_RDWR).unwrap().fh;
            assert_eq!(fs.write(node, write, 0, b"content").unwrap(), 7);
            fs.release(node, write).unwrap();
            let dir = fs.mkdir(ROOT, "dir", 0o755).unwrap().nodeid;
            fs.rmdir(ROOT, "dir").unwrap();
            // Until then somebody may be in it.
            fs.forget(dir, 1).unwrap();
        }
    }
}
