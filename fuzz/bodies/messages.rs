//! A front-end that may say anything, with a guest behind it.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ferryfs::fuse::{Carrier, Session};
use ferryfs::vhost::{self, DeviceConfig, Traffic};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::support::echo::Echo;
use super::support::requests::init;

/// Memory of the guest, and where it is: also for the front-end.
const MEMORY: usize = 1 << 16;
const USER: u64 = 1 << 32;
const DESC: usize = 0;
const AVAIL: usize = 0x100;
const USED: usize = 0x200;
const REQUEST: usize = 0x400;
const REPLY: usize = 0x800;
const SIZE: u8 = 16;

/// Codes of vhost-user.
const SET_FEATURES: u8 = 2;
const SET_OWNER: u8 = 3;
const SET_MEM_TABLE: u8 = 5;
const SET_VRING_NUM: u8 = 8;
const SET_VRING_ADDR: u8 = 9;
const SET_VRING_BASE: u8 = 10;
const GET_VRING_BASE: u8 = 11;
const SET_VRING_KICK: u8 = 12;
const SET_VRING_CALL: u8 = 13;
const SET_PROTOCOL_FEATURES: u8 = 16;
const SET_VRING_ENABLE: u8 = 18;

/// What goes along with a message.
struct Fds {
    memory: OwnedFd,
    kick: OwnedFd,
    call: OwnedFd,
}

/// Sends one message: its code, flags (1: asks for an answer; 2: of no known version; 4 and 8: how
/// many descriptors, if any; 16: the length is wrong), which descriptors, and its body.
fn say(stream: &UnixStream, fds: &Fds, code: u8, (flags, which): (u8, u8), body: &[u8]) {
    let wire = 1 | u32::from(flags & 2) | u32::from(flags & 1) << 3;
    let length = u32::try_from(body.len()).unwrap() + u32::from(flags >> 4 & 1) * 8;
    let head = [u32::from(code), wire, length].map(u32::to_ne_bytes).concat();
    let all = [fds.memory.as_fd(), fds.kick.as_fd(), fds.call.as_fd()];
    let given: Vec<BorrowedFd<'_>> = (0..flags >> 2 & 3)
        .map(|number| all[usize::from(which >> (2 * number) & 3) % all.len()])
        .collect();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !given.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(&given)));
    }
    let parts = [std::io::IoSlice::new(&head), std::io::IoSlice::new(body)];
    // The daemon may have hung up.
    let _ = sendmsg(stream, &parts, &mut control, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
    let mut answers = [0; 4096];
    while matches!((&*stream).read(&mut answers), Ok(1..)) {}
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// As front-ends begin: everything until the ring of queue 1 is served.
fn begin(stream: &UnixStream, fds: &Fds) {
    let region = words(&[1, 0, MEMORY as u64, USER, 0]);
    let ring = |number: u32| [1_u32, number].map(u32::to_ne_bytes).concat();
    let address = |at: usize| USER + at as u64;
    let addresses = words(&[1, address(DESC), address(USED), address(AVAIL), 0]);
    let messages: [(u8, u8, u8, Vec<u8>); 11] = [
        (SET_OWNER, 0, 0, Vec::new()),
        (SET_FEATURES, 0, 0, words(&[1 << 32 | 1 << 30 | 1 << 28])),
        (SET_PROTOCOL_FEATURES, 0, 0, words(&[1 << 3 | 1])),
        (SET_MEM_TABLE, 4, 0, region),
        (SET_VRING_NUM, 0, 0, ring(SIZE.into())),
        (SET_VRING_ADDR, 0, 0, addresses),
        (SET_VRING_BASE, 0, 0, ring(0)),
        (SET_VRING_CALL, 4, 2, words(&[1])),
        (SET_VRING_KICK, 4, 1, words(&[1])),
        (SET_VRING_ENABLE, 0, 0, ring(1)),
        (SET_VRING_ENABLE, 1, 0, ring(1)),
    ];
    for (code, flags, which, body) in messages {
        say(stream, fds, code, (flags, which), &body);
    }
}

/// Options (1: the front-end does not begin as it should; 2: no kick), so many bytes of guest memory
/// after two bytes that say how many, and then messages: code, flags, descriptors, length, body.
pub fn messages(input: &[u8]) {
    let Some(([options, low, high], rest)) = input.split_first_chunk() else { return };
    let len = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
    let (content, mut rest) = rest.split_at(len);
    let fds = Fds {
        memory: memfd_create("guest", MemfdFlags::CLOEXEC).unwrap(),
        kick: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap(),
        call: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap(),
    };
    ftruncate(&fds.memory, MEMORY as u64).unwrap();
    rustix::io::pwrite(&fds.memory, content, 0).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let poll = Duration::ZERO;
    let config = DeviceConfig { tag: None, request_queues: 1, cpus: 1, waiting_threads: 2, poll };
    std::thread::scope(|scope| {
        let server = scope.spawn(move || {
            let session = Session::new(Echo::default(), Carrier::VIRTIO).into();
            vhost::serve(theirs, session, config, (&Traffic::default(), None, None))
        });
        if options & 1 == 0 {
            begin(&ours, &fds);
        }
        if options & 2 == 0 {
            let _ = rustix::io::write(&fds.kick, &1_u64.to_ne_bytes());
        }
        while let Some(([code, flags, which, len], tail)) = rest.split_first_chunk() {
            let (body, after) = tail.split_at(usize::from(*len).min(tail.len()));
            rest = after;
            say(&ours, &fds, *code, (*flags, *which), body);
        }
        let _ = (&ours).write_all(rest);
        drop(ours);
        // An end with an error is an end.
        let _ = server.join().unwrap();
    });
}

/// A guest that begins its session, and front-ends that say a little more.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut memory = vec![0; 0x500];
    let request = init();
    let desc = |addr: usize, len: usize, flags: u16, next: u16| {
        let len = u32::try_from(len).unwrap();
        [&words(&[addr as u64])[..], &len.to_le_bytes(), &flags.to_le_bytes(), &next.to_le_bytes()]
            .concat()
    };
    let chain = [desc(REQUEST, request.len(), 1, 1), desc(REPLY, 256, 2, 0)].concat();
    memory[DESC..DESC + chain.len()].copy_from_slice(&chain);
    memory[AVAIL + 2] = 1;
    memory[REQUEST..REQUEST + request.len()].copy_from_slice(&request);
    let len = u16::try_from(memory.len()).unwrap().to_le_bytes();
    let begun = |options: u8, messages: &[(u8, u8, u8, Vec<u8>)]| {
        let said = messages.iter().flat_map(|(code, flags, which, body)| {
            let len = u8::try_from(body.len()).unwrap();
            [&[*code, *flags, *which, len], &body[..]].concat()
        });
        [&[options], &len[..], &memory].concat().into_iter().chain(said).collect::<Vec<u8>>()
    };
    let ring = |number: u32| [1_u32, number].map(u32::to_ne_bytes).concat();
    let region = words(&[1, 0, MEMORY as u64, USER, 0]);
    let smaller = words(&[0, 0, 0x1000, USER, 0]);
    vec![
        begun(0, &[]),
        begun(0, &[(GET_VRING_BASE, 0, 0, ring(0))]),
        begun(0, &[(SET_VRING_ENABLE, 1, 0, ring(0)), (SET_VRING_ENABLE, 1, 0, ring(1))]),
        begun(0, &[(SET_MEM_TABLE, 5, 0, region.clone())]),
        // RESET_DEVICE, GET_CONFIG, GET_QUEUE_NUM, GET_MAX_MEM_SLOTS, GET_FEATURES
        begun(0, &[(34, 1, 0, vec![]), (24, 0, 0, vec![0; 24]), (17, 0, 0, vec![])]),
        begun(2, &[(36, 0, 0, vec![]), (1, 0, 0, vec![]), (15, 0, 0, vec![])]),
        // ADD_MEM_REG, REM_MEM_REG, SET_LOG_BASE, SET_LOG_FD
        begun(1, &[(37, 5, 0, smaller.clone()), (38, 1, 0, smaller)]),
        begun(0, &[(6, 4, 0, words(&[4096, 0])), (7, 4, 1, vec![])]),
        begun(1, &[(SET_OWNER, 0, 0, vec![]), (SET_MEM_TABLE, 4, 0, region)]),
    ]
}
