//! Names that mean something else from one moment to the next.

use super::*;

/// Runs `attack` while the host makes `turn` again and again.
fn race(turn: impl Fn() + Sync, mut attack: impl FnMut()) {
    /// Also when the attack panics.
    struct End<'a>(&'a AtomicBool);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                turn();
            }
        });
        let _end = End(&ended);
        let end = Instant::now() + Duration::from_millis(700);
        while Instant::now() < end {
            attack();
        }
    });
}

#[test]
fn a_directory_that_becomes_a_link_leads_nowhere() {
    for way in ways() {
        let mut premises = Premises::new(way);
        let before = premises.outside();
        let foreign = premises.foreign();
        let (dir, link) = (premises.at("share/dir"), premises.at("share/up"));
        let turn = || {
            renameat_with(CWD, &dir, CWD, &link, RenameFlags::EXCHANGE).unwrap();
        };
        let fs = &mut premises.fs;
        let mut got_in = 0;
        race(turn, || {
            for name in ["dir", "up"] {
                let Some(entry) = any(fs.lookup(ROOT, name)) else { continue };
                assert!(!foreign.contains(&entry.attr.ino), "{way:?}");
                let node = entry.nodeid;
                for below in ["victim", "dir"] {
                    if let Some(entry) = any(fs.lookup(node, below)) {
                        assert_eq!(entry.nodeid, 0, "{way:?}: {below} is outside");
                    }
                }
                let made = any(fs.mkdir(node, "made", 0o755));
                got_in += u32::from(made.is_some());
                any(fs.unlink(node, "victim"));
                any(fs.rename((node, "victim"), (ROOT, "taken")));
                any(fs.rmdir(node, "made"));
                if let Some(opened) = any(fs.opendir(node)) {
                    for entry in fs.readdirplus(node, opened.fh, 0, 4096).unwrap() {
                        assert_ne!(entry.name, b"victim", "{way:?}");
                    }
                    fs.releasedir(node, opened.fh).unwrap();
                }
                any(fs.forget(node, 1));
            }
        });
        assert!(got_in > 10, "{way:?}: it was never a directory");
        assert_eq!(premises.outside(), before, "{way:?}");
    }
}

#[test]
fn a_file_that_becomes_a_link_leads_nowhere() {
    for way in ways() {
        let mut premises = Premises::new(way);
        let before = premises.outside();
        let foreign = premises.foreign();
        let (file, link) = (premises.at("share/file"), premises.at("share/up-file"));
        let turn = || {
            renameat_with(CWD, &file, CWD, &link, RenameFlags::EXCHANGE).unwrap();
        };
        let fs = &mut premises.fs;
        let mut written = 0;
        race(turn, || {
            for name in ["file", "up-file"] {
                if let Some(made) = any(fs.create(ROOT, name, libc::O_RDWR, 0o644)) {
                    let (node, fh) = (made.entry.nodeid, made.open.fh);
                    assert!(!foreign.contains(&made.entry.attr.ino), "{way:?}");
                    assert_ne!(fs.read(node, fh, 0, 99).unwrap(), b"precious", "{way:?}");
                    written += fs.write(node, fh, 0, b"attack").unwrap();
                    fs.release(node, fh).unwrap();
                    any(fs.forget(node, 1));
                }
                let Some(entry) = any(fs.lookup(ROOT, name)) else { continue };
                assert!(!foreign.contains(&entry.attr.ino), "{way:?}");
                let node = entry.nodeid;
                any(fs.setattr(node, &SetattrIn { valid: 1 << 3, size: 3, ..zero() }));
                any(fs.setattr(node, &SetattrIn { valid: 1, mode: 0o777, ..zero() }));
                any(fs.setxattr(node, "user.escaped", b"1", 0));
                if let Some(opened) = any(fs.open(node, libc::O_RDWR | libc::O_TRUNC)) {
                    written += fs.write(node, opened.fh, 0, b"attack").unwrap();
                    fs.release(node, opened.fh).unwrap();
                }
                any(fs.forget(node, 1));
            }
        });
        assert!(written > 100, "{way:?}: it was never a file");
        assert_eq!(premises.outside(), before, "{way:?}");
    }
}

#[test]
fn a_directory_that_leaves_the_share_takes_nobody_along() {
    for way in ways() {
        let mut premises = Premises::new(way);
        let dir = premises.find(ROOT, "dir");
        let sub = premises.find(dir, "d");
        let opened = premises.fs.opendir(sub).unwrap().fh;
        let (inside, outside) = (premises.at("share/dir"), premises.at("outside/moved"));
        let foreign = premises.foreign();
        let fs = &mut premises.fs;
        let turn = || {
            fs::rename(&inside, &outside).unwrap();
            fs::rename(&outside, &inside).unwrap();
        };
        race(turn, || {
            for node in [dir, sub] {
                for name in [&b"..\0"[..], b"../victim\0", b"../../victim\0"] {
                    let found = send(fs, &request(Opcode::Lookup, node, &[name]));
                    assert_eq!(found, Err(Errno::EINVAL), "{way:?}");
                }
            }
            for entry in any(fs.readdirplus(sub, opened, 0, 4096)).into_iter().flatten() {
                let dots = entry.name == b"." || entry.name == b"..";
                assert!(!dots || entry.entry.is_none_or(|found| found.nodeid == 0), "{way:?}");
            }
            if let Some(made) = any(fs.create(sub, "made", libc::O_RDWR, 0o644)) {
                assert!(!foreign.contains(&made.entry.attr.ino));
                any(fs.release(made.entry.nodeid, made.open.fh));
                any(fs.unlink(sub, "made"));
                any(fs.forget(made.entry.nodeid, 1));
            }
        });
        let found = premises.outside();
        assert!(found.keys().all(|path| !path.ends_with("made")), "{way:?} {found:?}");
        assert_eq!(fs::read(premises.at("victim")).unwrap(), b"precious");
    }
}

#[test]
fn a_share_whose_path_becomes_a_link_stays_what_it_was() {
    for way in ways() {
        let mut premises = Premises::new(way);
        let share = premises.at("share");
        fs::rename(&share, premises.at("old")).unwrap();
        symlink(premises.at("outside"), &share).unwrap();
        premises.fs.mkdir(ROOT, "made", 0o755).unwrap();
        assert!(premises.at("old/made").is_dir(), "{way:?}");
        assert!(!premises.at("outside/made").exists(), "{way:?}");
        let victim = any(premises.fs.lookup(ROOT, "victim"));
        assert!(victim.is_none_or(|entry| entry.nodeid == 0), "{way:?}");
        fs::set_permissions(premises.at("old"), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(premises.daemon.process().descriptors().is_ok());
    }
}
