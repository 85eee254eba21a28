//! Extended attributes, and what is kept in them: access control lists and labels.

use std::ffi::{CStr, CString};
use std::fs;

use ferryfs::fuse::flags::init;
use ferryfs::fuse::{Create, Errno, Filesystem, Negotiated, NewNode, NodeId, SecurityContext};
use ferryfs::passthrough::{Config, IdMap, Support, Xattrs};
use ferryfs_bench::skip;
use rustix::fs::XattrFlags;

use super::share::{Share, name, user};

fn xattrs(map: Option<&str>) -> Option<Xattrs> {
    Some(Xattrs { map: map.map(|map| map.parse().unwrap()) })
}

fn get(share: &Share, node: NodeId, name: &CStr) -> Result<Vec<u8>, Errno> {
    let size = share.fs.getxattr(node, name, &mut [])?;
    let mut value = vec![0; size + 1];
    assert_eq!(share.fs.getxattr(node, name, &mut value)?, size);
    value.truncate(size);
    Ok(value)
}

fn list(share: &Share, node: NodeId) -> Vec<String> {
    let size = share.fs.listxattr(node, &mut []).unwrap();
    let mut names = vec![0; size];
    assert_eq!(
        share.fs.listxattr(node, &mut names),
        Ok(size),
        "a probe tells the size of the list"
    );
    if size > 0 {
        assert_eq!(share.fs.listxattr(node, &mut vec![0; size - 1]), Err(Errno::ERANGE));
    }
    let names = String::from_utf8(names).unwrap();
    let mut names: Vec<_> = names.split_terminator('\0').map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn every_type_of_inode_has_its_own_extended_attributes() {
    let share = Share::new();
    let (root, by) = (share.root(), user(0));
    let at = |name| NewNode { parent: root, name, umask: 0, security: None };
    let (dir, link, fifo) = (name("dir"), name("link"), name("fifo"));
    fs::write(share.path().join("file"), "").unwrap();
    let nodes = [
        ("file", share.find("file")),
        ("dir", share.fs.mkdir(&by, &at(&dir), 0o755).unwrap().node),
        ("link", share.fs.symlink(&by, &at(&link), c"file").unwrap().node),
        ("fifo", share.fs.mknod(&by, &at(&fifo), libc::S_IFIFO | 0o644, 0).unwrap().node),
    ];
    for (what, node) in nodes {
        share.fs.setxattr(node, c"trusted.it", what.as_bytes(), (0, 0)).unwrap();
        assert_eq!(share.fs.setxattr(node, c"trusted.it", b"", (1, 0)), Err(Errno::EEXIST));
    }
    for (what, node) in nodes {
        assert_eq!(get(&share, node, c"trusted.it").unwrap(), what.as_bytes());
        assert_eq!(list(&share, node), ["trusted.it"]);
        share.fs.removexattr(node, c"trusted.it").unwrap();
        assert_eq!(get(&share, node, c"trusted.it"), Err(Errno::ENODATA));
    }
}

#[test]
fn renamed_attributes_are_what_the_guest_named_them() {
    let map = Some(":map::user.virtiofs.:");
    let share = Share::with(Config { xattrs: xattrs(map), ..Config::default() });
    let root = share.root();
    share.fs.setxattr(root, c"trusted.overlay.opaque", b"y", (0, 0)).unwrap();
    share.fs.setxattr(root, c"user.a", b"1", (0, 0)).unwrap();
    assert_eq!(list(&share, root), ["trusted.overlay.opaque", "user.a"]);
    let mut on_host = vec![0; 1000];
    let len = rustix::fs::listxattr(share.path(), &mut on_host[..]).unwrap();
    let on_host = String::from_utf8(on_host[..len].to_vec()).unwrap();
    let mut on_host: Vec<_> = on_host.split_terminator('\0').collect();
    on_host.sort_unstable();
    assert_eq!(on_host, ["user.virtiofs.trusted.overlay.opaque", "user.virtiofs.user.a"]);
    rustix::fs::setxattr(share.path(), "user.hidden", b"", XattrFlags::empty()).unwrap();
    assert_eq!(list(&share, root).len(), 2);
    assert_eq!(get(&share, root, c"trusted.overlay.opaque").unwrap(), b"y");
}

#[test]
fn without_extended_attributes_there_is_no_such_call() {
    let share = Share::with(Config { xattrs: None, ..Config::default() });
    let root = share.root();
    assert_eq!(get(&share, root, c"user.a"), Err(Errno::ENOSYS));
    assert_eq!(share.fs.setxattr(root, c"user.a", b"", (0, 0)), Err(Errno::ENOSYS));
    assert_eq!(share.fs.listxattr(root, &mut []), Err(Errno::ENOSYS));
    assert_eq!(share.fs.removexattr(root, c"user.a"), Err(Errno::ENOSYS));
}

/// `u::rwx,u:5:rwx,g::r-x,m::rwx,o::r-x`
fn acl(user: u32) -> Vec<u8> {
    let entries: [(u16, u16, u32); 5] =
        [(1, 7, !0), (2, 7, user), (4, 5, !0), (16, 7, !0), (32, 5, !0)];
    let mut acl = vec![2, 0, 0, 0];
    for (tag, perm, id) in entries {
        acl.extend(tag.to_le_bytes());
        acl.extend(perm.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    acl
}

#[test]
fn acls_are_the_hosts_alone_unless_the_guest_takes_part() {
    let share = Share::with(Config { posix_acl: Support::Auto, ..Config::default() });
    let root = share.root();
    rustix::fs::setxattr(share.path(), "system.posix_acl_access", &acl(5), XattrFlags::empty())
        .unwrap();
    share.fs.start(&Negotiated::default()).unwrap();
    assert_eq!(list(&share, root), Vec::<String>::new());
    for name in [c"system.posix_acl_access", c"system.posix_acl_default"] {
        assert_eq!(get(&share, root, name), Err(Errno::EOPNOTSUPP));
        assert_eq!(share.fs.setxattr(root, name, &acl(5), (0, 0)), Err(Errno::EOPNOTSUPP));
        assert_eq!(share.fs.removexattr(root, name), Err(Errno::EOPNOTSUPP));
    }
    share.fs.start(&Negotiated { flags: init::POSIX_ACL, minor: 45 }).unwrap();
    assert_eq!(list(&share, root), ["system.posix_acl_access"]);
    assert_eq!(get(&share, root, c"system.posix_acl_access").unwrap(), acl(5));
}

#[test]
fn a_guest_that_offers_too_little_is_not_served() {
    for config in [
        Config { posix_acl: Support::Always, ..Config::default() },
        Config { security_label: Support::Always, ..Config::default() },
    ] {
        let share = Share::with(config);
        assert_eq!(share.fs.start(&Negotiated::default()), Err(Errno::EPROTO));
        let all = Negotiated { flags: init::POSIX_ACL | init::SECURITY_CTX, minor: 45 };
        assert_eq!(share.fs.start(&all), Ok(()));
    }
}

#[test]
fn ids_in_acls_are_translated_like_all_others() {
    let uids = IdMap::new(&["map:0:10000:1000".parse().unwrap()]).unwrap();
    let share = Share::with(Config { posix_acl: Support::Auto, uids, ..Config::default() });
    share.fs.start(&Negotiated { flags: init::POSIX_ACL, minor: 45 }).unwrap();
    share.fs.setxattr(share.root(), c"system.posix_acl_access", &acl(5), (0, 0)).unwrap();
    let mut on_host = [0; 100];
    let len =
        rustix::fs::getxattr(share.path(), "system.posix_acl_access", &mut on_host[..]).unwrap();
    assert_eq!(on_host[..len], acl(10005));
    assert_eq!(get(&share, share.root(), c"system.posix_acl_access").unwrap(), acl(5));
}

#[test]
fn a_new_inode_has_its_default_acl_and_umask_does_not_cut_it() {
    let share = Share::with(Config { posix_acl: Support::Auto, ..Config::default() });
    share.fs.start(&Negotiated { flags: init::POSIX_ACL, minor: 45 }).unwrap();
    let (root, by) = (share.root(), user(0));
    let make = |called: &str| {
        let name = name(called);
        let at = NewNode { parent: root, name: &name, umask: 0o077, security: None };
        share.fs.mkdir(&by, &at, 0o777).unwrap().attr.mode & 0o777
    };
    assert_eq!(make("without"), 0o700);
    share.fs.setxattr(root, c"system.posix_acl_default", &acl(5), (0, 0)).unwrap();
    assert_eq!(make("with"), 0o775);
    assert_eq!(get(&share, share.find("with"), c"system.posix_acl_access").unwrap(), acl(5));
}

#[test]
fn a_label_is_there_from_the_beginning_and_nothing_is_left_of_a_failure() {
    let map = Some(":map::user.virtiofs.:");
    let share = Share::with(Config { xattrs: xattrs(map), ..Config::default() });
    let (root, by) = (share.root(), user(0));
    let label = SecurityContext { name: c"security.selinux", value: b"a_t" };
    // A name that is too long on the host.
    let long = CString::new("n".repeat(250)).unwrap();
    let bad = SecurityContext { name: &long, value: b"a_t" };
    let how = Create { flags: 0o102, mode: 0o600, kill_suidgid: false };
    let before = share.fs.descriptors();
    for round in 0..20 {
        for (security, good) in [(label, true), (bad, false)] {
            let names = ["dir", "node", "file"].map(|kind| name(&format!("{kind}{round}{good}")));
            let at = |name| NewNode { parent: root, name, umask: 0, security: Some(security) };
            let dir = share.fs.mkdir(&by, &at(&names[0]), 0o755).map(|entry| (entry, None));
            let node = share.fs.mknod(&by, &at(&names[1]), 0o644, 0).map(|entry| (entry, None));
            let file = share.fs.create(&by, &at(&names[2]), &how).map(|(e, o)| (e, Some(o)));
            let unnamed = share.fs.tmpfile(&by, root, (0, Some(security)), &how);
            for made in [dir, node, file, unnamed.map(|(entry, opened)| (entry, Some(opened)))] {
                if !good {
                    assert_eq!(made.err(), Some(Errno::ERANGE));
                    continue;
                }
                let (entry, opened) = made.unwrap();
                assert_eq!(get(&share, entry.node, c"security.selinux").unwrap(), b"a_t");
                if let Some(opened) = opened {
                    share.fs.release(entry.node, opened.handle, false).unwrap();
                }
                share.fs.forget(entry.node, 1);
            }
        }
        let there = name("dir0true");
        let at = NewNode { parent: root, name: &there, umask: 0, security: Some(label) };
        assert_eq!(share.fs.mkdir(&by, &at, 0o755).unwrap_err(), Errno::EEXIST);
    }
    assert_eq!(fs::read_dir(share.path()).unwrap().count(), 60);
    assert_eq!((share.fs.descriptors(), share.fs.handles()), (before, 0));
    assert_eq!(share.fs.inodes(), 1);
}

#[test]
fn links_and_special_files_have_a_label_too_where_the_host_has_one_for_them() {
    if !rustix::process::geteuid().is_root() {
        skip("labels of links and special files", "only root may set them");
        return;
    }
    let (by, target) = (user(0), c"target");
    let label = SecurityContext { name: c"security.ferry", value: b"a_t" };
    // user.* attributes are for files and directories only.
    for (map, kept) in [(None, true), (Some(":map::user.virtiofs.:"), false)] {
        let share = Share::with(Config { xattrs: xattrs(map), ..Config::default() });
        let (link, fifo) = (name("link"), name("fifo"));
        let at = |name| NewNode { parent: share.root(), name, umask: 0, security: Some(label) };
        let link = share.fs.symlink(&by, &at(&link), target).unwrap();
        let fifo = share.fs.mknod(&by, &at(&fifo), libc::S_IFIFO | 0o600, 0).unwrap();
        for node in [link.node, fifo.node] {
            let found = get(&share, node, label.name);
            assert_eq!(found.ok(), kept.then(|| b"a_t".to_vec()), "{map:?}");
        }
    }
}
