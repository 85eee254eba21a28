//! Events that the front-end chooses: they may be full, may have whoever meets them wait, and may
//! be no events at all. They cost its own queue at most.

use std::io::IoSliceMut;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use ferryfs_bench::{Event, Mode, Queue, ROOT};
use rustix::io::{ReadWriteFlags, preadv2};

use super::rings::{flood, frame, getattr};
use super::*;

/// A queue whose thread has something to tell, and cannot before somebody reads its call event.
fn jammed(machine: &mut Machine, index: usize) -> Queue {
    let region = machine.guest.memory()[0].clone();
    let mut queue = machine.guest.new_queue(index, 64, &region).unwrap();
    queue.use_call(Event::full().unwrap());
    machine.guest.start(&queue, 0).unwrap();
    let mut frame = frame(&region);
    frame.fill(2, &getattr()).unwrap();
    queue.submit(frame.readable(), frame.writable()).unwrap();
    queue.kick_anyway().unwrap();
    wait_until("it is used", || queue.ring().used_index() == 1);
    settle(&machine.daemon);
    queue
}

#[test]
fn a_call_event_that_is_full_holds_up_its_own_queue_and_nothing_else() {
    let mut machine = Machine::new();
    let mut queue = jammed(&mut machine, 2);
    machine.fs.getattr(ROOT, None).unwrap();
    assert_eq!(machine.guest.stop(2).unwrap(), 1);
    queue.reset(1);
    queue.renew_kick().unwrap();
    queue.renew_call().unwrap();
    machine.guest.start(&queue, 1).unwrap();
    flood(&mut queue, 1, 10, Mode::Block);
    // It may be read in time, too.
    let queue = jammed(&mut machine, 3);
    assert_eq!(queue.call_event().take().unwrap(), u64::MAX - 1);
    settle(&machine.daemon);
    assert_eq!(queue.call_event().take().unwrap(), 1);
}

#[test]
fn a_device_is_reset_although_its_call_events_are_full() {
    let mut machine = Machine::new();
    let queues = [2, 3, 4].map(|index| jammed(&mut machine, index));
    machine.guest.reset_device().unwrap();
    machine.guest.queue_count().unwrap();
    drop(queues);
}

#[test]
fn a_front_end_ends_although_its_call_events_are_full() {
    let mut machine = Machine::new();
    let queues = [2, 3, 4].map(|index| jammed(&mut machine, index));
    let Machine { hiprio, fs, guest, mut daemon } = machine;
    drop((hiprio, fs, guest, queues));
    assert_eq!(daemon.process_mut().wait(LONG).unwrap().code(), Some(0));
}

#[test]
fn an_error_event_that_is_full_holds_up_nothing() {
    let mut machine = Machine::new();
    let queue = machine.guest.queue(2).unwrap();
    machine.guest.set_error(2, &Event::full().unwrap()).unwrap();
    // More requests than there is room for: the ring is broken.
    queue.ring().set_avail_index(queue.ring().size() + 1);
    queue.kick_event().notify().unwrap();
    machine.daemon.process().wait_for_line("Queue 2 is broken", LONG).unwrap();
    machine.fs.getattr(ROOT, None).unwrap();
    machine.guest.stop(2).unwrap();
    let Machine { hiprio, fs, guest, mut daemon } = machine;
    drop((hiprio, fs, guest, queue));
    assert_eq!(daemon.process_mut().wait(LONG).unwrap().code(), Some(0));
}

/// A thread that was woken for a kick may find that somebody else has read it.
#[test]
fn a_kick_event_for_which_one_waits_holds_up_nothing_when_it_is_read_by_others() {
    let mut machine = Machine::new();
    let region = machine.guest.memory()[0].clone();
    let mut queue = machine.guest.new_queue(2, 64, &region).unwrap();
    for _ in 0..300 {
        queue.use_kick(Event::blocking().unwrap());
        machine.guest.start(&queue, 0).unwrap();
        for _ in 0..30 {
            queue.kick_event().notify().unwrap();
            let mut count = [0; 8];
            let mut count = [IoSliceMut::new(&mut count)];
            // Nothing is there if the daemon was faster.
            let _ = preadv2(queue.kick_event(), &mut count, u64::MAX, ReadWriteFlags::NOWAIT);
        }
        assert_eq!(machine.guest.stop(2).unwrap(), 0);
    }
    machine.guest.start(&queue, 0).unwrap();
    flood(&mut queue, 1, 10, Mode::Block);
}

/// A file may belong to a server that is silent, and what is written there is written with the
/// rights of the daemon. User-Mode Linux has pipes for events.
#[test]
fn what_is_no_event_is_refused() {
    let mut machine = Machine::new();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let zero = fs::File::options().read(true).write(true).open("/dev/zero").unwrap();
    let others: [(OwnedFd, bool); 5] = [
        (tempfile::tempfile().unwrap().into(), false),
        (zero.into(), false),
        (rustix::fs::memfd_create("", rustix::fs::MemfdFlags::CLOEXEC).unwrap(), false),
        (theirs.into(), true),
        (writer.into(), true),
    ];
    let region = machine.guest.memory()[0].clone();
    for (other, may_be) in others {
        let what = format!("{other:?}");
        let mut queue = machine.guest.new_queue(2, 64, &region).unwrap();
        queue.use_call(Event::of(other));
        assert_eq!(machine.guest.set_call(&queue).is_ok(), may_be, "{what}");
        assert_eq!(machine.guest.set_error(2, queue.call_event()).is_ok(), may_be, "{what}");
    }
    drop((ours, reader));
    machine.fs.getattr(ROOT, None).unwrap();
}
