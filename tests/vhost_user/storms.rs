//! Guests and front-ends that do everything wrong, for a while and all at once. Afterwards the
//! daemon serves as before, and has no more descriptors, threads or memory than before.

use std::io::{IoSlice, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

use ferryfs::fuse::abi::InHeader;
use ferryfs::fuse::{Errno, Opcode};
use ferryfs_bench::{Error, ROOT};
use rustix::fs::OFlags;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use zerocopy::{FromZeros, IntoBytes};

use super::*;

/// Numbers that are as good as random, and the same in every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_of<T: Copy>(&mut self, choice: &[T]) -> T {
        choice[usize::try_from(self.below(choice.len() as u64)).unwrap()]
    }

    /// A number near one at which something may go wrong.
    fn edge(&mut self) -> u64 {
        let edges: [u64; 18] = [
            0,
            1,
            2,
            3,
            7,
            16,
            40,
            255,
            256,
            4095,
            4096,
            65535,
            65536,
            1 << 20,
            1 << 31,
            1 << 32,
            1 << 62,
            1 << 63,
        ];
        let edge = self.one_of(&edges);
        match self.below(4) {
            0 => edge.wrapping_sub(1),
            1 => edge.wrapping_neg(),
            2 => self.next(),
            _ => edge,
        }
    }
}

/// Descriptors, threads and memory of the daemon when it has nothing to do.
#[derive(Debug)]
struct Size {
    descriptors: usize,
    threads: usize,
    resident: u64,
}

impl Size {
    fn of(daemon: &Daemon) -> Self {
        settle(daemon);
        let process = daemon.process();
        Size {
            descriptors: process.descriptors().unwrap(),
            threads: process.threads().unwrap(),
            resident: process.resident().unwrap(),
        }
    }

    fn expect_no_more(&self, before: &Size) {
        assert!(self.descriptors <= before.descriptors, "{self:?}, before {before:?}");
        // Those that wait for storage start when many have to, and stay.
        assert!(self.threads <= before.threads + 17, "{self:?}, before {before:?}");
        assert!(self.resident < before.resident + (8 << 20), "{self:?}, before {before:?}");
    }
}

/// A request whose every field may be anything: mostly of a real opcode and a real node.
fn anything(dice: &mut Dice, nodes: &[u64], names: &[&[u8]]) -> Vec<u8> {
    let opcodes: Vec<u32> = Opcode::ALL.iter().map(|opcode| *opcode as u32).collect();
    // These two end the session by right, and syncing takes long.
    let not = [Opcode::Init as u32, Opcode::Destroy as u32, Opcode::Syncfs as u32];
    let mut opcode = dice.one_of(&opcodes);
    if not.contains(&opcode) || dice.below(50) == 0 {
        opcode = u32::try_from(100 + dice.below(1 << 30)).unwrap();
    }
    let mut body = Vec::new();
    for _ in 0..dice.below(14) {
        let word = match dice.below(3) {
            0 => dice.edge(),
            1 => dice.one_of(nodes),
            _ => 0,
        };
        body.extend(word.to_ne_bytes());
    }
    for _ in 0..dice.below(3) {
        body.extend(dice.one_of(names));
    }
    let right = u32::try_from(size_of::<InHeader>() + body.len()).unwrap();
    let wrong = u32::try_from(dice.edge() & u64::from(u32::MAX)).unwrap();
    let head = InHeader {
        len: if dice.below(20) == 0 { wrong } else { right },
        opcode,
        unique: dice.next(),
        nodeid: if dice.below(10) == 0 { dice.edge() } else { dice.one_of(nodes) },
        uid: 0,
        gid: 0,
        total_extlen: if dice.below(20) == 0 { u16::try_from(dice.below(99)).unwrap() } else { 0 },
        ..InHeader::new_zeroed()
    };
    [head.as_bytes(), &body].concat()
}

const NAMES: [&[u8]; 9] =
    [b"a\0", b"b\0", b"dir\0", b"..\0", b"\0", b"/\0", b"user.x\0", b"no end", b"c\0d\0"];

#[test]
fn requests_that_are_anything_at_all_cost_nothing_in_the_end() {
    let mut machine = Machine::new();
    let mut other = machine.guest.client(2).unwrap();
    let begin = |machine: &mut Machine| -> Vec<u64> {
        machine.fs.init(LINUX_6_18).unwrap();
        let _ = machine.fs.mkdir(ROOT, "dir", 0o755);
        let _ = machine.fs.create(ROOT, "a", libc::O_RDWR, 0o644);
        let known = ["dir", "a"].map(|name| machine.fs.lookup(ROOT, name).unwrap().nodeid);
        let handles = machine.fs.opendir(ROOT).unwrap().fh;
        [ROOT, known[0], known[1], handles, 0].to_vec()
    };
    let mut size = None;
    for round in 0..4 {
        let nodes = begin(&mut machine);
        std::thread::scope(|scope| {
            for (seed, fs) in [(1, &mut machine.fs), (2, &mut other)] {
                let nodes = &nodes;
                scope.spawn(move || {
                    let mut dice = Dice(0x9e37_79b9 + seed + 2 * round);
                    for _ in 0..4000 {
                        let request = anything(&mut dice, nodes, &NAMES);
                        let room = usize::try_from(dice.below(5000)).unwrap();
                        let reply = fs.raw(&request, room).unwrap();
                        assert!(reply.used as usize <= room, "{request:x?}");
                    }
                });
            }
        });
        machine.fs.destroy().unwrap();
        let now = Size::of(&machine.daemon);
        // The first round starts threads and fills the heap.
        if let Some(before) = &size {
            now.expect_no_more(before);
        } else {
            size = Some(now);
        }
    }
    let outside = machine.daemon.share().parent().unwrap();
    assert_eq!(fs::read_dir(outside).unwrap().count(), 3, "share, socket and pid file");
}

#[test]
fn handles_of_others_and_of_the_past_open_nothing() {
    let mut machine = Machine::new();
    machine.put("mine", "mine");
    machine.put("other", "other");
    let (mine, other) = (machine.find(ROOT, "mine"), machine.find(ROOT, "other"));
    let dir = machine.fs.opendir(ROOT).unwrap().fh;
    let theirs = machine.fs.open(other, libc::O_RDONLY).unwrap().fh;
    let mut reader = machine.guest.client(2).unwrap();
    let ended = AtomicBool::new(false);
    let latest = std::sync::atomic::AtomicU64::new(0);
    let (good, bad) = std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let (mut good, mut bad) = (0, 0);
            while !ended.load(Ordering::Relaxed) {
                let fh = latest.load(Ordering::Relaxed);
                match reader.read(mine, fh, 0, 99) {
                    Ok(content) => {
                        assert_eq!(content, b"mine");
                        good += 1;
                    }
                    Err(error) => {
                        assert_eq!(error, Errno::EBADF);
                        bad += 1;
                    }
                }
                for forged in [theirs, dir, fh ^ 1 << 40, fh.wrapping_add(1 << 32), u64::MAX] {
                    assert_eq!(reader.read(mine, forged, 0, 99).unwrap_err(), Errno::EBADF);
                }
            }
            (good, bad)
        });
        for _ in 0..3000 {
            let fh = machine.fs.open(mine, libc::O_RDONLY).unwrap().fh;
            latest.store(fh, Ordering::Relaxed);
            machine.fs.release(mine, fh).unwrap();
            assert_eq!(machine.fs.release(mine, fh).unwrap_err(), Errno::EBADF);
        }
        ended.store(true, Ordering::Relaxed);
        reading.join().unwrap()
    });
    assert!(bad > 100, "{good} reads and {bad} refusals");
    assert_eq!(machine.fs.read(other, theirs, 0, 99).unwrap(), b"other");
}

#[test]
fn sessions_that_begin_all_the_time_end_what_is_under_way() {
    let mut machine = Machine::new();
    machine.put("a", pattern(100_000));
    let mut other = machine.guest.client(2).unwrap();
    let before = {
        machine.fs.init(LINUX_6_18).unwrap();
        Size::of(&machine.daemon)
    };
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                // All of it may be of a session that is over.
                let Ok(found) = other.lookup(ROOT, "a") else { continue };
                let Ok(opened) = other.open(found.nodeid, libc::O_RDONLY) else { continue };
                if let Ok(content) = other.read(found.nodeid, opened.fh, 0, 100_000) {
                    assert_eq!(content, pattern(100_000));
                }
            }
        });
        for round in 0..300 {
            match round % 3 {
                0 => drop(machine.fs.destroy()),
                1 => drop(machine.fs.raw(&[0; 40], 200)),
                _ => {}
            }
            machine.fs.init(LINUX_6_18).unwrap();
        }
        ended.store(true, Ordering::Relaxed);
    });
    machine.fs.init(LINUX_6_18).unwrap();
    let after = Size::of(&machine.daemon);
    assert_eq!(after.descriptors, before.descriptors);
    after.expect_no_more(&before);
}

#[test]
fn memory_that_is_cut_off_stops_the_queue_that_is_in_it_and_no_other() {
    let mut machine = Machine::new();
    for index in [2u8, 3] {
        let region = machine.guest.add_memory(u64::from(index) << 32, 16 << 20).unwrap();
        let queue = machine.guest.new_queue(usize::from(index), 64, &region).unwrap();
        machine.guest.start(&queue, 0).unwrap();
        let mut fs = Client::new(queue).unwrap();
        for _ in 0..10 {
            fs.getattr(ROOT, None).unwrap();
        }
        settle(&machine.daemon);
        region.cut_off().unwrap();
        fs.queue_mut().kick_anyway().unwrap();
        let broken = format!("Queue {index} is broken");
        machine.daemon.process().wait_for_line(&broken, LONG).unwrap();
        assert!(machine.daemon.process().stderr().contains("has cut off memory"));
        machine.fs.getattr(ROOT, None).unwrap();
        // Its ring must not be looked at any more, also not by us.
        std::mem::forget(fs);
        machine.guest.remove_memory(&region).unwrap();
        machine.fs.getattr(ROOT, None).unwrap();
    }
}

#[test]
fn a_buffer_in_memory_that_is_cut_off_is_no_memory() {
    let mut machine = Machine::new();
    machine.put("a", pattern(10_000));
    let node = machine.find(ROOT, "a");
    let fh = machine.fs.open(node, libc::O_RDWR).unwrap().fh;
    let region = machine.guest.add_memory(1 << 33, 1 << 20).unwrap();
    let mut queue = machine.guest.queue(2).unwrap();
    let data = ferryfs_bench::Span { addr: region.alloc(4096, 4096).unwrap(), len: 4096 };
    let home = machine.guest.memory()[0].clone();
    let head = ferryfs_bench::Span { addr: home.alloc(128, 8).unwrap(), len: 80 };
    let out = ferryfs_bench::Span { addr: head.addr + 80, len: 16 };
    let opcode = Opcode::Read as u32;
    let header = InHeader { len: 80, opcode, unique: 8, nodeid: node, ..InHeader::new_zeroed() };
    home.write(head.addr, header.as_bytes());
    home.write(head.addr + 40, fh.as_bytes());
    home.write(head.addr + 56, 4096u32.as_bytes());
    region.cut_off().unwrap();
    queue.submit(&[head], &[out, data]).unwrap();
    queue.kick().unwrap();
    let used = queue.wait(Instant::now() + LONG).unwrap();
    assert_eq!(used.len, 16);
    let mut reply = [0; 16];
    home.read(out.addr, &mut reply);
    assert_eq!(reply[4..8], (-libc::EFAULT).to_ne_bytes());
    machine.fs.getattr(ROOT, None).unwrap();
}

/// Sends a message of the front-end with descriptors.
fn send(connection: &UnixStream, head: [u32; 3], body: &[u8], fds: &[BorrowedFd<'_>]) {
    let head: Vec<u8> = head.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let mut space = [std::mem::MaybeUninit::uninit(); 256];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(fds)));
    }
    let parts = [IoSlice::new(&head), IoSlice::new(body)];
    sendmsg(connection, &parts, &mut ancillary, SendFlags::empty()).unwrap();
}

/// Asks for the features, and skips replies until that to this.
fn is_alive(mut connection: &UnixStream, what: &str) {
    send(connection, [1, 1, 0], &[], &[]);
    loop {
        let mut head = [0; 12];
        connection.read_exact(&mut head).unwrap_or_else(|error| panic!("{what}: {error}"));
        let word = |at: usize| u32::from_ne_bytes(head[at..at + 4].try_into().unwrap());
        let mut body = vec![0; word(8) as usize];
        connection.read_exact(&mut body).unwrap();
        if word(0) == 1 {
            return;
        }
    }
}

/// Every message in every size, with every kind of descriptor, to a device in every state.
#[test]
fn messages_that_are_anything_at_all_cost_nothing_in_the_end() {
    let mut daemon = Daemon::start(ferryfs(), &["--tag", "tag"]).unwrap();
    let connection = UnixStream::connect(daemon.socket()).unwrap();
    connection.set_read_timeout(Some(LONG)).unwrap();
    let files = [
        fs::File::open("/dev/null").unwrap(),
        fs::File::open("/").unwrap(),
        fs::File::options().read(true).write(true).open("/dev/zero").unwrap(),
        tempfile::tempfile().unwrap(),
    ];
    files[3].set_len(1 << 20).unwrap();
    // Whoever reads the first or the third, or writes to the others, waits for ever.
    let (empty, full) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
    rustix::fs::fcntl_setfl(&full.1, OFlags::NONBLOCK).unwrap();
    while rustix::io::write(&full.1, &[0; 4096]).is_ok() {}
    rustix::fs::fcntl_setfl(&full.1, OFlags::empty()).unwrap();
    let (silent, jammed) = (UnixStream::pair().unwrap(), ferryfs_bench::Event::full().unwrap());
    let blocking = [empty.0.as_fd(), full.1.as_fd(), silent.0.as_fd(), jammed.as_fd()];
    let files: Vec<_> = files.iter().map(AsFd::as_fd).chain(blocking).collect();
    let mut dice = Dice(0x0dd_ba11);
    let mut size = None;
    for round in 0..3 {
        for code in 0..48 {
            for len in [0usize, 1, 4, 8, 12, 20, 32, 40, 72, 264, 4096] {
                let words = (0..len.div_ceil(4)).map(|_| match dice.below(3) {
                    0 => u32::try_from(dice.edge() & u64::from(u32::MAX)).unwrap(),
                    1 => u32::try_from(dice.below(4)).unwrap(),
                    _ => 0,
                });
                let body: Vec<u8> = words.flat_map(u32::to_ne_bytes).take(len).collect();
                // Nor is it read if there are descriptors that do not belong to the message.
                let takes_fds = [5, 6, 7, 12, 13, 14, 21, 32, 33, 37, 38, 42].contains(&code);
                let most = if takes_fds || len == 0 { 4 } else { 1 };
                let count = usize::try_from(dice.below(most)).unwrap();
                let fds: Vec<_> = (0..count).map(|_| dice.one_of(&files)).collect();
                // The body of a message whose head makes no sense is taken for the next.
                let known = (1..=44).contains(&code);
                if !known && len > 0 {
                    continue;
                }
                let flags =
                    if len == 0 { dice.one_of(&[1, 9, 5, 0, 2]) } else { dice.one_of(&[1, 9]) };
                let what = format!("message {code} of {len} bytes, flags {flags}, {body:x?}");
                send(&connection, [code, flags, u32::try_from(len).unwrap()], &body, &fds);
                is_alive(&connection, &what);
            }
        }
        let now = Size::of(&daemon);
        if let Some(before) = size.replace(now)
            && round > 1
        {
            size.as_ref().unwrap().expect_no_more(&before);
        }
    }
    drop(connection);
    assert_eq!(daemon.process_mut().wait(LONG).unwrap().code(), Some(0));
}

#[test]
fn a_guest_that_dies_in_the_middle_of_everything_is_cleaned_up_after() {
    let mut machine = Machine::new();
    let pending: Vec<_> = (2..5).map(|index| machine.guest.client(index).unwrap()).collect();
    for (at, mut fs) in pending.into_iter().enumerate() {
        fs.timeout = Duration::ZERO;
        let made = fs.create(ROOT, format!("file {at}"), libc::O_RDWR, 0o644);
        assert!(!matches!(made, Err(Error::Errno(_) | Error::Gone)), "{made:?}");
    }
    let Machine { hiprio, fs, guest, mut daemon } = machine;
    drop((hiprio, fs, guest));
    assert_eq!(daemon.process_mut().wait(LONG).unwrap().code(), Some(0));
}
