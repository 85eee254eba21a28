//! States that no daemon has written.

use std::fs;

use super::*;

/// A share with a secret beside it, a link to that, and a guest that knows some inodes.
fn premises() -> (Place, Guest) {
    let place = Place::new();
    fs::create_dir(place.folder.path().join("secret")).unwrap();
    fs::write(place.folder.path().join("secret/file"), "secret").unwrap();
    fs::create_dir_all(place.path("directory")).unwrap();
    fs::write(place.path("directory/file"), "content").unwrap();
    std::os::unix::fs::symlink("../secret", place.path("link_to_it")).unwrap();
    let guest = Guest::new(&place.share(), Config::default(), BY_PATH);
    let file = guest.find("directory/file");
    guest.open(file, libc::O_RDWR);
    guest.find("link_to_it");
    let dir = guest.find("directory");
    guest.fs().opendir(dir, 0).unwrap();
    (place, guest)
}

fn at(state: &[u8], what: &[u8]) -> usize {
    state.windows(what.len()).position(|window| window == what).unwrap()
}

/// The state with something else of the same length in it.
fn with(state: &[u8], what: &[u8], other: &[u8]) -> Vec<u8> {
    assert_eq!(what.len(), other.len());
    let at = at(state, what);
    [&state[..at], other, &state[at + what.len()..]].concat()
}

#[test]
fn no_path_of_a_state_leads_out_of_the_share() {
    let (place, guest) = premises();
    let state = guest.saved();
    for (path, other) in [
        (&b"directory"[..], &b"../secret"[..]),
        (b"directory", b"/secret//"),
        (b"directory", b"./././../"),
        (b"directory", b"link_to_i"),
        (b"directory", b"a/../../b"),
        (b"directory", b"directory".map(|_| b'.').as_slice()),
        (b"/file", b"/\0ile"),
        (b"link_to_it", b"directory/"),
        (b"link_to_it", b"/etc/hosts"),
        (b"link_to_it", b"../secret/"),
    ] {
        let state = with(&state, path, other);
        let there = Guest::waiting(&place.share(), Config::default(), BY_PATH);
        is(&there.load(&state).unwrap_err(), "--migration-on-error");
        assert_eq!((there.fs().inodes(), there.fs().handles()), (1, 0));
        assert!(!there.0.has_begun());
        serve(&there.0, &init()).unwrap();
    }
    // A link on the way.
    fs::remove_dir_all(place.path("directory")).unwrap();
    std::os::unix::fs::symlink("../secret", place.path("directory")).unwrap();
    let lenient = Migrating { on_error: OnError::GuestError, ..BY_PATH };
    let there = Guest::waiting(&place.share(), Config::default(), lenient);
    there.load(&state).unwrap();
    assert_eq!((there.fs().inodes(), there.fs().handles()), (2, 0), "the link itself");
}

#[test]
fn no_handle_of_a_state_opens_what_is_not_in_the_share() {
    if !handles_work("no_handle_of_a_state_opens_what_is_not_in_the_share") {
        return;
    }
    let (place, _) = premises();
    // Somebody shares the folder above, and is believed to share this one.
    let above = Guest::new(place.folder.path(), Config::default(), BY_HANDLE);
    above.find("secret/file");
    above.find("secret");
    let inside = above.find("share/directory/file");
    let state = above.saved();
    let lenient = Migrating { on_error: OnError::GuestError, ..BY_HANDLE };
    let there = Guest::waiting(&place.share(), Config::default(), lenient);
    there.load(&state).unwrap();
    assert_eq!(there.attr(inside).unwrap().ino, ino(&place.path("directory/file")));
    // The root, "directory" and "file" in it; "share" is the root by another nodeid.
    let known: Vec<_> = (1..64).filter(|id| there.fs().knows(NodeId(*id))).collect();
    for node in known {
        let found = there.attr(NodeId(node)).unwrap().ino;
        for outside in ["secret", "secret/file"] {
            assert_ne!(found, ino(&place.folder.path().join(outside)));
        }
    }
    assert!(there.fs().inodes() <= 4);
}

#[test]
fn a_state_that_ends_early_or_late_is_refused() {
    let (place, guest) = premises();
    let state = guest.saved();
    for len in 0..state.len() {
        let there = Guest::waiting(&place.share(), Config::default(), BY_PATH);
        assert!(there.load(&state[..len]).is_err(), "{len} of {}", state.len());
        assert_eq!((there.fs().inodes(), there.fs().handles()), (1, 0));
    }
    let there = Guest::waiting(&place.share(), Config::default(), BY_PATH);
    is(&there.load(&[&state[..], b"x"].concat()).unwrap_err(), "end");
    there.load(&state).unwrap();
}

#[test]
fn a_state_of_another_version_or_program_is_refused_by_name() {
    let (place, guest) = premises();
    let mut state = guest.saved();
    let there = Guest::waiting(&place.share(), Config::default(), BY_PATH);
    is(&there.load(&[1; 100]).unwrap_err(), "not written by ferryfs");
    state[8] += 1;
    is(&there.load(&state).unwrap_err(), "version 2");
}

#[test]
fn counts_and_lengths_that_are_huge_cost_nothing() {
    let (place, guest) = premises();
    let state = guest.saved();
    let lenient = Migrating { on_error: OnError::GuestError, ..BY_PATH };
    for word in (24..state.len() - 8).step_by(4) {
        for huge in [u64::MAX, 1 << 62, (1 << 38) - 1, u64::from(u32::MAX), (1 << 26) - 1] {
            let mut state = state.clone();
            state[word..word + 8].copy_from_slice(&huge.to_le_bytes());
            let there = Guest::waiting(&place.share(), Config::default(), lenient);
            let _ = there.load(&state);
            assert!(there.fs().inodes() <= 4 && there.fs().handles() <= 2);
        }
    }
}

#[test]
fn more_inodes_than_a_guest_may_know_are_refused() {
    let (place, guest) = premises();
    let config = Config { inodes: 2, ..Config::default() };
    let there = Guest::waiting(&place.share(), config, BY_PATH);
    is(&there.load(&guest.saved()).unwrap_err(), "--inode-limit");
    let place = Place::new();
    fs::write(place.path("file"), "").unwrap();
    let guest = Guest::new(&place.share(), Config::default(), BY_PATH);
    let file = guest.find("file");
    for _ in 0..64 {
        guest.open(file, 0);
    }
    let config = Config { descriptors: 24, ..Config::default() };
    let there = Guest::waiting(&place.share(), config, BY_PATH);
    assert!(there.load(&guest.saved()).is_err());
    assert_eq!(there.fs().descriptors(), 1, "all is given back");
}

#[test]
fn who_is_given_up_ends_soon() {
    let (place, guest) = premises();
    let given_up = AtomicBool::new(true);
    assert!(guest.0.save(&mut Vec::new(), &given_up).is_err());
    let there = Guest::waiting(&place.share(), Config::default(), BY_PATH);
    assert!(there.0.load(&mut &guest.saved()[..], &given_up).is_err());
    assert!(!there.0.has_begun());
}
