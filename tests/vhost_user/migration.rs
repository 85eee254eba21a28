//! The log of live migration: every page that the device writes is in it, and no other.

use std::collections::BTreeSet;

use ferryfs::fuse::Errno;
use ferryfs_bench::{Client, DirtyLog, Layout, PAGE, ROOT, Ring, Span};

use super::*;

/// More than all memory of these guests.
const END: u64 = 8 << 30;

/// The pages of guest addresses.
fn pages(addr: u64, len: u64) -> impl Iterator<Item = u64> {
    addr / PAGE..(addr + len).div_ceil(PAGE)
}

/// The pages of the first `len` bytes of `spans`.
fn written(spans: &[Span], mut len: u64) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    for span in spans {
        let here = len.min(span.len.into());
        if here > 0 {
            found.extend(pages(span.addr, here));
        }
        len -= here;
    }
    found
}

/// The pages of a used ring, which is written for every request.
fn used(ring: &Ring) -> impl Iterator<Item = u64> {
    pages(ring.used_addr(), 6 + 8 * u64::from(ring.size()))
}

/// Checks that since the last time a reply of `len` bytes was written, and nothing else.
fn expect(log: &DirtyLog, fs: &Client, daemon: &Daemon, len: usize, what: &str) {
    let mut expected = written(fs.frame().writable(), len as u64);
    expected.extend(used(fs.queue().ring()));
    // A page is in the log after it was written, and perhaps after its request was used.
    settle(daemon);
    assert_eq!(log.take().into_iter().collect::<BTreeSet<_>>(), expected, "{what}");
}

/// A guest with short rings and a far region, whose migration has begun.
fn migrating() -> (Machine, DirtyLog) {
    let memory = vec![(0, 64 << 20), (1 << 32, 64 << 20)];
    let mut machine = Machine::with(&[], Setup { memory, queue_size: 256, ..Setup::default() });
    machine.fs.init(LINUX_6_18).unwrap();
    let log = machine.guest.set_log(END).unwrap();
    (machine, log)
}

fn log_all(machine: &mut Machine, on: bool) {
    let features = machine.guest.features() & !Setup::LOG_ALL;
    let features = if on { features | Setup::LOG_ALL } else { features };
    machine.guest.set_features(features).unwrap();
}

#[test]
fn exactly_the_pages_that_were_written_are_logged() {
    let (mut machine, log) = migrating();
    machine.put("a", pattern(300_000));
    machine.put("short", pattern(5000));
    let (node, short) = (machine.find(ROOT, "a"), machine.find(ROOT, "short"));
    let fh = machine.fs.open(node, libc::O_RDWR).unwrap().fh;
    let short_fh = machine.fs.open(short, libc::O_RDWR).unwrap().fh;
    let dir = machine.fs.opendir(ROOT).unwrap().fh;
    log_all(&mut machine, true);
    log.clear();
    for region in machine.guest.memory().to_vec() {
        machine.fs.move_to(&region).unwrap();
        for layout in [Layout::Linux, Layout::PagesAt(1000), Layout::Runs(&[3000, 17])] {
            let Machine { fs, hiprio, daemon, .. } = &mut machine;
            fs.set_layout(layout);
            assert_eq!(fs.read(node, fh, 0, 100_000).unwrap().len(), 100_000);
            expect(&log, fs, daemon, 16 + 100_000, "READ");
            assert_eq!(fs.read(short, short_fh, 0, 100_000).unwrap().len(), 5000);
            expect(&log, fs, daemon, 16 + 5000, "READ over the end");
            fs.write(node, fh, 0, &pattern(100_000)).unwrap();
            expect(&log, fs, daemon, 16 + 8, "WRITE");
            fs.getattr(node, None).unwrap();
            expect(&log, fs, daemon, 16 + 104, "GETATTR");
            assert_eq!(fs.lookup(ROOT, "none").unwrap().nodeid, 0);
            expect(&log, fs, daemon, 16 + 128, "LOOKUP");
            assert_eq!(fs.unlink(ROOT, "none").unwrap_err(), Errno::ENOENT);
            expect(&log, fs, daemon, 16, "UNLINK that fails");
            let entries = fs.readdir(ROOT, dir, 0, 32 << 10).unwrap();
            assert_eq!(entries.len(), 4);
            let len = usize::try_from(fs.frame().reply_head().len).unwrap();
            expect(&log, fs, daemon, len, "READDIR");
            assert_eq!(fs.raw(&[0; 20], 9).unwrap().used, 0);
            expect(&log, fs, daemon, 0, "a request that is dropped");
            hiprio.forget(77, 1).unwrap();
            expect(&log, hiprio, daemon, 0, "FORGET");
            assert_eq!(log.take(), [0; 0]);
        }
    }
}

#[test]
fn a_reply_in_two_regions_is_logged_in_both() {
    // However the daemon maps them: two of them are likely to be side by side.
    let memory = (0..5).map(|number| (number << 32, 64 << 20)).collect();
    let mut machine = Machine::with(&[], Setup { memory, queue_size: 256, ..Setup::default() });
    machine.fs.init(LINUX_6_18).unwrap();
    let log = machine.guest.set_log(1 << 36).unwrap();
    machine.put("a", pattern(10_000));
    let node = machine.find(ROOT, "a");
    let fh = machine.fs.open(node, libc::O_RDONLY).unwrap().fh;
    machine.fs.read(node, fh, 0, 10_000).unwrap();
    let request = machine.fs.frame().readable().to_vec();
    log_all(&mut machine, true);
    let regions = machine.guest.memory()[1..].to_vec();
    for (first, second) in
        regions.iter().flat_map(|first| regions.iter().map(move |second| (first, second)))
    {
        let reply = [
            Span { addr: first.end() - PAGE, len: 4096 },
            Span { addr: second.start(), len: 12_288 },
        ];
        settle(&machine.daemon);
        log.clear();
        let queue = machine.fs.queue_mut();
        queue.submit(&request, &reply).unwrap();
        queue.kick().unwrap();
        assert_eq!(queue.wait(Instant::now() + LONG).unwrap().len, 16 + 10_000);
        let mut content = vec![0; 10_016 - 4096];
        second.read(second.start(), &mut content);
        assert!(content == pattern(10_000)[4080..]);
        let mut expected = written(&reply, 10_016);
        expected.extend(used(queue.ring()));
        settle(&machine.daemon);
        let found: BTreeSet<_> = log.take().into_iter().collect();
        assert_eq!(found, expected, "{:#x} and {:#x}", first.start(), second.start());
    }
}

#[test]
fn nothing_is_logged_unless_it_is_asked_for() {
    let (mut machine, log) = migrating();
    machine.fs.getattr(ROOT, None).unwrap();
    assert_eq!(log.take(), [0; 0]);
    for _ in 0..3 {
        log_all(&mut machine, true);
        log.clear();
        machine.fs.getattr(ROOT, None).unwrap();
        expect(&log, &machine.fs, &machine.daemon, 16 + 104, "GETATTR");
        log_all(&mut machine, false);
        machine.fs.getattr(ROOT, None).unwrap();
        assert_eq!(log.take(), [0; 0]);
    }
}

#[test]
fn a_new_log_takes_over_from_the_old_one() {
    let (mut machine, old) = migrating();
    log_all(&mut machine, true);
    machine.fs.getattr(ROOT, None).unwrap();
    let log = machine.guest.set_log(END).unwrap();
    settle(&machine.daemon);
    old.clear();
    machine.fs.getattr(ROOT, None).unwrap();
    expect(&log, &machine.fs, &machine.daemon, 16 + 104, "GETATTR");
    assert_eq!(old.take(), [0; 0]);
}

#[test]
fn memory_that_is_added_during_a_migration_is_logged() {
    let (mut machine, log) = migrating();
    machine.put("a", pattern(10_000));
    log_all(&mut machine, true);
    let region = machine.guest.add_memory(5 << 30, 16 << 20).unwrap();
    let node = machine.find(ROOT, "a");
    let fh = machine.fs.open(node, libc::O_RDONLY).unwrap().fh;
    machine.fs.move_to(&region).unwrap();
    log.clear();
    machine.fs.read(node, fh, 0, 10_000).unwrap();
    expect(&log, &machine.fs, &machine.daemon, 16 + 10_000, "READ");
}

#[test]
fn a_new_table_of_memory_during_a_migration_is_logged() {
    let (mut machine, log) = migrating();
    log_all(&mut machine, true);
    machine.guest.give_memory().unwrap();
    log.clear();
    machine.fs.getattr(ROOT, None).unwrap();
    expect(&log, &machine.fs, &machine.daemon, 16 + 104, "GETATTR");
}

#[test]
fn what_fails_during_a_migration_fails_with_its_own_error() {
    let (mut machine, log) = migrating();
    machine.put("file", "content");
    fs::create_dir_all(machine.path("dir/below")).unwrap();
    machine.put("dir/below/deep", "");
    let (node, dir) = (machine.find(ROOT, "file"), machine.find(ROOT, "dir"));
    let below = machine.find(dir, "below");
    let excl = libc::O_RDWR | libc::O_EXCL;
    let calls = |fs: &mut Client| {
        let made = [
            ("mkdir", fs.mkdir(ROOT, "dir", 0o755).map(drop)),
            ("mknod", fs.mknod(ROOT, "file", libc::S_IFIFO | 0o600, 0).map(drop)),
            ("symlink", fs.symlink(ROOT, "file", "target").map(drop)),
            ("create", fs.create(ROOT, "file", excl, 0o600).map(drop)),
            ("link", fs.link(node, (dir, "below")).map(drop)),
            (
                "rename to what is there",
                fs.rename2((ROOT, "file"), (dir, "below"), libc::RENAME_NOREPLACE),
            ),
        ];
        let others = [
            ("unlink", fs.unlink(ROOT, "nothing"), Errno::ENOENT),
            ("unlink a directory", fs.unlink(ROOT, "dir"), Errno::EISDIR),
            ("rmdir", fs.rmdir(ROOT, "dir"), Errno::ENOTEMPTY),
            ("rmdir a file", fs.rmdir(ROOT, "file"), Errno::ENOTDIR),
            ("rename", fs.rename((ROOT, "nothing"), (dir, "new")), Errno::ENOENT),
            ("rename into itself", fs.rename((ROOT, "dir"), (below, "new")), Errno::EINVAL),
            ("rename over others", fs.rename((ROOT, "file"), (ROOT, "dir")), Errno::EISDIR),
            (
                "exchange",
                fs.rename2((ROOT, "file"), (dir, "nothing"), libc::RENAME_EXCHANGE),
                Errno::ENOENT,
            ),
            ("make below a file", fs.mkdir(node, "new", 0o755).map(drop), Errno::ENOTDIR),
        ];
        for (what, failed) in made {
            assert_eq!(failed.unwrap_err(), Errno::EEXIST, "{what}");
        }
        for (what, failed, expected) in others {
            assert_eq!(failed.unwrap_err(), expected, "{what}");
        }
    };
    log_all(&mut machine, true);
    calls(&mut machine.fs);
    settle(&machine.daemon);
    assert_ne!(log.take(), [0; 0]);
    // It may also come to nothing, with a session that is written down already.
    let bases = [0, 1].map(|index| machine.guest.stop(index).unwrap());
    machine.guest.save().unwrap();
    machine.guest.start(machine.hiprio.queue(), bases[0]).unwrap();
    machine.guest.start(machine.fs.queue(), bases[1]).unwrap();
    calls(&mut machine.fs);
}
