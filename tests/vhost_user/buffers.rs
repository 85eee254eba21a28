//! Wherever a request and its reply are in guest memory, they are the same bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ferryfs::fuse::abi::{InHeader, OutHeader};
use ferryfs::fuse::{Errno, Opcode};
use ferryfs_bench::{Layout, Mode, ROOT, Region, Span};
use vhost::vhost_user::message::VhostUserProtocolFeatures as Protocol;
use zerocopy::{FromZeros, IntoBytes};

use super::*;

const LAYOUTS: &[(Layout, usize)] = &[
    (Layout::Linux, 300_000),
    (Layout::Whole, 300_000),
    (Layout::PagesAt(1), 300_000),
    (Layout::PagesAt(2047), 300_000),
    (Layout::PagesAt(4095), 300_000),
    (Layout::Runs(&[1]), 400),
    (Layout::Runs(&[1, 2, 3, 5, 7, 11]), 2000),
    (Layout::Runs(&[8]), 2000),
    (Layout::Runs(&[15]), 5000),
    (Layout::Runs(&[16]), 5000),
    (Layout::Runs(&[17]), 5000),
    (Layout::Runs(&[39]), 10_000),
    (Layout::Runs(&[40]), 10_000),
    (Layout::Runs(&[41]), 10_000),
    (Layout::Runs(&[80, 1]), 10_000),
    (Layout::Runs(&[1, 4095]), 300_000),
    (Layout::Runs(&[4096]), 300_000),
    (Layout::Runs(&[100_000, 1]), 300_000),
];

fn without(feature: u64) -> Setup {
    let setup = Setup::default();
    Setup { features: setup.features & !feature, ..setup }
}

#[test]
fn every_way_of_cutting_buffers_gives_the_same_content() {
    for setup in [Setup::default(), without(Setup::INDIRECT)] {
        let mut machine = Machine::with(&[], setup);
        for (number, (layout, len)) in LAYOUTS.iter().enumerate() {
            let (name, content) = (format!("file {number}"), pattern(*len));
            let size = u32::try_from(*len).unwrap();
            machine.fs.set_layout(*layout);
            machine.fs.init(LINUX_6_18).unwrap();
            let made = machine.fs.create(ROOT, &name, libc::O_RDWR, 0o600).unwrap();
            let (node, fh) = (made.entry.nodeid, made.open.fh);
            assert_eq!(machine.fs.write(node, fh, 0, &content).unwrap(), size, "{layout:?}");
            assert_eq!(fs::read(machine.path(&name)).unwrap(), content, "{layout:?}");
            assert!(machine.fs.read(node, fh, 0, size).unwrap() == content, "{layout:?}");
            let tail = machine.fs.read(node, fh, 7, size).unwrap();
            assert!(tail == content[7..], "{layout:?}");

            machine.fs.setxattr(node, "user.x", &content[..100], 0).unwrap();
            let value = machine.fs.getxattr(node, "user.x", 200).unwrap();
            assert_eq!(value, content[..100], "{layout:?}");
            let dir = machine.fs.opendir(ROOT).unwrap().fh;
            let entries = machine.fs.readdirplus(ROOT, dir, 0, 400).unwrap();
            assert!(!entries.is_empty(), "{layout:?}");
            assert_eq!(machine.fs.unlink(ROOT, "none").unwrap_err(), Errno::ENOENT);
            machine.fs.forget(node, 2).unwrap();
            machine.fs.destroy().unwrap();
        }
    }
}

#[test]
fn a_mebibyte_is_moved_through_256_pages_at_once() {
    for (setup, mode) in [(Setup::default(), Mode::Block), (without(Setup::INDIRECT), Mode::Spin)] {
        let mut machine = Machine::with(&[], setup);
        machine.fs.init(LINUX_6_18).unwrap();
        machine.fs.mode = mode;
        let content = pattern(1 << 20);
        let path = machine.put("a", "");
        let node = machine.find(ROOT, "a");
        let fs = &mut machine.fs;
        let fh = fs.open(node, libc::O_RDWR).unwrap().fh;
        for (offset, layout) in [(0, Layout::Linux), (100, Layout::PagesAt(512))] {
            fs.set_layout(layout);
            assert_eq!(fs.write(node, fh, offset, &content).unwrap(), 1 << 20);
            assert!(fs.frame().readable().len() >= 2 + 256);
            let host = fs::read(&path).unwrap();
            assert!(host[usize::try_from(offset).unwrap()..] == content);
            assert!(fs.read(node, fh, offset, 1 << 20).unwrap() == content);
            assert!(fs.frame().writable().len() > 256);
        }
        assert_eq!(fs.getattr(node, None).unwrap().attr.size, (1 << 20) + 100);
    }
}

const MIB: usize = 1 << 20;

/// Two regions side by side, and one far away.
fn scattered() -> Setup {
    let memory = vec![(0, 64 * MIB), (64 << 20, 64 * MIB), (1 << 40, 64 * MIB)];
    Setup { memory, ..Setup::default() }
}

#[test]
fn requests_and_replies_may_be_in_any_region() {
    let mut machine = Machine::with(&[], scattered());
    machine.fs.init(LINUX_6_18).unwrap();
    machine.put("a", pattern(10_000));
    let node = machine.find(ROOT, "a");
    let fh = machine.fs.open(node, libc::O_RDONLY).unwrap().fh;
    for region in machine.guest.memory().to_vec() {
        machine.fs.move_to(&region).unwrap();
        assert_eq!(machine.fs.read(node, fh, 0, 10_000).unwrap(), pattern(10_000));
        // The ring itself as well.
        let queue = machine.guest.new_queue(2, 256, &region).unwrap();
        machine.guest.start(&queue, 0).unwrap();
        let mut other = Client::new(queue).unwrap();
        assert_eq!(other.read(node, fh, 9000, 10_000).unwrap(), pattern(10_000)[9000..]);
        stop_idle(&mut machine.guest, &machine.daemon, 2);
    }
}

#[test]
fn a_buffer_may_go_on_in_the_next_region() {
    let mut machine = Machine::with(&[], scattered());
    machine.fs.init(LINUX_6_18).unwrap();
    let [first, second] = [0, 1].map(|number| machine.guest.memory()[number].clone());
    let border = first.end();
    assert_eq!(border, second.start());
    let body = [0; 16];
    for cut in [1, 20, 39, 40, 41, 55] {
        let len = u32::try_from(size_of::<InHeader>() + body.len()).unwrap();
        let opcode = Opcode::Getattr as u32;
        let head = InHeader { len, opcode, nodeid: ROOT, unique: 6, ..InHeader::new_zeroed() };
        let bytes = [head.as_bytes(), &body].concat();
        first.write(border - cut, &bytes[..usize::try_from(cut).unwrap()]);
        second.write(border, &bytes[usize::try_from(cut).unwrap()..]);
        let request = Span { addr: border - cut, len };
        // The reply goes over the border as well, and leaves alone what is around it.
        let reply = Span { addr: border - 1000 - cut, len: 2000 };
        first.fill(reply.addr - 1, 1, 0xaa);
        second.fill(reply.addr + 2000, 1, 0xaa);
        let queue = machine.fs.queue_mut();
        let head = queue.submit(&[request], &[reply]).unwrap();
        queue.kick().unwrap();
        let used = queue.wait(Instant::now() + LONG).unwrap();
        assert_eq!((used.head, used.len), (head, 16 + 104), "cut at {cut}");
        let reply_head: [u32; 4] = first.get(reply.addr);
        assert_eq!(reply_head, [120, 0, 6, 0]);
        assert_eq!(first.get::<u8>(reply.addr - 1), 0xaa);
    }
    // A reply header in the first region, its body in the second.
    let [request, reply] = [border - 4096, border - 16];
    let head = InHeader { len: 56, opcode: 3, nodeid: ROOT, unique: 8, ..InHeader::new_zeroed() };
    first.write(request, &[head.as_bytes(), &body].concat());
    let queue = machine.fs.queue_mut();
    let (request, reply) = (Span { addr: request, len: 56 }, Span { addr: reply, len: 200 });
    queue.submit(&[request], &[reply]).unwrap();
    queue.kick().unwrap();
    assert_eq!(queue.wait(Instant::now() + LONG).unwrap().len, 120);
    let head: [u8; 16] = first.get(border - 16);
    let head: OutHeader = zerocopy::transmute!(head);
    assert_eq!((head.len, head.error, head.unique), (120, 0, 8));
    // The mode in its attributes.
    let mode: u32 = second.get(border + 16 + 60);
    assert_eq!(mode & libc::S_IFMT, libc::S_IFDIR);
}

/// Reads a file through buffers in `region`.
fn read_through(machine: &mut Machine, region: &Arc<Region>) {
    let node = machine.find(ROOT, "a");
    let fh = machine.fs.open(node, libc::O_RDONLY).unwrap().fh;
    machine.fs.move_to(region).unwrap();
    assert_eq!(machine.fs.read(node, fh, 0, 10_000).unwrap(), pattern(10_000));
    machine.fs.release(node, fh).unwrap();
}

#[test]
fn memory_that_is_added_is_used_by_the_very_next_request() {
    let mut machine = Machine::new();
    machine.put("a", pattern(10_000));
    let before = machine.descriptors();
    for round in 0..20 {
        let region = machine.guest.add_memory((1 + round) << 32, 16 * MIB).unwrap();
        read_through(&mut machine, &region);
        machine.guest.remove_memory(&region).unwrap();
        // What was in it is not memory any more: the request is dropped.
        let reply = machine.fs.raw(&[0; 40], 4096);
        assert_eq!(reply.unwrap().used, 0);
        let first = machine.guest.memory()[0].clone();
        machine.fs.move_to(&first).unwrap();
        machine.fs.getattr(ROOT, None).unwrap();
    }
    // Queues that have nothing to do let go of the last region in their own time.
    settle(&machine.daemon);
    let added = machine.descriptors() - before;
    assert!(added <= 1, "{added} descriptors more than before");
}

#[test]
fn a_new_table_of_memory_is_used_by_the_very_next_request() {
    let mut setup = Setup::default();
    setup.protocol.remove(Protocol::CONFIGURE_MEM_SLOTS);
    let mut machine = Machine::with(&[], setup);
    machine.fs.init(LINUX_6_18).unwrap();
    machine.put("a", pattern(10_000));
    for round in 1..10 {
        machine.guest.add_to_table(Region::new(round << 32, 16 * MIB).unwrap()).unwrap();
        let region = machine.guest.memory().last().unwrap().clone();
        read_through(&mut machine, &region);
    }
}

#[test]
fn memory_comes_and_goes_while_requests_are_served() {
    let mut machine = Machine::new();
    machine.put("a", pattern(10_000));
    let node = machine.find(ROOT, "a");
    let fh = machine.fs.open(node, libc::O_RDONLY).unwrap().fh;
    let mut busy = machine.guest.client(2).unwrap();
    let stop = AtomicBool::new(false);
    let served = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut served = 0;
            while !stop.load(Ordering::Relaxed) || served == 0 {
                assert_eq!(busy.read(node, fh, 0, 10_000).unwrap(), pattern(10_000));
                served += 1;
            }
            served
        });
        for round in 0..50 {
            let region = machine.guest.add_memory((1 + round) << 32, MIB).unwrap();
            machine.fs.getattr(ROOT, None).unwrap();
            machine.guest.remove_memory(&region).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    });
    assert!(served > 0);
}
