//! Other file systems mounted below the shared directory. Needs to be root.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod share;

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use ferryfs::fuse::flags::{attr, init};
use ferryfs::fuse::{Errno, Filesystem, Negotiated, NodeId};
use ferryfs::passthrough::{Config, FileHandles};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};
use share::{Share, name, user};

/// A mount that goes away with this.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// A share with a tmpfs on `tmp` and a bind mount of `plain` on `bound`.
fn with_mounts(config: Config) -> (Share, [Mounted; 2]) {
    let share = Share::with(config);
    let folders = ["tmp", "plain", "bound"].map(|folder| share.path().join(folder));
    for folder in &folders {
        fs::create_dir(folder).unwrap();
    }
    // Of another size than one on which temporary files may be.
    mount("tmpfs", &folders[0], "tmpfs", MountFlags::empty(), Some(c"size=16m")).unwrap();
    mount_bind(&folders[1], &folders[2]).unwrap();
    for folder in &folders {
        for file in 0..20 {
            fs::write(folder.join(file.to_string()), "x").unwrap();
        }
    }
    let [tmp, _, bound] = folders;
    (share, [Mounted(tmp), Mounted(bound)])
}

fn announced() -> Negotiated {
    Negotiated { flags: init::SUBMOUNTS, minor: 45 }
}

#[test]
fn a_guest_that_can_see_them_is_told_where_file_systems_begin() {
    let (share, _mounts) = with_mounts(Config::default());
    share.fs.start(&announced()).unwrap();
    for (folder, expected) in [("tmp", attr::SUBMOUNT), ("plain", 0), ("bound", attr::SUBMOUNT)] {
        let entry = share.fs.lookup(&user(0), share.root(), &name(folder)).unwrap();
        assert_eq!(entry.attr.flags, expected, "{folder}");
        assert_eq!(share.attr(entry.node).unwrap().flags, expected, "{folder}");
        assert_eq!(share.attr(share.find_in(entry.node, "1")).unwrap().flags, 0);
    }
    assert_eq!(share.attr(share.root()).unwrap().flags, 0);
}

#[test]
fn other_guests_never_see_one_inode_number_twice() {
    for (announce_submounts, agreed) in
        [(true, Negotiated::default()), (false, announced()), (false, Negotiated::default())]
    {
        let (share, _mounts) = with_mounts(Config { announce_submounts, ..Config::default() });
        share.fs.start(&agreed).unwrap();
        let mut seen = HashSet::new();
        for folder in ["tmp", "plain", "bound"] {
            let dir = share.find(folder);
            assert_eq!(share.attr(dir).unwrap().flags, 0);
            for file in 0..20 {
                let node = share.find_in(dir, &file.to_string());
                seen.insert(share.attr(node).unwrap().ino);
            }
        }
        // The bind mount shows the same files as the folder that it is of.
        assert_eq!(seen.len(), 40);
    }
}

#[test]
fn each_mount_has_its_own_figures_and_is_made_durable() {
    for (agreed, file_handles) in [
        (announced(), FileHandles::Prefer),
        (Negotiated::default(), FileHandles::Prefer),
        (Negotiated::default(), FileHandles::Never),
    ] {
        let (share, _mounts) = with_mounts(Config { file_handles, ..Config::default() });
        share.fs.start(&agreed).unwrap();
        let (tmp, plain) = (share.find("tmp"), share.find("plain"));
        let (of_tmp, of_plain) = (share.fs.statfs(tmp).unwrap(), share.fs.statfs(plain).unwrap());
        assert_ne!((of_tmp.blocks, of_tmp.files), (of_plain.blocks, of_plain.files));
        assert_eq!(of_tmp.frsize, 4096);
        for node in [share.root(), tmp, plain] {
            share.fs.syncfs(node).unwrap();
        }
    }
}

#[test]
fn a_mount_is_free_again_when_the_guest_has_forgotten_it() {
    for file_handles in [FileHandles::Prefer, FileHandles::Never] {
        let (share, mounts) = with_mounts(Config { file_handles, ..Config::default() });
        let tmp = share.find("tmp");
        let file = share.find_in(tmp, "1");
        assert!(unmount(&mounts[0].0, UnmountFlags::empty()).is_err(), "in use");
        share.fs.forget(file, 1);
        share.fs.forget(tmp, 1);
        unmount(&mounts[0].0, UnmountFlags::empty()).unwrap();
        assert_ne!(share.find("tmp"), tmp);
    }
}

#[test]
fn handles_can_be_demanded_of_every_file_system() {
    let config = Config { file_handles: FileHandles::Mandatory, ..Config::default() };
    let (share, _mounts) = with_mounts(config);
    share.find("tmp");
    // proc has none.
    fs::create_dir(share.path().join("proc")).unwrap();
    let proc = share.path().join("proc");
    mount("proc", &proc, "proc", MountFlags::empty(), None).unwrap();
    let _proc = Mounted(proc);
    let refused = share.fs.lookup(&user(0), share.root(), &name("proc"));
    assert_eq!(refused.map(|entry| entry.node), Err(Errno::EOPNOTSUPP));
}

#[test]
fn a_file_system_without_handles_is_served_all_the_same() {
    let share = Share::with(Config { descriptors: 32, ..Config::default() });
    let proc = share.path().join("proc");
    fs::create_dir(&proc).unwrap();
    mount("proc", &proc, "proc", MountFlags::empty(), None).unwrap();
    let _proc = Mounted(proc);
    let mut nodes: Vec<NodeId> = Vec::new();
    for file in ["uptime", "version", "self", "sys/kernel/hostname", "meminfo", "1/status"] {
        nodes.push(share.find(&format!("proc/{file}")));
    }
    share.put_all_away();
    for node in nodes {
        share.attr(node).unwrap();
    }
}

#[test]
fn a_file_that_is_mounted_on_another_has_a_number_of_its_own_among_those_around_it() {
    for agreed in [announced(), Negotiated::default()] {
        let (share, _mounts) = with_mounts(Config::default());
        share.fs.start(&agreed).unwrap();
        // Two of them count their inodes alike.
        let like = share.path().join("like");
        fs::create_dir(&like).unwrap();
        mount("tmpfs", &like, "tmpfs", MountFlags::empty(), None).unwrap();
        let _like = Mounted(like.clone());
        for file in 0..40 {
            fs::write(like.join(file.to_string()), "").unwrap();
        }
        let pairs = [("tmp/1", "here"), ("tmp/1", "like/there"), ("plain/1", "tmp/there")];
        let _bound = pairs.map(|(from, to)| {
            fs::write(share.path().join(to), "").unwrap();
            mount_bind(share.path().join(from), share.path().join(to)).unwrap();
            Mounted(share.path().join(to))
        });
        let numbers = |folder: &str| {
            let folder = share.path().join(folder);
            let listed = fs::read_dir(&folder).unwrap();
            let listed = listed.map(|entry| entry.unwrap().metadata().unwrap());
            let here = folder.metadata().unwrap().dev();
            let own = listed.filter(|entry| entry.dev() == here);
            own.map(|entry| entry.ino()).collect::<HashSet<_>>()
        };
        let around = [numbers(""), numbers("like"), numbers("tmp")];
        for ((from, to), around) in pairs.iter().zip(around) {
            let (node, attr) = (share.find(to), |node| share.attr(node).unwrap());
            assert_eq!((attr(node).flags, attr(node).size), (0, 1), "{to}");
            assert!(!around.contains(&attr(node).ino), "{to}: {:#x}", attr(node).ino);
            assert_eq!(share.fs.statx(node, None, u32::MAX).unwrap().stat.ino, attr(node).ino);
            // It is not the file that it was mounted from.
            assert_ne!(share.find(from), node);
        }
    }
}
