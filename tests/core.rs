//! The FUSE core in memory: what it makes of requests, however they are cut.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod support;

use ferryfs::fuse::abi::*;
use ferryfs::fuse::{Carrier, Opcode, Patience, Scratch, Served, Session};
use ferryfs::mem::{Input, Output, Segment};
use support::echo::Echo;
use support::requests::{arg, extended, init, init_offering, of_sessions, one_of_each, request};
use support::{HEADER, serve, serve_cut};
use zerocopy::{FromBytes, IntoBytes};

fn started() -> Session<Echo> {
    let session = Session::new(Echo::default(), Carrier::VIRTIO);
    serve(&session, &init()).unwrap();
    session
}

#[test]
fn every_opcode_gets_one_reply_of_the_right_length() {
    let session = started();
    for (opcode, request) in one_of_each() {
        match serve(&session, &request) {
            Ok(body) => assert!(body.len() >= opcode.reply_len(), "{opcode:?}"),
            Err(error) => assert!(
                error != libc::EINVAL && error != libc::EIO,
                "{opcode:?} was not understood: {error}"
            ),
        }
    }
}

#[test]
fn cuts_do_not_matter() {
    let session = started();
    let mut tried = 0;
    for (opcode, request) in one_of_each() {
        let room = 800;
        let whole = serve_cut(&session, &request, room, (&[], &[]));
        for at in 0..=request.len() {
            let cut = serve_cut(&session, &request, room, (&[at], &[]));
            assert_eq!(cut, whole, "{opcode:?} cut at {at}");
        }
        for at in 0..=room {
            let cut = serve_cut(&session, &request, room, (&[], &[at]));
            assert_eq!(cut, whole, "reply of {opcode:?} cut at {at}");
        }
        let bytes = (vec![1; request.len()], vec![1; room]);
        let cut = serve_cut(&session, &request, room, (&bytes.0, &bytes.1));
        assert_eq!(cut, whole, "{opcode:?} byte by byte");
        tried += request.len() + room;
    }
    assert!(tried > 30_000);
}

#[test]
fn a_request_cut_short_is_malformed_and_does_no_harm() {
    let session = started();
    for (opcode, request) in one_of_each() {
        let (_, whole) = serve_cut(&session, &request, 800, (&[], &[]));
        for len in 0..request.len() {
            // Once as it says itself, once with a header that promises more than there is.
            for honest in [true, false] {
                let mut short = request[..len].to_vec();
                if honest && len >= 4 {
                    short[..4].copy_from_slice(&u32::try_from(len).unwrap().to_ne_bytes());
                }
                let (served, reply) = serve_cut(&session, &short, 800, (&[], &[]));
                let head = OutHeader::read_from_prefix(&reply).unwrap().0;
                assert_eq!(served, Served::Reply(head.len));
                let refused = head.error == -libc::EINVAL && head.len == 16;
                assert!(refused, "{opcode:?} of {len} bytes: {head:?}");
            }
        }
        assert_eq!(serve_cut(&session, &request, 800, (&[], &[])).1, whole, "{opcode:?}");
    }
}

#[test]
fn a_reply_that_does_not_fit_is_an_error_and_never_overruns() {
    let session = started();
    for (opcode, request) in one_of_each() {
        let (_, whole) = serve_cut(&session, &request, 4096, (&[], &[]));
        let whole = OutHeader::read_from_prefix(&whole).unwrap().0;
        for room in 0..whole.len as usize {
            let (served, reply) = serve_cut(&session, &request, room, (&[], &[]));
            if room < HEADER {
                assert_eq!(served, Served::Unanswerable, "{opcode:?} in {room}");
                continue;
            }
            let head = OutHeader::read_from_prefix(&reply).unwrap().0;
            assert_eq!(served, Served::Reply(head.len));
            assert!(head.error < 0 && head.len == 16, "{opcode:?} in {room}: {head:?}");
        }
    }
}

/// All that requests of sessions do: how they are served, with what reply, what they forget, how
/// many sessions have begun and ended then, and what the last one has agreed on.
type Effects = (Served, Vec<u8>, Vec<(u64, u64)>, (u32, u32), Option<u64>);

/// Serves a request in a session that is going on.
fn effects(request: &[u8], room: usize, cuts: (&[usize], &[usize])) -> Effects {
    let session = Session::new(Echo::default(), Carrier::VIRTIO);
    serve(&session, &init_offering(1 << 5, None)).unwrap();
    let (served, reply) = serve_cut(&session, request, room, cuts);
    let echo = session.filesystem();
    let forgotten = std::mem::take(&mut *echo.forgotten.lock().unwrap());
    let sessions = *echo.sessions.lock().unwrap();
    (served, reply, forgotten, sessions, session.agreed())
}

#[test]
fn cuts_do_not_matter_to_what_begins_ends_or_forgets() {
    let room = 90;
    let untouched = effects(&request(Opcode::Interrupt, 0, &[]), room, (&[], &[]));
    for (opcode, request) in of_sessions() {
        let whole = effects(&request, room, (&[], &[]));
        let does_something = !matches!(opcode, Opcode::Interrupt | Opcode::NotifyReply);
        assert_eq!(whole != untouched, does_something, "{opcode:?}");
        for at in 0..=request.len() {
            assert_eq!(effects(&request, room, (&[at], &[])), whole, "{opcode:?} cut at {at}");
        }
        for at in 0..=room {
            let cut = effects(&request, room, (&[], &[at]));
            assert_eq!(cut, whole, "reply of {opcode:?} cut at {at}");
        }
        let bytes = (vec![1; request.len()], vec![1; room]);
        let cut = effects(&request, room, (&bytes.0, &bytes.1));
        assert_eq!(cut, whole, "{opcode:?} byte by byte");
    }
}

#[test]
fn what_begins_ends_or_forgets_does_nothing_when_it_is_cut_short() {
    let room = 90;
    let (_, empty, _, sessions, agreed) =
        effects(&request(Opcode::Interrupt, 0, &[]), room, (&[], &[]));
    for (opcode, whole) in of_sessions() {
        for len in 0..whole.len() {
            for honest in [true, false] {
                let mut short = whole[..len].to_vec();
                if honest && len >= 4 {
                    short[..4].copy_from_slice(&u32::try_from(len).unwrap().to_ne_bytes());
                }
                let what = format!("{opcode:?} of {len} bytes, honest: {honest}");
                let (served, reply, forgotten, now_sessions, now_agreed) =
                    effects(&short, room, (&[], &[]));
                // An INIT of older guests is shorter, and whole items are forgotten.
                let is_init = opcode == Opcode::Init && honest && len >= 56;
                let items =
                    if opcode == Opcode::BatchForget && honest && len >= 64 { 1 } else { 0 };
                assert_eq!(forgotten, [(5, 1)][..items], "{what}");
                if is_init {
                    assert_eq!((served, now_sessions), (Served::Reply(80), (2, 2)), "{what}");
                    continue;
                }
                assert_eq!((now_sessions, now_agreed), (sessions, agreed), "{what}");
                if len >= 40 && opcode.is_silent() {
                    assert_eq!((served, &reply), (Served::Silent, &empty), "{what}");
                } else {
                    let head = OutHeader::read_from_prefix(&reply).unwrap().0;
                    assert_eq!((served, head.error), (Served::Reply(16), -libc::EINVAL), "{what}");
                }
            }
        }
    }
}

#[test]
fn a_session_neither_begins_nor_ends_without_room_to_say_so() {
    let (.., sessions, agreed) = effects(&request(Opcode::Interrupt, 0, &[]), 0, (&[], &[]));
    for (opcode, request) in of_sessions() {
        if opcode.is_silent() {
            let (served, _, forgotten, ..) = effects(&request, 90, (&[], &[]));
            for room in 0..=HEADER {
                let there = effects(&request, room, (&[], &[]));
                assert_eq!((there.0, &there.1), (served, &vec![0xee; room]), "{opcode:?}");
                assert_eq!(there.2, forgotten, "{opcode:?} in {room}");
            }
            continue;
        }
        for room in 0..HEADER + opcode.reply_len() {
            let (served, reply, _, now_sessions, now_agreed) = effects(&request, room, (&[], &[]));
            assert_eq!((now_sessions, now_agreed), (sessions, agreed), "{opcode:?} in {room}");
            if room < HEADER {
                assert_eq!(served, Served::Unanswerable, "{opcode:?} in {room}");
                continue;
            }
            let head = OutHeader::read_from_prefix(&reply).unwrap().0;
            assert_eq!((served, head.error), (Served::Reply(16), -libc::EINVAL), "{opcode:?}");
        }
    }
}

#[test]
fn unknown_opcodes_are_told_apart_from_malformed_requests() {
    let session = started();
    for number in [0u32, 7, 19, 54, 100, 4096, 26 << 24, u32::MAX] {
        let mut request = request(Opcode::Statfs, 1, &[]);
        request[4..8].copy_from_slice(&number.to_ne_bytes());
        assert_eq!(serve(&session, &request), Err(libc::ENOSYS), "{number}");
    }
    for len in [0u32, 39, 41, u32::MAX] {
        let mut request = request(Opcode::Statfs, 1, &[]);
        request[..4].copy_from_slice(&len.to_ne_bytes());
        assert_eq!(serve(&session, &request), Err(libc::EINVAL), "{len}");
    }
    assert!(serve(&session, &request(Opcode::Statfs, 1, &[])).is_ok());
}

#[test]
fn forgets_are_silent_and_all_arrive() {
    let session = started();
    let forget = |request: &[u8]| {
        assert_eq!(
            serve_cut(&session, request, 100, (&[], &[])),
            (Served::Silent, vec![0xee; 100])
        );
        std::mem::take(&mut *session.filesystem().forgotten.lock().unwrap())
    };
    let one = |node, nlookup| ForgetOne { nodeid: node, nlookup }.as_bytes().to_vec();
    let head = |count| BatchForgetIn { count, dummy: u32::MAX }.as_bytes().to_vec();

    let single = request(Opcode::Forget, 9, &[ForgetIn { nlookup: 3 }.as_bytes()]);
    assert_eq!(forget(&single), [(9, 3)]);
    let batch = [head(3), one(5, 1), one(6, u64::MAX), one(0, 0)].concat();
    assert_eq!(
        forget(&request(Opcode::BatchForget, 0, &[&batch])),
        [(5, 1), (6, u64::MAX), (0, 0)]
    );
    let fewer = [head(1), one(5, 1), one(6, 1)].concat();
    assert_eq!(forget(&request(Opcode::BatchForget, 0, &[&fewer])), [(5, 1)]);
    let more = [head(u32::MAX), one(5, 1)].concat();
    assert_eq!(forget(&request(Opcode::BatchForget, 0, &[&more])), [(5, 1)]);
    for malformed in [&[][..], &[1, 2, 3]] {
        assert_eq!(forget(&request(Opcode::Forget, 9, &[malformed])), []);
        assert_eq!(forget(&request(Opcode::BatchForget, 0, &[malformed])), []);
    }
    assert_eq!(forget(&request(Opcode::Interrupt, 0, &[&[0; 8]])), []);
}

#[test]
fn nothing_is_served_before_init_or_after_destroy() {
    let session = Session::new(Echo::default(), Carrier::VIRTIO);
    let statfs = request(Opcode::Statfs, 1, &[]);
    assert_eq!(serve(&session, &statfs), Err(libc::EIO));
    let forget = request(Opcode::Forget, 9, &[ForgetIn { nlookup: 3 }.as_bytes()]);
    assert_eq!(serve_cut(&session, &forget, 0, (&[], &[])).0, Served::Silent);
    assert_eq!(*session.filesystem().forgotten.lock().unwrap(), []);
    serve(&session, &init()).unwrap();
    assert!(serve(&session, &statfs).is_ok());
    assert_eq!(serve(&session, &request(Opcode::Destroy, 0, &[])), Ok(vec![]));
    assert_eq!(serve(&session, &statfs), Err(libc::EIO));
}

#[test]
fn every_init_ends_the_session_before_it() {
    let session = started();
    serve(&session, &init()).unwrap();
    session.reset();
    assert_eq!(serve(&session, &request(Opcode::Statfs, 1, &[])), Err(libc::EIO));
    assert_eq!(*session.filesystem().sessions.lock().unwrap(), (2, 3));
}

#[test]
fn a_short_init_of_an_older_guest_is_answered() {
    let session = Session::new(Echo::default(), Carrier::VIRTIO);
    let body = serve(&session, &init_offering(0x43ff_fffb, None)).unwrap();
    let reply = InitOut::read_from_bytes(&body).unwrap();
    assert_eq!((reply.major, reply.minor, reply.flags2), (7, 45, 0));
    let bad_version = arg::<InitIn>(|init| (init.major, init.minor) = (7, 26));
    let refused = serve(&session, &request(Opcode::Init, 0, &[&bad_version]));
    assert_eq!(refused, Err(libc::EPROTO));
}

#[test]
fn setxattr_has_the_length_that_was_agreed_on() {
    let old = [&arg::<SetxattrIn>(|set| set.size = 5)[..], b"name\0value"].concat();
    let new = [&arg::<SetxattrIn>(|set| set.size = 5)[..], &[0; 8], b"name\0value"].concat();
    let set = |flags, body: &[u8]| {
        let session = Session::new(Echo::default(), Carrier::VIRTIO);
        serve(&session, &init_offering(flags, Some(0))).unwrap();
        serve(&session, &request(Opcode::Setxattr, 1, &[body])).unwrap_err()
    };
    let understood = set(0, &old);
    assert_eq!(set(1 << 29, &new), understood);
    assert_ne!(set(1 << 29, &old), understood);
}

#[test]
fn extensions_reach_the_file_system_and_lies_about_them_do_not() {
    let session = started();
    let create = arg::<CreateIn>(|create| create.mode = 0o600);
    let group: Vec<u8> = [16u32, 32, 1, 1000].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let parts: [&[u8]; 2] = [&create, b"name\0"];
    let plain = serve(&session, &extended(Opcode::Create, 1, &parts, &[]));
    let grouped = serve(&session, &extended(Opcode::Create, 1, &parts, &group));
    assert!(plain.is_ok() && grouped.is_ok() && plain != grouped);
    // An extension that would reach into the header, and one that is cut.
    for total in [1u16, 100, u16::MAX] {
        let mut lie = extended(Opcode::Create, 1, &parts, &[]);
        lie[36..38].copy_from_slice(&total.to_ne_bytes());
        assert_eq!(serve(&session, &lie), Err(libc::EINVAL), "{total}");
    }
}

#[test]
fn names_that_are_no_components_are_refused_everywhere() {
    let session = started();
    let long = [&[b'n'; 256][..], b"\0"].concat();
    for (opcode, good) in one_of_each() {
        let named = !matches!(opcode, Opcode::Setxattr | Opcode::Getxattr | Opcode::Removexattr);
        for (position, old) in [&b"name\0"[..], b"other\0"].iter().enumerate() {
            let Some(at) = good.windows(old.len()).position(|bytes| bytes == *old) else {
                continue;
            };
            for bad in
                [&b"\0"[..], b".\0", b"..\0", b"/\0", b"a/b\0", b"../x\0", b"/etc/x\0", &long]
            {
                let mut request = [&good[..at], bad, &good[at + old.len()..]].concat();
                let len = u32::try_from(request.len()).unwrap();
                request[..4].copy_from_slice(&len.to_ne_bytes());
                let refused = serve(&session, &request);
                if named {
                    let expected = if bad.len() > 256 { libc::ENAMETOOLONG } else { libc::EINVAL };
                    assert_eq!(refused, Err(expected), "{opcode:?}, name {position}: {bad:?}");
                }
            }
        }
    }
}

#[test]
#[expect(unsafe_code, reason = "input and output alias on purpose")]
fn a_ring_entry_is_served_in_place() {
    // In FUSE over io_uring a request and its reply are the same memory.
    let session = started();
    for (opcode, request) in one_of_each() {
        let expected = serve_cut(&session, &request, 1000, (&[], &[]));
        let mut entry = vec![0xee; 1000];
        entry[..request.len()].copy_from_slice(&request);
        let base = entry.as_mut_ptr();
        // SAFETY: both runs are within `entry`, which is not touched while they live.
        let (input, output) = unsafe {
            (Segment::from_raw(base, request.len()), Segment::from_raw(base, entry.len()))
        };
        let served = session.serve(
            &mut Scratch::new(),
            Input::new(&[input]),
            Output::new(&[output]),
            Patience::Storage,
        );
        assert_eq!(served, expected.0, "{opcode:?}");
        let Served::Reply(len) = served else { panic!("{opcode:?}: {served:?}") };
        assert_eq!(entry[..len as usize], expected.1[..len as usize], "{opcode:?}");
    }
}
