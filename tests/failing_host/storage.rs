//! Storage that fails.

use ferryfs::fuse::Errno;
use ferryfs::fuse::abi::SetattrIn;
use ferryfs_bench::{Error, ROOT};
use zerocopy::FromZeros;

use super::faulty::{CONTENT, Served};
use super::*;

type Step<T> = (&'static str, fn(&mut Client, T) -> Result<(), Error>);

/// Requests for the directory, its file, and handles of both.
#[derive(Clone, Copy)]
struct Known {
    dir: u64,
    file: u64,
    fh: u64,
    dir_fh: u64,
}

const STEPS: [Step<Known>; 12] = [
    ("lookup", |fs, on| fs.lookup(on.dir, "file").map(drop)),
    ("getattr", |fs, on| fs.getattr(on.file, None).map(drop)),
    ("getattr by handle", |fs, on| fs.getattr(on.file, Some(on.fh)).map(drop)),
    ("setattr", |fs, on| {
        let change = SetattrIn { valid: 1, mode: 0o600, ..SetattrIn::new_zeroed() };
        fs.setattr(on.file, &change).map(drop)
    }),
    ("open", |fs, on| {
        let opened = fs.open(on.file, libc::O_RDWR)?;
        fs.release(on.file, opened.fh)
    }),
    ("opendir", |fs, on| {
        let opened = fs.opendir(on.dir)?;
        fs.releasedir(on.dir, opened.fh)
    }),
    ("read", |fs, on| {
        assert_eq!(fs.read(on.file, on.fh, 0, 100)?, CONTENT);
        Ok(())
    }),
    ("write", |fs, on| {
        assert_eq!(fs.write(on.file, on.fh, 0, b"12345")?, 5);
        Ok(())
    }),
    ("fsync", |fs, on| fs.fsync(on.file, on.fh, false)),
    ("readdir", |fs, on| fs.readdir(on.dir, on.dir_fh, 0, 4096).map(drop)),
    ("statfs", |fs, on| fs.statfs(on.dir).map(drop)),
    ("unlink", |fs, on| fs.unlink(on.dir, "file")),
];

#[test]
fn the_guest_is_told_what_the_storage_says_and_nothing_else_suffers() {
    if cannot_serve("failing_host::storage") {
        return;
    }
    for handles in ["never", "prefer"] {
        let place = Place::new();
        let share = place.dir("share");
        fs::write(share.join("local"), "content").unwrap();
        let faulty = Served::at(&place.dir("share/faulty"));
        let handles = format!("--inode-file-handles={handles}");
        let mut machine = Machine::new(&share, &[&handles]);
        let dir = machine.find(ROOT, "faulty");
        let file = machine.find(dir, "file");
        let fh = machine.fs.open(file, libc::O_RDWR).unwrap().fh;
        let dir_fh = machine.fs.opendir(dir).unwrap().fh;
        let known = Known { dir, file, fh, dir_fh };
        let local = machine.find(ROOT, "local");
        let local_fh = machine.fs.open(local, libc::O_RDWR).unwrap().fh;
        let errors = [
            libc::EIO,
            libc::ENOSPC,
            libc::EDQUOT,
            libc::EROFS,
            libc::ENOMEM,
            libc::ENFILE,
            libc::ENOTCONN,
            libc::ESTALE,
        ];
        for error in errors {
            faulty.fail_with(error);
            for (name, step) in STEPS {
                let failed = step(&mut machine.fs, known);
                let expected = Errno::from_raw(error);
                assert_eq!(failed.unwrap_err(), expected, "{name}, {expected:?}, {handles}");
                for fs in [&mut machine.fs, &mut machine.other] {
                    assert_eq!(fs.read(local, local_fh, 0, 100).unwrap(), b"content");
                    fs.lookup(ROOT, "local").unwrap();
                }
            }
            faulty.fail_with(0);
            for (name, step) in STEPS {
                let done = step(&mut machine.fs, known);
                assert!(done.is_ok(), "{name} after {error}, {handles}: {done:?}");
            }
        }
        // The guest's process has not opened too many.
        faulty.fail_with(libc::EMFILE);
        assert_eq!(machine.fs.open(file, libc::O_RDWR).unwrap_err(), Errno::ENFILE);
        drop(machine);
    }
}

#[test]
fn a_listing_of_a_directory_in_which_a_mount_fails_is_whole() {
    if cannot_serve("failing_host::storage::listing") {
        return;
    }
    let place = Place::new();
    let share = place.dir("share");
    for name in ["a", "b", "z"] {
        fs::write(share.join(name), "").unwrap();
    }
    let faulty = Served::at(&place.dir("share/faulty"));
    let mut machine = Machine::new(&share, &[]);
    faulty.fail_with(libc::EIO);
    let fh = machine.fs.opendir(ROOT).unwrap().fh;
    let entries = machine.fs.readdirplus(ROOT, fh, 0, 8192).unwrap();
    assert_eq!(entries.len(), 6);
    for entry in entries.iter().filter(|entry| !entry.name.starts_with(b".")) {
        let known = entry.entry.is_some_and(|entry| entry.nodeid != 0);
        assert_eq!(known, entry.name != b"faulty", "{entry:?}");
    }
    assert_eq!(machine.fs.lookup(ROOT, "faulty").unwrap_err(), Errno::EIO);
    faulty.fail_with(0);
    let dir = machine.find(ROOT, "faulty");
    machine.find(dir, "file");
}
