//! Front-ends whose guests' memory is not shared with the daemon.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use super::*;

fn message(connection: &mut UnixStream, request: u32, body: &[u8]) {
    let head = [request, 1, u32::try_from(body.len()).unwrap()];
    connection.write_all(&head.map(u32::to_ne_bytes).concat()).unwrap();
    connection.write_all(body).unwrap();
}

/// Waits until all that was said has been heard: GET_FEATURES has an answer.
fn heard(connection: &mut UnixStream) {
    message(connection, 1, &[]);
    connection.read_exact(&mut [0; 20]).unwrap();
}

#[test]
fn a_front_end_without_shared_memory_is_told_so_in_one_line() {
    let mut daemon = Daemon::start(ferryfs(), &[]).unwrap();
    let mut connection = UnixStream::connect(daemon.socket()).unwrap();
    connection.set_read_timeout(Some(LONG)).unwrap();
    // SET_OWNER, and SET_FEATURES of no more than VERSION_1: rings run as soon as they are kicked.
    message(&mut connection, 3, &[]);
    message(&mut connection, 2, &(1u64 << 32).to_ne_bytes());
    for _ in 0..2 {
        for queue in 0..3u32 {
            let state = |value: u32| [queue, value].map(u32::to_ne_bytes).concat();
            // SET_VRING_NUM, SET_VRING_BASE, SET_VRING_ADDR, and SET_VRING_KICK without an event.
            message(&mut connection, 8, &state(128));
            message(&mut connection, 10, &state(0));
            let places = [0x1000u64, 0x2000, 0x3000, 0].map(u64::to_ne_bytes).concat();
            message(&mut connection, 9, &[state(0), places].concat());
            message(&mut connection, 12, &(0x100 | u64::from(queue)).to_ne_bytes());
        }
        heard(&mut connection);
    }
    drop(connection);
    assert_eq!(daemon.process_mut().wait(LONG).unwrap().code(), Some(0));
    let said = daemon.process().stderr();
    let lines: Vec<_> =
        said.lines().filter(|line| line.contains("ERROR") || line.contains("WARN")).collect();
    assert!(
        matches!(lines[..], [one] if one.contains("ERROR") && one.contains("share=on")),
        "{said}"
    );
}

const SUSPICION: &str = "may not be shared";

#[test]
fn kicks_of_a_guest_with_nothing_in_its_memory_are_told_once() {
    let mut machine = Machine::with(&[], Setup::default());
    let queues = [2, 3].map(|index| machine.guest.queue(index).unwrap());
    for _ in 0..2 {
        for queue in &queues {
            queue.kick_event().notify().unwrap();
            settle(&machine.daemon);
        }
    }
    let said = |machine: &Machine| machine.daemon.process().stderr();
    wait_until("it is said", || said(&machine).contains(SUSPICION));
    // The other queue serves, and nothing more is said.
    machine.fs.init(LINUX_6_18).unwrap();
    assert_eq!(said(&machine).matches("WARN").count(), 1, "{}", said(&machine));
}

#[test]
fn nothing_is_suspected_of_a_good_guest() {
    let mut machine = Machine::with(&[], Setup::default());
    // As every guest it has a kernel somewhere, and has put it there before it kicks.
    machine.guest.memory()[0].write(100 << 20, &vec![7; 8 << 20]);
    let quiet = machine.guest.queue(2).unwrap();
    let index = machine.fs.queue().index();
    assert_eq!(index, 1);
    // Front-ends kick when they start a ring, however often that is.
    for _ in 0..5 {
        quiet.kick_event().notify().unwrap();
        machine.fs.queue().kick_event().notify().unwrap();
        settle(&machine.daemon);
        machine.guest.stop(2).unwrap();
        machine.guest.start(&quiet, 0).unwrap();
        machine.guest.stop(1).unwrap();
        machine.guest.start(machine.fs.queue(), 0).unwrap();
    }
    // FORGETs come when the guest likes.
    for _ in 0..5 {
        machine.hiprio.queue().kick_event().notify().unwrap();
        settle(&machine.daemon);
    }
    machine.fs.init(LINUX_6_18).unwrap();
    // A request that was found before its kick was read leaves a kick of an empty ring.
    for _ in 0..5 {
        machine.fs.getattr(1, None).unwrap();
        machine.fs.queue().kick_event().notify().unwrap();
        settle(&machine.daemon);
    }
    let said = machine.daemon.process().stderr();
    assert!(!said.contains("WARN"), "{said}");
}
