//! What is taken along, and what is not.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use super::*;

/// Nothing that a name may be is left out.
const ODD: &[u8] = b"\xff\xfe \"\\\n(deleted)";

/// One of each kind, and their paths.
fn fill(place: &Place) -> Vec<&'static str> {
    fs::create_dir_all(place.path("dir/below")).unwrap();
    fs::write(place.path("file"), "content").unwrap();
    fs::write(place.path("dir/below/deep"), "deep").unwrap();
    std::os::unix::fs::symlink("../nowhere", place.path("link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, place.path("dir/fifo"), 0o600.into()).unwrap();
    vec!["dir", "file", "dir/below", "dir/below/deep", "link", "dir/fifo"]
}

fn copy(from: &Place) -> Place {
    let to = Place { folder: tempfile::tempdir().unwrap() };
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([from.share(), to.folder.path().to_owned()])
        .status();
    assert!(copied.unwrap().success());
    to
}

#[test]
fn a_guest_finds_all_that_it_knew_by_the_same_ids() {
    for (keep, how) in ways() {
        let place = Place::new();
        let paths = fill(&place);
        fs::write(place.share().join(OsStr::from_bytes(ODD)), "odd").unwrap();
        let guest = Guest::new(&place.share(), keeping(keep), how);
        let nodes: Vec<_> = paths.iter().map(|path| guest.find(path)).collect();
        let odd = guest.lookup(NodeId::ROOT, ODD).unwrap().node;
        let forgotten = guest.find("dir/below");
        let file = guest.open(nodes[1], libc::O_RDWR | libc::O_APPEND);
        let closed = guest.open(nodes[1], libc::O_RDONLY);
        guest.fs().release(nodes[1], closed, false).unwrap();
        let dir = guest.fs().opendir(nodes[0], 0).unwrap().handle;
        assert_eq!(forgotten, nodes[2]);

        let copied = copy(&place);
        let to = if how.mode == MigrationMode::FileHandles { &place } else { &copied };
        for there in [&place, to] {
            let moved = guest.moved(&there.share(), keeping(keep), how).unwrap();
            assert_eq!(moved.fs().inodes(), 1 + paths.len() + 1);
            for (path, node) in paths.iter().zip(&nodes) {
                let attr = moved.attr(*node).unwrap();
                assert_eq!(attr.ino, ino(&there.path(path)), "{keep:?} {how:?}: {path}");
                assert_eq!(moved.find(path), *node, "{path} has one nodeid");
            }
            assert_eq!(moved.lookup(NodeId::ROOT, ODD).unwrap().node, odd);
            assert_eq!(moved.read(nodes[1], file).unwrap(), b"content");
            moved.write(nodes[1], file, 7, b" and more").unwrap();
            assert_eq!(fs::read(there.path("file")).unwrap(), b"content and more");
            fs::write(there.path("file"), "content").unwrap();
            assert_eq!(fails(moved.read(nodes[1], closed)), Errno::EBADF);
            moved.fs().fsyncdir(nodes[0], dir, false).unwrap();
            moved.fs().release(nodes[1], file, false).unwrap();
            moved.fs().releasedir(nodes[0], dir).unwrap();
            assert_eq!(moved.fs().handles(), 0);
            let new = moved.open(nodes[1], libc::O_RDONLY);
            assert!(![file, closed].contains(&new));
        }
    }
}

#[test]
fn an_inode_is_known_for_as_many_lookups_as_before() {
    for (keep, how) in ways() {
        let place = Place::new();
        fill(&place);
        let guest = Guest::new(&place.share(), keeping(keep), how);
        let node = guest.find("file");
        for _ in 0..6 {
            guest.find("file");
        }
        guest.fs().forget(node, 2);
        let moved = guest.moved(&place.share(), keeping(keep), how).unwrap();
        moved.fs().forget(node, 4);
        assert!(moved.fs().knows(node));
        moved.fs().forget(node, 1);
        assert!(!moved.fs().knows(node));
        assert_ne!(moved.find("file"), node, "a nodeid is never given out again");
    }
}

#[test]
fn no_id_is_given_out_that_was_given_up_before() {
    let place = Place::new();
    fill(&place);
    let guest = Guest::new(&place.share(), Config::default(), BY_PATH);
    let file = guest.find("file");
    let mut nodes = Vec::new();
    let mut handles = Vec::new();
    for _ in 0..20 {
        let node = guest.find("dir");
        guest.fs().forget(node, 1);
        nodes.push(node);
        let handle = guest.open(file, libc::O_RDONLY);
        guest.fs().release(file, handle, false).unwrap();
        handles.push(handle);
    }
    let moved = guest.moved(&place.share(), Config::default(), BY_PATH).unwrap();
    for _ in 0..20 {
        assert!(!nodes.contains(&moved.find("dir")));
        assert!(!handles.contains(&moved.open(file, libc::O_RDONLY)));
        assert!(nodes.iter().all(|node| *node == moved.find("dir") || !moved.fs().knows(*node)));
    }
}

#[test]
fn what_the_guest_has_exchanged_is_found_where_it_is() {
    for (keep, how) in ways() {
        let place = Place::new();
        fill(&place);
        // So few descriptors that neither has one, and each is known by its place alone.
        let config = Config { descriptors: 24, ..keeping(keep) };
        let guest = Guest::new(&place.share(), config.clone(), how);
        let dir = guest.find("dir");
        let (file, below) = (guest.find("file"), guest.find("dir/below"));
        let deep = guest.find("dir/below/deep");
        let handle = guest.open(file, libc::O_RDONLY);
        let [one, other] = [c"file", c"below"].map(|name| Name::new(name).unwrap());
        guest
            .fs()
            .rename(&by(0), (NodeId::ROOT, one), (dir, other), libc::RENAME_EXCHANGE)
            .unwrap();
        for at in 0..64 {
            fs::write(place.path(&format!("other{at}")), "").unwrap();
            guest.find(&format!("other{at}"));
        }
        let moved = guest.moved(&place.share(), config, how).unwrap();
        for (node, path) in [(file, "dir/below"), (below, "file"), (deep, "file/deep")] {
            for on in [&moved, &guest] {
                let found = on.attr(node).map(|attr| attr.ino);
                assert_eq!(found, Ok(ino(&place.path(path))), "{keep:?} {how:?}: {path}");
            }
            assert_eq!(moved.find(path), node, "{keep:?} {how:?}: {path}");
        }
        assert_eq!(moved.read(file, handle).unwrap(), b"content");
    }
}

#[test]
fn what_the_host_has_renamed_is_found_where_it_is() {
    for (keep, how) in ways() {
        let place = Place::new();
        fill(&place);
        for other in 0..64 {
            fs::write(place.path(&format!("other{other}")), "").unwrap();
        }
        // So few descriptors that what was renamed has none, and nothing tells its name.
        let config = Config { descriptors: 24, ..keeping(keep) };
        let guest = Guest::new(&place.share(), config.clone(), how);
        let (deep, below) = (guest.find("dir/below/deep"), guest.find("dir/below"));
        for other in 0..64 {
            guest.find(&format!("other{other}"));
        }
        fs::rename(place.path("dir/below"), place.path("elsewhere")).unwrap();
        fs::rename(place.path("elsewhere/deep"), place.path("dir/file")).unwrap();
        let moved = guest.moved(&place.share(), config, how).unwrap();
        assert_eq!(moved.attr(deep).unwrap().ino, ino(&place.path("dir/file")), "{keep:?} {how:?}");
        assert_eq!(moved.attr(below).unwrap().ino, ino(&place.path("elsewhere")));
        assert_eq!(moved.find("elsewhere"), below);
    }
}

#[test]
fn a_file_without_a_name_goes_along_by_handle_only() {
    let place = Place::new();
    fill(&place);
    let setup = |how| {
        fs::write(place.path("gone"), "still there").unwrap();
        let guest = Guest::new(&place.share(), Config::default(), how);
        let node = guest.find("gone");
        let handle = guest.open(node, libc::O_RDWR);
        fs::remove_file(place.path("gone")).unwrap();
        (guest, node, handle)
    };
    let (guest, node, handle) = setup(BY_PATH);
    let refused = guest.moved(&place.share(), Config::default(), BY_PATH).err().unwrap();
    is(&refused, "--migration-on-error");
    assert_eq!(guest.read(node, handle).unwrap(), b"still there", "here it goes on");
    let lenient = Migrating { on_error: OnError::GuestError, ..BY_PATH };
    let moved = guest.moved(&place.share(), Config::default(), lenient).unwrap();
    assert_eq!(fails(moved.attr(node)), Errno::ESTALE);
    assert_eq!(fails(moved.read(node, handle)), Errno::EIO);
    assert_eq!(
        moved.read(moved.find("file"), moved.open(moved.find("file"), 0)),
        Ok(b"content".into())
    );
    moved.fs().forget(node, 1);
    if !handles_work("a_file_without_a_name_goes_along_by_handle_only") {
        return;
    }
    let (guest, node, handle) = setup(BY_HANDLE);
    // Who does not trust handles does not take one for what it says.
    assert!(guest.moved(&place.share(), Config::default(), BY_PATH).is_err());
    let moved = guest.moved(&place.share(), Config::default(), BY_HANDLE).unwrap();
    drop(guest);
    assert_eq!(moved.read(node, handle).unwrap(), b"still there");
    assert_eq!(moved.write(node, handle, 0, b"S"), Ok(1));
}

#[test]
fn an_inode_that_is_not_there_stops_the_guest_or_only_who_uses_it() {
    for what in ["nothing", "a directory", "a link"] {
        let (place, there) = (Place::new(), Place::new());
        for place in [&place, &there] {
            fs::write(place.path("a"), "a").unwrap();
        }
        fs::write(place.path("b"), "b").unwrap();
        match what {
            "a directory" => fs::create_dir(there.path("b")).unwrap(),
            "a link" => std::os::unix::fs::symlink("a", there.path("b")).unwrap(),
            _ => {}
        }
        let guest = Guest::new(&place.share(), Config::default(), BY_PATH);
        let (a, b) = (guest.find("a"), guest.find("b"));
        let (open_a, open_b) = (guest.open(a, 0), guest.open(b, 0));
        let refused = guest.moved(&there.share(), Config::default(), BY_PATH).err().unwrap();
        is(&refused, "\"b\"");
        let lenient = Migrating { on_error: OnError::GuestError, ..BY_PATH };
        let moved = guest.moved(&there.share(), Config::default(), lenient).unwrap();
        assert_eq!(moved.read(a, open_a).unwrap(), b"a");
        assert_eq!(
            (fails(moved.attr(b)), fails(moved.read(b, open_b))),
            (Errno::ESTALE, Errno::EIO)
        );
    }
}

#[test]
fn a_copy_is_another_inode_for_whoever_verifies_handles() {
    let place = Place::new();
    fill(&place);
    let verifying = Migrating { verify_handles: true, ..BY_PATH };
    let guest = Guest::new(&place.share(), Config::default(), verifying);
    guest.find("file");
    guest.moved(&place.share(), Config::default(), BY_PATH).unwrap();
    fs::rename(place.path("file"), place.path("original")).unwrap();
    fs::copy(place.path("original"), place.path("file")).unwrap();
    let state = guest.saved();
    fs::rename(place.path("file"), place.path("copy")).unwrap();
    fs::rename(place.path("copy"), place.path("original")).unwrap();
    let there = Guest::waiting(&place.share(), Config::default(), BY_PATH);
    is(&there.load(&state).unwrap_err(), "\"original\"");
}

#[test]
fn options_that_the_guest_relies_on_must_be_the_same() {
    let place = Place::new();
    fill(&place);
    let writeback = Config { writeback: true, ..Config::default() };
    let guest = Guest::new(&place.share(), writeback.clone(), BY_PATH);
    let refused = guest.moved(&place.share(), Config::default(), BY_PATH).err().unwrap();
    is(&refused, "same options");
    assert!(guest.moved(&place.share(), writeback, BY_PATH).is_ok());
    let plain = Guest::new(&place.share(), Config::default(), BY_PATH);
    let file = plain.find("file");
    plain.open(file, libc::O_RDWR);
    let readonly = Config { readonly: true, ..Config::default() };
    assert!(plain.moved(&place.share(), readonly.clone(), BY_PATH).is_err());
    let lenient = Migrating { on_error: OnError::GuestError, ..BY_PATH };
    let moved = plain.moved(&place.share(), readonly, lenient).unwrap();
    assert_eq!((moved.fs().handles(), moved.attr(file).is_ok()), (0, true));
}

#[test]
fn a_guest_that_has_nothing_mounted_takes_nothing_along() {
    let place = Place::new();
    let guest = Guest::waiting(&place.share(), Config::default(), BY_PATH);
    let there = Guest::new(&place.share(), Config::default(), BY_PATH);
    there.load(&guest.saved()).unwrap();
    assert!(!there.0.has_begun());
    serve(&there.0, &init()).unwrap();
}

#[test]
fn a_session_goes_on_here_when_it_is_saved_and_may_move_again_and_again() {
    let place = Place::new();
    let paths = fill(&place);
    let mut guest = Guest::new(&place.share(), Config::default(), BY_PATH);
    let nodes: Vec<_> = paths.iter().map(|path| guest.find(path)).collect();
    let mut last = guest.saved();
    for _ in 0..3 {
        assert!(nodes.iter().all(|node| guest.attr(*node).is_ok()));
        guest = guest.moved(&place.share(), Config::default(), BY_PATH).unwrap();
        let state = guest.saved();
        assert_eq!(state, last, "nothing is lost on the way");
        last = state;
    }
    // Instead of what was there.
    let other = Guest::new(&place.share(), Config::default(), BY_PATH);
    let before = other.open(other.find("file"), libc::O_RDONLY);
    other.load(&last).unwrap();
    assert!(nodes.iter().all(|node| other.attr(*node).is_ok()));
    assert_eq!(fails(other.read(nodes[1], before)), Errno::EBADF);
}

#[test]
fn a_guest_that_opens_nothing_takes_nothing_open_along() {
    let place = Place::new();
    fill(&place);
    let config = Config { readonly: true, no_open: true, ..Config::default() };
    let guest = Guest::new(&place.share(), config.clone(), BY_PATH);
    let file = guest.find("file");
    assert_eq!(guest.read(file, Handle(0)).unwrap(), b"content");
    let moved = guest.moved(&place.share(), config, BY_PATH).unwrap();
    assert_eq!(moved.fs().handles(), 0);
    assert_eq!(moved.read(file, Handle(0)).unwrap(), b"content");
}

/// A mount that goes away with this.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn what_is_on_other_file_systems_below_the_share_goes_along_too() {
    if !rustix::process::geteuid().is_root() {
        let test = "what_is_on_other_file_systems_below_the_share_goes_along_too";
        ferryfs_bench::skip(test, "it needs root");
        return;
    }
    for (keep, how) in ways() {
        let place = Place::new();
        fill(&place);
        let (tmp, none) = (place.path("dir/below"), rustix::mount::MountFlags::empty());
        rustix::mount::mount("tmpfs", &tmp, "tmpfs", none, Some(c"size=1m")).unwrap();
        let _mounted = Mounted(tmp.clone());
        fs::create_dir(tmp.join("dir")).unwrap();
        for file in ["dir/file", "other"] {
            fs::write(tmp.join(file), file).unwrap();
        }
        for other in 0..64 {
            fs::write(place.path(&format!("other{other}")), "").unwrap();
        }
        let config = Config { descriptors: 24, ..keeping(keep) };
        let guest = Guest::new(&place.share(), config.clone(), how);
        let mount = guest.find("dir/below");
        let (file, other) = (guest.find("dir/below/dir/file"), guest.find("dir/below/other"));
        for other in 0..64 {
            guest.find(&format!("other{other}"));
        }
        fs::rename(tmp.join("dir"), tmp.join("renamed")).unwrap();
        let moved = guest.moved(&place.share(), config, how).unwrap();
        for (node, path) in [(mount, ""), (file, "renamed/file"), (other, "other")] {
            let found = moved.attr(node).unwrap().ino;
            // Numbers of other file systems are made unique for guests without submounts.
            assert_eq!(found & 0xffff_ffff, ino(&tmp.join(path)) & 0xffff_ffff, "{keep:?} {path}");
        }
        assert_eq!(moved.find("dir/below/renamed/file"), file);
        let handle = moved.open(file, libc::O_RDONLY);
        assert_eq!(moved.read(file, handle).unwrap(), b"dir/file");
    }
}
