//! The file system over a host directory, called as the core calls it.
#![expect(clippy::unwrap_used, reason = "a test may")]

#[path = "../share/mod.rs"]
mod share;
mod xattrs;

use std::fs;
use std::os::unix::fs::MetadataExt;

use ferryfs::fuse::flags::init;
use ferryfs::fuse::{AttrChange, Errno, Filesystem, Negotiated, SetTime};
use ferryfs::passthrough::{Config, FileHandles};
use share::{Share, name, user};

const MODES: [FileHandles; 2] = [FileHandles::Prefer, FileHandles::Never];

fn tight(file_handles: FileHandles) -> Config {
    Config { file_handles, descriptors: 24, ..Config::default() }
}

#[test]
fn a_tree_larger_than_the_budget_is_walked_in_every_mode() {
    for mode in MODES {
        let share = Share::with(tight(mode));
        for dir in 0..30 {
            fs::create_dir(share.path().join(dir.to_string())).unwrap();
            for file in 0..20 {
                fs::write(share.path().join(format!("{dir}/{file}")), "x").unwrap();
            }
        }
        let mut nodes = Vec::new();
        for dir in 0..30 {
            let parent = share.find(&dir.to_string());
            for file in 0..20 {
                let node = share.find_in(parent, &file.to_string());
                nodes.push((format!("{dir}/{file}"), node));
            }
        }
        for (path, node) in &nodes {
            let ino = fs::metadata(share.path().join(path)).unwrap().ino();
            assert_eq!(share.attr(*node).unwrap().ino, ino, "{mode:?}: {path}");
            let found = share.find(path);
            assert_eq!(found, *node, "{mode:?}: {path} has one nodeid");
        }
        assert!(share.fs.descriptors() <= 24, "{mode:?}: {}", share.fs.descriptors());
        assert_eq!(share.fs.inodes(), 1 + 30 + 600);
    }
}

#[test]
fn a_deep_tree_is_reached_after_all_of_it_was_put_away() {
    for mode in MODES {
        let share = Share::with(tight(mode));
        let path = (0..100).map(|_| "d").collect::<Vec<_>>().join("/");
        fs::create_dir_all(share.path().join(&path)).unwrap();
        let deepest = share.find(&path);
        for other in 0..60 {
            fs::create_dir(share.path().join(format!("other{other}"))).unwrap();
            let node = share.find(&format!("other{other}"));
            share.attr(node).unwrap();
        }
        let ino = fs::metadata(share.path().join(&path)).unwrap().ino();
        assert_eq!(share.attr(deepest).unwrap().ino, ino, "{mode:?}");
    }
}

#[test]
fn a_nodeid_never_becomes_the_file_that_replaced_it() {
    for mode in MODES {
        let share = Share::with(tight(mode));
        let path = share.path().join("file");
        for round in 0..50 {
            fs::write(&path, "old").unwrap();
            let old = share.find("file");
            share.put_all_away();
            fs::remove_file(&path).unwrap();
            fs::write(&path, "new").unwrap();
            let new = share.find("file");
            assert_ne!(new, old, "{mode:?}, round {round}");
            if let Ok(attr) = share.attr(old) {
                // Still pinned: then it is the old file, without a name.
                assert_eq!(attr.nlink, 0, "{mode:?}, round {round}");
            }
            let ino = fs::metadata(&path).unwrap().ino();
            assert_eq!(share.attr(new).unwrap().ino, ino, "{mode:?}, round {round}");
            share.fs.forget(old, 1);
            share.fs.forget(new, 1);
        }
        assert_eq!(share.fs.inodes(), 1 + share.helpers(), "{mode:?}");
    }
}

#[test]
fn a_renamed_file_keeps_its_nodeid() {
    for mode in MODES {
        let share = Share::with(tight(mode));
        fs::create_dir(share.path().join("dir")).unwrap();
        fs::write(share.path().join("file"), "x").unwrap();
        let (root, dir, file) = (share.root(), share.find("dir"), share.find("file"));
        let (a, b) = (name("file"), name("moved"));
        share.fs.rename(&user(0), (root, &a), (dir, &b), 0).unwrap();
        share.put_all_away();
        assert_eq!(share.attr(file).unwrap().size, 1, "{mode:?}");
        assert_eq!(share.find("dir/moved"), file, "{mode:?}");
        fs::write(share.path().join("other"), "yy").unwrap();
        let other = share.find("other");
        share.fs.rename(&user(0), (dir, &b), (root, &name("other")), 2).unwrap();
        share.put_all_away();
        assert_eq!(share.attr(file).unwrap().size, 1, "{mode:?}");
        assert_eq!(share.attr(other).unwrap().size, 2, "{mode:?}");
        assert_eq!((share.find("other"), share.find("dir/moved")), (file, other), "{mode:?}");
    }
}

#[test]
fn an_open_file_stays_usable_after_its_last_name_is_gone() {
    for mode in MODES {
        let share = Share::with(tight(mode));
        fs::write(share.path().join("file"), "content").unwrap();
        let file = share.find("file");
        let handle = share.fs.open(file, 2, false).unwrap().handle;
        fs::remove_file(share.path().join("file")).unwrap();
        share.put_all_away();
        assert_eq!(share.fs.statfs(file).unwrap().namelen, 255, "{mode:?}");
        assert_eq!(share.attr(file).unwrap().nlink, 0, "{mode:?}");
        assert_eq!(share.read(file, handle), b"content", "{mode:?}");
        let change = AttrChange { mode: Some(0o600), size: Some(3), ..AttrChange::default() };
        assert_eq!(share.fs.setattr(&user(0), file, &change).unwrap().attr.size, 3, "{mode:?}");
        share.fs.release(file, handle, false).unwrap();
        share.put_all_away();
        assert_eq!(share.attr(file).unwrap_err(), Errno::ESTALE, "{mode:?}");
    }
}

#[test]
fn a_removed_directory_stays_usable_while_the_guest_knows_it() {
    for mode in MODES {
        let share = Share::with(tight(mode));
        fs::create_dir(share.path().join("dir")).unwrap();
        let dir = share.find("dir");
        share.put_all_away();
        share.fs.rmdir(&user(0), share.root(), &name("dir")).unwrap();
        share.put_all_away();
        assert_eq!(share.attr(dir).unwrap().nlink, 0, "{mode:?}");
        assert!(share.fs.opendir(dir, 0).is_ok(), "{mode:?}");
        share.fs.forget(dir, 1);
        assert_eq!(share.attr(dir).unwrap_err(), Errno::ESTALE, "{mode:?}");
    }
}

#[test]
fn removed_directories_leave_room_for_what_is_there() {
    for mode in MODES {
        let share = Share::with(tight(mode));
        for dir in 0..100 {
            let dir = dir.to_string();
            fs::create_dir(share.path().join(&dir)).unwrap();
            share.find(&dir);
            share.fs.rmdir(&user(0), share.root(), &name(&dir)).unwrap();
        }
        share.put_all_away();
        assert!(share.fs.descriptors() <= 24, "{mode:?}: {}", share.fs.descriptors());
    }
}

#[test]
fn with_writeback_the_times_of_removed_files_can_be_written() {
    for mode in MODES {
        let share = Share::with(Config { writeback: true, ..tight(mode) });
        let flags = init::WRITEBACK_CACHE;
        share.fs.start(&Negotiated { flags, minor: 45 }).unwrap();
        let files = ["removed", "replaced"].map(|file| {
            fs::write(share.path().join(file), "").unwrap();
            share.find(file)
        });
        share.put_all_away();
        let root = share.root();
        share.fs.unlink(&user(0), root, &name("removed")).unwrap();
        fs::write(share.path().join("new"), "").unwrap();
        share.fs.rename(&user(0), (root, &name("new")), (root, &name("replaced")), 0).unwrap();
        share.put_all_away();
        for file in files {
            let time = SetTime::At(5, 6);
            let change = AttrChange { mtime: Some(time), ..AttrChange::default() };
            let attr = share.fs.setattr(&user(0), file, &change).unwrap().attr;
            assert_eq!((attr.nlink, attr.mtime, attr.mtimensec), (0, 5, 6), "{mode:?}");
        }
    }
}

#[test]
fn everything_is_given_back_when_it_is_forgotten() {
    for mode in MODES {
        let share = Share::with(Config { file_handles: mode, ..Config::default() });
        let before = share.fs.descriptors();
        for file in 0..100 {
            fs::write(share.path().join(file.to_string()), "x").unwrap();
        }
        let nodes: Vec<_> = (0..100).map(|file| share.find(&file.to_string())).collect();
        for node in &nodes {
            share.attr(*node).unwrap();
            share.find(&(node.0 % 100).to_string());
        }
        let handles: Vec<_> =
            nodes.iter().map(|node| share.fs.open(*node, 0, false).unwrap().handle).collect();
        let dir = share.fs.opendir(share.root(), 0).unwrap().handle;
        for (node, handle) in nodes.iter().zip(handles) {
            share.fs.release(*node, handle, false).unwrap();
            share.fs.forget(*node, 100);
            assert_eq!(share.attr(*node).unwrap_err(), Errno::ESTALE);
        }
        share.fs.releasedir(share.root(), dir).unwrap();
        assert_eq!((share.fs.inodes(), share.fs.handles()), (1, 0), "{mode:?}");
        assert_eq!(share.fs.descriptors(), before, "{mode:?}");
    }
}

#[test]
fn the_end_of_a_session_leaves_only_the_root() {
    for mode in MODES {
        let share = Share::with(Config { file_handles: mode, ..Config::default() });
        fs::write(share.path().join("file"), "x").unwrap();
        let file = share.find("file");
        let handle = share.fs.open(file, 0, false).unwrap().handle;
        let dir = share.fs.opendir(share.root(), 0).unwrap().handle;
        share.fs.end();
        assert_eq!((share.fs.inodes(), share.fs.handles()), (1, 0));
        assert_eq!(share.attr(file).unwrap_err(), Errno::ESTALE);
        assert_eq!(share.fs.release(file, handle, false), Err(Errno::EBADF));
        assert_eq!(share.fs.releasedir(share.root(), dir), Err(Errno::EBADF));
        assert_ne!(share.find("file"), file);
    }
}

#[test]
fn too_many_open_files_are_the_guests_error_and_not_the_daemons() {
    for mode in MODES {
        let share = Share::with(tight(mode));
        fs::write(share.path().join("file"), "x").unwrap();
        fs::write(share.path().join("other"), "x").unwrap();
        let file = share.find("file");
        let mut handles = Vec::new();
        let error = loop {
            match share.fs.open(file, 0, false) {
                Ok(opened) => handles.push(opened.handle),
                Err(error) => break error,
            }
        };
        assert_eq!(error, Errno::ENFILE, "{mode:?}");
        assert!(handles.len() >= 20, "{mode:?}: {}", handles.len());
        // What needs no new descriptor goes on.
        share.find("other");
        assert_eq!(share.read(file, handles[0]), b"x");
        share.fs.release(file, handles.pop().unwrap(), false).unwrap();
        share.fs.open(file, 0, false).unwrap();
    }
}

#[test]
fn inode_flags_and_project_ids_go_through_and_other_ioctls_do_not() {
    const GETFLAGS: u32 = 0x8008_6601;
    const SETFLAGS: u32 = 0x4008_6602;
    const FSGETXATTR: u32 = 0x801c_581f;
    const NODUMP: u32 = 0x40;
    let share = Share::new();
    fs::write(share.path().join("file"), "x").unwrap();
    let file = share.find("file");
    let handles = [
        (file, (share.fs.open(file, 0, false).unwrap().handle, false)),
        (share.root(), (share.fs.opendir(share.root(), 0).unwrap().handle, true)),
    ];
    for (node, handle) in handles {
        let flags = || {
            let mut flags = [0; 4];
            assert_eq!(share.fs.ioctl(node, handle, GETFLAGS, &[], &mut flags), Ok(4));
            u32::from_ne_bytes(flags)
        };
        let before = flags();
        let with = (before | NODUMP).to_ne_bytes();
        share.fs.ioctl(node, handle, SETFLAGS, &with, &mut []).unwrap();
        assert_eq!(flags(), before | NODUMP);
        let mut long = [0xff; 8];
        assert_eq!(share.fs.ioctl(node, handle, GETFLAGS, &[], &mut long), Ok(8));
        assert_eq!(long[..4], with, "as the command's number would have it");
        let mut attributes = [0; 28];
        assert_eq!(share.fs.ioctl(node, handle, FSGETXATTR, &[], &mut attributes), Ok(28));
        for (command, input, room) in
            [(GETFLAGS, 0, 3), (SETFLAGS, 3, 0), (FSGETXATTR, 0, 27), (0x401c_5820, 27, 0)]
        {
            let refused =
                share.fs.ioctl(node, handle, command, &vec![0; input], &mut vec![0; room]);
            assert_eq!(refused, Err(Errno::EINVAL));
        }
        for other in [0, 0x5401, 0x4004_9409, u32::MAX] {
            let refused = share.fs.ioctl(node, handle, other, &[0; 64], &mut [0; 64]);
            assert_eq!(refused, Err(Errno::ENOTTY), "{other:#x}");
        }
    }
}
