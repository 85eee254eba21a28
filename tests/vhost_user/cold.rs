//! Reads that have to wait for storage.

use std::fs::File;

use ferryfs::fuse::Errno;
use ferryfs::vhost::{DeviceConfig, ReadRings};
use ferryfs_bench::{Error, Layout, ROOT, Tracer};
use rustix::fs::Advice;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use super::*;

/// Takes a file out of the page cache.
fn forget(path: &Path) {
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).unwrap();
}

fn machine(args: &[&str]) -> Machine {
    let mut machine = Machine::with(args, Setup::default());
    machine.fs.init(LINUX_6_18).unwrap();
    machine
}

const SIZES: [usize; 7] = [0, 1, 4095, 4096, 4097, 70_000, (1 << 20) + 123];

/// Offsets and lengths: aligned, not aligned, at the end, around and behind it.
fn ranges(size: usize) -> Vec<(u64, u32)> {
    let size = size as u64;
    let mut ranges =
        vec![(0, 4096), (0, 1 << 20), (1, 1), (4096, 8192), (4095, 4098), (12_345, 67)];
    ranges.extend([(size, 4096), (size.saturating_sub(1), 4096), (size.next_multiple_of(4096), 1)]);
    ranges.push((size.saturating_sub(5000), 1 << 20));
    ranges
}

#[test]
fn cold_files_are_read_as_they_are_by_a_ring_or_a_thread() {
    for args in
        [&["--seccomp=kill"][..], &["--seccomp=kill", "--io-uring=off"], &["--sandbox=none"]]
    {
        let mut machine = machine(args);
        for size in SIZES {
            let content = pattern(size);
            let path = machine.put("file", &content);
            let node = machine.find(ROOT, "file");
            let fh = machine.fs.open(node, libc::O_RDONLY).unwrap().fh;
            for layout in [Layout::Linux, Layout::PagesAt(7), Layout::Runs(&[16, 1000, 3])] {
                machine.fs.set_layout(layout);
                // Segments of a few bytes are too many for more.
                let most = if matches!(layout, Layout::Runs(_)) { 8192 } else { 1 << 20 };
                for (offset, len) in ranges(size) {
                    forget(&path);
                    let (len, at) = (len.min(most), usize::try_from(offset).unwrap());
                    let to = content.len().min(at + len as usize);
                    let from = at.min(to);
                    let read = machine.fs.read(node, fh, offset, len).unwrap();
                    assert!(read == content[from..to], "{args:?} {layout:?} {size} {offset} {len}");
                }
                machine.fs.set_layout(Layout::Linux);
            }
            machine.fs.release(node, fh).unwrap();
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn direct_reads_give_the_same_by_a_ring_and_by_a_thread() {
    let mut machines =
        ["--io-uring=auto", "--io-uring=off"].map(|option| machine(&["--allow-direct-io", option]));
    for size in SIZES {
        let results = machines.each_mut().map(|machine| {
            let path = machine.put("file", pattern(size));
            forget(&path);
            let node = machine.find(ROOT, "file");
            let fh = match machine.fs.open(node, libc::O_RDONLY | libc::O_DIRECT) {
                Ok(opened) => opened.fh,
                Err(Error::Errno(Errno::EINVAL)) => return None,
                Err(error) => panic!("{error}"),
            };
            let mut results = Vec::new();
            for layout in [Layout::Linux, Layout::PagesAt(512), Layout::PagesAt(7)] {
                machine.fs.set_layout(layout);
                for (offset, len) in ranges(size) {
                    results.push(machine.fs.read(node, fh, offset, len).map_err(
                        |error| match error {
                            Error::Errno(error) => error,
                            error => panic!("{error}"),
                        },
                    ));
                }
            }
            machine.fs.set_layout(Layout::Linux);
            machine.fs.release(node, fh).unwrap();
            fs::remove_file(path).unwrap();
            Some(results)
        });
        let [by_ring, by_thread] = results;
        if by_ring.is_none() {
            skip("direct_reads_give_the_same", "files in /tmp cannot be opened with O_DIRECT");
            return;
        }
        assert!(by_ring == by_thread, "{size}");
        assert_eq!(by_ring.unwrap()[0].as_deref(), Ok(&pattern(size)[..size.min(4096)]));
    }
}

#[test]
fn a_file_may_be_read_and_released_on_other_queues_at_once() {
    let Machine { fs, hiprio: _hiprio, mut guest, daemon } = machine(&["--seccomp=kill"]);
    let content = pattern(3 << 20);
    let path = daemon.share().join("file");
    fs::write(&path, &content).unwrap();
    let clients = [fs, guest.client(2).unwrap(), guest.client(3).unwrap()];
    std::thread::scope(|scope| {
        for (number, mut fs) in clients.into_iter().enumerate() {
            let (content, path) = (&content, &path);
            scope.spawn(move || {
                for round in 0..60 {
                    let node = fs.lookup(ROOT, "file").unwrap().nodeid;
                    let fh = fs.open(node, libc::O_RDONLY).unwrap().fh;
                    forget(path);
                    let at = (number * 7919 + round * 104_729) % (2 << 20);
                    let read = fs.read(node, fh, at as u64, 128 << 10).unwrap();
                    assert!(read == content[at..at + (128 << 10)], "{number} {round}");
                    fs.release(node, fh).unwrap();
                    fs.forget(node, 1).unwrap();
                }
            });
        }
    });
}

/// Does something in a world without io_uring, as in many a container.
fn without_io_uring(what: impl FnOnce() + Send + 'static) {
    let refused = || {
        let calls = [(libc::SYS_io_uring_setup, Vec::new())].into();
        let refuse = SeccompAction::Errno(libc::EPERM.cast_unsigned());
        let arch = std::env::consts::ARCH.try_into().unwrap();
        let filter = SeccompFilter::new(calls, SeccompAction::Allow, refuse, arch).unwrap();
        seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
        what();
    };
    // The filter is the thread's, and of what it starts.
    std::thread::spawn(refused).join().unwrap();
}

#[test]
fn where_there_is_no_io_uring_threads_read_and_only_who_wants_it_is_told() {
    without_io_uring(|| {
        for (args, is_told) in [(&["--io-uring=on"][..], true), (&[], false)] {
            let mut machine = machine(args);
            let content = pattern(100_000);
            let path = machine.put("file", &content);
            let node = machine.find(ROOT, "file");
            let fh = machine.fs.open(node, libc::O_RDONLY).unwrap().fh;
            for at in (0..20).map(|page| page * 4096) {
                forget(&path);
                let read = machine.fs.read(node, fh, at as u64, 4096).unwrap();
                assert_eq!(read, content[at..at + 4096]);
            }
            let said = machine.daemon.process().stderr();
            assert_eq!(said.contains("io_uring cannot be used"), is_told, "{said}");
        }
    });
}

#[test]
fn direct_reads_wait_in_a_ring_of_the_queue() {
    let test = "direct_reads_wait_in_a_ring_of_the_queue";
    let poll = Duration::ZERO;
    let config = DeviceConfig { tag: None, request_queues: 1, cpus: 1, waiting_threads: 1, poll };
    if let Err(error) = ReadRings::new(&config) {
        skip(test, &format!("io_uring cannot be used ({error})"));
        return;
    }
    for (option, name, number) in [
        ("--io-uring=on", "io_uring_enter", libc::SYS_io_uring_enter),
        ("--io-uring=off", "preadv2", libc::SYS_preadv2),
    ] {
        let mut machine = machine(&["--allow-direct-io", option]);
        let magic = rustix::fs::statfs(machine.daemon.share()).unwrap().f_type;
        machine.put("file", pattern(1 << 20));
        let node = machine.find(ROOT, "file");
        let opened = machine.fs.open(node, libc::O_RDONLY | libc::O_DIRECT);
        let (Ok(opened), false) = (opened, magic == libc::TMPFS_MAGIC) else {
            skip(test, "files in /tmp are not on storage, or cannot be opened with O_DIRECT");
            return;
        };
        let Ok(tracer) = Tracer::attach(machine.daemon.process()) else {
            skip(test, "ptrace is not allowed");
            return;
        };
        let reads = [libc::SYS_io_uring_enter, libc::SYS_preadv2];
        let before = tracer.calls();
        for at in 0..100 {
            machine.fs.read(node, opened.fh, at * 4096, 4096).unwrap();
        }
        let after = tracer.calls();
        for call in reads {
            let count = |calls: &ferryfs_bench::Calls| calls.get(&call).copied().unwrap_or(0);
            let expected = if call == number { 100 } else { 0 };
            assert_eq!(count(&after) - count(&before), expected, "{name}");
        }
    }
}
