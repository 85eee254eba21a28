//! What a guest holds, and when it no longer does.

use ferryfs::fuse::Errno;
use ferryfs_bench::ROOT;

use super::*;

const COUNT: usize = 100;

/// Looks up `COUNT` files and makes the daemon open each of them.
fn know_many(machine: &mut Machine) -> Vec<u64> {
    for number in 0..COUNT {
        machine.put(&number.to_string(), "");
    }
    let find = |number: usize| machine.find(ROOT, &number.to_string());
    let nodes: Vec<_> = (0..COUNT).map(find).collect();
    for node in &nodes {
        machine.fs.getattr(*node, None).unwrap();
    }
    nodes
}

/// A daemon that has done this once holds what it will always hold.
fn warm_up(machine: &mut Machine) {
    let node = machine.fs.mkdir(ROOT, "warm", 0o755).unwrap().nodeid;
    machine.fs.setxattr(node, "user.x", b"", 0).unwrap();
    machine.fs.rmdir(ROOT, "warm").unwrap();
    machine.hiprio.forget(node, 1).unwrap();
}

#[test]
fn forgotten_inodes_are_closed() {
    let mut machine = Machine::new();
    warm_up(&mut machine);
    let before = machine.descriptors();
    let nodes = know_many(&mut machine);
    assert!(machine.descriptors() >= before + COUNT);
    for node in &nodes {
        machine.hiprio.forget(*node, 1).unwrap();
    }
    assert_eq!(machine.descriptors(), before);
    for node in nodes {
        assert_eq!(machine.fs.getattr(node, None).unwrap_err(), Errno::ESTALE);
    }
}

#[test]
fn inodes_are_forgotten_in_batches_and_on_any_queue() {
    let mut machine = Machine::new();
    warm_up(&mut machine);
    let before = machine.descriptors();
    let nodes = know_many(&mut machine);
    let (some, others) = nodes.split_at(COUNT / 2);
    let batch = |nodes: &[u64]| nodes.iter().map(|node| (*node, 1)).collect::<Vec<_>>();
    machine.hiprio.batch_forget(&batch(some)).unwrap();
    machine.fs.batch_forget(&batch(others)).unwrap();
    machine.fs.batch_forget(&[]).unwrap();
    assert_eq!(machine.descriptors(), before);
    machine.fs.getattr(ROOT, None).unwrap();
}

#[test]
fn an_inode_is_known_until_every_lookup_is_forgotten() {
    let mut machine = Machine::new();
    machine.put("a", "");
    let node = machine.find(ROOT, "a");
    assert_eq!(machine.find(ROOT, "a"), node);
    machine.fs.link(node, (ROOT, "b")).unwrap();
    machine.hiprio.forget(node, 1).unwrap();
    machine.fs.forget(node, 1).unwrap();
    machine.fs.getattr(node, None).unwrap();
    machine.hiprio.forget(node, 1).unwrap();
    assert_eq!(machine.fs.getattr(node, None).unwrap_err(), Errno::ESTALE);
    assert_ne!(machine.find(ROOT, "a"), node, "a nodeid never comes back");
}

#[test]
fn forgetting_too_much_or_what_is_not_known_does_no_harm() {
    let mut machine = Machine::new();
    machine.put("a", "");
    for node in [ROOT, 0, 77, u64::MAX] {
        machine.hiprio.forget(node, 1).unwrap();
        machine.fs.forget(node, u64::MAX).unwrap();
        machine.fs.batch_forget(&[(node, u64::MAX), (node, 0)]).unwrap();
    }
    let node = machine.find(ROOT, "a");
    machine.fs.forget(node, 0).unwrap();
    machine.fs.getattr(node, None).unwrap();
    machine.fs.forget(node, u64::MAX).unwrap();
    assert_eq!(machine.fs.getattr(node, None).unwrap_err(), Errno::ESTALE);
    machine.find(ROOT, "a");
}

#[test]
fn an_open_file_outlives_its_inode() {
    let mut machine = Machine::new();
    machine.put("a", "content");
    let node = machine.find(ROOT, "a");
    let fh = machine.fs.open(node, libc::O_RDONLY).unwrap().fh;
    machine.hiprio.forget(node, 1).unwrap();
    assert_eq!(machine.fs.read(node, fh, 0, 99).unwrap(), b"content");
    machine.fs.release(node, fh).unwrap();
}

/// What a guest had before its session ended.
struct Old {
    descriptors: usize,
    nodes: Vec<u64>,
    file: (u64, u64),
    dir: (u64, u64),
}

impl Old {
    fn new(machine: &mut Machine) -> Self {
        warm_up(machine);
        let descriptors = machine.descriptors();
        let nodes = know_many(machine);
        let file = nodes[0];
        for node in &nodes[..COUNT / 2] {
            machine.fs.open(*node, libc::O_RDWR).unwrap();
        }
        let fh = machine.fs.open(file, libc::O_RDWR).unwrap().fh;
        let dir = machine.fs.mkdir(ROOT, "dir", 0o755).unwrap().nodeid;
        let dir_fh = machine.fs.opendir(dir).unwrap().fh;
        assert!(machine.descriptors() > descriptors + COUNT);
        Old { descriptors, nodes, file: (file, fh), dir: (dir, dir_fh) }
    }

    fn is_gone(&self, machine: &mut Machine) {
        assert_eq!(machine.descriptors(), self.descriptors);
        let fs = &mut machine.fs;
        for node in &self.nodes {
            assert_eq!(fs.getattr(*node, None).unwrap_err(), Errno::ESTALE);
        }
        let ((node, fh), (dir, dir_fh)) = (self.file, self.dir);
        assert_eq!(fs.read(node, fh, 0, 1).unwrap_err(), Errno::EBADF);
        assert_eq!(fs.release(node, fh).unwrap_err(), Errno::EBADF);
        assert_eq!(fs.readdir(dir, dir_fh, 0, 4096).unwrap_err(), Errno::EBADF);
        assert_eq!(fs.lookup(dir, "a").unwrap_err(), Errno::ESTALE);
        let (name, node) = (self.nodes.len() / 2, self.nodes[self.nodes.len() / 2]);
        assert_ne!(fs.lookup(ROOT, name.to_string()).unwrap().nodeid, node);
    }
}

#[test]
fn an_init_begins_a_new_session() {
    let mut machine = Machine::new();
    let old = Old::new(&mut machine);
    machine.fs.init(LINUX_6_18).unwrap();
    old.is_gone(&mut machine);
}

#[test]
fn a_session_ends_by_destroy() {
    let mut machine = Machine::new();
    let old = Old::new(&mut machine);
    machine.fs.destroy().unwrap();
    assert_eq!(machine.descriptors(), old.descriptors);
    assert_eq!(machine.fs.getattr(ROOT, None).unwrap_err(), Errno::EIO);
    assert_eq!(machine.fs.lookup(ROOT, "0").unwrap_err(), Errno::EIO);
    assert_eq!(machine.fs.destroy().unwrap_err(), Errno::EIO);
    machine.hiprio.forget(old.nodes[0], 1).unwrap();
    machine.fs.init(LINUX_6_18).unwrap();
    old.is_gone(&mut machine);
}

#[test]
fn a_device_reset_ends_the_session() {
    let mut machine = Machine::new();
    let old = Old::new(&mut machine);
    let features = machine.guest.features();
    settle(&machine.daemon);
    machine.guest.reset_device().unwrap();
    assert_eq!(machine.descriptors(), old.descriptors);
    machine.guest.set_features(features).unwrap();
    machine.fs = machine.guest.client(1).unwrap();
    assert_eq!(machine.fs.getattr(ROOT, None).unwrap_err(), Errno::EIO);
    machine.fs.init(LINUX_6_18).unwrap();
    old.is_gone(&mut machine);
}

#[test]
fn a_guest_that_reboots_finds_everything_as_if_it_were_the_first() {
    let mut machine = Machine::new();
    let old = Old::new(&mut machine);
    for index in [0, 1] {
        stop_idle(&mut machine.guest, &machine.daemon, index);
    }
    machine.hiprio = machine.guest.client(0).unwrap();
    machine.fs = machine.guest.client(1).unwrap();
    machine.fs.init(LINUX_6_18).unwrap();
    machine.hiprio.forget(old.nodes[0], 1).unwrap();
    old.is_gone(&mut machine);
}

#[test]
fn nothing_is_served_before_init() {
    let mut machine = Machine::with(&[], Setup::default());
    machine.put("a", "");
    let fs = &mut machine.fs;
    assert_eq!(fs.getattr(ROOT, None).unwrap_err(), Errno::EIO);
    assert_eq!(fs.lookup(ROOT, "a").unwrap_err(), Errno::EIO);
    assert_eq!(fs.mkdir(ROOT, "dir", 0o755).unwrap_err(), Errno::EIO);
    assert_eq!(fs.statfs(ROOT).unwrap_err(), Errno::EIO);
    machine.hiprio.forget(ROOT, 1).unwrap();
    assert!(!machine.path("dir").exists());
    machine.fs.init(LINUX_6_18).unwrap();
    machine.find(ROOT, "a");
}

#[test]
fn an_init_that_fails_begins_nothing() {
    let mut machine = Machine::with(&[], Setup::default());
    assert_eq!(machine.fs.init((20, 0)).unwrap_err(), Errno::EPROTO);
    assert_eq!(machine.fs.getattr(ROOT, None).unwrap_err(), Errno::EIO);
    machine.fs.init((27, 0)).unwrap();
    machine.fs.getattr(ROOT, None).unwrap();
}
