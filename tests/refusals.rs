//! What is refused is refused with its own error number, and leaves nothing behind.

mod share;

use std::fs;
use std::os::unix::fs::symlink;

use ferryfs::fuse::{AttrChange, Create, Errno, Filesystem, NewNode};
use ferryfs::passthrough::{Config, IdMap, Xattrs};
use share::{Share, name, user};

const CREATE: Create = Create { flags: 2, mode: 0o600, kill_suidgid: false };

#[test]
fn a_create_that_cannot_open_what_is_there_does_not_count_as_a_lookup() {
    let share = Share::with(Config { descriptors: 24, ..Config::default() });
    fs::create_dir(share.path().join("dir")).unwrap();
    symlink("dir", share.path().join("link")).unwrap();
    fs::write(share.path().join("file"), "").unwrap();
    let create = |what| {
        let what = name(what);
        let at = NewNode { parent: share.root(), name: &what, umask: 0, security: None };
        let owner = user(rustix::process::geteuid().as_raw());
        share.fs.create(&owner, &at, &CREATE)
    };
    for _ in 0..20 {
        assert_eq!(create("dir").unwrap_err(), Errno::EISDIR);
        assert_eq!(create("link").unwrap_err(), Errno::ESTALE);
    }
    assert_eq!((share.fs.inodes(), share.fs.handles()), (1, 0));
    // Nor one for which there is no descriptor left.
    let (entry, first) = create("file").unwrap();
    let mut handles = vec![first.handle];
    while let Ok(opened) = share.fs.open(entry.node, 0, false) {
        handles.push(opened.handle);
    }
    for _ in 0..20 {
        assert_eq!(create("file").unwrap_err(), Errno::ENFILE);
        assert_eq!(create("new").unwrap_err(), Errno::ENFILE);
    }
    assert!(!share.path().join("new").exists());
    for handle in handles {
        share.fs.release(entry.node, handle, false).unwrap();
    }
    share.fs.forget(entry.node, 1);
    assert_eq!((share.fs.inodes(), share.fs.handles()), (1, 0));
}

#[test]
fn a_user_who_is_forbidden_may_not_own_anything() {
    let ids = || IdMap::new(&["forbid-guest:1000:1".parse().unwrap()]).unwrap();
    let share = Share::with(Config { uids: ids(), gids: ids(), ..Config::default() });
    let (new, by) = (name("new"), user(1000));
    let at = NewNode { parent: share.root(), name: &new, umask: 0, security: None };
    assert_eq!(share.fs.mkdir(&by, &at, 0o755).err(), Some(Errno::EPERM));
    assert_eq!(share.fs.mknod(&by, &at, 0o644, 0).err(), Some(Errno::EPERM));
    assert_eq!(share.fs.symlink(&by, &at, c"target").err(), Some(Errno::EPERM));
    assert_eq!(share.fs.create(&by, &at, &CREATE).err(), Some(Errno::EPERM));
    let unnamed = share.fs.tmpfile(&by, share.root(), (0, None), &CREATE);
    assert_eq!(unnamed.err(), Some(Errno::EPERM));
    for change in [
        AttrChange { uid: Some(1000), ..AttrChange::default() },
        AttrChange { gid: Some(1000), ..AttrChange::default() },
    ] {
        let changed = share.fs.setattr(&user(0), share.root(), &change);
        assert_eq!(changed.err(), Some(Errno::EPERM));
    }
    assert_eq!(fs::read_dir(share.path()).unwrap().count(), 0);
    assert_eq!((share.fs.inodes(), share.fs.handles()), (1, 0));
}

#[test]
fn the_length_of_a_list_of_attributes_is_that_of_the_list() {
    // Some are renamed and some are hidden.
    for rules in [":map::user.virtiofs.:", "/map/trusted./user.virtiofs./"] {
        let xattrs = Some(Xattrs { map: Some(rules.parse().unwrap()) });
        let share = Share::with(Config { xattrs, ..Config::default() });
        let root = share.root();
        for attribute in [c"trusted.a", c"trusted.overlay.opaque"] {
            share.fs.setxattr(root, attribute, b"1", (0, 0)).unwrap();
        }
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(share.path(), "user.other", b"2", flags).unwrap();
        let mut room = [0; 1000];
        let len = share.fs.listxattr(root, &mut room).unwrap();
        assert!(len > 0 && room[len - 1] == 0);
        assert_eq!(share.fs.listxattr(root, &mut []).unwrap(), len, "{rules}");
        let short = &mut room[..len - 1];
        assert_eq!(share.fs.listxattr(root, short), Err(Errno::ERANGE), "{rules}");
    }
}
