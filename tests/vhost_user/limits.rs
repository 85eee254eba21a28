//! What a guest can have of the host is bounded.

use std::collections::BTreeSet;

use ferryfs::fuse::abi::{FileLock, LkIn};
use ferryfs::fuse::{Errno, Opcode, flags};
use ferryfs_bench::{Frame, Layout, ROOT, Request};
use zerocopy::IntoBytes;

use super::*;

fn machine(args: &[&str], setup: Setup) -> Machine {
    let mut machine = Machine::with(args, setup);
    machine.fs.init(LINUX_6_18).unwrap();
    machine
}

#[test]
fn a_guest_cannot_fill_the_log() {
    let mut machine = Machine::new();
    for _ in 0..2000 {
        machine.fs.init(LINUX_6_18).unwrap();
    }
    let lines = machine.daemon.process().stderr().lines().count();
    assert!((20..60).contains(&lines), "{lines} lines");
}

#[test]
fn a_guest_knows_so_many_inodes_and_no_more() {
    let mut machine = machine(&["--inode-limit", "10"], Setup::default());
    for name in 0..20 {
        machine.put(&name.to_string(), "");
    }
    let fs = &mut machine.fs;
    let nodes: Vec<_> =
        (0..9).map(|name: u32| fs.lookup(ROOT, name.to_string()).unwrap().nodeid).collect();
    for round in 0..3 {
        assert_eq!(fs.lookup(ROOT, "9").unwrap_err(), Errno::ENFILE);
        assert_eq!(fs.create(ROOT, "9", libc::O_RDWR, 0o644).unwrap_err(), Errno::ENFILE);
        assert_eq!(fs.lookup(ROOT, "0").unwrap().nodeid, nodes[0], "round {round}");
    }
    // A listing goes on without them.
    let fh = fs.opendir(ROOT).unwrap().fh;
    let entries = fs.readdirplus(ROOT, fh, 0, 8192).unwrap();
    assert_eq!(entries.len(), 22);
    let known = entries.iter().filter(|found| found.entry.is_some_and(|entry| entry.nodeid != 0));
    assert_eq!(known.count(), 9);
    fs.forget(nodes[5], u64::MAX).unwrap();
    fs.lookup(ROOT, "9").unwrap();
    assert_eq!(fs.lookup(ROOT, "5").unwrap_err(), Errno::ENFILE);
}

#[test]
fn directories_that_are_half_read_cost_little() {
    let mut machine = Machine::new();
    let dir = machine.path("dir");
    fs::create_dir(&dir).unwrap();
    let names: BTreeSet<Vec<u8>> =
        (0..600).map(|name| format!("a rather long name {name}").into_bytes()).collect();
    for name in &names {
        fs::write(dir.join(std::str::from_utf8(name).unwrap()), "").unwrap();
    }
    let node = machine.find(ROOT, "dir");
    let fs = &mut machine.fs;
    let before = machine.daemon.process().resident().unwrap();
    let mut handles = Vec::new();
    for _ in 0..1000 {
        let fh = fs.opendir(node).unwrap().fh;
        let entries = fs.readdir(node, fh, 0, 512).unwrap();
        let offset = entries.last().unwrap().offset;
        handles.push((fh, offset, entries));
    }
    let after = machine.daemon.process().resident().unwrap();
    assert!(after < before + (14 << 20), "{} KiB more", (after - before) >> 10);
    // Those that gave up what they had read ahead go on all the same, and so do the others.
    for (fh, mut offset, mut entries) in handles.into_iter().step_by(99) {
        loop {
            let more = fs.readdir(node, fh, offset, 4096).unwrap();
            let Some(last) = more.last() else { break };
            offset = last.offset;
            entries.extend(more);
        }
        let dots = |name: &[u8]| name == b"." || name == b"..";
        let found: Vec<_> =
            entries.into_iter().map(|entry| entry.name).filter(|name| !dots(name)).collect();
        assert_eq!(found.len(), names.len());
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), names);
    }
}

fn lock(fh: u64, kind: i32, start: u64, end: u64) -> LkIn {
    let lk = FileLock { start, end, kind: kind.cast_unsigned(), pid: 1 };
    LkIn { fh, owner: 1, lk, lk_flags: 0, padding: 0 }
}

#[test]
fn a_guest_locks_so_many_ranges_and_no_more() {
    let mut machine = machine(&["--posix-lock"], Setup::default());
    let made = machine.fs.create(ROOT, "a", libc::O_RDWR, 0o644).unwrap();
    let (node, fh) = (made.entry.nodeid, made.open.fh);
    let fs = &mut machine.fs;
    let mut locked = 0;
    let error = loop {
        match fs.setlk(node, &lock(fh, libc::F_WRLCK, 2 * locked, 2 * locked), false) {
            Ok(()) => locked += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error, Errno::ENOLCK);
    assert_eq!(locked, 1 << 11);
    fs.setlk(node, &lock(fh, libc::F_UNLCK, 0, 0), false).unwrap();
    fs.setlk(node, &lock(fh, libc::F_WRLCK, 2 * locked, 2 * locked), false).unwrap();
    fs.setlk(node, &lock(fh, libc::F_UNLCK, 0, i64::MAX.cast_unsigned()), false).unwrap();
    fs.setlk(node, &lock(fh, libc::F_WRLCK, 5, 5), false).unwrap();
}

#[test]
fn a_guest_locks_through_so_many_of_its_open_files_and_no_more() {
    let mut machine = machine(&["--posix-lock"], Setup::default());
    let node = machine.fs.create(ROOT, "a", libc::O_RDWR, 0o644).unwrap().entry.nodeid;
    let fs = &mut machine.fs;
    let handles: Vec<_> = (0..1030).map(|_| fs.open(node, libc::O_RDWR).unwrap().fh).collect();
    for fh in &handles[..1024] {
        fs.setlk(node, &lock(*fh, libc::F_WRLCK, 0, 0), false).unwrap();
    }
    for fh in &handles[1024..] {
        let locked = fs.setlk(node, &lock(*fh, libc::F_WRLCK, 0, 0), false);
        assert_eq!(locked.unwrap_err(), Errno::ENOLCK);
    }
    fs.setlk(node, &lock(handles[1025], libc::F_UNLCK, 0, 5), false).unwrap();
    fs.setlk(node, &lock(handles[1026], libc::F_WRLCK, 0, 0), false).unwrap();
}

#[test]
fn owners_who_have_nothing_locked_any_more_cost_nothing() {
    let mut machine = machine(&["--posix-lock"], Setup::default());
    let made = machine.fs.create(ROOT, "a", libc::O_RDWR, 0o644).unwrap();
    let (node, fh) = (made.entry.nodeid, made.open.fh);
    let before = machine.descriptors();
    for owner in 0..300 {
        let range = |kind| LkIn { owner, ..lock(fh, kind, 2 * owner, 2 * owner) };
        machine.fs.setlk(node, &range(libc::F_WRLCK), false).unwrap();
        machine.fs.setlk(node, &range(libc::F_UNLCK), false).unwrap();
    }
    assert_eq!(machine.descriptors(), before);
}

#[test]
fn open_files_and_directories_share_what_a_guest_may_have() {
    let mut machine = machine(&["--rlimit-nofile", "200"], Setup::default());
    machine.put("a", "");
    let node = machine.find(ROOT, "a");
    let fs = &mut machine.fs;
    let (mut dirs, mut files) = (Vec::new(), Vec::new());
    let error = loop {
        match fs.opendir(ROOT) {
            Ok(dir) => dirs.push(dir.fh),
            Err(error) => break error,
        }
        match fs.open(node, libc::O_RDONLY) {
            Ok(file) => files.push(file.fh),
            Err(error) => break error,
        }
    };
    assert_eq!(error, Errno::ENFILE);
    assert!((20..100).contains(&files.len()), "{}", files.len());
    for _ in 0..3 {
        assert_eq!(fs.opendir(ROOT).unwrap_err(), Errno::ENFILE);
        assert_eq!(fs.tmpfile(ROOT, libc::O_RDWR, 0o600).unwrap_err(), Errno::ENFILE);
        fs.getattr(ROOT, None).unwrap();
        fs.getattr(node, Some(files[0])).unwrap();
    }
    fs.releasedir(ROOT, dirs[0]).unwrap();
    fs.open(node, libc::O_RDONLY).unwrap();
}

#[test]
fn so_many_requests_wait_and_the_others_are_turned_away() {
    let mut setup = Setup { queue_size: 32768, ..Setup::default() };
    setup.features &= !Setup::INDIRECT;
    let mut machine = machine(&["--flock"], setup);
    let host = fs::File::open(machine.put("locked", "")).unwrap();
    host.lock().unwrap();
    let node = machine.find(ROOT, "locked");
    let fh = machine.fs.open(node, libc::O_RDWR).unwrap().fh;
    let arg = LkIn { lk_flags: flags::lock::FLOCK, ..lock(fh, libc::F_WRLCK, 0, u64::MAX >> 1) };
    let (opcode, args) = (Opcode::Setlkw as u32, &[arg.as_bytes()]);
    let mut queues = Vec::new();
    for index in [2, 3] {
        let mut queue = machine.guest.queue(index).unwrap();
        let mut frame = Frame::new(queue.region(), Layout::Linux, (4096, 4096)).unwrap();
        frame.fill(4, &Request { opcode, node, args, ..Request::default() }).unwrap();
        // All of them in the same memory.
        for _ in 0..8200 {
            queue.submit(frame.readable(), frame.writable()).unwrap();
        }
        queue.kick().unwrap();
        queues.push((queue, frame));
    }
    let mut refused = 0;
    let deadline = Instant::now() + LONG;
    while refused < 300 {
        assert!(Instant::now() < deadline, "{refused} were turned away");
        for (queue, frame) in &mut queues {
            while let Some(used) = queue.reap().unwrap() {
                assert_eq!(frame.check(used.len, 4).unwrap_err(), Errno::ENOLCK);
                refused += 1;
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    machine.fs.getattr(ROOT, None).unwrap();
    machine.guest.stop(2).unwrap();
    machine.guest.stop(3).unwrap();
    drop(host);
    machine.fs.getattr(ROOT, None).unwrap();
}
