//! The hot path allocates nothing.
#![expect(unsafe_code, reason = "a counting allocator")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use ferryfs::fuse::abi::*;
use ferryfs::fuse::{Carrier, Opcode, Patience, Scratch, Served, Session};
use ferryfs::mem::{Input, Output, Segment};
use ferryfs::passthrough::{Config, Passthrough};
use support::requests::{arg, init, request};
use support::serve;
use zerocopy::FromBytes;

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: forwards to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of a thousand times this request, after a first one.
fn allocations(session: &Session<Passthrough>, request: &[u8]) -> usize {
    let (mut request, mut reply) = (request.to_vec(), vec![0; 1 << 17]);
    let (readable, writable) = ([Segment::from(&mut request[..])], [Segment::from(&mut reply[..])]);
    let mut scratch = Scratch::new();
    let mut once = || {
        let served = session.serve(
            &mut scratch,
            Input::new(&readable),
            Output::new(&writable),
            Patience::None,
        );
        assert!(matches!(served, Served::Reply(_)));
    };
    once();
    let before = COUNT.get();
    for _ in 0..1000 {
        once();
    }
    COUNT.get() - before
}

#[test]
fn requests_on_the_hot_path_allocate_nothing() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), [7; 10_000]).unwrap();
    let share = Passthrough::new(dir.path(), Config::default()).unwrap();
    let session = Session::new(share, Carrier::VIRTIO);
    serve(&session, &init()).unwrap();
    let lookup = request(Opcode::Lookup, 1, &[b"file\0"]);
    let node = EntryOut::read_from_bytes(&serve(&session, &lookup).unwrap()).unwrap().nodeid;
    let open = request(Opcode::Open, node, &[&arg::<OpenIn>(|open| open.flags = 2)]);
    let fh = OpenOut::read_from_bytes(&serve(&session, &open).unwrap()).unwrap().fh;
    let read = arg::<ReadIn>(|read| (read.fh, read.size) = (fh, 4096));
    let write = arg::<WriteIn>(|write| (write.fh, write.size) = (fh, 4096));
    let getattr = arg::<GetattrIn>(|get| (get.getattr_flags, get.fh) = (1, fh));
    for (what, request) in [
        ("lookup of a known name", lookup),
        ("lookup of a missing name", request(Opcode::Lookup, 1, &[b"none\0"])),
        ("getattr", request(Opcode::Getattr, node, &[&[0; 16]])),
        ("getattr by handle", request(Opcode::Getattr, node, &[&getattr])),
        ("read", request(Opcode::Read, node, &[&read])),
        ("write", request(Opcode::Write, node, &[&write, &[1; 4096]])),
        ("statfs", request(Opcode::Statfs, 1, &[])),
        ("a malformed request", request(Opcode::Read, node, &[])),
        ("an unknown inode", request(Opcode::Getattr, 999, &[&[0; 16]])),
    ] {
        assert_eq!(allocations(&session, &request), 0, "{what}");
    }
}
