//! Requests that wait for a lock, which may be for ever.

use std::fs::{File, TryLockError};

use ferryfs::fuse::abi::{FileLock, LkIn};
use ferryfs::fuse::{Errno, Opcode, flags};
use ferryfs_bench::{Error, Event, Frame, Layout, Queue, ROOT, Request, Result};
use zerocopy::IntoBytes;

use super::*;

/// The queue on which the guest waits.
const INDEX: usize = 2;

/// A guest that waits for a lock, which a process of the host has.
struct Waiting {
    machine: Machine,
    host: File,
    node: u64,
    fh: u64,
    queue: Queue,
    frame: Frame,
    head: u16,
}

impl Waiting {
    fn new() -> Self {
        let mut machine = Machine::with(&["--flock"], Setup::default());
        machine.fs.init(LINUX_6_18).unwrap();
        let host = File::open(machine.put("locked", "")).unwrap();
        host.lock().unwrap();
        let node = machine.find(ROOT, "locked");
        let fh = machine.fs.open(node, libc::O_RDWR).unwrap().fh;
        let mut queue = machine.guest.queue(INDEX).unwrap();
        let mut frame = Frame::new(queue.region(), Layout::Linux, (4096, 4096)).unwrap();
        let kind = libc::F_WRLCK.cast_unsigned();
        let lk = FileLock { start: 0, end: i64::MAX.cast_unsigned(), kind, pid: 1 };
        let arg = LkIn { fh, owner: 1, lk, lk_flags: flags::lock::FLOCK, padding: 0 };
        let (opcode, args) = (Opcode::Setlkw as u32, &[arg.as_bytes()]);
        frame.fill(4, &Request { opcode, node, args, ..Request::default() }).unwrap();
        let head = queue.submit(frame.readable(), frame.writable()).unwrap();
        let mut waiting = Waiting { machine, host, node, fh, queue, frame, head };
        // Requests are taken in turn: when this one is answered, the other waits.
        waiting.ask_for_figures(5);
        waiting
    }

    /// A request that does not wait, on the same queue.
    fn ask_for_figures(&mut self, unique: u64) {
        let mut frame = Frame::new(self.queue.region(), Layout::Linux, (4096, 4096)).unwrap();
        let opcode = Opcode::Statfs as u32;
        let statfs = Request { opcode, node: ROOT, reply: 80, ..Request::default() };
        frame.fill(unique, &statfs).unwrap();
        let head = self.queue.submit(frame.readable(), frame.writable()).unwrap();
        self.queue.kick().unwrap();
        let used = self.queue.wait(Instant::now() + LONG).unwrap();
        assert_eq!(used.head, head, "another request of the same queue");
        frame.check(used.len, unique).unwrap();
    }

    /// How the waiting ended.
    fn end(&mut self) -> Result<()> {
        let used = self.queue.wait(Instant::now() + LONG).unwrap();
        assert_eq!(used.head, self.head);
        self.frame.check(used.len, 4)
    }

    /// How it ended, if not with the lock: then the host gets it.
    fn end_without_lock(&mut self) -> Errno {
        let error = match self.end() {
            Err(Error::Errno(error)) => error,
            other => panic!("{other:?}"),
        };
        self.host.unlock().unwrap();
        settle(&self.machine.daemon);
        self.host.try_lock().unwrap();
        error
    }
}

#[test]
fn who_waits_for_a_lock_gets_it_and_holds_up_nobody() {
    let mut waiting = Waiting::new();
    (6..50).for_each(|unique| waiting.ask_for_figures(unique));
    waiting.host.unlock().unwrap();
    waiting.end().unwrap();
    assert!(matches!(waiting.host.try_lock(), Err(TryLockError::WouldBlock)));
    waiting.machine.fs.release(waiting.node, waiting.fh).unwrap();
    waiting.host.try_lock().unwrap();
}

#[test]
fn a_queue_that_is_stopped_waits_no_more() {
    let mut waiting = Waiting::new();
    assert_eq!(waiting.machine.guest.stop(INDEX).unwrap(), 2);
    assert_eq!(waiting.end_without_lock(), Errno::ENOLCK);
}

/// Whoever stops it has to tell the guest, whose event has whoever tells it wait.
#[test]
fn a_queue_that_is_stopped_waits_no_more_although_its_call_event_is_full() {
    let mut waiting = Waiting::new();
    waiting.queue.use_call(Event::full().unwrap());
    waiting.machine.guest.set_call(&waiting.queue).unwrap();
    waiting.queue.ring().ask_for_call();
    assert_eq!(waiting.machine.guest.stop(INDEX).unwrap(), 2);
    assert_eq!(waiting.end_without_lock(), Errno::ENOLCK);
}

#[test]
fn a_handle_that_is_released_waits_no_more() {
    let mut waiting = Waiting::new();
    waiting.machine.fs.release(waiting.node, waiting.fh).unwrap();
    assert_eq!(waiting.end_without_lock(), Errno::EBADF);
}

#[test]
fn nothing_waits_beyond_its_session() {
    let mut waiting = Waiting::new();
    waiting.machine.fs.destroy().unwrap();
    waiting.end_without_lock();
    let mut waiting = Waiting::new();
    waiting.machine.fs.init(LINUX_6_18).unwrap();
    waiting.end_without_lock();
}

#[test]
fn a_front_end_that_leaves_ends_the_waiting() {
    let Waiting { machine, host, queue, .. } = Waiting::new();
    let Machine { hiprio, fs, guest, mut daemon } = machine;
    drop((hiprio, fs, queue, guest));
    let ended = daemon.process_mut().wait(LONG).unwrap();
    assert!(ended.success());
    host.unlock().unwrap();
    host.try_lock().unwrap();
}
