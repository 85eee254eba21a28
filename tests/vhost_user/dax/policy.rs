//! Which files are mapped, and how.

use super::*;

#[test]
fn files_are_to_be_mapped_if_all_of_them_can_be() {
    let rules: [(u64, [bool; 2]); 5] = [
        (2 * RANGE, [true, true]),
        (RANGE, [true, true]),
        (2 * RANGE + PAGE, [true, false]),
        (2 * RANGE + 1, [true, false]),
        (RANGE - 1, [false, false]),
    ];
    for (profile, at) in PROFILES.into_iter().zip(0..) {
        let mut guest = Windowed::new(profile, &[]);
        for (len, expected) in rules {
            let name = len.to_string();
            let (node, _) = guest.put(&name, len);
            let fs = &mut guest.machine.fs;
            let flags = [
                fs.lookup(ROOT, &name).unwrap().attr.flags,
                fs.getattr(node, None).unwrap().attr.flags,
                fs.setattr(node, &SetattrIn { valid: setattr::MODE, mode: 0o600, ..no_change() })
                    .unwrap()
                    .attr
                    .flags,
            ];
            let expected = if expected[at] { attr::DAX } else { 0 };
            assert_eq!(flags, [expected; 3], "{len} {profile:?}");
        }
        let dir = guest.machine.fs.opendir(ROOT).unwrap().fh;
        let entries = guest.machine.fs.readdirplus(ROOT, dir, 0, 64 << 10).unwrap();
        for entry in entries {
            if let (Some(found), Some(len)) = (entry.entry, length(&entry.name)) {
                let (_, expected) = rules.iter().find(|rule| rule.0 == len).unwrap();
                assert_eq!(found.attr.flags != 0, expected[at], "{len}");
            }
        }
        let statx = guest.machine.fs.statx(ROOT, None, !0);
        assert_eq!(statx.unwrap_err(), Errno::ENOSYS, "it has no room for the flag");
    }
}

fn length(name: &[u8]) -> Option<u64> {
    std::str::from_utf8(name).ok()?.parse().ok()
}

fn no_change() -> SetattrIn {
    SetattrIn::new_zeroed()
}

#[test]
fn the_policy_says_which_files_are_to_be_mapped() {
    for (policy, expected) in [
        ("auto", [false, true, false, false]),
        ("always", [true, true, true, true]),
        ("never", [false; 4]),
        ("size:4M", [false, true, true, true]),
        ("glob:*.img", [false, true, false, true]),
    ] {
        let mut guest = Windowed::before_init(Profile::Exact, &["--dax-policy", policy]);
        guest.machine.fs.init(LINUX).unwrap();
        for (name, len) in
            [("small", 100), ("a.img", 4 << 20), ("large", 40 << 20), ("run.img", 5 << 20)]
        {
            let file = File::create(guest.machine.path(name)).unwrap();
            file.set_len(len).unwrap();
            if name == "run.img" {
                let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
                file.set_permissions(mode).unwrap();
            }
        }
        let flags = ["small", "a.img", "large", "run.img"]
            .map(|name| guest.machine.fs.lookup(ROOT, name).unwrap().attr.flags != 0);
        assert_eq!(flags, expected, "{policy}");
    }
}

#[test]
fn a_file_that_becomes_unfit_is_another_inode_when_it_is_opened() {
    let mut guest = Windowed::new(Profile::Qemu, &[]);
    for (name, flags) in
        [("grown", 0), ("append", libc::O_APPEND | 1), ("empty", libc::O_TRUNC | 1), ("write", 2)]
    {
        let (node, file) = guest.put(name, 2 * RANGE);
        let open = guest.machine.fs.open(node, 0).unwrap();
        guest.map(node, 0, 0, READ).unwrap();
        if name == "grown" {
            file.set_len(2 * RANGE + 1).unwrap();
        }
        // While it is in use it stays the same inode, for its locks.
        let again = guest.machine.fs.open(node, flags & !libc::O_TRUNC).unwrap();
        guest.machine.fs.release(node, again.fh).unwrap();
        guest.machine.fs.release(node, open.fh).unwrap();
    }
    for (name, flags) in [("a", libc::O_APPEND | 1), ("b", libc::O_TRUNC | 1), ("c", 2), ("d", 0)] {
        let (node, file) = guest.put(name, 2 * RANGE);
        assert_eq!(guest.machine.fs.lookup(ROOT, name).unwrap().attr.flags, attr::DAX);
        guest.map(node, 0, 0, READ).unwrap();
        if name == "d" {
            file.set_len(2 * RANGE + 1).unwrap();
        }
        assert_eq!(guest.machine.fs.open(node, flags).unwrap_err(), Errno::ESTALE, "{name}");
        assert!(file.metadata().unwrap().len() >= 2 * RANGE, "nothing was done");
        assert_eq!(guest.machine.fs.open(node, 0).unwrap_err(), Errno::ESTALE, "{name}");
        // Linux forgets what tells it that the name has changed, and looks once more.
        let entry = guest.machine.fs.lookup(ROOT, name).unwrap();
        assert!(entry.nodeid != node && entry.attr.flags == 0);
        guest.machine.fs.forget(entry.nodeid, 1).unwrap();
        let entry = guest.machine.fs.lookup(ROOT, name).unwrap();
        assert!(entry.nodeid != node && entry.attr.flags == 0);
        let opened = guest.machine.fs.open(entry.nodeid, flags).unwrap();
        guest.machine.fs.release(entry.nodeid, opened.fh).unwrap();
        // What is mapped of the old one is still what the file has.
        if name != "b" {
            guest.is_shown(&file, 0, 0);
        }
        guest.machine.fs.removemapping(node, &[(0, RANGE)]).unwrap();
    }
}

#[test]
fn what_is_read_only_cannot_be_written_through_the_window() {
    let mut guest = Windowed::before_init(Profile::Exact, &["--readonly"]);
    let reply = guest.machine.fs.init(LINUX).unwrap();
    assert_eq!(reply.map_alignment, 12);
    let (node, file) = guest.put("file", 2 * RANGE);
    guest.map(node, 0, 0, READ).unwrap();
    guest.is_shown(&file, 0, 0);
    assert!(!guest.window.write(0, b"x"));
    for at in [0, RANGE] {
        assert_eq!(guest.map(node, at, at, WRITE).unwrap_err(), Errno::EROFS);
    }
    guest.is_shown(&file, 0, 0);

    let mut guest = Windowed::before_init(Profile::Qemu, &["--readonly"]);
    let reply = guest.machine.fs.init(LINUX).unwrap();
    assert_eq!((reply.map_alignment, reply.flags2 >> 1 & 1), (0, 0));
    let (node, _) = guest.put("file", 2 * RANGE);
    assert_eq!(guest.map(node, 0, 0, READ).unwrap_err(), Errno::EOPNOTSUPP);
    assert_eq!(guest.window.mapped(), []);
}
