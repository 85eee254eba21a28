//! A host that has no descriptors left for the daemon.

use ferryfs::fuse::Errno;
use ferryfs_bench::ROOT;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use super::*;

#[test]
fn without_descriptors_what_is_open_goes_on_and_the_rest_comes_back() {
    let place = Place::new();
    let share = place.dir("share");
    for name in 0..50 {
        fs::write(share.join(name.to_string()), "content").unwrap();
    }
    for handles in ["never", "prefer"] {
        let handles = format!("--inode-file-handles={handles}");
        let mut machine = Machine::new(&share, &[&handles, "--rlimit-nofile", "300"]);
        let nodes: Vec<_> = (0..50).map(|name| machine.find(ROOT, &name.to_string())).collect();
        let fs = &mut machine.fs;
        let fh = fs.open(nodes[0], libc::O_RDWR).unwrap().fh;
        let pid = i32::try_from(machine.daemon.process().serving()).unwrap();
        let pid = Pid::from_raw(pid);
        // As if others had taken all of them: every new one is too many.
        let maximum = getrlimit(Resource::Nofile).maximum;
        let none = Rlimit { current: Some(3), maximum };
        let before = prlimit(pid, Resource::Nofile, none).unwrap();
        for round in 0..3 {
            for node in &nodes {
                assert_eq!(fs.open(*node, libc::O_RDONLY).unwrap_err(), Errno::ENFILE);
            }
            assert_eq!(fs.opendir(ROOT).unwrap_err(), Errno::ENFILE);
            let made = fs.create(ROOT, "new", libc::O_RDWR, 0o644);
            assert_eq!(made.unwrap_err(), Errno::ENFILE, "{handles}, round {round}");
            assert!(!share.join("new").exists());
            assert_eq!(fs.read(nodes[0], fh, 0, 100).unwrap(), b"content");
            assert_eq!(fs.write(nodes[0], fh, 0, b"content").unwrap(), 7);
            assert_eq!(fs.getattr(nodes[0], Some(fh)).unwrap().attr.size, 7);
            fs.statfs(ROOT).unwrap();
        }
        prlimit(pid, Resource::Nofile, before).unwrap();
        for node in &nodes {
            let fh = fs.open(*node, libc::O_RDONLY).unwrap().fh;
            assert_eq!(fs.read(*node, fh, 0, 100).unwrap(), b"content");
            fs.release(*node, fh).unwrap();
        }
        fs.create(ROOT, "new", libc::O_RDWR, 0o644).unwrap();
        fs.unlink(ROOT, "new").unwrap();
    }
}
