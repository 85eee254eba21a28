//! Making, moving and removing names.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use super::cases::{Case, fails, names, note, noted};
use super::sys::{self, EEXIST, EINVAL, EISDIR, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, ENOTEMPTY};
use super::sys::{EOPNOTSUPP, EPERM};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a file is renamed in its directory",
        act: |dir| {
            fs::write(dir.join("old"), "content").unwrap();
            let inode = fs::metadata(dir.join("old")).unwrap().ino();
            fs::rename(dir.join("old"), dir.join("new")).unwrap();
            assert_eq!(fs::metadata(dir.join("new")).unwrap().ino(), inode);
            fails(fs::metadata(dir.join("old")), &[ENOENT]);
            fails(fs::rename(dir.join("old"), dir.join("x")), &[ENOENT]);
        },
        check: |dir| {
            assert_eq!(names(dir), ["new"]);
            assert_eq!(fs::read_to_string(dir.join("new")).unwrap(), "content");
        },
    },
    Case {
        name: "a file is renamed to another directory",
        act: |dir| {
            fs::create_dir(dir.join("from")).unwrap();
            fs::create_dir_all(dir.join("to/below")).unwrap();
            fs::write(dir.join("from/file"), "content").unwrap();
            fs::rename(dir.join("from/file"), dir.join("to/below/other")).unwrap();
        },
        check: |dir| {
            assert!(names(&dir.join("from")).is_empty());
            assert_eq!(fs::read_to_string(dir.join("to/below/other")).unwrap(), "content");
        },
    },
    Case {
        name: "a file takes the place of another that is open",
        act: |dir| {
            fs::write(dir.join("a"), "of a").unwrap();
            fs::write(dir.join("b"), "of b").unwrap();
            let mut open = File::open(dir.join("b")).unwrap();
            fs::rename(dir.join("a"), dir.join("b")).unwrap();
            let mut old = String::new();
            open.read_to_string(&mut old).unwrap();
            assert_eq!((old.as_str(), open.metadata().unwrap().nlink()), ("of b", 0));
        },
        check: |dir| {
            assert_eq!(names(dir), ["b"]);
            assert_eq!(fs::read_to_string(dir.join("b")).unwrap(), "of a");
        },
    },
    Case {
        name: "a directory is renamed with what is in it",
        act: |dir| {
            fs::create_dir_all(dir.join("old/inner")).unwrap();
            fs::create_dir(dir.join("home")).unwrap();
            fs::create_dir(dir.join("home/empty")).unwrap();
            fs::create_dir(dir.join("home/full")).unwrap();
            fs::write(dir.join("home/full/file"), "").unwrap();
            let mut open = File::create(dir.join("old/inner/open")).unwrap();
            fails(fs::rename(dir.join("old"), dir.join("home/full")), &[ENOTEMPTY, EEXIST]);
            fails(fs::rename(dir.join("home"), dir.join("home/full/x")), &[EINVAL]);
            fails(fs::rename(dir.join("old"), dir.join("home/full/file")), &[ENOTDIR]);
            fs::rename(dir.join("old"), dir.join("home/empty")).unwrap();
            open.write_all(b"after the move").unwrap();
        },
        check: |dir| {
            assert_eq!(names(dir), ["home"]);
            assert_eq!(names(&dir.join("home")), ["empty", "full"]);
            let moved = dir.join("home/empty");
            assert_eq!(fs::read_to_string(moved.join("inner/open")).unwrap(), "after the move");
            let inode = |path: &Path| fs::metadata(path).unwrap().ino();
            assert_eq!(inode(&moved.join("..")), inode(&dir.join("home")));
        },
    },
    Case {
        name: "a rename may spare the new name or exchange both",
        act: |dir| {
            fs::write(dir.join("a"), "of a").unwrap();
            fs::create_dir(dir.join("b")).unwrap();
            let (a, b) = (dir.join("a"), dir.join("b"));
            fails(sys::rename_with(&a, &b, sys::RENAME_NOREPLACE), &[EEXIST]);
            sys::rename_with(&a, &b, sys::RENAME_EXCHANGE).unwrap();
            sys::rename_with(&a, &dir.join("c"), sys::RENAME_NOREPLACE).unwrap();
        },
        check: |dir| {
            assert_eq!(names(dir), ["b", "c"]);
            assert_eq!(fs::read_to_string(dir.join("b")).unwrap(), "of a");
            assert!(dir.join("c").is_dir());
        },
    },
    Case {
        name: "a file that is removed lives on while it is open",
        act: |dir| {
            let path = dir.join("file");
            let options = OpenOptions::new().read(true).write(true).create(true).to_owned();
            let mut open = options.open(&path).unwrap();
            open.write_all(b"before, ").unwrap();
            fs::remove_file(&path).unwrap();
            fails(File::open(&path), &[ENOENT]);
            open.write_all(b"after").unwrap();
            open.set_permissions(Permissions::from_mode(0o604)).unwrap();
            open.set_len(11).unwrap();
            let meta = open.metadata().unwrap();
            assert_eq!((meta.nlink(), meta.size(), meta.mode() & 0o777), (0, 11, 0o604));
            // A new file of the same name is another one.
            fs::write(&path, "new").unwrap();
            let mut text = String::new();
            open.rewind().unwrap();
            open.read_to_string(&mut text).unwrap();
            assert_eq!(text, "before, aft");
        },
        check: |dir| {
            assert_eq!(names(dir), ["file"]);
            assert_eq!(fs::read_to_string(dir.join("file")).unwrap(), "new");
        },
    },
    Case {
        name: "directories are removed when they are empty",
        act: |dir| {
            fs::create_dir_all(dir.join("a/b")).unwrap();
            fs::write(dir.join("file"), "").unwrap();
            fails(fs::remove_dir(dir.join("a")), &[ENOTEMPTY, EEXIST]);
            fails(fs::remove_dir(dir.join("file")), &[ENOTDIR]);
            fails(fs::remove_file(dir.join("a")), &[EISDIR, EPERM]);
            let open = fs::read_dir(dir.join("a/b")).unwrap();
            fs::remove_dir(dir.join("a/b")).unwrap();
            fails(fs::create_dir(dir.join("a/b/c")), &[ENOENT]);
            drop(open);
            fs::remove_dir(dir.join("a")).unwrap();
        },
        check: |dir| assert_eq!(names(dir), ["file"]),
    },
    Case {
        name: "a big directory is emptied while it is read",
        act: |dir| {
            for number in 0..300 {
                File::create(dir.join(format!("a name that takes some room {number:0200}")))
                    .unwrap();
            }
            for entry in fs::read_dir(dir).unwrap() {
                fs::remove_file(entry.unwrap().path()).unwrap();
            }
        },
        check: |dir| assert!(names(dir).is_empty()),
    },
    Case {
        name: "hard links are one file",
        act: |dir| {
            fs::create_dir(dir.join("sub")).unwrap();
            fs::write(dir.join("a"), "first").unwrap();
            fs::hard_link(dir.join("a"), dir.join("b")).unwrap();
            fs::hard_link(dir.join("b"), dir.join("sub/c")).unwrap();
            fails(fs::hard_link(dir.join("a"), dir.join("b")), &[EEXIST]);
            fails(fs::hard_link(dir.join("sub"), dir.join("d")), &[EPERM]);
            fs::write(dir.join("sub/c"), "second").unwrap();
            assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "second");
            fs::remove_file(dir.join("a")).unwrap();
            symlink("b", dir.join("link")).unwrap();
            fs::hard_link(dir.join("link"), dir.join("same link")).unwrap();
        },
        check: |dir| {
            assert_eq!(names(dir), ["b", "link", "same link", "sub"]);
            let [b, c] = ["b", "sub/c"].map(|name| fs::metadata(dir.join(name)).unwrap());
            assert_eq!((b.ino(), b.nlink()), (c.ino(), 2));
            assert_eq!(fs::read_to_string(dir.join("b")).unwrap(), "second");
            let link = fs::symlink_metadata(dir.join("same link")).unwrap();
            assert!(link.is_symlink() && link.nlink() == 2);
        },
    },
    Case {
        name: "symbolic links lead where they say",
        act: |dir| {
            fs::create_dir(dir.join("sub")).unwrap();
            fs::write(dir.join("sub/file"), "content").unwrap();
            symlink("sub/file", dir.join("good")).unwrap();
            symlink("../sub", dir.join("sub/up")).unwrap();
            symlink("loop", dir.join("loop")).unwrap();
            symlink("none", dir.join("dangling")).unwrap();
            fails(symlink("x", dir.join("good")), &[EEXIST]);
            fails(symlink("", dir.join("empty")), &[ENOENT]);
            // Through a dangling link, a file is made where it leads.
            fs::write(dir.join("dangling"), "made").unwrap();
        },
        check: |dir| {
            assert_eq!(fs::read_to_string(dir.join("good")).unwrap(), "content");
            assert_eq!(fs::read_to_string(dir.join("sub/up/up/file")).unwrap(), "content");
            assert_eq!(fs::read_to_string(dir.join("none")).unwrap(), "made");
            fails(fs::metadata(dir.join("loop")), &[ELOOP]);
            let nofollow = OpenOptions::new().read(true).custom_flags(sys::O_NOFOLLOW).to_owned();
            fails(nofollow.open(dir.join("good")), &[ELOOP]);
        },
    },
    Case {
        name: "what is impossible fails as it should",
        act: |dir| {
            fs::write(dir.join("file"), "").unwrap();
            fs::create_dir(dir.join("dir")).unwrap();
            let long = "n".repeat(256);
            fails(File::open(dir.join("none")), &[ENOENT]);
            fails(File::open(dir.join("none/file")), &[ENOENT]);
            fails(File::open(dir.join("file/file")), &[ENOTDIR]);
            fails(File::create(dir.join("dir")), &[EISDIR]);
            fails(File::create_new(dir.join("file")), &[EEXIST]);
            fails(File::create(dir.join(&long)), &[ENAMETOOLONG]);
            fails(fs::create_dir(dir.join(&long)), &[ENAMETOOLONG]);
            fails(fs::metadata(dir.join(&long)), &[ENAMETOOLONG]);
            fails(fs::create_dir(dir.join("dir")), &[EEXIST]);
            fails(fs::create_dir(dir.join("file")), &[EEXIST]);
            fails(fs::read_dir(dir.join("file")), &[ENOTDIR]);
            fails(fs::read_link(dir.join("file")), &[EINVAL]);
            fails(File::open(dir).unwrap().read(&mut [0; 8]), &[EISDIR]);
        },
        check: |dir| assert_eq!(names(dir), ["dir", "file"]),
    },
    Case {
        name: "pipes, sockets and devices are what they are",
        act: |dir| {
            for (name, mode, device) in DEVICES {
                sys::mknod(&dir.join(name), *mode, *device).unwrap();
            }
            // A pipe and a socket connect those who run on one kernel.
            let path = dir.join("pipe");
            let writer = std::thread::spawn(move || fs::write(path, "through the pipe").unwrap());
            assert_eq!(fs::read_to_string(dir.join("pipe")).unwrap(), "through the pipe");
            writer.join().unwrap();
            // Its path has to be short.
            let socket = Path::new("/tmp/probe-link");
            symlink(dir, socket).unwrap();
            let listener = UnixListener::bind(socket.join("socket")).unwrap();
            let mut client = UnixStream::connect(socket.join("socket")).unwrap();
            fs::remove_file(socket).unwrap();
            client.write_all(b"x").unwrap();
            listener.accept().unwrap().0.read_exact(&mut [0]).unwrap();
        },
        check: |dir| {
            for (name, mode, device) in DEVICES {
                let meta = fs::symlink_metadata(dir.join(name)).unwrap();
                assert_eq!((meta.mode(), meta.rdev()), (*mode, *device), "{name}");
            }
            let socket = fs::symlink_metadata(dir.join("socket")).unwrap();
            assert!(socket.file_type().is_socket());
        },
    },
    Case {
        name: "a file without a name gets one",
        act: |dir| {
            let options = OpenOptions::new().write(true).custom_flags(sys::O_TMPFILE).to_owned();
            match options.open(dir) {
                Ok(mut file) => {
                    file.write_all(b"content").unwrap();
                    sys::link_open(&file, &dir.join("name")).unwrap();
                    note(dir, "made");
                }
                Err(error) => {
                    // Linux can do this over FUSE since 6.2.
                    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
                    assert_eq!(error.raw_os_error(), Some(EOPNOTSUPP));
                    note(dir, if release.starts_with("6.1.") { "too old" } else { "refused" });
                }
            }
        },
        check: |dir| {
            let can = OpenOptions::new().write(true).custom_flags(sys::O_TMPFILE).open(dir).is_ok();
            let expected: &[_] = if can { &["made", "too old"] } else { &["refused", "too old"] };
            assert!(expected.contains(&noted(dir).as_str()), "{}", noted(dir));
            if noted(dir) == "made" {
                assert_eq!(fs::read_to_string(dir.join("name")).unwrap(), "content");
                assert_eq!(fs::metadata(dir.join("name")).unwrap().nlink(), 1);
            }
        },
    },
];

/// Names, modes and numbers; that of the block device (5, 0x10203) has bits in each part.
const DEVICES: &[(&str, u32, u64)] = &[
    ("pipe", sys::S_IFIFO | 0o644, 0),
    ("null", sys::S_IFCHR | 0o600, 0x103),
    ("block", sys::S_IFBLK | 0o600, 0x1020_0503),
];
