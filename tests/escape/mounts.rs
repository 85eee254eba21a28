//! Mounts below the share: what is above their roots on the host is no way out.

use rustix::mount::{
    MountPropagationFlags, UnmountFlags, mount_bind, mount_change, mount_move, unmount,
};

use super::*;

/// Mounts that go away with this.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// A share with the inside of a directory that is outside of it on `bound`, and a file on
/// `bound-file`. Nothing that happens to these mounts happens elsewhere.
fn with_mounts(test: &str, way: &[&str]) -> Option<(Mounted, Premises)> {
    let mut mounted = None;
    if !rustix::process::geteuid().is_root() {
        ferryfs_bench::skip(test, "only root may mount");
        return None;
    }
    let premises = Premises::with(way, |folder| {
        let at = |name: &str| folder.join(name);
        for dir in ["source", "source/inner", "source/inner/sub", "share/bound", "moved"] {
            fs::create_dir(at(dir)).unwrap();
        }
        for file in ["source/victim", "source/inner/file", "share/bound-file", "outside/bound"] {
            fs::write(at(file), "precious").unwrap();
        }
        symlink("../victim", at("source/inner/up")).unwrap();
        mount_bind(folder, folder).unwrap();
        mounted = Some(Mounted(folder.to_owned()));
        mount_change(folder, MountPropagationFlags::PRIVATE).unwrap();
        mount_bind(at("source/inner"), at("share/bound")).unwrap();
        mount_bind(at("outside/bound"), at("share/bound-file")).unwrap();
    });
    mounted.map(|mounted| (mounted, premises))
}

/// Names that would lead up from a directory do not.
fn leads_nowhere(fs: &mut Client, node: u64, what: &str) {
    for name in [&b"..\0"[..], b"../victim\0", b"../../victim\0", b"sub/../../victim\0"] {
        for opcode in [Opcode::Lookup, Opcode::Unlink, Opcode::Rmdir] {
            let found = send(fs, &request(opcode, node, &[name]));
            assert_eq!(found, Err(Errno::EINVAL), "{what}");
        }
    }
    for name in ["up", "victim"] {
        let Some(entry) = any(fs.lookup(node, name)) else { continue };
        assert!(entry.nodeid == 0 || name == "up", "{what}");
        assert!(any(fs.open(entry.nodeid, libc::O_RDWR)).is_none(), "{what}");
        assert!(any(fs.lookup(entry.nodeid, "victim")).is_none(), "{what}");
    }
    let Some(opened) = any(fs.opendir(node)) else { return };
    for entry in fs.readdirplus(node, opened.fh, 0, 4096).unwrap() {
        let dots = entry.name == b"." || entry.name == b"..";
        assert!(!dots || entry.entry.is_none_or(|found| found.nodeid == 0), "{what}");
    }
    fs.releasedir(node, opened.fh).unwrap();
}

#[test]
fn the_root_of_a_mount_in_the_share_leads_no_further_up() {
    let test = "the_root_of_a_mount_in_the_share_leads_no_further_up";
    for way in ways() {
        let Some((_mounted, mut premises)) = with_mounts(test, way) else { return };
        let before = premises.outside();
        let bound = premises.find(ROOT, "bound");
        let sub = premises.find(bound, "sub");
        for node in [bound, sub] {
            leads_nowhere(&mut premises.fs, node, &format!("{way:?}"));
        }
        // A file that is mounted is what it is, and no way to those beside it.
        let file = premises.find(ROOT, "bound-file");
        assert!(any(premises.fs.lookup(file, "victim")).is_none(), "{way:?}");
        assert!(any(premises.fs.unlink(ROOT, "bound-file")).is_none(), "{way:?}");
        assert!(any(premises.fs.rmdir(ROOT, "bound")).is_none(), "{way:?}");
        assert!(any(premises.fs.rename((ROOT, "bound"), (ROOT, "taken"))).is_none(), "{way:?}");
        assert!(any(premises.fs.link(file, (ROOT, "linked"))).is_none(), "{way:?}");
        assert_eq!(premises.outside(), before, "{way:?}");
    }
}

#[test]
fn a_mount_that_leaves_the_share_takes_nobody_along() {
    let test = "a_mount_that_leaves_the_share_takes_nobody_along";
    for way in ways() {
        let Some((_mounted, mut premises)) = with_mounts(test, way) else { return };
        let bound = premises.find(ROOT, "bound");
        let sub = premises.find(bound, "sub");
        let opened = premises.fs.opendir(sub).unwrap().fh;
        mount_move(premises.at("share/bound"), premises.at("moved")).unwrap();
        let before = premises.outside();
        for node in [bound, sub] {
            leads_nowhere(&mut premises.fs, node, &format!("{way:?}"));
        }
        any(premises.fs.readdirplus(sub, opened, 0, 4096));
        assert_eq!(premises.outside(), before, "{way:?}");
        any(premises.fs.mkdir(sub, "made", 0o755));
        let made: Vec<_> =
            premises.outside().into_keys().filter(|path| path.ends_with("made")).collect();
        let within = ["source/inner/sub/made", "moved/sub/made"].map(|path| premises.at(path));
        assert!(made.iter().all(|path| within.contains(path)), "{way:?}: {made:?}");
    }
}
