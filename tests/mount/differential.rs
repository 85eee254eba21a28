//! Users do the same in a bare directory and on a mount of one, and see the same.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, Mode, OFlags, XattrFlags, fallocate, getxattr, linkat,
    mknodat, openat, setxattr,
};

use super::users::{ROOT, User, acting, truncate};
use super::*;

/// Runs `act` in a bare directory and on mounts with each of these options, and compares what it
/// says, line by line.
fn alike(options: &[&[&str]], act: impl Fn(&Path) -> Vec<String>) {
    let open = |dir: &Path| fs::set_permissions(dir, Permissions::from_mode(0o777)).unwrap();
    let bare = tempfile::tempdir().unwrap();
    open(bare.path());
    let expected = act(bare.path());
    assert!(!expected.is_empty());
    for args in options {
        let mount = Mounted::new(args);
        fs::set_permissions(mount.folder.path(), Permissions::from_mode(0o755)).unwrap();
        open(&mount.on_host(""));
        let found = act(&mount.root());
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected, "{args:?}");
        }
        assert_eq!(found.len(), expected.len(), "{args:?}");
        mount.finish();
    }
}

/// A step's outcome, without what differs from run to run.
fn outcome<T>(result: io::Result<T>) -> String {
    match result {
        Ok(_) => "done".into(),
        Err(error) => format!("errno {}", error.raw_os_error().unwrap_or(0)),
    }
}

fn owner(path: &Path) -> String {
    let stat = fs::symlink_metadata(path).unwrap();
    format!("{:o} {}:{}", stat.mode(), stat.uid(), stat.gid())
}

const OWNER: User = User(1000, &[1000]);
const OTHER: User = User(2000, &[2000]);

/// A capability set of version 2: CAP_NET_BIND_SERVICE, permitted.
const CAPABILITY: [u8; 20] = [0, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A step that a user takes.
type Step = (&'static str, fn(&Path) -> io::Result<()>);

fn write_only(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).open(path)
}

#[test]
fn changes_take_set_user_id_and_capabilities_away_as_on_a_bare_directory() {
    if !can_mount() {
        return;
    }
    const OPEN: &str = "open and truncate";
    let steps: [Step; 12] = [
        ("write", |path| write_only(path)?.write_all_at(b"xy", 1)),
        ("append", |path| OpenOptions::new().append(true).open(path)?.write_all(b"xy")),
        ("write nothing", |path| write_only(path)?.write_all(b"")),
        ("truncate", |path| truncate(path, 5)),
        ("ftruncate", |path| write_only(path)?.set_len(5)),
        (OPEN, |path| OpenOptions::new().write(true).truncate(true).open(path).map(drop)),
        ("allocate", |path| {
            let file = write_only(path)?;
            Ok(fallocate(file, FallocateFlags::empty(), 0, 9000)?)
        }),
        ("punch", |path| {
            let file = write_only(path)?;
            Ok(fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, 4)?)
        }),
        ("copy into", |path| {
            let other = File::open(path.with_extension("other"))?;
            let file = write_only(path)?;
            rustix::fs::copy_file_range(other, None, file, None, 3)?;
            Ok(())
        }),
        ("chown to itself", |path| chown(path, Some(1000), Some(1000))),
        ("chown to nobody else", |path| chown(path, None, None)),
        ("chmod", |path| fs::set_permissions(path, Permissions::from_mode(0o6777))),
    ];
    let act = |steps: &[Step]| {
        let steps = steps.to_vec();
        move |dir: &Path| {
            let mut said = Vec::new();
            let path = dir.join("file");
            fs::write(path.with_extension("other"), "other").unwrap();
            for user in [OWNER, OTHER, ROOT] {
                // Set-group-id where the group may not execute says nothing of rights, and is not
                // the same: only the guest's kernel knows whether the writer is in the group.
                for mode in [0o4777, 0o2777, 0o6777, 0o777, 0o1777] {
                    for &(name, step) in &steps {
                        // Linux's FUSE client forgets to ask who may do this, and asks us for the
                        // same when root has changed a file with capabilities.
                        if name == "chown to nobody else" && user != OWNER {
                            continue;
                        }
                        fs::write(&path, "0123456789").unwrap();
                        chown(&path, Some(1000), Some(1000)).unwrap();
                        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
                        let flags = XattrFlags::empty();
                        setxattr(&path, "security.capability", &CAPABILITY, flags).unwrap();
                        let done = outcome(acting(user, 0, || step(&path)));
                        let mut room = [0; 64];
                        let capable = getxattr(&path, "security.capability", &mut room[..]).is_ok();
                        let now = owner(&path);
                        let User(uid, _) = user;
                        said.push(format!("{uid} {mode:o} {name}: {done}, {now}, {capable}"));
                        fs::remove_file(&path).unwrap();
                    }
                }
            }
            said
        }
    };
    let options: [&[&str]; 4] =
        [&[], &["--cache=never"], &["--cache=always", HANDLES[1]], &["--writeback"]];
    alike(&options, act(&steps));
    // An older guest's kernel does not take care of files that are truncated as they are opened.
    let others: Vec<_> = steps.into_iter().filter(|(name, _)| *name != OPEN).collect();
    alike(&[&["--no-killpriv-v2"]], act(&others));
}

/// An ACL in its form as an attribute: entries of tag, permissions and id.
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        acl.extend([tag.to_le_bytes(), permissions.to_le_bytes()].concat());
        acl.extend(id.to_le_bytes());
    }
    acl
}

/// What a directory with a default ACL gives to what is made in it.
fn default_acl() -> Vec<u8> {
    let none = u32::MAX;
    acl(&[(1, 7, none), (2, 6, 2000), (4, 5, none), (8, 7, 5000), (0x10, 7, none), (0x20, 1, none)])
}

#[test]
fn what_users_make_is_theirs_as_on_a_bare_directory() {
    if !can_mount() {
        return;
    }
    const USERS: [User; 5] = [
        ROOT,
        OWNER,
        User(1000, &[1000, 5000]),
        User(1000, &[1000, 3000, 3001, 3002, 5000, 7000]),
        User(1000, &[5000]),
    ];
    let steps: [Step; 8] = [
        ("file", |path| {
            openat(CWD, path, OFlags::CREATE | OFlags::WRONLY, Mode::from(0o666))?;
            Ok(())
        }),
        ("program", |path| {
            openat(CWD, path, OFlags::CREATE | OFlags::EXCL | OFlags::RDWR, Mode::from(0o6775))?;
            Ok(())
        }),
        ("directory", |path| Ok(rustix::fs::mkdir(path, Mode::from(0o777))?)),
        ("own directory", |path| Ok(rustix::fs::mkdir(path, Mode::from(0o3700))?)),
        ("fifo", |path| Ok(mknodat(CWD, path, FileType::Fifo, Mode::from(0o666), 0)?)),
        ("node", |path| Ok(mknodat(CWD, path, FileType::RegularFile, Mode::from(0o2777), 0)?)),
        ("link", |path| symlink("target", path)),
        ("unnamed", |path| {
            let dir = path.parent().unwrap();
            let file = openat(CWD, dir, OFlags::TMPFILE | OFlags::RDWR, Mode::from(0o666))?;
            let name = format!("/proc/self/fd/{}", file.as_raw_fd());
            Ok(linkat(CWD, name, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
        }),
    ];
    let act = |acls: bool| {
        move |dir: &Path| {
            let mut said = Vec::new();
            for (place, mode, gid) in [
                ("plain", 0o777, 0),
                ("sticky", 0o1777, 6000),
                ("group", 0o2777, 5000),
                ("others", 0o2777, 6000),
                ("closed", 0o755, 0),
                ("acl", 0o777, 0),
                ("acl and group", 0o2777, 5000),
            ] {
                let place_path = dir.join(place);
                fs::create_dir(&place_path).unwrap();
                chown(&place_path, None, Some(gid)).unwrap();
                fs::set_permissions(&place_path, Permissions::from_mode(mode)).unwrap();
                if place.starts_with("acl") {
                    if !acls {
                        continue;
                    }
                    let name = "system.posix_acl_default";
                    setxattr(&place_path, name, &default_acl(), XattrFlags::empty()).unwrap();
                }
                for (number, user) in USERS.into_iter().enumerate() {
                    for umask in [0, 0o022, 0o077, 0o777] {
                        for (what, step) in steps {
                            let path = place_path.join(format!("{number} {umask:o} {what}"));
                            let done = outcome(acting(user, umask, || step(&path)));
                            let mut line = format!("{place}, {number}, {umask:o}, {what}: {done}");
                            if path.symlink_metadata().is_ok() {
                                line += &owner(&path);
                                for name in ["system.posix_acl_access", "system.posix_acl_default"]
                                {
                                    let mut room = [0; 256];
                                    let found = rustix::fs::lgetxattr(&path, name, &mut room[..]);
                                    let found = found.map(|len| room[..len].to_vec());
                                    if acls {
                                        line += &format!(" {found:?}");
                                    }
                                }
                            }
                            said.push(line);
                        }
                    }
                }
            }
            said
        }
    };
    alike(&[&["--posix-acl"], &["--posix-acl", "--cache=never", HANDLES[1]]], act(true));
    alike(&[&[], &["--cache=always", HANDLES[1]], &["--writeback"]], act(false));
}

#[test]
fn offsets_holes_and_sizes_are_those_of_a_bare_directory() {
    if !can_mount() {
        return;
    }
    const BEYOND: u64 = 1 << 63;
    // A guest that writes back takes all of a file for data.
    let act = |holes| {
        move |dir: &Path| {
            let path = dir.join("file");
            let file =
                OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
            let mut said = Vec::new();
            let mut say = |what: &str, result: io::Result<u64>| {
                said.push(format!(
                    "{what}: {}",
                    result.map_or_else(|error| error.to_string(), |n| n.to_string())
                ));
            };
            file.write_all_at(&[1; 4096], 1 << 20).unwrap();
            file.write_all_at(&[1; 4096], 5 << 20).unwrap();
            file.sync_all().unwrap();
            let places =
                [0, 1, 1 << 20, (1 << 20) + 4096, 5 << 20, (5 << 20) + 4096, 6 << 20, BEYOND - 1];
            for at in places.into_iter().filter(|_| holes) {
                for to in [rustix::fs::SeekFrom::Data(at), rustix::fs::SeekFrom::Hole(at)] {
                    say(&format!("{to:?}"), rustix::fs::seek(&file, to).map_err(Into::into));
                }
            }
            for at in [0, 1 << 20, (5 << 20) + 4000, (5 << 20) + 4096, BEYOND - 4096, BEYOND - 1] {
                let mut room = [0; 4096];
                say(&format!("read at {at}"), file.read_at(&mut room, at).map(|len| len as u64));
            }
            for len in [0, 1, 1 << 20, BEYOND - 1, BEYOND] {
                say(&format!("size {len}"), file.set_len(len).map(|()| 0));
                say("now", file.metadata().map(|meta| meta.len()));
            }
            file.set_len(100).unwrap();
            for (what, flags, at, len) in [
                ("allocate", FallocateFlags::empty(), 0, 10_000),
                ("keep size", FallocateFlags::KEEP_SIZE, 0, 50_000),
                ("punch", FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 10, 20),
                ("punch and grow", FallocateFlags::PUNCH_HOLE, 10, 20),
                ("zero", FallocateFlags::ZERO_RANGE, 5000, 20_000),
                ("nothing", FallocateFlags::empty(), 0, 0),
                ("too far", FallocateFlags::empty(), BEYOND - 10, 20),
            ] {
                let done = fallocate(&file, flags, at, len).map_err(io::Error::from);
                say(what, done.map(|()| 0));
                say("now", file.metadata().map(|meta| meta.len()));
            }
            let mut reader = File::open(&path).unwrap();
            say("end", reader.seek(SeekFrom::End(0)));
            said
        }
    };
    alike(&[&[], &["--cache=never"], &["--cache=always", HANDLES[1]]], act(true));
    alike(&[&["--writeback"]], act(false));
}
