//! Virtqueues: features, many requests at once, stopping, and waiting for one another.

use ferryfs::fuse::abi::{FsyncIn, GetattrIn, OpenIn};
use ferryfs::fuse::{Errno, Opcode};
use ferryfs_bench::{
    Client, Error, Frame, Guest, Layout, Lease, Mode, Queue, ROOT, Region, Request,
};
use zerocopy::{FromZeros, IntoBytes};

use super::*;

/// With EVENT_IDX and INDIRECT each on and off.
fn setups() -> impl Iterator<Item = Setup> {
    let all = Setup::default().features;
    [0, Setup::EVENT_IDX, Setup::INDIRECT, Setup::EVENT_IDX | Setup::INDIRECT]
        .into_iter()
        .map(move |without| Setup { features: all & !without, ..Setup::default() })
}

fn soon() -> Instant {
    Instant::now() + LONG
}

/// A GETATTR of the root.
pub(super) fn getattr() -> Request<'static> {
    const BODY: &[&[u8]] = &[&[0; size_of::<GetattrIn>()]];
    let opcode = Opcode::Getattr as u32;
    Request { opcode, node: ROOT, args: BODY, reply: 104, ..Request::default() }
}

pub(super) fn frame(region: &std::sync::Arc<Region>) -> Frame {
    Frame::new(region, Layout::Linux, (4096, 4096)).unwrap()
}

/// Makes `count` requests, as many as `depth` at the same time.
pub(super) fn flood(queue: &mut Queue, depth: usize, count: u64, mode: Mode) {
    let mut frames: Vec<_> = (0..depth).map(|_| frame(&queue.region().clone())).collect();
    // Frames that are free, and for every request in flight its frame and its number.
    let mut free: Vec<_> = (0..depth).collect();
    let mut flying = vec![None; usize::from(queue.ring().size())];
    let (mut made, mut done) = (0, 0);
    while done < count {
        while made < count
            && let Some(number) = free.pop()
        {
            frames[number].fill(made, &getattr()).unwrap();
            frames[number].fill_reply(0xaa);
            match queue.submit(frames[number].readable(), frames[number].writable()) {
                Ok(head) => flying[usize::from(head)] = Some((number, made)),
                Err(Error::Full) => {
                    free.push(number);
                    break;
                }
                Err(error) => panic!("{error}"),
            }
            made += 1;
        }
        queue.kick().unwrap();
        let used = match mode {
            Mode::Block => queue.wait(soon()).unwrap(),
            Mode::Spin => queue.spin(soon()).unwrap(),
        };
        let (number, unique) = flying[usize::from(used.head)].take().unwrap();
        frames[number].check(used.len, unique).unwrap();
        assert_eq!(used.len, 16 + 104);
        free.push(number);
        done += 1;
    }
    assert_eq!(queue.ring().free_count(), queue.ring().size());
}

/// A daemon and its guest, whose INIT was sent over queue 1.
fn started(setup: Setup) -> (Guest, Daemon) {
    let Machine { guest, daemon, .. } = {
        let mut machine = Machine::with(&[], setup);
        machine.fs.init(LINUX_6_18).unwrap();
        machine
    };
    (guest, daemon)
}

#[test]
fn rings_of_any_size_run_with_and_without_each_feature() {
    for setup in setups() {
        let (mut guest, daemon) = started(setup);
        let region = guest.memory()[0].clone();
        for (size, depth) in [(4, 1), (4, 4), (8, 3), (128, 32), (1024, 300), (32768, 64)] {
            for mode in [Mode::Block, Mode::Spin] {
                let mut queue = guest.new_queue(2, size, &region).unwrap();
                guest.start(&queue, 0).unwrap();
                flood(&mut queue, depth, 700, mode);
                assert_eq!(stop_idle(&mut guest, &daemon, 2), 700);
            }
        }
    }
}

#[test]
fn indices_wrap_around() {
    for setup in setups() {
        let (mut guest, daemon) = started(setup);
        let region = guest.memory()[0].clone();
        let mut queue = guest.new_queue(2, 16, &region).unwrap();
        let base = u16::MAX - 500;
        queue.reset(base);
        guest.start(&queue, base).unwrap();
        flood(&mut queue, 5, 1000, Mode::Block);
        assert_eq!(stop_idle(&mut guest, &daemon, 2), base.wrapping_add(1000));
    }
}

#[test]
fn no_kick_and_no_call_is_ever_lost() {
    for setup in setups() {
        let (mut guest, _daemon) = started(setup);
        let mut queue = guest.queue(2).unwrap();
        // Both sides fall asleep between any two of these.
        flood(&mut queue, 1, 2000, Mode::Block);
        flood(&mut queue, 2, 2000, Mode::Block);
        let counts = queue.counts();
        assert!(counts.kicks <= 4000 && counts.calls <= 4000, "{counts:?}");
    }
}

#[test]
fn one_kick_is_enough_for_many_requests() {
    for setup in setups() {
        let (mut guest, _daemon) = started(setup);
        let mut queue = guest.queue(2).unwrap();
        let mut frames: Vec<_> = (0..200).map(|_| frame(&guest.memory()[0].clone())).collect();
        for (unique, frame) in (0..).zip(&mut frames) {
            frame.fill(unique, &getattr()).unwrap();
            queue.submit(frame.readable(), frame.writable()).unwrap();
        }
        queue.kick().unwrap();
        for _ in &frames {
            assert_eq!(queue.wait(soon()).unwrap().len, 120);
        }
        for (unique, frame) in (0..).zip(&frames) {
            frame.check(120, unique).unwrap();
        }
    }
}

#[test]
fn the_device_calls_only_when_it_is_asked_to() {
    for setup in setups() {
        let event_idx = setup.features & Setup::EVENT_IDX != 0;
        let (mut guest, _daemon) = started(setup);
        let mut fs = guest.client(2).unwrap();
        fs.mode = Mode::Spin;
        for _ in 0..100 {
            fs.getattr(ROOT, None).unwrap();
        }
        fs.mode = Mode::Block;
        fs.getattr(ROOT, None).unwrap();
        // For the first request, when nothing was refused yet, and for the last.
        assert!(fs.queue().counts().calls <= 2, "{:?}", fs.queue().counts());
        if !event_idx {
            continue;
        }
        // Not before the tenth of ten requests.
        let mut queue = guest.queue(3).unwrap();
        let mut frame = frame(&guest.memory()[0].clone());
        frame.fill(1, &getattr()).unwrap();
        queue.ring().set_used_event(9);
        for _ in 0..10 {
            queue.submit(frame.readable(), frame.writable()).unwrap();
            queue.kick().unwrap();
        }
        let waits = PollOnce(queue.call_event());
        assert!(waits.is_ready(LONG), "there must be a call");
        assert_eq!(queue.call_event().take().unwrap(), 1);
        assert_eq!(queue.ring().used_index(), 10);
    }
}

/// An event that somebody else sends.
struct PollOnce<'a>(&'a ferryfs_bench::Event);

impl PollOnce<'_> {
    fn is_ready(&self, timeout: Duration) -> bool {
        use rustix::event::{PollFd, PollFlags, poll};
        let timeout = timeout.try_into().unwrap();
        poll(&mut [PollFd::new(self.0, PollFlags::IN)], Some(&timeout)).unwrap() == 1
    }
}

#[test]
fn all_queues_serve_at_the_same_time() {
    let Machine { fs: first, hiprio: _hiprio, mut guest, daemon } = Machine::new();
    let count = usize::try_from(guest.queue_count().unwrap()).unwrap();
    let others = (2..count).map(|index| guest.client(index).unwrap());
    let clients: Vec<_> = std::iter::once(first).chain(others).collect();
    std::thread::scope(|scope| {
        for (number, mut fs) in clients.into_iter().enumerate() {
            scope.spawn(move || {
                for round in 0..50 {
                    let name = format!("{number}-{round}");
                    let made = fs.create(ROOT, &name, libc::O_RDWR, 0o600).unwrap();
                    let (node, fh) = (made.entry.nodeid, made.open.fh);
                    let content = pattern(10_000 + number);
                    fs.write(node, fh, 0, &content).unwrap();
                    assert_eq!(fs.read(node, fh, 0, 20_000).unwrap(), content);
                    fs.release(node, fh).unwrap();
                    assert_eq!(fs.lookup(ROOT, &name).unwrap().nodeid, node);
                    fs.unlink(ROOT, &name).unwrap();
                    fs.forget(node, 2).unwrap();
                    assert_eq!(fs.getattr(node, None).unwrap_err(), Errno::ESTALE);
                }
            });
        }
    });
    assert_eq!(fs::read_dir(daemon.share()).unwrap().count(), 0);
}

/// A request that takes until the lease is given up: somebody else has the file.
struct Blocked {
    queue: Queue,
    frame: Frame,
    head: u16,
    lease: Lease,
}

impl Blocked {
    fn new(machine: &mut Machine, index: usize) -> Self {
        let path = machine.put("leased", "");
        let node = machine.find(ROOT, "leased");
        let lease = Lease::take(&path).unwrap();
        let mut queue = machine.guest.queue(index).unwrap();
        let mut frame = frame(queue.region());
        let arg = OpenIn { flags: libc::O_RDWR.cast_unsigned(), ..OpenIn::new_zeroed() };
        let (opcode, args) = (Opcode::Open as u32, &[arg.as_bytes()]);
        let open = Request { opcode, node, args, reply: 16, ..Request::default() };
        frame.fill(4, &open).unwrap();
        let head = queue.submit(frame.readable(), frame.writable()).unwrap();
        queue.kick().unwrap();
        wait_until("the daemon waits for the file", || lease.is_wanted());
        Blocked { queue, frame, head, lease }
    }

    fn finish(mut self) -> Queue {
        assert_eq!(self.queue.reap().unwrap(), None, "it was not blocked at all");
        drop(self.lease);
        let used = self.queue.wait(soon()).unwrap();
        assert_eq!(used.head, self.head);
        self.frame.check(used.len, 4).unwrap();
        self.queue
    }
}

#[test]
fn what_comes_back_from_waiting_at_the_same_time_is_all_given_back() {
    let mut machine = Machine::new();
    machine.put("a", "");
    let node = machine.find(ROOT, "a");
    let fh = machine.fs.open(node, libc::O_RDWR).unwrap().fh;
    let mut queue = machine.guest.queue(2).unwrap();
    let arg = FsyncIn { fh, ..FsyncIn::new_zeroed() };
    let (opcode, args) = (Opcode::Fsync as u32, &[arg.as_bytes()]);
    let fsync = Request { opcode, node, args, ..Request::default() };
    let mut frames = [(); 4].map(|()| frame(queue.region()));
    for round in 0..5000 {
        for (unique, frame) in (round * 4..).zip(&mut frames) {
            frame.fill(unique, &fsync).unwrap();
            queue.submit(frame.readable(), frame.writable()).unwrap();
        }
        queue.kick().unwrap();
        for _ in &frames {
            queue.wait(soon()).unwrap();
        }
    }
}

#[test]
fn forgets_do_not_wait_for_requests() {
    let mut machine = Machine::new();
    machine.put("a", "");
    let mut other = machine.guest.client(3).unwrap();
    let blocked = Blocked::new(&mut machine, 2);
    for _ in 0..50 {
        let node = machine.find(ROOT, "a");
        machine.hiprio.forget(node, 1).unwrap();
        assert_eq!(other.getattr(node, None).unwrap_err(), Errno::ESTALE);
    }
    blocked.finish();
}

#[test]
fn messages_about_other_things_do_not_wait_for_requests() {
    let mut machine = Machine::new();
    let blocked = Blocked::new(&mut machine, 2);
    let region = machine.guest.add_memory(1 << 32, 16 << 20).unwrap();
    machine.fs.move_to(&region).unwrap();
    machine.fs.getattr(ROOT, None).unwrap();
    let mut other = machine.guest.client(3).unwrap();
    other.getattr(ROOT, None).unwrap();
    assert_eq!(machine.guest.stop(3).unwrap(), 1);
    blocked.finish();
}

#[test]
fn a_queue_stops_when_the_request_that_it_has_taken_is_done() {
    let mut machine = Machine::new();
    let mut blocked = Blocked::new(&mut machine, 2);
    let mut frame = frame(blocked.queue.region());
    frame.fill(6, &getattr()).unwrap();
    let later = blocked.queue.submit(frame.readable(), frame.writable()).unwrap();
    blocked.queue.kick_anyway().unwrap();
    let Machine { guest, .. } = &mut machine;
    let mut queue = std::thread::scope(|scope| {
        let stopping = scope.spawn(|| guest.stop(2).unwrap());
        let queue = blocked.finish();
        let base = stopping.join().unwrap();
        // Whether it has taken the second request as well is its own choice.
        assert!(base == 1 || base == 2, "{base}");
        assert_eq!(queue.ring().used_index(), base);
        queue
    });
    let base = queue.ring().used_index();
    queue.renew_kick().unwrap();
    queue.renew_call().unwrap();
    guest.start(&queue, base).unwrap();
    assert_eq!(queue.wait(soon()).unwrap().head, later);
}

#[test]
fn a_queue_goes_on_where_it_was_stopped() {
    for setup in setups() {
        let (mut guest, daemon) = started(setup);
        let mut queue = guest.queue(2).unwrap();
        let mut frame = frame(queue.region());
        let mut base = 0;
        for round in 0..20 {
            flood(&mut queue, 3, 7, Mode::Block);
            base += 7;
            assert_eq!(stop_idle(&mut guest, &daemon, 2), base);
            // What is made available while it is stopped waits.
            frame.fill(round, &getattr()).unwrap();
            queue.submit(frame.readable(), frame.writable()).unwrap();
            queue.kick_anyway().unwrap();
            guest.queue_count().unwrap();
            assert_eq!(queue.ring().used_index(), base);
            if round % 2 == 0 {
                queue.renew_kick().unwrap();
                queue.renew_call().unwrap();
            }
            guest.start(&queue, base).unwrap();
            frame.check(queue.wait(soon()).unwrap().len, round).unwrap();
            base += 1;
        }
    }
}

/// A thread that was woken for a kick may find that there is none: it was the old event of a
/// queue that got a new one since, or somebody else has read it.
#[test]
fn a_kick_that_is_not_there_any_more_does_no_harm() {
    let mut machine = Machine::new();
    let mut queue = machine.guest.queue(2).unwrap();
    let threads = machine.daemon.process().threads().unwrap();
    for _ in 0..100_000 {
        queue.kick_event().notify().unwrap();
        // Nothing is there if the daemon was faster.
        let _ = queue.kick_event().take();
    }
    settle(&machine.daemon);
    assert_eq!(machine.daemon.process().threads().unwrap(), threads, "the queue has no thread");
    flood(&mut queue, 1, 10, Mode::Block);
}

#[test]
fn a_disabled_queue_is_not_served_until_it_is_enabled() {
    let mut machine = Machine::new();
    let mut queue = machine.guest.queue(2).unwrap();
    flood(&mut queue, 1, 3, Mode::Block);
    let mut frame = frame(queue.region());
    for round in 0..10 {
        settle(&machine.daemon);
        machine.guest.enable(2, false).unwrap();
        frame.fill(round, &getattr()).unwrap();
        queue.submit(frame.readable(), frame.writable()).unwrap();
        queue.kick_anyway().unwrap();
        // Another queue is served meanwhile, and messages are.
        machine.fs.getattr(ROOT, None).unwrap();
        machine.guest.queue_count().unwrap();
        assert_eq!(queue.reap().unwrap(), None);
        machine.guest.enable(2, true).unwrap();
        frame.check(queue.wait(soon()).unwrap().len, round).unwrap();
    }
}

#[test]
fn a_queue_that_was_disabled_takes_no_further_request() {
    let mut machine = Machine::new();
    let mut blocked = Blocked::new(&mut machine, 2);
    let mut frame = frame(blocked.queue.region());
    frame.fill(6, &getattr()).unwrap();
    let later = blocked.queue.submit(frame.readable(), frame.writable()).unwrap();
    machine.guest.enable(2, false).unwrap();
    let mut queue = blocked.finish();
    settle(&machine.daemon);
    assert_eq!(queue.reap().unwrap(), None);
    machine.guest.enable(2, true).unwrap();
    assert_eq!(queue.wait(soon()).unwrap().head, later);
}

#[test]
fn a_ring_can_move_while_it_runs() {
    for setup in setups() {
        let mut machine = Machine::with(&[], setup);
        machine.fs.init(LINUX_6_18).unwrap();
        let region = machine.guest.memory()[0].clone();
        let mut queue = machine.guest.new_queue(2, 64, &region).unwrap();
        machine.guest.start(&queue, 0).unwrap();
        for round in 1..=10u16 {
            flood(&mut queue, 3, 7, Mode::Block);
            let mut moved = machine.guest.new_queue(2, 64, &region).unwrap();
            moved.reset(7 * round);
            machine.guest.set_addr(&moved).unwrap();
            machine.guest.set_call(&moved).unwrap();
            machine.guest.set_kick(&moved).unwrap();
            queue = moved;
        }
        flood(&mut queue, 3, 7, Mode::Block);
        assert_eq!(stop_idle(&mut machine.guest, &machine.daemon, 2), 77);
    }
}

#[test]
fn the_call_event_can_change_while_a_queue_runs() {
    let mut machine = Machine::new();
    let mut queue = machine.guest.queue(2).unwrap();
    for _ in 0..10 {
        flood(&mut queue, 2, 10, Mode::Block);
        queue.renew_call().unwrap();
        machine.guest.set_call(&queue).unwrap();
    }
    flood(&mut queue, 2, 10, Mode::Block);
}

#[test]
fn the_kick_event_can_change_while_a_queue_runs() {
    let mut machine = Machine::new();
    let mut queue = machine.guest.queue(2).unwrap();
    for _ in 0..10 {
        flood(&mut queue, 2, 10, Mode::Block);
        queue.renew_kick().unwrap();
        machine.guest.set_kick(&queue).unwrap();
    }
    flood(&mut queue, 2, 10, Mode::Block);
}

#[test]
fn a_daemon_that_dies_is_noticed() {
    let mut machine = Machine::new();
    let blocked = Blocked::new(&mut machine, 2);
    let Blocked { mut queue, lease, .. } = blocked;
    machine.daemon.process().signal(rustix::process::Signal::KILL).unwrap();
    assert!(matches!(queue.wait(soon()), Err(Error::Gone)));
    assert!(matches!(queue.spin(soon()), Err(Error::Gone)));
    assert!(matches!(machine.fs.getattr(ROOT, None), Err(Error::Gone)));
    assert!(matches!(machine.guest.queue_count(), Err(Error::Gone)));
    drop(lease);
}

#[test]
fn a_client_of_every_queue_can_begin_the_session() {
    let daemon = Daemon::start(ferryfs(), &[]).unwrap();
    let mut guest = Guest::connect(&daemon.socket(), Setup::default()).unwrap();
    for index in 1..5 {
        let mut fs: Client = guest.client(index).unwrap();
        fs.init(LINUX_6_18).unwrap();
        fs.getattr(ROOT, None).unwrap();
    }
}
