//! Modes, owners, times, extended attributes, and those of the file system.

use std::ffi::CStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::fs::{chown, lchown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::cases::{Case, fails, names, note, noted};
use super::failures::{attempt, report};
use super::sys::{self, EACCES, ENODATA, EOPNOTSUPP, EPERM, Timespec, UTIME_NOW, UTIME_OMIT};

/// A user who is not root.
const USER: u32 = 1000;

const MODES: [u32; 6] = [0, 0o777, 0o4711, 0o2755, 0o1666, 0o7000];

/// Names and times: with nanoseconds, before 1970, and a file system's usual precision.
const TIMES: [(&str, Timespec, Timespec); 3] = [
    ("file", time(1_234_567_890, 123_456_789), time(1_000_000_000, 1)),
    ("dir", time(-86_400, 999_999_999), time(-1, 500_000_000)),
    ("link", time(2_000_000_000, 0), time(1_999_999_999, 999_999_999)),
];

const fn time(seconds: i64, nanoseconds: i64) -> Timespec {
    Timespec { seconds, nanoseconds }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn owner(path: &Path) -> (u32, u32) {
    let meta = fs::symlink_metadata(path).unwrap();
    (meta.uid(), meta.gid())
}

fn mtime(path: &Path) -> Timespec {
    let meta = fs::symlink_metadata(path).unwrap();
    time(meta.mtime(), meta.mtime_nsec())
}

pub(super) const CASES: &[Case] = &[
    Case {
        name: "modes are kept to the bit",
        act: |dir| {
            for bits in MODES {
                let (file, sub) =
                    (dir.join(format!("file-{bits:o}")), dir.join(format!("dir-{bits:o}")));
                File::create(&file).unwrap();
                fs::create_dir(&sub).unwrap();
                set_mode(&file, bits);
                set_mode(&sub, bits);
            }
            // What a caller asks for when it makes something, less its umask of 022.
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o666)
                .open(dir.join("made"))
                .unwrap();
            DirBuilder::new().mode(0o1777).create(dir.join("made-dir")).unwrap();
        },
        check: |dir| {
            for bits in MODES {
                for kind in ["file", "dir"] {
                    let name = format!("{kind}-{bits:o}");
                    assert_eq!(mode(&dir.join(&name)), bits, "{name}");
                }
            }
            assert_eq!(mode(&dir.join("made")), 0o644);
            assert_eq!(mode(&dir.join("made-dir")), 0o1755);
        },
    },
    Case {
        name: "owners are kept, and a new one takes rights away",
        act: |dir| {
            for name in ["file", "group", "suid"] {
                File::create(dir.join(name)).unwrap();
            }
            symlink("file", dir.join("link")).unwrap();
            fs::create_dir(dir.join("dir")).unwrap();
            set_mode(&dir.join("suid"), 0o6755);
            chown(dir.join("file"), Some(4_000_000_000), Some(70_000)).unwrap();
            chown(dir.join("group"), None, Some(5)).unwrap();
            chown(dir.join("suid"), Some(1), None).unwrap();
            chown(dir.join("dir"), Some(7), Some(8)).unwrap();
            lchown(dir.join("link"), Some(9), Some(10)).unwrap();
        },
        check: |dir| {
            assert_eq!(owner(&dir.join("file")), (4_000_000_000, 70_000));
            assert_eq!(owner(&dir.join("group")), (0, 5));
            assert_eq!((owner(&dir.join("suid")), mode(&dir.join("suid"))), ((1, 0), 0o755));
            assert_eq!(owner(&dir.join("dir")), (7, 8));
            assert_eq!(owner(&dir.join("link")), (9, 10));
        },
    },
    Case {
        name: "times are kept to the nanosecond",
        act: |dir| {
            File::create(dir.join("file")).unwrap();
            fs::create_dir(dir.join("dir")).unwrap();
            symlink("file", dir.join("link")).unwrap();
            File::create(dir.join("now")).unwrap();
            File::create(dir.join("half")).unwrap();
            for (name, accessed, modified) in TIMES {
                sys::utimensat(&dir.join(name), [accessed, modified]).unwrap();
            }
            let (old, now, omit) = (time(1, 0), time(0, UTIME_NOW), time(0, UTIME_OMIT));
            sys::utimensat(&dir.join("now"), [old, old]).unwrap();
            sys::utimensat(&dir.join("now"), [now, now]).unwrap();
            sys::utimensat(&dir.join("half"), [old, old]).unwrap();
            sys::utimensat(&dir.join("half"), [omit, time(2, 3)]).unwrap();
        },
        check: |dir| {
            for (name, accessed, modified) in TIMES {
                assert_eq!(mtime(&dir.join(name)), modified, "{name}");
                let meta = fs::symlink_metadata(dir.join(name)).unwrap();
                // Only what nobody has read since still has its access time.
                if name == "file" {
                    assert_eq!(time(meta.atime(), meta.atime_nsec()), accessed, "{name}");
                }
            }
            let half = fs::metadata(dir.join("half")).unwrap();
            assert_eq!((half.atime(), mtime(&dir.join("half"))), (1, time(2, 3)));
            assert!(mtime(&dir.join("now")).seconds > 1_700_000_000);
        },
    },
    Case {
        name: "what is done to a file shows in its times",
        act: |dir| {
            let old = [time(1, 0); 2];
            for name in ["read", "written", "linked"] {
                fs::write(dir.join(name), "content").unwrap();
                sys::utimensat(&dir.join(name), old).unwrap();
            }
            fs::create_dir(dir.join("dir")).unwrap();
            sys::utimensat(&dir.join("dir"), old).unwrap();
            fs::read(dir.join("read")).unwrap();
            OpenOptions::new()
                .write(true)
                .open(dir.join("written"))
                .unwrap()
                .write_all(b"x")
                .unwrap();
            assert_ne!(mtime(&dir.join("written")), old[0]);
            fs::hard_link(dir.join("linked"), dir.join("dir/link")).unwrap();
            assert_ne!(mtime(&dir.join("dir")), old[0]);
        },
        check: |dir| {
            let now = |name| mtime(&dir.join(name)).seconds > 1_700_000_000;
            assert!(now("written") && now("dir"));
            assert!(!now("read") && !now("linked"));
        },
    },
    Case {
        name: "a user who is not root owns what it makes",
        act: |dir| {
            set_mode(dir, 0o777);
            fs::create_dir(dir.join("sticky")).unwrap();
            set_mode(&dir.join("sticky"), 0o1777);
            fs::create_dir(dir.join("setgid")).unwrap();
            chown(dir.join("setgid"), None, Some(77)).unwrap();
            set_mode(&dir.join("setgid"), 0o2777);
            for (name, bits) in [("secret", 0o600), ("sticky/roots", 0o666), ("suid", 0o4777)] {
                fs::write(dir.join(name), "root's").unwrap();
                set_mode(&dir.join(name), bits);
            }
            let mut command = Command::new("/proc/self/exe");
            let output = command.arg("user").arg(dir).uid(USER).gid(USER).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            said.lines().for_each(|line| report("as a user", line));
            assert!(output.status.success(), "{}", output.status);
        },
        check: |dir| {
            for name in ["mine", "mine-dir", "mine-dir/file", "mine-link", "mine-pipe"] {
                assert_eq!(owner(&dir.join(name)), (USER, USER), "{name}");
            }
            // The group of a directory with the set-group-id bit is handed down.
            assert_eq!(owner(&dir.join("setgid/file")), (USER, 77));
            assert_eq!(
                (owner(&dir.join("setgid/dir")), mode(&dir.join("setgid/dir"))),
                ((USER, 77), 0o2755)
            );
            assert_eq!(fs::read_to_string(dir.join("secret")).unwrap(), "root's");
            assert_eq!(names(&dir.join("sticky")), ["roots"]);
            // Somebody else has written to it.
            assert_eq!((mode(&dir.join("suid")), owner(&dir.join("suid"))), (0o777, (0, 0)));
        },
    },
    Case {
        name: "extended attributes are bytes",
        act: |dir| {
            let file = dir.join("file");
            File::create(&file).unwrap();
            match sys::set_xattr(&file, XATTR, b"old") {
                Ok(()) => {
                    note(dir, "kept");
                    sys::set_xattr(&file, XATTR, XATTR_VALUE).unwrap();
                    sys::set_xattr(&file, c"user.gone", b"").unwrap();
                    sys::remove_xattr(&file, c"user.gone").unwrap();
                    sys::set_xattr(dir, XATTR, XATTR_VALUE).unwrap();
                }
                Err(error) => note(dir, error),
            }
        },
        check: |dir| {
            let file = dir.join("file");
            let own = dir.join("own");
            File::create(&own).unwrap();
            // A host without them has a guest without them.
            match sys::set_xattr(&own, XATTR, b"") {
                Ok(()) => {
                    assert_eq!(noted(dir), "kept");
                    assert_eq!(sys::get_xattr(&file, XATTR).unwrap(), XATTR_VALUE);
                    assert_eq!(sys::get_xattr(dir, XATTR).unwrap(), XATTR_VALUE);
                    assert_eq!(sys::list_xattrs(&file).unwrap(), b"user.of the test\0");
                    fails(sys::get_xattr(&file, c"user.gone"), &[ENODATA]);
                }
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(EOPNOTSUPP));
                    assert_eq!(noted(dir), error.to_string());
                }
            }
            fs::remove_file(own).unwrap();
        },
    },
    Case {
        name: "the file system is as big as the host's",
        act: |dir| note(dir, room(dir)),
        check: |dir| assert_eq!(noted(dir), room(dir)),
    },
];

const XATTR: &CStr = c"user.of the test";
const XATTR_VALUE: &[u8] = b"\0any\xffbytes\n";

/// What does not change while others use the file system.
fn room(dir: &Path) -> String {
    let fs = sys::statvfs(dir).unwrap();
    assert!(fs.bfree > 0 && fs.bavail <= fs.bfree && fs.bfree <= fs.blocks, "{fs:?}");
    assert!(fs.ffree <= fs.files, "{fs:?}");
    format!("{} blocks of {}, {} at once, names of {}", fs.blocks, fs.frsize, fs.bsize, fs.namemax)
}

/// What a user may do and what not.
pub(super) fn as_user(dir: &Path) {
    attempt("may", || {
        fs::write(dir.join("mine"), "").unwrap();
        fs::create_dir(dir.join("mine-dir")).unwrap();
        fs::write(dir.join("mine-dir/file"), "").unwrap();
        symlink("mine", dir.join("mine-link")).unwrap();
        sys::mknod(&dir.join("mine-pipe"), sys::S_IFIFO | 0o600, 0).unwrap();
        fs::write(dir.join("setgid/file"), "").unwrap();
        fs::create_dir(dir.join("setgid/dir")).unwrap();
        let suid = OpenOptions::new().write(true).open(dir.join("suid"));
        suid.unwrap().write_all(b"x").unwrap();
    });
    attempt("may not", || {
        fails(File::open(dir.join("secret")), &[EACCES]);
        fails(fs::set_permissions(dir.join("suid"), Permissions::from_mode(0o777)), &[EPERM]);
        fails(chown(dir.join("mine"), Some(0), None), &[EPERM]);
        fails(fs::remove_file(dir.join("sticky/roots")), &[EPERM, EACCES]);
        fails(fs::rename(dir.join("sticky/roots"), dir.join("stolen")), &[EPERM, EACCES]);
        fails(sys::mknod(&dir.join("device"), sys::S_IFCHR | 0o600, 0x103), &[EPERM]);
    });
}
