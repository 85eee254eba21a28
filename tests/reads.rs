//! READs that wait in a ring of io_uring, for storage that answers when the test says so: pipes.
#![expect(clippy::unwrap_used, reason = "a test may")]

use std::io::{PipeReader, PipeWriter, Write, pipe};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ferryfs::fuse::abi::{Attr, GetattrIn, ReadIn};
use ferryfs::fuse::*;
use ferryfs::mem::Output;
use ferryfs::vhost::{self, DeviceConfig, ReadRings, Traffic};
use ferryfs_bench::{
    Client, Frame, Guest, LINUX_6_18, LONG, Layout, Queue, ROOT, Region, Request, Setup, skip,
    wait_until,
};
use zerocopy::{FromZeros, IntoBytes};

/// What is read by a thread that waits.
const BY_THREAD: &[u8] = b"by a thread";

/// Handles of what cannot be read: it has no descriptor, or nothing that gives one, or one that
/// gives an error, or is a server's.
const NO_FILE: u64 = 1000;
const PANICS: u64 = 1001;
const DIRECTORY: u64 = 1002;
const REMOTE: u64 = 1003;

/// More than a ring takes.
const PIPES: usize = 160;

/// A file system of pipes, by handle. Whoever must not wait reads nothing of it.
struct Pipes {
    readers: Mutex<Vec<Option<PipeReader>>>,
    begun: AtomicUsize,
    by_threads: AtomicUsize,
}

impl Filesystem for Pipes {
    fn wanted(&self) -> u64 {
        0
    }

    fn waits(&self, opcode: Opcode, node: NodeId) -> Option<Wait> {
        (opcode == Opcode::Read && node.0 == REMOTE).then_some(Wait::Server)
    }

    fn getattr(&self, node: NodeId, _: Option<Handle>) -> Result<Attributes> {
        let attr = Attr { ino: node.0, ..Attr::new_zeroed() };
        Ok(Attributes { attr, valid: Duration::ZERO })
    }

    fn read(
        &self,
        _: NodeId,
        _: Handle,
        _: u64,
        patience: Patience,
        out: &mut Output<'_>,
    ) -> Result<usize> {
        if patience == Patience::None {
            return Err(Errno::WAITS);
        }
        self.by_threads.fetch_add(1, Ordering::Relaxed);
        out.put_bytes(BY_THREAD)?;
        Ok(BY_THREAD.len())
    }

    fn with_file(
        &self,
        _: NodeId,
        handle: Handle,
        with: &mut dyn FnMut(BorrowedFd<'_>),
    ) -> Result<()> {
        match handle.0 {
            NO_FILE => return Err(Errno::EBADF),
            PANICS => panic!("a bug"),
            DIRECTORY => with(std::fs::File::open("/").unwrap().as_fd()),
            pipe => {
                let pipes = self.readers.lock().unwrap();
                with(pipes[usize::try_from(pipe).unwrap()].as_ref().ok_or(Errno::EBADF)?.as_fd());
                self.begun.fetch_add(1, Ordering::Release);
            }
        }
        Ok(())
    }

    fn release(&self, _: NodeId, handle: Handle, _: bool) -> Result<()> {
        let closed = self.readers.lock().unwrap()[usize::try_from(handle.0).unwrap()].take();
        closed.map(drop).ok_or(Errno::EBADF)
    }
}

/// A device over [`Pipes`], and its guest.
struct Machine {
    fs: Client,
    guest: Guest,
    writers: Vec<PipeWriter>,
    session: Arc<Session<Pipes>>,
    traffic: Arc<Traffic>,
    server: JoinHandle<std::result::Result<(), vhost::ServeError>>,
}

impl Machine {
    /// None, and a line that says why, if there is no io_uring.
    fn new(test: &str) -> Option<Self> {
        let config = config();
        match ReadRings::new(&config) {
            Ok(rings) => Some(Self::with(config, Some(rings))),
            Err(error) => {
                skip(test, &format!("io_uring cannot be used ({error})"));
                None
            }
        }
    }

    fn with(config: DeviceConfig, rings: Option<ReadRings>) -> Self {
        // It would only fill the log.
        std::panic::set_hook(Box::new(|info| {
            if !std::thread::current().name().is_some_and(|name| name.starts_with("queue")) {
                eprintln!("{info}");
            }
        }));
        let (readers, writers) = (0..PIPES).map(|_| pipe().unwrap()).unzip::<_, _, Vec<_>, _>();
        let readers = Mutex::new(readers.into_iter().map(Some).collect());
        let (begun, by_threads) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let files = Pipes { readers, begun, by_threads };
        let session = Arc::new(Session::new(files, Carrier::VIRTIO));
        let (ours, theirs) = UnixStream::pair().unwrap();
        let traffic = Arc::new(Traffic::default());
        let server = std::thread::spawn({
            let (session, traffic) = (session.clone(), traffic.clone());
            move || vhost::serve(theirs, session, config, (&traffic, None, rings))
        });
        let mut guest = Guest::over(ours, Setup::default()).unwrap();
        let mut fs = guest.client(1).unwrap();
        fs.init(LINUX_6_18).unwrap();
        Machine { fs, guest, writers, session, traffic, server }
    }

    fn files(&self) -> &Pipes {
        self.session.filesystem()
    }

    /// Waits until so many READs are in rings.
    fn wait_until_begun(&self, count: usize) {
        wait_until("the reads have begun", || self.files().begun.load(Ordering::Acquire) == count);
    }

    /// Hangs up; everything has to end with that.
    fn end(self, line: Line) {
        drop((line, self.fs, self.guest));
        self.server.join().unwrap().unwrap();
    }
}

fn config() -> DeviceConfig {
    let poll = Duration::ZERO;
    DeviceConfig { tag: None, request_queues: 2, cpus: 2, waiting_threads: 2, poll }
}

fn soon() -> Instant {
    Instant::now() + LONG
}

/// Requests of a queue, several at a time.
struct Line {
    queue: Queue,
    flying: Vec<(u16, u64, Frame)>,
}

impl Line {
    fn new(machine: &mut Machine, index: usize) -> Self {
        Line { queue: machine.guest.queue(index).unwrap(), flying: Vec::new() }
    }

    fn read(&mut self, handle: u64, offset: u64, size: u32) -> u16 {
        let region = self.queue.region().clone();
        self.read_into(&region, Layout::Linux, (ROOT, handle), (offset, size))
    }

    fn read_into(
        &mut self,
        region: &Arc<Region>,
        layout: Layout,
        (node, fh): (u64, u64),
        (offset, size): (u64, u32),
    ) -> u16 {
        let arg = ReadIn { fh, offset, size, ..ReadIn::new_zeroed() };
        let (args, reply_data) = (&[arg.as_bytes()][..], size as usize);
        let opcode = Opcode::Read as u32;
        self.send(region, layout, &Request { opcode, node, args, reply_data, ..Request::default() })
    }

    fn send(&mut self, region: &Arc<Region>, layout: Layout, request: &Request<'_>) -> u16 {
        let room = request.reply + request.reply_data;
        let mut frame = Frame::new(region, layout, (4096, room + 4096)).unwrap();
        let unique = Client::next_unique();
        frame.fill(unique, request).unwrap();
        frame.fill_reply(0xaa);
        let head = self.queue.submit(frame.readable(), frame.writable()).unwrap();
        self.queue.kick().unwrap();
        self.flying.push((head, unique, frame));
        head
    }

    /// The next that is answered, and with what.
    fn next(&mut self) -> (u16, Vec<u8>) {
        let used = self.queue.wait(soon()).unwrap();
        let at = self.flying.iter().position(|(head, ..)| *head == used.head).unwrap();
        let (head, unique, frame) = self.flying.swap_remove(at);
        frame.check(used.len, unique).unwrap();
        let mut body = vec![0; used.len as usize - 16];
        frame.read_reply(16, &mut body);
        (head, body)
    }

    fn expect(&mut self, head: u16, body: &[u8]) {
        assert_eq!(self.next(), (head, body.to_vec()));
    }

    fn nothing_has_come(&mut self) {
        assert!(self.queue.reap().unwrap().is_none());
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from((at * 31 + at / 251) % 256).unwrap()).collect()
}

#[test]
fn reads_are_answered_when_storage_answers_and_other_requests_before() {
    let test = "reads_are_answered_when_storage_answers_and_other_requests_before";
    let Some(mut machine) = Machine::new(test) else { return };
    let mut line = Line::new(&mut machine, 2);
    let heads: Vec<_> = (0..10).map(|pipe| line.read(pipe, 4096 * pipe, 4096)).collect();
    machine.wait_until_begun(10);
    let arg = GetattrIn::new_zeroed();
    let (opcode, args) = (Opcode::Getattr as u32, &[arg.as_bytes()][..]);
    let getattr = Request { opcode, node: ROOT, args, reply: 104, ..Request::default() };
    let region = line.queue.region().clone();
    let head = line.send(&region, Layout::Linux, &getattr);
    assert_eq!(line.next().0, head);
    for at in [3, 9, 0, 5, 4, 8, 1, 2, 7, 6] {
        line.nothing_has_come();
        let content = pattern(at * 400);
        let content = if at == 0 { b"x" } else { &content[..] };
        machine.writers[at].write_all(content).unwrap();
        line.expect(heads[at], content);
    }
    assert_eq!(machine.files().by_threads.load(Ordering::Relaxed), 0);
    let totals = machine.session.totals();
    let reads = totals.operations.iter().find(|one| one.opcode == Some(Opcode::Read)).unwrap();
    let sum: usize = (1..10).map(|at| at * 400).sum();
    assert_eq!((reads.requests, reads.errors, totals.read), (10, 0, sum as u64 + 1));
    assert!(machine.traffic.totals().iter().all(|queue| queue.in_flight == 0));
    machine.end(line);
}

#[test]
fn data_goes_where_the_guest_has_room_however_that_is_cut() {
    let test = "data_goes_where_the_guest_has_room_however_that_is_cut";
    let Some(mut machine) = Machine::new(test) else { return };
    let mut line = Line::new(&mut machine, 2);
    let region = line.queue.region().clone();
    let layouts = [
        Layout::Linux,
        Layout::Whole,
        Layout::PagesAt(1001),
        Layout::Runs(&[1, 7, 300]),
        Layout::Runs(&[15, 2]),
    ];
    for (round, layout) in layouts.into_iter().enumerate() {
        for size in [1, 17, 4096, 5000] {
            let head = line.read_into(&region, layout, (ROOT, round as u64), (0, size));
            let content = pattern(size as usize);
            machine.writers[round].write_all(&content).unwrap();
            line.expect(head, &content);
        }
    }
    assert_eq!(machine.files().by_threads.load(Ordering::Relaxed), 0);
    machine.end(line);
}

#[test]
fn what_the_ring_cannot_answer_a_thread_does() {
    let Some(mut machine) = Machine::new("what_the_ring_cannot_answer_a_thread_does") else {
        return;
    };
    let mut line = Line::new(&mut machine, 2);
    for handle in [NO_FILE, PANICS, DIRECTORY] {
        let head = line.read(handle, 0, 4096);
        line.expect(head, BY_THREAD);
    }
    let region = line.queue.region().clone();
    let head = line.read_into(&region, Layout::Linux, (REMOTE, 0), (0, 4096));
    line.expect(head, BY_THREAD);
    for offset in [1 << 63, u64::MAX - 4096, u64::MAX] {
        let head = line.read(0, offset, 4096);
        line.expect(head, BY_THREAD);
    }
    // A page, where two were asked for: that may be the end, or an error.
    let head = line.read(1, 0, 8192);
    machine.writers[1].write_all(&pattern(4096)).unwrap();
    line.expect(head, BY_THREAD);
    // The end.
    drop(std::mem::take(&mut machine.writers));
    let head = line.read(1, 8192, 8192);
    line.expect(head, b"");
    assert_eq!(machine.files().by_threads.load(Ordering::Relaxed), 8);
    machine.end(line);
}

#[test]
fn without_a_ring_threads_read() {
    let mut machine = Machine::with(config(), None);
    let mut line = Line::new(&mut machine, 2);
    for _ in 0..10 {
        let head = line.read(0, 0, 4096);
        line.expect(head, BY_THREAD);
    }
    machine.end(line);
}

#[test]
fn more_reads_than_a_ring_takes_are_all_answered() {
    let Some(mut machine) = Machine::new("more_reads_than_a_ring_takes_are_all_answered") else {
        return;
    };
    let mut line = Line::new(&mut machine, 2);
    for _ in 0..3 {
        for pipe in 0..PIPES {
            line.read(pipe as u64, 0, 4096);
        }
        for _ in 128..PIPES {
            assert_eq!(line.next().1, BY_THREAD);
        }
        for writer in &mut machine.writers[..128] {
            line.nothing_has_come();
            writer.write_all(b"by storage").unwrap();
            assert_eq!(line.next().1, b"by storage");
        }
    }
    machine.end(line);
}

#[test]
fn a_file_that_is_released_is_read_to_the_end() {
    let Some(mut machine) = Machine::new("a_file_that_is_released_is_read_to_the_end") else {
        return;
    };
    let mut line = Line::new(&mut machine, 2);
    let head = line.read(0, 0, 4096);
    machine.wait_until_begun(1);
    machine.fs.release(ROOT, 0).unwrap();
    machine.writers[0].write_all(b"still there").unwrap();
    line.expect(head, b"still there");
    machine.end(line);
}

#[test]
fn a_session_that_ends_leaves_each_request_its_reply() {
    let Some(mut machine) = Machine::new("a_session_that_ends_leaves_each_request_its_reply")
    else {
        return;
    };
    let mut line = Line::new(&mut machine, 2);
    let heads = [0, 1, 2].map(|pipe| line.read(pipe, 0, 4096));
    machine.wait_until_begun(3);
    machine.fs.destroy().unwrap();
    machine.writers[0].write_all(b"after DESTROY").unwrap();
    line.expect(heads[0], b"after DESTROY");
    machine.fs.init(LINUX_6_18).unwrap();
    machine.writers[1].write_all(b"after INIT").unwrap();
    line.expect(heads[1], b"after INIT");
    let head = line.read(3, 0, 4096);
    machine.writers[3].write_all(b"new").unwrap();
    line.expect(head, b"new");
    machine.writers[2].write_all(b"late").unwrap();
    line.expect(heads[2], b"late");
    machine.end(line);
}

#[test]
fn a_queue_stops_when_storage_has_answered() {
    let Some(mut machine) = Machine::new("a_queue_stops_when_storage_has_answered") else {
        return;
    };
    let mut line = Line::new(&mut machine, 2);
    let (head, failing) = (line.read(0, 0, 4096), line.read(1, 0, 8192));
    machine.wait_until_begun(2);
    let base = std::thread::scope(|scope| {
        let (guest, writers) = (&mut machine.guest, &mut machine.writers);
        let stopping = scope.spawn(|| guest.stop(2).unwrap());
        std::thread::sleep(Duration::from_millis(20));
        assert!(!stopping.is_finished());
        writers[0].write_all(b"in time").unwrap();
        writers[1].write_all(&pattern(4096)).unwrap();
        stopping.join().unwrap()
    });
    assert_eq!((base, line.queue.ring().used_index()), (2, 2));
    let mut replies = [line.next(), line.next()];
    replies.sort();
    let mut expected = [(head, b"in time".to_vec()), (failing, BY_THREAD.to_vec())];
    expected.sort();
    assert_eq!(replies, expected);
    // And goes on.
    line.queue.renew_kick().unwrap();
    line.queue.renew_call().unwrap();
    machine.guest.start(&line.queue, base).unwrap();
    let head = line.read(2, 0, 4096);
    machine.writers[2].write_all(b"again").unwrap();
    line.expect(head, b"again");
    machine.end(line);
}

#[test]
fn a_queue_that_is_disabled_answers_when_it_is_enabled() {
    let test = "a_queue_that_is_disabled_answers_when_it_is_enabled";
    let Some(mut machine) = Machine::new(test) else { return };
    let mut line = Line::new(&mut machine, 2);
    let head = line.read(0, 0, 4096);
    machine.wait_until_begun(1);
    machine.guest.enable(2, false).unwrap();
    machine.fs.getattr(ROOT, None).unwrap();
    machine.writers[0].write_all(b"data").unwrap();
    machine.guest.enable(2, true).unwrap();
    line.expect(head, b"data");
    machine.end(line);
}

#[test]
fn after_a_reset_nothing_is_read_and_nothing_answered() {
    let Some(mut machine) = Machine::new("after_a_reset_nothing_is_read_and_nothing_answered")
    else {
        return;
    };
    let mut line = Line::new(&mut machine, 2);
    let heads = [0, 1].map(|pipe| line.read(pipe, 0, if pipe == 0 { 4096 } else { 8192 }));
    machine.wait_until_begun(2);
    std::thread::scope(|scope| {
        let (guest, writers) = (&mut machine.guest, &mut machine.writers);
        let resetting = scope.spawn(|| guest.reset_device().unwrap());
        std::thread::sleep(Duration::from_millis(20));
        assert!(!resetting.is_finished());
        writers[0].write_all(b"before the reset is done").unwrap();
        writers[1].write_all(&pattern(4096)).unwrap();
        resetting.join().unwrap();
    });
    line.nothing_has_come();
    assert_eq!(line.queue.ring().used_index(), 0);
    assert_ne!(heads[0], heads[1]);
    assert!(machine.traffic.totals().iter().all(|queue| queue.in_flight == 0));
    machine.end(line);
}

#[test]
fn memory_that_is_taken_away_is_written_until_storage_has_answered() {
    let test = "memory_that_is_taken_away_is_written_until_storage_has_answered";
    let Some(mut machine) = Machine::new(test) else { return };
    let mut line = Line::new(&mut machine, 2);
    let region = machine.guest.add_memory(1 << 32, 16 << 20).unwrap();
    let head = line.read_into(&region, Layout::Linux, (ROOT, 0), (0, 5000));
    machine.wait_until_begun(1);
    machine.guest.remove_memory(&region).unwrap();
    machine.fs.getattr(ROOT, None).unwrap();
    machine.writers[0].write_all(&pattern(5000)).unwrap();
    line.expect(head, &pattern(5000));
    machine.end(line);
}

#[test]
fn the_end_of_a_front_end_waits_for_storage() {
    let Some(mut machine) = Machine::new("the_end_of_a_front_end_waits_for_storage") else {
        return;
    };
    let mut line = Line::new(&mut machine, 2);
    for pipe in 0..20 {
        line.read(pipe, 0, 4096);
    }
    machine.wait_until_begun(20);
    let Machine { fs, guest, mut writers, server, .. } = machine;
    drop((line, fs, guest));
    std::thread::sleep(Duration::from_millis(20));
    assert!(!server.is_finished());
    for writer in &mut writers[..20] {
        writer.write_all(b"for nobody").unwrap();
    }
    server.join().unwrap().unwrap();
}
