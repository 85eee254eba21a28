//! Several shares for one guest: what leads from one to another, and what is left of one that was
//! taken away.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod ferry;
#[path = "../share/mod.rs"]
mod share;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::time::Duration;

use ferry::Ferry;
use ferryfs::fuse::abi::*;
use ferryfs::fuse::flags::{attr, init};
use ferryfs::fuse::{
    AttrChange, Carrier, CopyRange, Create, Errno, Filesystem, Handle, Negotiated, NewNode, NodeId,
    Opcode, Patience, Session,
};
use ferryfs::mem::Output;
use ferryfs::passthrough::Config;
use ferryfs::shares::Shares;
use share::{name, user};
use support::requests::{arg, init as init_request, request};
use tempfile::TempDir;
use zerocopy::{FromBytes, IntoBytes};

fn created(parent: NodeId, name: &ferryfs::fuse::Name) -> NewNode<'_> {
    NewNode { parent, name, umask: 0, security: None }
}

const NEW: Create = Create { flags: 0o102, mode: 0o644, kill_suidgid: false };

/// The names in a directory, with their nodeids if the guest asks for these, and the last offset.
fn list(session: &Session<Shares>, node: u64, offset: u64, plus: bool) -> Vec<(String, u64, u64)> {
    let open = arg::<OpenIn>(|_| {});
    let opened = support::serve(session, &request(Opcode::Opendir, node, &[&open])).unwrap();
    let fh = OpenOut::read_from_bytes(&opened).unwrap().fh;
    let read = arg::<ReadIn>(|read| (read.fh, read.offset, read.size) = (fh, offset, 4096));
    let opcode = if plus { Opcode::Readdirplus } else { Opcode::Readdir };
    let mut bytes = &*support::serve(session, &request(opcode, node, &[&read])).unwrap();
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let mut node = 0;
        if plus {
            let (entry, rest) = EntryOut::read_from_prefix(bytes).unwrap();
            (node, bytes) = (entry.nodeid, rest);
        }
        let (head, rest) = Dirent::read_from_prefix(bytes).unwrap();
        let len = head.namelen as usize;
        found.push((String::from_utf8(rest[..len].to_vec()).unwrap(), node, head.off));
        bytes = &rest[len.next_multiple_of(8)..];
    }
    let release = arg::<ReleaseIn>(|release| release.fh = fh);
    support::serve(session, &request(Opcode::Releasedir, node, &[&release])).unwrap();
    found
}

fn names(listed: &[(String, u64, u64)]) -> Vec<&str> {
    listed.iter().map(|(name, ..)| &**name).collect()
}

fn session(ferry: Ferry) -> (TempDir, Session<Shares>) {
    let session = Session::new(ferry.fs, Carrier::VIRTIO);
    support::serve(&session, &init_request()).unwrap();
    (ferry.host, session)
}

#[test]
fn the_root_lists_the_shares_and_each_has_its_files() {
    let ferry = Ferry::new();
    for share in ["a", "b"] {
        let (node, handle) = ferry.open(&format!("{share}/file"), libc::O_RDONLY);
        assert_eq!(ferry.read((node, handle)).unwrap(), share.as_bytes());
    }
    let (_host, session) = session(ferry);
    let listed = list(&session, 1, 0, false);
    assert_eq!(names(&listed), [".", "..", "a", "b"]);
    let listed = list(&session, 1, 0, true);
    assert_eq!((listed[0].1, listed[1].1), (0, 0));
    for (name, node, _) in &listed[2..] {
        let inside = list(&session, *node, 0, true);
        let file = inside.iter().find(|(name, ..)| name == "file").unwrap();
        let get = arg::<GetattrIn>(|_| {});
        support::serve(&session, &request(Opcode::Getattr, file.1, &[&get])).unwrap();
        assert_eq!(inside.len(), 3, "{name}");
    }
}

#[test]
fn a_listing_of_the_root_goes_on_where_it_was_when_shares_come_and_go() {
    let ferry = Ferry::new();
    ferry.share("c", "a", Config::default()).unwrap();
    let (_host, session) = session(ferry);
    let after_a = list(&session, 1, 0, false)[2].2;
    assert!(session.filesystem().remove(c"a"));
    assert_eq!(names(&list(&session, 1, after_a, false)), ["b", "c"]);
    assert_eq!(names(&list(&session, 1, 0, false)), [".", "..", "b", "c"]);
}

#[test]
fn the_root_changes_when_shares_come_and_go() {
    let ferry = Ferry::new();
    let times = || {
        let attr = ferry.fs.getattr(NodeId::ROOT, None).unwrap().attr;
        let stat = ferry.fs.statx(NodeId::ROOT, None, 0).unwrap().stat;
        let mtime = (attr.mtime, attr.mtimensec);
        assert_eq!((attr.ctime, attr.ctimensec), mtime);
        assert_eq!((stat.mtime.tv_sec, stat.mtime.tv_nsec), mtime);
        mtime
    };
    // By this a guest that keeps listings learns that one is not true any more.
    let at_first = times();
    ferry.share("c", "a", Config::default()).unwrap();
    let with_c = times();
    assert!(with_c > at_first);
    assert!(ferry.fs.remove(c"c"));
    assert!(times() > with_c);
    assert!(!ferry.fs.remove(c"c"));
}

#[test]
fn the_root_cannot_be_changed() {
    let ferry = Ferry::new();
    let (fs, by, root) = (&ferry.fs, &user(0), NodeId::ROOT);
    let (new, a, file) = (name("new"), name("a"), ferry.find("a/file"));
    let at = created(root, &new);
    let refusals = [
        fs.mkdir(by, &at, 0o755).err(),
        fs.mknod(by, &at, libc::S_IFREG, 0).err(),
        fs.symlink(by, &at, c"a").err(),
        fs.create(by, &at, &NEW).err(),
        fs.tmpfile(by, root, (0, None), &NEW).err(),
        fs.link(by, file, (root, &new)).err(),
        fs.rmdir(by, root, &a).err(),
        fs.unlink(by, root, &a).err(),
        fs.rename(by, (root, &a), (root, &new), 0).err(),
        fs.rename(by, (root, &a), (ferry.find("b"), &new), 0).err(),
        fs.rename(by, (ferry.find("a"), &name("file")), (root, &new), 0).err(),
        fs.setattr(by, root, &AttrChange { mode: Some(0o777), ..AttrChange::default() }).err(),
        fs.setxattr(root, c"user.x", b"x", (0, 0)).err(),
        fs.removexattr(root, c"user.x").err(),
        fs.access(by, root, libc::W_OK.cast_unsigned()).err(),
    ];
    assert_eq!(refusals, [Some(Errno::EROFS); 15]);
    assert_eq!(fs.open(root, 0, false).unwrap_err(), Errno::EISDIR);
    assert_eq!(fs.getxattr(root, c"user.x", &mut []), Err(Errno::ENODATA));
    assert_eq!(fs.listxattr(root, &mut []), Ok(0));
    assert_eq!(fs.access(by, root, (libc::R_OK | libc::X_OK).cast_unsigned()), Ok(()));
    assert_eq!(fs.statfs(root).unwrap().namelen, 255);
    assert_eq!(fs.syncfs(root), Ok(()));
    assert_eq!(fs.getattr(root, None).unwrap().attr.mode, libc::S_IFDIR | 0o555);
    assert_eq!(u32::from(fs.statx(root, None, 0).unwrap().stat.mode), libc::S_IFDIR | 0o555);
    assert_eq!(
        fs.read(root, Handle(0), 0, Patience::Storage, &mut Output::new(&[])).err(),
        Some(Errno::EBADF)
    );
}

#[test]
fn nothing_leads_from_one_share_into_another() {
    let ferry = Ferry::new();
    let (fs, by) = (&ferry.fs, &user(0));
    let (a, b, new) = (ferry.find("a"), ferry.find("b"), name("new"));
    let file = name("file");
    assert_eq!(fs.rename(by, (a, &file), (b, &new), 0), Err(Errno::EXDEV));
    assert_eq!(fs.rename(by, (a, &file), (b, &file), libc::RENAME_EXCHANGE), Err(Errno::EXDEV));
    assert_eq!(fs.link(by, ferry.find("a/file"), (b, &new)).unwrap_err(), Errno::EXDEV);
    let (from, to) = (ferry.open("a/file", libc::O_RDONLY), ferry.open("b/file", libc::O_RDWR));
    let copy = CopyRange { from: (from.0, from.1, 0), to: (to.0, to.1, 0), len: 1, flags: 0 };
    assert_eq!(fs.copy_file_range(by, &copy), Err(Errno::EXDEV));
    // Both shares have given the same handle to a file of theirs.
    assert_eq!(from.1, to.1);
    assert_eq!(ferry.read((from.0, to.1)).unwrap(), b"a", "a handle is the inode's");
    fs.release(from.0, from.1, false).unwrap();
    assert_eq!(ferry.read(from), Err(Errno::EBADF));
    assert_eq!(ferry.read(to).unwrap(), b"b");
    // Nodeids are not the shares' own: whatever a guest makes up is nothing.
    for node in 2..200 {
        assert!(![a.0, b.0].contains(&(node << 32)));
        assert_eq!(fs.getattr(NodeId(node << 40), None).err(), Some(Errno::ESTALE));
    }
    assert_eq!(fs::read(ferry.path("b/file")).unwrap(), b"b");
    assert!(!ferry.path("b/new").exists());
}

#[test]
fn names_that_lead_upwards_are_none() {
    let (_host, session) = session(Ferry::new());
    let listed = list(&session, 1, 0, true);
    for node in [1, listed[2].1, listed[3].1] {
        for name in [&b"..\0"[..], b".\0", b"a/../b\0", b"../b\0", b"/\0", b"\0", b"a/file\0"] {
            let refused = support::serve(&session, &request(Opcode::Lookup, node, &[name]));
            assert_eq!(refused, Err(libc::EINVAL), "{name:?} in {node}");
        }
    }
    let up = request(Opcode::Lookup, listed[2].1, &[b"b\0"]);
    let found = EntryOut::read_from_bytes(&support::serve(&session, &up).unwrap()).unwrap();
    assert_eq!(found.nodeid, 0, "a share does not have its siblings in it");
}

#[test]
fn a_directory_is_writable_by_one_name_and_not_by_another() {
    let ferry = Ferry::new();
    let readonly = Config { readonly: true, ..Config::default() };
    ferry.share("safe", "a", readonly).unwrap();
    let (by, new) = (&user(0), name("new"));
    let (safe, a) = (ferry.find("safe"), ferry.find("a"));
    assert_ne!(ferry.find("safe/file"), ferry.find("a/file"));
    assert_eq!(ferry.fs.mkdir(by, &created(safe, &new), 0o755).err(), Some(Errno::EROFS));
    let file = ferry.find("safe/file");
    let write = libc::O_RDWR.cast_unsigned();
    assert_eq!(ferry.fs.open(file, write, false).err(), Some(Errno::EROFS));
    ferry.fs.mkdir(by, &created(a, &new), 0o755).unwrap();
    assert!(ferry.look_up(safe, "new").unwrap().node != NodeId::NONE);
    let other = ferry.fs.rename(by, (a, &new), (safe, &new), 0);
    assert_eq!(other, Err(Errno::EXDEV));
}

#[test]
fn a_single_file_is_served_without_its_siblings() {
    let ferry = Ferry::new();
    ferry.share("one", "a/file", Config::default()).unwrap();
    let entry = ferry.look_up(NodeId::ROOT, "one").unwrap();
    assert_eq!(entry.attr.mode & libc::S_IFMT, libc::S_IFREG);
    assert_eq!(entry.attr.flags & attr::SUBMOUNT, 0);
    for component in ["file", "a", "b"] {
        assert_eq!(ferry.look_up(entry.node, component).unwrap_err(), Errno::ENOTDIR);
    }
    assert_eq!(ferry.fs.opendir(entry.node, 0).unwrap_err(), Errno::ENOTDIR);
    let new = name("new");
    let made = ferry.fs.create(&user(0), &created(entry.node, &new), &NEW);
    assert_eq!(made.unwrap_err(), Errno::ENOTDIR);
    let open = ferry.open("one", libc::O_RDWR);
    assert_eq!(ferry.write(open, "more"), Ok(4));
    assert_eq!(ferry.read(open).unwrap(), b"more");
    assert_eq!(fs::read(ferry.path("a/file")).unwrap(), b"more");
    let size = AttrChange { size: Some(2), ..AttrChange::default() };
    ferry.fs.setattr(&user(0), entry.node, &size).unwrap();
    assert_eq!(fs::read(ferry.path("a/file")).unwrap(), b"mo");
    assert_eq!(ferry.fs.syncfs(entry.node), Ok(()));
    // It is the file that was there, whatever has its name later.
    fs::write(ferry.path("a/other"), "another").unwrap();
    fs::rename(ferry.path("a/other"), ferry.path("a/file")).unwrap();
    assert_eq!(ferry.read(ferry.open("one", libc::O_RDONLY)).unwrap(), b"mo");
}

#[test]
fn only_directories_and_regular_files_are_shared() {
    let ferry = Ferry::new();
    std::os::unix::net::UnixListener::bind(ferry.path("socket")).unwrap();
    assert_eq!(ferry.share("s", "socket", Config::default()), Err(Errno::ENOTDIR));
    assert_eq!(ferry.share("a", "b", Config::default()), Err(Errno::EEXIST));
    assert_eq!(ferry.look_up(NodeId::ROOT, "s").unwrap_err(), Errno::ENOENT);
}

#[test]
fn what_is_known_of_a_share_that_was_taken_away_is_stale_for_ever() {
    let ferry = Ferry::new();
    let dir = ferry.find("a");
    let open = ferry.open("a/file", libc::O_RDONLY);
    let kept = ferry.open("b/file", libc::O_RDONLY);
    let listing = ferry.fs.opendir(dir, 0).unwrap().handle;
    let before = ferry.fs.inodes();
    assert!(ferry.fs.remove(c"a") && !ferry.fs.remove(c"a"));
    assert_eq!(ferry.fs.inodes(), before - 2, "the share and its file");
    let is_stale = || {
        assert_eq!(ferry.look_up(dir, "file").unwrap_err(), Errno::ESTALE);
        assert_eq!(ferry.fs.getattr(dir, None).unwrap_err(), Errno::ESTALE);
        assert_eq!(ferry.fs.getattr(open.0, Some(open.1)).unwrap_err(), Errno::ESTALE);
        assert_eq!(ferry.read(open), Err(Errno::ESTALE));
        assert_eq!(ferry.fs.release(open.0, open.1, false), Err(Errno::ESTALE));
        assert_eq!(ferry.fs.releasedir(dir, listing), Err(Errno::ESTALE));
        assert_eq!(ferry.fs.open(open.0, 0, false).unwrap_err(), Errno::ESTALE);
        ferry.fs.forget(open.0, 1);
        ferry.fs.forget(dir, 1);
    };
    is_stale();
    assert_eq!(ferry.look_up(NodeId::ROOT, "a").unwrap_err(), Errno::ENOENT);
    ferry.share("a", "b", Config::default()).unwrap();
    let again = ferry.open("a/file", libc::O_RDONLY);
    assert!(again.0 != open.0 && ferry.find("a") != dir);
    is_stale();
    assert_eq!(ferry.read(again).unwrap(), b"b");
    assert_eq!(ferry.read(kept).unwrap(), b"b");
}

#[test]
fn a_share_that_was_taken_away_holds_nothing_on_the_host() {
    let ferry = Ferry::new();
    let _open = ferry.open("a/file", libc::O_RDONLY);
    let _dir = ferry.fs.opendir(ferry.find("a"), 0).unwrap();
    let (before, _) = ferry.fs.descriptors();
    ferry.fs.remove(c"a");
    let (after, _) = ferry.fs.descriptors();
    assert!(after < before, "{before} and then {after}");
    let path = fs::canonicalize(ferry.path("a")).unwrap();
    for fd in fs::read_dir("/proc/self/fd").unwrap() {
        // The one that lists them is gone by now.
        let Ok(target) = fs::read_link(fd.unwrap().path()) else { continue };
        assert!(!target.starts_with(&path), "{} is open", target.display());
    }
}

#[test]
fn what_is_forgotten_is_gone_and_what_is_not_stays() {
    let ferry = Ferry::new();
    let before = ferry.fs.inodes();
    let file = ferry.find("a/file");
    assert_eq!(ferry.find("a/file"), file, "one inode has one nodeid");
    fs::hard_link(ferry.path("a/file"), ferry.path("a/link")).unwrap();
    assert_eq!(ferry.find("a/link"), file);
    ferry.fs.forget(file, 2);
    assert!(ferry.fs.getattr(file, None).is_ok());
    ferry.fs.forget(file, 1);
    assert_eq!(ferry.fs.getattr(file, None).unwrap_err(), Errno::ESTALE);
    assert_eq!(ferry.fs.inodes(), before);
    assert_ne!(ferry.find("a/file"), file);
    // Shares are there without a lookup, however often they are forgotten.
    let share = ferry.find("a");
    ferry.fs.forget(share, u64::MAX);
    ferry.fs.forget(NodeId::ROOT, u64::MAX);
    assert_eq!(ferry.find("a"), share);
}

#[test]
fn an_end_of_the_session_leaves_the_shares() {
    let ferry = Ferry::new();
    let before = ferry.fs.inodes();
    let (share, file) = (ferry.find("a"), ferry.open("a/file", libc::O_RDONLY));
    ferry.fs.end();
    assert_eq!((ferry.fs.inodes(), ferry.fs.handles()), (before, 0));
    assert_eq!(ferry.fs.getattr(file.0, None).unwrap_err(), Errno::ESTALE);
    assert_eq!(ferry.find("a"), share);
}

#[test]
fn inodes_of_all_shares_are_limited_together() {
    let ferry = Ferry::with(4, 1000);
    for number in 0..4 {
        fs::write(ferry.path(&format!("b/{number}")), "").unwrap();
    }
    // The two shares count.
    let (a, b) = (ferry.find("a/file"), ferry.find("b/file"));
    assert_eq!(ferry.look_up(ferry.find("b"), "1").unwrap_err(), Errno::ENFILE);
    let new = name("new");
    let parent = ferry.find("b");
    let made = ferry.fs.create(&user(0), &created(parent, &new), &NEW);
    assert_eq!(made.unwrap_err(), Errno::ENFILE);
    assert_eq!(ferry.fs.handles(), 0, "what was not given is not open");
    ferry.fs.forget(a, 1);
    let c = ferry.find("b/1");
    ferry.fs.forget(b, 1);
    ferry.fs.forget(c, 1);
    assert_eq!(ferry.fs.inodes(), 3);
}

#[test]
fn a_share_that_needs_descriptors_gets_them_from_one_that_does_not() {
    let most = 64;
    let ferry = Ferry::with(10_000, most);
    let handles = ferryfs::passthrough::FileHandles::Never;
    for share in ["x", "y"] {
        fs::create_dir(ferry.path(share)).unwrap();
        for number in 0..200 {
            fs::write(ferry.path(&format!("{share}/{number}")), "").unwrap();
        }
        let config = Config { file_handles: handles, ..Config::default() };
        ferry.share(share, share, config).unwrap();
    }
    for share in ["x", "y", "x"] {
        for number in 0..200 {
            let node = ferry.find(&format!("{share}/{number}"));
            assert!(ferry.fs.getattr(node, None).is_ok());
            assert!(ferry.fs.descriptors().0 <= most);
        }
    }
    // Files that are open are not taken away, and all together are no more than may be.
    let mut open = 0;
    while let Ok(opened) = ferry.fs.open(ferry.find(&format!("y/{open}")), 0, false) {
        assert_ne!(opened.handle.0, 0);
        open += 1;
    }
    assert!((most / 2..most).contains(&open), "{open}");
    assert_eq!(ferry.fs.descriptors().1, most);
}

#[test]
fn guests_that_see_submounts_are_shown_each_share_as_one() {
    let ferry = Ferry::new();
    assert_eq!(ferry.look_up(NodeId::ROOT, "a").unwrap().attr.flags & attr::SUBMOUNT, 0);
    let agreed = Negotiated { flags: init::SUBMOUNTS, minor: 38 };
    ferry.fs.start(&agreed).unwrap();
    assert_ne!(ferry.look_up(NodeId::ROOT, "a").unwrap().attr.flags & attr::SUBMOUNT, 0);
    // One that comes later knows what was agreed on as well.
    ferry.share("later", "a", Config::default()).unwrap();
    assert_ne!(ferry.look_up(NodeId::ROOT, "later").unwrap().attr.flags & attr::SUBMOUNT, 0);
}

#[test]
fn inode_numbers_are_unique_in_all_shares_where_submounts_are_not_told() {
    let ferry = Ferry::new();
    let config = Config { announce_submounts: false, ..Config::default() };
    for (called, path) in [("c", "a"), ("d", "b"), ("memory", "/dev/shm"), ("proc", "/proc")] {
        ferry.share(called, path, config.clone()).unwrap();
    }
    let root = ferry.fs.getattr(NodeId::ROOT, None).unwrap().attr.ino;
    let mut seen = std::collections::HashSet::from([root]);
    for path in ["c", "d", "memory", "proc", "c/file", "d/file"] {
        let ino = ferry.fs.getattr(ferry.find(path), None).unwrap().attr.ino;
        assert!(seen.insert(ino), "{path} has the number of another");
    }
    // What is one inode on the host is one for programs in the guest as well.
    fs::hard_link(ferry.path("a/file"), ferry.path("b/link")).unwrap();
    let ino = |path| ferry.fs.getattr(ferry.find(path), None).unwrap().attr.ino;
    assert_eq!(ino("c/file"), ino("d/link"));
}

#[test]
fn names_of_shares_are_not_believed_for_long() {
    let ferry = Ferry::new();
    let entry = ferry.look_up(NodeId::ROOT, "a").unwrap();
    assert!(entry.entry_valid <= Duration::from_secs(1));
    assert!(entry.attr_valid <= Duration::from_secs(1));
    assert_eq!(ferry.look_up(NodeId::ROOT, "none").unwrap_err(), Errno::ENOENT);
}

#[test]
fn shares_come_and_go_while_they_are_used() {
    let ferry = &Ferry::new();
    let over = &std::sync::atomic::AtomicBool::new(false);
    let is_over = || over.load(std::sync::atomic::Ordering::Relaxed);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(move || {
                while !is_over() {
                    let Ok(dir) = ferry.look_up(NodeId::ROOT, "b") else { continue };
                    let Ok(file) = ferry.look_up(dir.node, "file") else { continue };
                    if let Ok(open) = ferry.fs.open(file.node, 0, false) {
                        let open = (file.node, open.handle);
                        match ferry.read(open) {
                            Ok(content) => assert_eq!(content, b"b"),
                            Err(error) => assert!([Errno::ESTALE, Errno::EBADF].contains(&error)),
                        }
                        let _ = ferry.fs.release(open.0, open.1, false);
                    }
                    ferry.fs.forget(file.node, 1);
                }
            });
        }
        for _ in 0..300 {
            assert!(ferry.fs.remove(c"b"));
            ferry.share("b", "b", Config::default()).unwrap();
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!((ferry.fs.inodes(), ferry.fs.handles()), (3, 0));
    assert!(ferry.fs.remove(c"a") && ferry.fs.remove(c"b"));
    assert_eq!((ferry.fs.inodes(), ferry.fs.descriptors().0), (1, 0));
}

#[test]
fn every_request_is_answered_for_the_root_and_for_a_share() {
    let (_host, session) = session(Ferry::new());
    let share = list(&session, 1, 0, true)[2].1;
    for (opcode, mut request) in support::requests::one_of_each() {
        for node in [1, share, share + 1, u64::MAX, 0] {
            request[16..24].copy_from_slice(node.as_bytes());
            // Whatever it is answered, there is one answer of the right length.
            let answered = support::serve(&session, &request);
            assert!(answered != Err(libc::EIO), "{opcode:?} of {node}");
        }
    }
}
