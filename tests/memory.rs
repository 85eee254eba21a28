//! What the guest's inodes cost.
#![expect(unsafe_code, reason = "a counting allocator")]
#![expect(clippy::unwrap_used, reason = "a test may")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicIsize, Ordering};

use ferryfs::fuse::abi::*;
use ferryfs::fuse::{Carrier, Opcode, Session};
use ferryfs::passthrough::{Config, FileHandles, Passthrough};
use support::requests::{arg, init, request};
use support::serve;
use tempfile::TempDir;
use zerocopy::FromBytes;

struct Counting;

static BYTES: AtomicIsize = AtomicIsize::new(0);

// SAFETY: forwards to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size().cast_signed(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size().cast_signed(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a program has to say of an inode, besides its name and its file handle.
const MOST: isize = 250;
/// Longest of the names, with its NUL, and of the handles of the usual file systems.
const NAME_AND_HANDLE: isize = 10 + 22;

const FILES: usize = 40_000;

/// A directory full of files, in memory where there is such a place.
fn crowd() -> TempDir {
    let memory = Path::new("/dev/shm");
    let dir = if memory.exists() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let dir = dir.unwrap();
    for file in 0..FILES {
        fs::write(dir.path().join(format!("file{file}")), "").unwrap();
    }
    dir
}

#[test]
fn an_inode_costs_at_most_250_bytes_besides_its_name_and_handle() {
    let dir = crowd();
    for file_handles in [FileHandles::Prefer, FileHandles::Never] {
        for plus in [true, false] {
            let config = Config { file_handles, descriptors: 64, ..Config::default() };
            let fs = Passthrough::new(dir.path(), config).unwrap();
            let session = Session::new(fs, Carrier::VIRTIO);
            serve(&session, &init()).unwrap();
            let before = BYTES.load(Ordering::Relaxed);
            let mut worst = 0;
            // The tables grow by leaps.
            let mut look = |inodes: usize| {
                let bytes = BYTES.load(Ordering::Relaxed) - before;
                if inodes > FILES / 4 {
                    worst = worst.max(bytes / inodes.cast_signed());
                }
            };
            match plus {
                true => list(&session, &mut look),
                false => look_up_all(&session, &mut look),
            }
            let what = format!("{file_handles:?}, by listing {plus}");
            eprintln!("{what}: {worst} bytes");
            assert!(worst <= MOST + NAME_AND_HANDLE, "{what}: {worst} bytes");
            assert_eq!(session.filesystem().inodes(), 1 + FILES);
        }
    }
}

/// READDIRPLUS of it all.
fn list(session: &Session<Passthrough>, look: &mut impl FnMut(usize)) {
    let opened = serve(session, &request(Opcode::Opendir, 1, &[&[0; 8]])).unwrap();
    let fh = OpenOut::read_from_bytes(&opened).unwrap().fh;
    let (mut offset, mut inodes) = (0, 0);
    loop {
        let read = arg::<ReadIn>(|read| (read.fh, read.offset, read.size) = (fh, offset, 4096));
        let entries = serve(session, &request(Opcode::Readdirplus, 1, &[&read])).unwrap();
        if entries.is_empty() {
            return;
        }
        let mut rest = &entries[..];
        while !rest.is_empty() {
            let (entry, after) = EntryOut::read_from_prefix(rest).unwrap();
            let (dirent, _) = Dirent::read_from_prefix(after).unwrap();
            offset = dirent.off;
            inodes += usize::from(entry.nodeid != 0);
            let len = (size_of::<Dirent>() + dirent.namelen as usize).next_multiple_of(8);
            rest = &after[len..];
        }
        drop(entries);
        look(inodes);
    }
}

fn look_up_all(session: &Session<Passthrough>, look: &mut impl FnMut(usize)) {
    for file in 0..FILES {
        let name = format!("file{file}\0");
        serve(session, &request(Opcode::Lookup, 1, &[name.as_bytes()])).unwrap();
        drop(name);
        look(file + 1);
    }
}
