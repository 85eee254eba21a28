//! Symbolic links that lead out of the share, and its root's parent.

use super::*;

/// Requests on an inode that is a link, which must end at the link.
fn use_link(fs: &mut Client, parent: u64, name: &str) {
    let link = fs.lookup(parent, name).unwrap();
    assert_eq!(link.attr.mode & libc::S_IFMT, libc::S_IFLNK, "{name}");
    let node = link.nodeid;
    let (rdonly, rdwr) = (libc::O_RDONLY, libc::O_RDWR);
    for flags in [rdonly, rdwr, rdwr | libc::O_TRUNC, libc::O_DIRECTORY, libc::O_PATH] {
        assert_eq!(fs.open(node, flags).unwrap_err(), Errno::ELOOP, "{name}");
        assert!(fs.create(parent, name, flags | libc::O_CREAT, 0o644).is_err(), "{name}");
    }
    assert_eq!(fs.opendir(node).unwrap_err(), Errno::ENOTDIR, "{name}");
    for below in ["victim", "dir", "outside", "etc", "new"] {
        let expected = Errno::ENOTDIR;
        assert_eq!(fs.lookup(node, below).unwrap_err(), expected, "{name}/{below}");
        assert_eq!(fs.unlink(node, below).unwrap_err(), expected, "{name}/{below}");
        assert_eq!(fs.rmdir(node, below).unwrap_err(), expected, "{name}/{below}");
        assert_eq!(fs.mkdir(node, below, 0o755).unwrap_err(), expected, "{name}/{below}");
        assert_eq!(fs.symlink(node, below, "x").unwrap_err(), expected, "{name}/{below}");
        assert_eq!(fs.mknod(node, below, 0o644, 0).unwrap_err(), expected, "{name}/{below}");
        assert_eq!(fs.create(node, below, rdwr, 0o644).unwrap_err(), expected, "{name}/{below}");
        assert_eq!(fs.rename((ROOT, "file"), (node, below)).unwrap_err(), expected);
        assert_eq!(fs.rename((node, below), (ROOT, "taken")).unwrap_err(), expected);
        assert_eq!(fs.link(node, (node, below)).unwrap_err(), expected, "{name}/{below}");
    }
    // What these do to the link itself is its file system's matter.
    let now = i64::MAX.cast_unsigned() >> 33;
    for change in [
        SetattrIn { valid: 1, mode: 0o777, ..zero() },
        SetattrIn { valid: 1 << 3, size: 0, ..zero() },
        SetattrIn { valid: 6, uid: 4242, gid: 4242, ..zero() },
        SetattrIn { valid: 0x30, atime: now.cast_signed(), mtime: now.cast_signed(), ..zero() },
    ] {
        let _ = fs.setattr(node, &change);
    }
    let _ = fs.setxattr(node, "user.escaped", b"1", 0);
    let _ = fs.setxattr(node, "trusted.escaped", b"1", 0);
    let _ = fs.removexattr(node, "user.escaped");
    let _ = fs.statfs(node);
    let _ = fs.syncfs(node);
    let _ = fs.access(node, 7);
    let linked = fs.link(node, (ROOT, "second name")).unwrap();
    assert_eq!(linked.attr.mode & libc::S_IFMT, libc::S_IFLNK, "{name}");
    fs.unlink(ROOT, "second name").unwrap();
    fs.rename((ROOT, name), (ROOT, "moved")).unwrap();
    fs.rename((ROOT, "moved"), (ROOT, name)).unwrap();
}

#[test]
fn no_link_is_ever_followed() {
    for way in ways() {
        let mut premises = Premises::new(way);
        let before = premises.outside();
        let links = [
            "absolute",
            "absolute-file",
            "up",
            "up-file",
            "root",
            "magic",
            "magic-cwd",
            "dots",
            "long",
        ];
        for name in links {
            use_link(&mut premises.fs, ROOT, name);
            assert_eq!(premises.outside(), before, "{way:?} {name}");
        }
        for (at, target) in ["/", "..", "/proc/self/fd/3", "/etc/passwd"].iter().enumerate() {
            let name = format!("of the guest {at}");
            premises.fs.symlink(ROOT, &name, target).unwrap();
            use_link(&mut premises.fs, ROOT, &name);
        }
        for name in links {
            premises.fs.unlink(ROOT, name).unwrap();
        }
        assert_eq!(premises.outside(), before, "{way:?}");
    }
}

/// What a directory listing tells of what is above the share: nothing.
#[test]
fn the_roots_parent_is_the_root() {
    for way in ways() {
        let mut premises = Premises::new(way);
        let ino = premises.fs.getattr(ROOT, None).unwrap().attr.ino;
        let fh = premises.fs.opendir(ROOT).unwrap().fh;
        let entries = premises.fs.readdir(ROOT, fh, 0, 4096).unwrap();
        let dots = entries.iter().filter(|entry| entry.name == b"." || entry.name == b"..");
        assert!(dots.map(|entry| entry.ino).eq([ino, ino]), "{way:?}");
    }
}
