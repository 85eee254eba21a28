//! Guests that put nonsense into their rings: one request is dropped, or one queue stops, and
//! everything else goes on.

use ferryfs::fuse::Opcode;
use ferryfs::fuse::abi::InHeader;
use ferryfs_bench::{Desc, Queue, ROOT, Span};
use zerocopy::{FromZeros, IntoBytes};

use super::*;

const NEXT: u16 = Desc::NEXT;
const WRITE: u16 = Desc::WRITE;
const INDIRECT: u16 = Desc::INDIRECT;

/// A queue whose descriptors are written by hand, and some memory for what they name.
struct Attacker {
    queue: Queue,
    /// A GETATTR of the root in 56 bytes, and nothing behind it in its 64 KiB.
    request: u64,
    /// Room for a reply, 64 KiB.
    reply: u64,
    /// Room for an indirect table of 16384 descriptors.
    table: u64,
    /// Behind all memory.
    nowhere: u64,
    machine: Machine,
}

impl Attacker {
    fn new(size: u16) -> Self {
        Self::with(size, Setup::default())
    }

    fn with(size: u16, setup: Setup) -> Self {
        let mut machine = Machine::with(&[], setup);
        machine.fs.init(LINUX_6_18).unwrap();
        let region = machine.guest.memory()[0].clone();
        let queue = machine.guest.new_queue(2, size, &region).unwrap();
        machine.guest.start(&queue, 0).unwrap();
        let alloc = |len| region.alloc(len, 4096).unwrap();
        let (request, reply, table) = (alloc(64 << 10), alloc(64 << 10), alloc(256 << 10));
        let opcode = Opcode::Getattr as u32;
        let head = InHeader { len: 56, opcode, unique: 6, nodeid: ROOT, ..InHeader::new_zeroed() };
        region.write(request, head.as_bytes());
        Attacker { queue, request, reply, table, nowhere: region.end(), machine }
    }

    /// Descriptors of `size` bytes, one after the other with `holes` between them.
    fn pieces(addr: u64, count: usize, len: u32, flags: u16) -> Vec<Desc> {
        let piece = |at: u64| Desc { addr: addr + at * u64::from(len + 1), len, flags, next: 0 };
        (0..count as u64).map(piece).collect()
    }

    /// Writes an indirect table, and the descriptor that names it.
    fn indirect(&self, descs: &[Desc]) -> Desc {
        for (at, desc) in (0..).zip(descs) {
            self.queue.region().write(self.table + 16 * at, &desc.to_bytes());
        }
        let len = u32::try_from(descs.len() * Desc::SIZE).unwrap();
        Desc { addr: self.table, len, flags: INDIRECT, next: 0 }
    }

    /// Sends a request of these descriptors from number 0 on; the used length.
    fn send(&mut self, descs: &[Desc]) -> u32 {
        let ring = self.queue.ring_mut();
        // The others are there as well, but belong to nothing.
        let head = ring.reserve(1).unwrap();
        assert_eq!(head, 0);
        for (at, desc) in (0..).zip(descs) {
            ring.write_desc(at, *desc);
        }
        ring.publish(head);
        self.queue.kick().unwrap();
        let used = self.queue.wait(Instant::now() + LONG).unwrap();
        assert_eq!(used.head, head);
        used.len
    }

    /// Sends what must be dropped, and then a request that must be served.
    fn is_dropped(&mut self, what: &str, descs: &[Desc]) {
        self.queue.region().fill(self.reply, 64 << 10, 0xaa);
        assert_eq!(self.send(descs), 0, "{what}");
        self.is_alive(what);
    }

    fn is_served(&mut self, what: &str, descs: &[Desc]) {
        assert_eq!(self.send(descs), 16 + 104, "{what}");
        self.is_alive(what);
    }

    fn is_alive(&mut self, what: &str) {
        let good = [self.readable(NEXT, 1), self.writable(0, 0)];
        assert_eq!(self.send(&good), 16 + 104, "after {what}");
    }

    fn readable(&self, flags: u16, next: u16) -> Desc {
        Desc { addr: self.request, len: 56, flags, next }
    }

    fn writable(&self, flags: u16, next: u16) -> Desc {
        Desc { addr: self.reply, len: 4096, flags: WRITE | flags, next }
    }
}

/// Links descriptors in their order.
fn chain(mut descs: Vec<Desc>) -> Vec<Desc> {
    let last = descs.len() - 1;
    for (desc, next) in descs[..last].iter_mut().zip(1..) {
        (desc.flags, desc.next) = (desc.flags | NEXT, next);
    }
    descs
}

#[test]
fn chains_without_an_end_are_dropped() {
    let mut attacker = Attacker::new(16);
    let (r, w) = (attacker.readable(NEXT, 0), attacker.writable(NEXT, 0));
    let empty = Desc { len: 0, ..r };
    attacker.is_dropped("a descriptor before itself", &[r]);
    attacker.is_dropped("the same, writable", &[w]);
    attacker.is_dropped("the same, empty", &[empty]);
    attacker.is_dropped("two in a loop", &[Desc { next: 1, ..r }, Desc { next: 0, ..r }]);
    attacker.is_dropped("a loop behind the first", &[Desc { next: 1, ..r }, Desc { next: 1, ..w }]);
    attacker.is_dropped("a loop of empty ones", &[Desc { next: 1, ..empty }, empty]);
    for next in [16, 17, 1000, u16::MAX] {
        attacker.is_dropped("a next that is not there", &[Desc { next, ..r }]);
        let first = Desc { next: 1, ..r };
        attacker.is_dropped("the same, later", &[first, Desc { next, ..w }]);
    }
    for descs in [
        vec![Desc { next: 0, ..r }],
        vec![Desc { next: 1, ..r }, Desc { next: 0, ..w }],
        vec![Desc { next: 2, ..r }, w],
        vec![Desc { next: u16::MAX, ..r }],
    ] {
        let table = attacker.indirect(&descs);
        attacker.is_dropped("the same in an indirect table", &[table]);
    }
}

#[test]
fn buffers_outside_of_memory_are_dropped() {
    let mut attacker = Attacker::new(16);
    let end = attacker.nowhere;
    let (r, w) = (attacker.readable(NEXT, 1), attacker.writable(0, 0));
    for (addr, len) in [
        (end, 1),
        (end - 1, 2),
        (end - 56, 57),
        (end, u32::MAX),
        (0, u32::MAX),
        (1 << 40, 4096),
        (u64::MAX, 1),
        (u64::MAX - 3, 8),
        (u64::MAX - 55, 56),
        (1 << 63, 56),
    ] {
        let what = format!("{len} bytes at {addr:#x}");
        attacker.is_dropped(&what, &[Desc { addr, len, ..r }, w]);
        attacker.is_dropped(&what, &[r, Desc { addr, len, ..w }]);
        let middle = Desc { addr, len, flags: NEXT, next: 2 };
        attacker.is_dropped(&what, &[r, middle, w]);
        let table = attacker.indirect(&[r, Desc { addr, len, ..w }]);
        attacker.is_dropped(&what, &[table]);
    }
}

#[test]
fn bad_indirect_tables_are_dropped() {
    let mut attacker = Attacker::new(16);
    let (r, w) = (attacker.readable(NEXT, 1), attacker.writable(0, 0));
    let table = attacker.indirect(&[r, w]);
    attacker.is_served("a good table", &[table]);
    attacker.is_dropped("an empty table", &[Desc { len: 0, ..table }]);
    for len in [1, 8, 15, 17, 31, 33, u32::MAX] {
        attacker.is_dropped("a table of odd size", &[Desc { len, ..table }]);
    }
    let more = Desc { flags: INDIRECT | NEXT, next: 1, ..table };
    attacker.is_dropped("a table before another descriptor", &[more, w]);
    attacker.is_dropped("a table before itself", &[Desc { next: 0, ..more }]);
    let end = attacker.nowhere;
    for (addr, len) in [(end, 16), (end - 16, 32), (u64::MAX - 15, 16), (0, u32::MAX - 15)] {
        attacker.is_dropped("a table outside of memory", &[Desc { addr, len, ..table }]);
    }
    for descs in [&[table][..], &[r, table], &[r, w, table], &[more, w]] {
        let outer = attacker.indirect(descs);
        if descs.len() == 3 {
            // The chain ends before the inner table.
            attacker.is_served("a table that nothing leads to", &[outer]);
        } else {
            attacker.is_dropped("a table in a table", &[outer]);
        }
    }
    // Readable buffers before a table are fine for virtio 1.3, and a writable table is none.
    let table = attacker.indirect(&[Desc { flags: WRITE, ..w }]);
    attacker.is_served("a table behind a buffer", &[r, table]);
}

#[test]
fn an_indirect_table_is_nothing_if_it_was_not_negotiated() {
    let mut setup = Setup::default();
    setup.features &= !Setup::INDIRECT;
    let mut attacker = Attacker::with(16, setup);
    let table = attacker.indirect(&[attacker.readable(NEXT, 1), attacker.writable(0, 0)]);
    attacker.is_dropped("a table", &[table]);
}

#[test]
fn a_readable_buffer_behind_a_writable_one_is_dropped() {
    let mut attacker = Attacker::new(16);
    let (r, w) = (attacker.readable(0, 0), attacker.writable(0, 0));
    attacker.is_dropped("a reply before its request", &chain(vec![w, r]));
    attacker.is_dropped("a request on both sides", &chain(vec![r, w, r]));
    let table = attacker.indirect(&chain(vec![r, w, r]));
    attacker.is_dropped("the same in a table", &[table]);
}

#[test]
fn empty_buffers_are_nothing() {
    let mut attacker = Attacker::new(16);
    let (r, w) = (attacker.readable(0, 0), attacker.writable(0, 0));
    let (no_r, no_w) = (Desc { len: 0, ..r }, Desc { len: 0, ..w });
    attacker.is_served("empty buffers everywhere", &chain(vec![no_r, r, no_r, no_w, w, no_w]));
    let table = attacker.indirect(&chain(vec![no_r, r, no_r, no_w, w, no_w]));
    attacker.is_served("the same in a table", &[table]);
    attacker.is_dropped("only an empty buffer", &[no_r]);
    attacker.is_dropped("only an empty writable buffer", &[no_w]);
    attacker.is_dropped("only empty buffers", &chain(vec![no_r, no_w]));
}

#[test]
fn a_request_without_room_for_an_answer_is_not_answered() {
    let mut attacker = Attacker::new(16);
    let (r, w) = (attacker.readable(0, 0), attacker.writable(0, 0));
    attacker.is_dropped("a request alone", &[r]);
    attacker.is_dropped("room for 15 bytes", &chain(vec![r, Desc { len: 15, ..w }]));
    let few = Attacker::pieces(attacker.reply, 15, 1, WRITE);
    attacker.is_dropped("the same in bytes", &chain([vec![r], few].concat()));
    // Room alone is a request that is too short, and gets an answer.
    assert_eq!(attacker.send(&[w]), 16);
    attacker.is_alive("a reply alone");
}

#[test]
fn a_request_has_at_most_1024_buffers_on_each_side() {
    let mut attacker = Attacker::new(4096);
    let region = attacker.queue.region().clone();
    let mut request = [0; 56];
    region.read(attacker.request, &mut request);
    // The request byte by byte, with a hole behind each; what follows it belongs to nobody.
    let scattered = region.alloc(16 << 10, 4096).unwrap();
    for (at, byte) in (0..).zip(request) {
        region.write(scattered + 2 * at, &[byte]);
    }
    let readable = |count| Attacker::pieces(scattered, count, 1, 0);
    let writable = |count| Attacker::pieces(attacker.reply, count, 1, WRITE);
    let most = chain([readable(1024), writable(1024)].concat());
    let too_many = [
        chain([readable(1025), writable(120)].concat()),
        chain([readable(56), writable(1025)].concat()),
        chain([readable(3000), writable(120)].concat()),
    ];
    attacker.is_served("1024 buffers on each side", &most);
    let table = attacker.indirect(&most);
    attacker.is_served("the same in a table", &[table]);
    for descs in too_many {
        attacker.is_dropped("too many buffers", &descs);
        let table = attacker.indirect(&descs);
        attacker.is_dropped("the same in a table", &[table]);
    }
    // A table may be longer than the ring if the chain in it is not.
    let mut long = vec![attacker.readable(NEXT, 16383); 16384];
    long[16383] = attacker.writable(0, 0);
    let table = attacker.indirect(&long);
    attacker.is_served("a very long table", &[table]);
}

#[test]
fn a_chain_may_be_as_long_as_the_longest_ring_and_not_longer() {
    let mut attacker = Attacker::new(32768);
    let (r, w) = (attacker.readable(0, 0), attacker.writable(0, 0));
    let empty = Desc { len: 0, ..r };
    let filled = |last: &[Desc]| chain([vec![empty; 32768 - last.len()], last.to_vec()].concat());
    attacker.is_served("all descriptors", &filled(&[r, w]));
    attacker.is_dropped("all descriptors with a byte each", &{
        let byte = Desc { len: 1, ..r };
        chain([vec![byte; 32767], vec![w]].concat())
    });
    attacker.is_dropped("all descriptors in a loop", &{
        let mut descs = filled(&[r, w]);
        descs[32767].flags |= NEXT;
        descs
    });
    attacker.is_dropped("all descriptors, and one that is not there", &{
        let mut descs = filled(&[r, w]);
        (descs[32767].flags, descs[32767].next) = (WRITE | NEXT, 32768);
        descs
    });
}

#[test]
fn buffers_that_overlap_are_the_guests_own_problem() {
    let mut attacker = Attacker::new(16);
    let (r, w) = (attacker.readable(0, 0), attacker.writable(0, 0));
    let over_request = Desc { addr: r.addr, ..w };
    assert_eq!(attacker.send(&chain(vec![r, over_request])), 120);
    let region = attacker.queue.region().clone();
    let opcode = Opcode::Getattr as u32;
    let head = InHeader { len: 56, opcode, unique: 6, nodeid: ROOT, ..InHeader::new_zeroed() };
    region.fill(attacker.request, 4096, 0);
    region.write(attacker.request, head.as_bytes());
    attacker.is_served("the same room twice", &chain(vec![r, w, w, w]));
    // A reply into the descriptor table and the rings: nobody knows what comes of it, but the
    // other queues do not notice.
    let addr = attacker.queue.ring().desc_addr();
    let ring = attacker.queue.ring_mut();
    ring.write_desc(0, Desc { flags: NEXT, next: 1, ..r });
    ring.write_desc(1, Desc { addr, ..w });
    ring.set_avail_index(ring.next_avail().wrapping_add(1));
    attacker.queue.kick_anyway().unwrap();
    attacker.machine.fs.getattr(ROOT, None).unwrap();
}

/// What a queue says when it stops.
const BROKEN: &str = "Queue 2 is broken";

impl Attacker {
    /// Expects that the queue has stopped and the others have not, and starts it anew.
    fn expect_broken(mut self) {
        let process = self.machine.daemon.process();
        process.wait_for_line(BROKEN, LONG).unwrap();
        for _ in 0..10 {
            self.queue.kick_anyway().unwrap();
            self.machine.fs.getattr(ROOT, None).unwrap();
            self.machine.hiprio.forget(77, 1).unwrap();
        }
        stop_idle(&mut self.machine.guest, &self.machine.daemon, 2);
        let mut fs = self.machine.guest.client(2).unwrap();
        fs.getattr(ROOT, None).unwrap();
        let said = self.machine.daemon.process().stderr();
        assert_eq!(said.matches(BROKEN).count(), 1, "{said}");
    }
}

#[test]
fn a_queue_with_more_requests_than_it_can_hold_stops_alone() {
    for (ahead, before) in [(17, 0), (100, 5), (u16::MAX, 0), (32768, 3)] {
        let mut attacker = Attacker::new(16);
        for _ in 0..before {
            attacker.is_alive("nothing");
        }
        let ring = attacker.queue.ring();
        ring.set_avail_index(ring.next_avail().wrapping_add(ahead));
        attacker.queue.kick_anyway().unwrap();
        attacker.expect_broken();
    }
}

#[test]
fn a_queue_with_a_request_that_starts_nowhere_stops_alone() {
    for head in [16, 17, u16::MAX] {
        let mut attacker = Attacker::new(16);
        attacker.is_alive("nothing");
        attacker.queue.ring_mut().publish(head);
        attacker.queue.kick_anyway().unwrap();
        attacker.expect_broken();
    }
}

#[test]
fn a_queue_whose_ring_is_no_longer_memory_stops_alone() {
    let mut attacker = Attacker::new(16);
    let region = attacker.machine.guest.add_memory(1 << 32, 1 << 20).unwrap();
    stop_idle(&mut attacker.machine.guest, &attacker.machine.daemon, 2);
    let queue = attacker.machine.guest.new_queue(2, 16, &region).unwrap();
    attacker.machine.guest.start(&queue, 0).unwrap();
    attacker.queue = queue;
    attacker.is_alive("a move");
    attacker.machine.guest.remove_memory(&region).unwrap();
    attacker.queue.kick_anyway().unwrap();
    attacker.expect_broken();
}

#[test]
fn the_same_request_may_be_made_many_times_at_once() {
    let mut attacker = Attacker::new(16);
    let (r, w) = (attacker.readable(NEXT, 1), attacker.writable(0, 0));
    let ring = attacker.queue.ring_mut();
    ring.write_desc(0, r);
    ring.write_desc(1, w);
    for index in 0..16 {
        ring.write_avail(index, 0);
    }
    ring.set_avail_index(16);
    attacker.queue.kick_anyway().unwrap();
    wait_until("all are used", || attacker.queue.ring().used_index() == 16);
    attacker.machine.fs.getattr(ROOT, None).unwrap();
}

#[test]
fn a_guest_that_changes_its_requests_while_they_are_served_harms_only_itself() {
    let mut machine = Machine::new();
    let mut fs = machine.guest.client(3).unwrap();
    let region = machine.guest.memory()[0].clone();
    let mut queue = machine.guest.queue(2).unwrap();
    let addr = region.alloc(8192, 4096).unwrap();
    let (request, reply) = (Span { addr, len: 200 }, Span { addr: addr + 4096, len: 4096 });
    std::thread::scope(|scope| {
        let (done, is_done) = std::sync::mpsc::channel::<()>();
        let region = region.clone();
        scope.spawn(move || {
            let mut seed = 1u32;
            while is_done.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let (opcode, len) = (seed >> 16 & 63, seed >> 8 & 255);
                let nodeid = u64::from(seed & 3);
                // INIT and DESTROY end the session by right, and SYNCFS takes long.
                let opcode = if matches!(opcode, 26 | 38 | 50) { 1 } else { opcode };
                let head = InHeader { len, opcode, unique: 6, nodeid, ..InHeader::new_zeroed() };
                region.write(addr, head.as_bytes());
                region.write(addr + 40, &[b'a', u8::try_from(seed & 127).unwrap(), 0, b'b', 0]);
            }
        });
        for _ in 0..5000 {
            queue.submit(&[request], &[reply]).unwrap();
            queue.kick().unwrap();
            let used = queue.wait(Instant::now() + LONG).unwrap();
            assert!(used.len == 0 || (16..=4096).contains(&used.len), "{}", used.len);
        }
        drop(done);
    });
    fs.getattr(ROOT, None).unwrap();
    let outside = machine.daemon.share().parent().unwrap();
    assert_eq!(fs::read_dir(outside).unwrap().count(), 3, "share, socket and pid file");
}
