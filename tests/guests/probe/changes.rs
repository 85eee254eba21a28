//! Changes that the side that looks has not made itself.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use super::cases::{self, fails};
use super::content::{assert_same, bytes};
use super::failures::attempt;
use super::sys::{self, ENOENT, Mapping, Timespec};
use super::turn;

/// How long the daemon lets a guest cache, and some ticks of its clock.
const CACHE: Duration = Duration::from_millis(1000 + 100);

/// Makes what will change.
pub(super) fn before(dir: &Path) {
    fs::create_dir_all(dir.join("full")).unwrap();
    fs::create_dir(dir.join("moved-dir")).unwrap();
    fs::create_dir(dir.join("dir-to-file")).unwrap();
    for name in [
        "rewritten",
        "grown",
        "shrunk",
        "removed",
        "moved",
        "replaced",
        "chmod",
        "mapped",
        "file-to-dir",
        "file-to-link",
        "full/file",
        "moved-dir/file",
    ] {
        fs::write(dir.join(name), bytes(31, 10_000)).unwrap();
    }
    symlink("rewritten", dir.join("link")).unwrap();
}

/// Looks at everything, so that it is in every cache; then lets the other side change it; and
/// looks at it all again, once, when no cache may hold it any more.
pub(super) fn watch(dir: &Path, turn: &Path) {
    attempt("changes of the other side are seen", || {
        let names = ["shrunk", "chmod", "grown", "removed", "replaced"];
        let [shrunk, chmod, mut grown, removed, replaced] =
            names.map(|name| File::open(dir.join(name)).unwrap());
        let mapped = Mapping::new(&File::open(dir.join("mapped")).unwrap(), 10_000, false).unwrap();
        attempt("before the changes", || {
            for name in cases::names(dir) {
                let meta = fs::metadata(dir.join(&name)).unwrap();
                if meta.is_file() {
                    assert_same(&fs::read(dir.join(&name)).unwrap(), &bytes(31, 10_000), 0);
                }
            }
            assert_eq!(cases::names(&dir.join("full")), ["file"]);
            assert_same(&mapped.read(0, 10_000), &bytes(31, 10_000), 0);
            assert_eq!(grown.read_to_end(&mut Vec::new()).unwrap(), 10_000);
            for name in ["created", "created-dir", "moved-to", "moved-dir-to/file"] {
                fails(fs::metadata(dir.join(name)), &[ENOENT]);
            }
        });

        turn::take(turn);
        // Not to give anybody time: this is the promise that is tested.
        std::thread::sleep(CACHE);

        // First, because to look at a name is to ask for its attributes.
        attempt("files that are open", || {
            assert_eq!(shrunk.metadata().unwrap().size(), 777);
            assert_eq!(chmod.metadata().unwrap().mode() & 0o7777, 0o4700);
            let mut more = Vec::new();
            grown.read_to_end(&mut more).unwrap();
            assert_same(&more, b"more", 10_000);
            let mut old = vec![0; 10_000];
            for (name, file) in [("removed", removed), ("replaced", replaced)] {
                let meta = file.metadata().unwrap();
                assert_eq!((meta.nlink(), meta.size()), (0, 10_000), "{name}");
                file.read_exact_at(&mut old, 0).unwrap();
                assert_same(&old, &bytes(31, 10_000), 0);
            }
        });
        changed(dir);
        attempt("a file that is mapped", || {
            fs::metadata(dir.join("mapped")).unwrap();
            assert_same(&mapped.read(0, 10_000), &bytes(32, 10_000), 0);
        });
    });
}

/// Makes the changes.
pub(super) fn after(dir: &Path) {
    let open = |name| OpenOptions::new().write(true).open(dir.join(name)).unwrap();
    for name in ["rewritten", "mapped"] {
        open(name).write_all(&bytes(32, 10_000)).unwrap();
    }
    OpenOptions::new().append(true).open(dir.join("grown")).unwrap().write_all(b"more").unwrap();
    open("shrunk").set_len(777).unwrap();
    for name in ["removed", "link", "file-to-dir", "file-to-link", "full/file"] {
        fs::remove_file(dir.join(name)).unwrap();
    }
    fs::remove_dir(dir.join("full")).unwrap();
    fs::remove_dir(dir.join("dir-to-file")).unwrap();
    fs::rename(dir.join("moved"), dir.join("moved-to")).unwrap();
    fs::rename(dir.join("moved-dir"), dir.join("moved-dir-to")).unwrap();
    fs::write(dir.join("new"), bytes(32, 10_000)).unwrap();
    fs::rename(dir.join("new"), dir.join("replaced")).unwrap();
    fs::write(dir.join("created"), bytes(32, 10_000)).unwrap();
    fs::create_dir(dir.join("created-dir")).unwrap();
    fs::write(dir.join("created-dir/file"), "").unwrap();
    fs::create_dir(dir.join("file-to-dir")).unwrap();
    fs::write(dir.join("dir-to-file"), bytes(32, 10_000)).unwrap();
    symlink("created", dir.join("file-to-link")).unwrap();
    symlink("moved-to", dir.join("link")).unwrap();
    fs::set_permissions(dir.join("chmod"), Permissions::from_mode(0o4700)).unwrap();
    sys::utimensat(&dir.join("chmod"), [Timespec { seconds: 5, nanoseconds: 6 }; 2]).unwrap();
}

/// Looks at what became of everything.
fn changed(dir: &Path) {
    let has = |name: &'static str, expected: Vec<u8>| {
        attempt(name, || {
            let path = dir.join(name);
            assert_eq!(fs::metadata(&path).unwrap().size(), expected.len() as u64, "size");
            assert_same(&fs::read(path).unwrap(), &expected, 0);
        });
    };
    for name in ["rewritten", "replaced", "created", "dir-to-file", "file-to-link"] {
        has(name, bytes(32, 10_000));
    }
    for name in ["moved-to", "moved-dir-to/file", "link"] {
        has(name, bytes(31, 10_000));
    }
    has("grown", [bytes(31, 10_000), b"more".to_vec()].concat());
    has("shrunk", bytes(31, 777));
    has("created-dir/file", Vec::new());
    for name in ["removed", "moved", "moved-dir", "moved-dir/file", "full", "full/file", "new"] {
        attempt(name, || fails(fs::symlink_metadata(dir.join(name)), &[ENOENT]));
    }
    attempt("types", || {
        assert!(fs::symlink_metadata(dir.join("file-to-dir")).unwrap().is_dir());
        assert!(fs::symlink_metadata(dir.join("file-to-link")).unwrap().is_symlink());
        assert!(fs::symlink_metadata(dir.join("dir-to-file")).unwrap().is_file());
        assert_eq!(fs::read_link(dir.join("link")).unwrap(), Path::new("moved-to"));
    });
    attempt("attributes", || {
        let meta = fs::metadata(dir.join("chmod")).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.mtime(), meta.mtime_nsec()), (0o4700, 5, 6));
    });
    attempt("the listing", || {
        let expected = [
            "chmod",
            "created",
            "created-dir",
            "dir-to-file",
            "file-to-dir",
            "file-to-link",
            "grown",
            "link",
            "mapped",
            "moved-dir-to",
            "moved-to",
            "replaced",
            "rewritten",
            "shrunk",
        ];
        assert_eq!(cases::names(dir), expected);
    });
}
