//! What a request may do is said by its caller, and not by what its thread has done before. Needs
//! to be root.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod share;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};

use ferryfs::fuse::flags::{init, write};
use ferryfs::fuse::{Caller, Create, Filesystem, Negotiated, NewNode, NodeId};
use ferryfs::mem::{Input, Segment};
use ferryfs::passthrough::{Config, Support};
use ferryfs_bench::skip;
use share::{Share, name, user};

const SGID: u32 = libc::S_ISGID;

/// A share with a file, and with a directory of group 5000 that gives its group to what is made in
/// it; none where that cannot be.
fn shared(config: Config) -> Option<Share> {
    if !rustix::process::geteuid().is_root() {
        let thread = std::thread::current();
        skip(thread.name().unwrap_or_default(), "it needs root");
        return None;
    }
    let share = Share::with(config);
    let group = share.path().join("group");
    fs::create_dir(&group).unwrap();
    chown(&group, Some(1000), Some(5000)).unwrap();
    fs::set_permissions(&group, Permissions::from_mode(0o2777)).unwrap();
    fs::write(share.path().join("file"), "").unwrap();
    Some(share)
}

/// What leaves the calling thread with or without rights: a write by somebody who has them or not.
fn write_as(share: &Share, privileged: bool) {
    let file = share.find("file");
    let handle = share.fs.open(file, libc::O_RDWR.cast_unsigned(), false).unwrap().handle;
    let flags = if privileged { 0 } else { write::KILL_SUIDGID };
    let mut bytes = *b"x";
    let segment = [Segment::from(&mut bytes[..])];
    share.fs.write(file, handle, 0, (0, flags), &mut Input::new(&segment)).unwrap();
    share.fs.release(file, handle, false).unwrap();
}

/// The modes of a file, a node and a file without a name that a caller makes in `dir`.
fn modes(share: &Share, by: &Caller, dir: NodeId, mode: u32) -> [u32; 3] {
    let names = ["made", "node"].map(name);
    let [made, node] =
        [0, 1].map(|at| NewNode { parent: dir, name: &names[at], umask: 0, security: None });
    let how =
        Create { flags: (libc::O_RDWR | libc::O_EXCL).cast_unsigned(), mode, kill_suidgid: false };
    let (file, opened) = share.fs.create(by, &made, &how).unwrap();
    share.fs.release(file.node, opened.handle, false).unwrap();
    let node = share.fs.mknod(by, &node, libc::S_IFREG | mode, 0).unwrap();
    let how = Create { flags: libc::O_RDWR.cast_unsigned(), ..how };
    let (unnamed, opened) = share.fs.tmpfile(by, dir, (0, None), &how).unwrap();
    share.fs.release(unnamed.node, opened.handle, false).unwrap();
    for name in names {
        share.fs.unlink(by, dir, &name).unwrap();
    }
    [file, node, unnamed].map(|entry| entry.attr.mode & 0o7777)
}

#[test]
fn set_group_id_of_what_is_made_is_kept_for_those_who_may_have_it_and_for_no_others() {
    let Some(share) = shared(Config::default()) else { return };
    let dir = share.find("group");
    let member = Caller { group: Some(5000), ..user(1000) };
    for privileged in [true, false, true] {
        for (by, kept) in [(user(0), SGID), (user(1000), 0), (member, SGID), (user(5000), SGID)] {
            write_as(&share, privileged);
            let expected = [0o755 | kept; 3];
            assert_eq!(modes(&share, &by, dir, 0o2755), expected, "{privileged} {by:?}");
        }
    }
}

/// An ACL with the modes of owner, group and others alone.
fn plain_acl() -> Vec<u8> {
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, permissions) in [(1u16, 7u16), (4, 7), (0x20, 5)] {
        acl.extend([tag.to_le_bytes(), permissions.to_le_bytes()].concat());
        acl.extend(u32::MAX.to_le_bytes());
    }
    acl
}

#[test]
fn an_acl_takes_set_group_id_away_when_the_guest_says_so_and_only_then() {
    let config = Config { posix_acl: Support::Auto, ..Config::default() };
    let Some(share) = shared(config) else { return };
    let flags = init::POSIX_ACL | init::SETXATTR_EXT;
    share.fs.start(&Negotiated { flags, minor: 45 }).unwrap();
    let dir = share.find("group");
    for privileged in [true, false, true] {
        for (goes, expected) in [(0, 0o2775), (1, 0o775)] {
            let path = share.path().join("group");
            fs::set_permissions(&path, Permissions::from_mode(0o2777)).unwrap();
            write_as(&share, privileged);
            let name = c"system.posix_acl_access";
            share.fs.setxattr(dir, name, &plain_acl(), (0, goes)).unwrap();
            let mode = share.attr(dir).unwrap().mode & 0o7777;
            assert_eq!(mode, expected, "{privileged} {goes}");
        }
    }
}
