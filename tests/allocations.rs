//! The hot path allocates nothing.
#![expect(unsafe_code, reason = "a counting allocator")]
#![expect(clippy::unwrap_used, reason = "a test may")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;

use ferryfs::fuse::abi::*;
use ferryfs::fuse::{Carrier, Opcode, Patience, Scratch, Served, Session};
use ferryfs::mem::{Input, Output, Segment};
use ferryfs::passthrough::{Config, FileHandles, Passthrough};
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

/// A guest that allocates nothing itself.
struct Guest<'a> {
    session: &'a Session<Passthrough>,
    scratch: Scratch,
    reply: Vec<u8>,
}

impl Guest<'_> {
    fn new(session: &Session<Passthrough>) -> Guest<'_> {
        Guest { session, scratch: Scratch::new(), reply: vec![0; 1 << 17] }
    }

    fn serve(&mut self, request: &mut [u8]) -> Served {
        let (readable, writable) = ([Segment::from(request)], [Segment::from(&mut self.reply[..])]);
        let (input, output) = (Input::new(&readable), Output::new(&writable));
        self.session.serve(&mut self.scratch, input, output, Patience::None)
    }

    /// The number that is so far behind the reply's header.
    fn word(&self, at: usize) -> u64 {
        u64::read_from_prefix(&self.reply[16 + at..]).unwrap().0
    }
}

/// Allocations of a thousand times the same, after it was done a few times.
fn allocations(mut once: impl FnMut()) -> usize {
    (0..10).for_each(|_| once());
    let before = COUNT.get();
    (0..1000).for_each(|_| once());
    COUNT.get() - before
}

/// Puts a number into a request.
fn patch(request: &mut [u8], at: usize, value: u64) {
    request[at..at + 8].copy_from_slice(&value.to_ne_bytes());
}

fn session(dir: &Path) -> Session<Passthrough> {
    session_with(dir, Config::default())
}

fn session_with(dir: &Path, config: Config) -> Session<Passthrough> {
    let share = Passthrough::new(dir, config).unwrap();
    let session = Session::new(share, Carrier::VIRTIO);
    serve(&session, &init()).unwrap();
    session
}

#[test]
fn requests_on_the_hot_path_allocate_nothing() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), [7; 10_000]).unwrap();
    let session = session(dir.path());
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
        let (mut guest, mut request) = (Guest::new(&session), request);
        let count = allocations(|| assert!(matches!(guest.serve(&mut request), Served::Reply(_))));
        assert_eq!(count, 0, "{what}");
    }
}

#[test]
fn reading_a_file_that_nobody_opened_allocates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), [7; 10_000]).unwrap();
    let unopened = Config { readonly: true, no_open: true, ..Config::default() };
    let session = session_with(dir.path(), unopened);
    let lookup = request(Opcode::Lookup, 1, &[b"file\0"]);
    let node = EntryOut::read_from_bytes(&serve(&session, &lookup).unwrap()).unwrap().nodeid;
    let mut read = request(Opcode::Read, node, &[&arg::<ReadIn>(|read| read.size = 4096)]);
    let mut guest = Guest::new(&session);
    let count = allocations(|| assert!(matches!(guest.serve(&mut read), Served::Reply(_))));
    assert_eq!(count, 0);
}

fn has_handles(dir: &Path) -> bool {
    let config = Config { file_handles: FileHandles::Mandatory, ..Config::default() };
    Passthrough::new(dir, config).is_ok()
}

/// Where fields are: the inode in the header, and what an argument begins with.
const NODE: usize = 16;
const ARG: usize = 40;

#[test]
fn a_small_file_is_read_without_an_allocation() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), [7; 3000]).unwrap();
    let session = session(dir.path());
    let mut guest = Guest::new(&session);
    let mut lookup = request(Opcode::Lookup, 1, &[b"file\0"]);
    let mut open = request(Opcode::Open, 0, &[&[0; 8]]);
    let mut read = request(Opcode::Read, 0, &[&arg::<ReadIn>(|read| read.size = 4096)]);
    let mut release = request(Opcode::Release, 0, &[&[0; 24]]);
    let count = allocations(|| {
        guest.serve(&mut lookup);
        let node = guest.word(0);
        patch(&mut open, NODE, node);
        guest.serve(&mut open);
        let fh = guest.word(0);
        for request in [&mut read, &mut release] {
            patch(request, NODE, node);
            patch(request, ARG, fh);
            assert!(matches!(guest.serve(request), Served::Reply(_)));
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn making_and_removing_a_file_allocates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let session = session(dir.path());
    let mut guest = Guest::new(&session);
    let flags = (libc::O_RDWR | libc::O_CREAT).cast_unsigned();
    let how = arg::<CreateIn>(|create| (create.flags, create.mode) = (flags, 0o644));
    let mut create = request(Opcode::Create, 1, &[&how, b"file\0"]);
    let mut release = request(Opcode::Release, 0, &[&[0; 24]]);
    let mut unlink = request(Opcode::Unlink, 1, &[b"file\0"]);
    let mut forget = request(Opcode::Forget, 0, &[&1u64.to_ne_bytes()]);
    let count = allocations(|| {
        assert!(matches!(guest.serve(&mut create), Served::Reply(160)));
        let (node, fh) = (guest.word(0), guest.word(size_of::<EntryOut>()));
        patch(&mut release, NODE, node);
        patch(&mut release, ARG, fh);
        guest.serve(&mut release);
        guest.serve(&mut unlink);
        patch(&mut forget, NODE, node);
        assert_eq!(guest.serve(&mut forget), Served::Silent);
    });
    // Each of the index's 64 parts may grow once; where inodes have no handles, names are kept.
    let most = if has_handles(dir.path()) { 64 } else { 1064 };
    assert!(count <= most, "{count}");
}
