//! Locks of guests that hold on the host: between owners of one guest, between guests, and
//! against processes of the host.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod share;

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::sync::Barrier;

use ferryfs::fuse::abi::FileLock;
use ferryfs::fuse::flags::init;
use ferryfs::fuse::{Errno, Filesystem, Handle, Lock, Negotiated, NodeId};
use ferryfs::passthrough::{Config, Passthrough};
use rustix::fs::{FlockOperation, fcntl_lock};
use share::{name, user};

const READ: u32 = libc::F_RDLCK.cast_unsigned();
const WRITE: u32 = libc::F_WRLCK.cast_unsigned();
const UNLOCK: u32 = libc::F_UNLCK.cast_unsigned();
const END: u64 = i64::MAX.cast_unsigned();

/// One guest's session with the shared directory, and a file in it.
struct Guest {
    fs: Passthrough,
    node: NodeId,
}

impl Guest {
    fn of(dir: &Path) -> Self {
        Self::agreeing(dir, init::POSIX_LOCKS | init::FLOCK_LOCKS)
    }

    fn agreeing(dir: &Path, flags: u64) -> Self {
        let config = Config { posix_lock: true, flock: true, ..Config::default() };
        let fs = Passthrough::new(dir, config).unwrap();
        fs.start(&Negotiated { flags, minor: 45 }).unwrap();
        let node = fs.lookup(&user(0), NodeId::ROOT, &name("file")).unwrap().node;
        Guest { fs, node }
    }

    fn open(&self) -> Handle {
        self.fs.open(self.node, 2, false).unwrap().handle
    }

    fn set(&self, handle: Handle, owner: u64, kind: u32, range: (u64, u64)) -> Result<(), Errno> {
        let range = FileLock { start: range.0, end: range.1, kind, pid: 1 };
        self.fs.setlk(self.node, handle, &Lock { owner, range, flock: false })
    }

    fn get(&self, handle: Handle, owner: u64, kind: u32, range: (u64, u64)) -> FileLock {
        let range = FileLock { start: range.0, end: range.1, kind, pid: 1 };
        self.fs.getlk(self.node, handle, &Lock { owner, range, flock: false }).unwrap()
    }

    fn flock(&self, handle: Handle, kind: u32) -> Result<(), Errno> {
        let range = FileLock { start: 0, end: END, kind, pid: 0 };
        self.fs.setlk(self.node, handle, &Lock { owner: 1, range, flock: true })
    }
}

fn shared_file() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "0123456789").unwrap();
    dir
}

#[test]
fn owners_of_one_guest_and_of_two_exclude_each_other() {
    let dir = shared_file();
    let (a, b) = (Guest::of(dir.path()), Guest::of(dir.path()));
    let (of_a, of_b) = (a.open(), b.open());
    a.set(of_a, 1, WRITE, (2, 4)).unwrap();
    // The process that has it is known to its own guest alone.
    for (guest, handle, pid) in [(&a, of_a, 1), (&b, of_b, 0)] {
        assert_eq!(guest.set(handle, 2, WRITE, (4, 9)), Err(Errno::EAGAIN));
        assert_eq!(guest.set(handle, 2, READ, (0, END)), Err(Errno::EAGAIN));
        let found = guest.get(handle, 2, READ, (0, END));
        assert_eq!((found.start, found.end, found.kind, found.pid), (2, 4, WRITE, pid));
        assert_eq!(guest.get(handle, 2, READ, (5, END)).kind, UNLOCK);
    }
    b.set(of_b, 2, WRITE, (5, END)).unwrap();
    a.set(of_a, 1, READ, (2, 4)).unwrap();
    b.set(of_b, 3, READ, (0, 4)).unwrap();
    assert_eq!(a.get(of_a, 1, WRITE, (0, 1)).kind, READ, "its own locks are not in its way");
    a.set(of_a, 1, UNLOCK, (3, 3)).unwrap();
    b.set(of_b, 3, UNLOCK, (0, END)).unwrap();
    b.set(of_b, 3, WRITE, (3, 3)).unwrap();
    assert_eq!(b.set(of_b, 3, WRITE, (4, 4)), Err(Errno::EAGAIN), "the rest of the range stays");
}

#[test]
fn processes_of_the_host_see_the_locks_of_guests() {
    let dir = shared_file();
    let guest = Guest::of(dir.path());
    let handle = guest.open();
    let host = File::options().read(true).write(true).open(dir.path().join("file")).unwrap();

    guest.flock(handle, WRITE).unwrap();
    assert!(matches!(host.try_lock_shared(), Err(TryLockError::WouldBlock)));
    guest.flock(handle, READ).unwrap();
    host.try_lock_shared().unwrap();
    assert_eq!(guest.flock(handle, WRITE), Err(Errno::EAGAIN));
    host.unlock().unwrap();
    guest.flock(handle, UNLOCK).unwrap();
    host.try_lock().unwrap();
    assert_eq!(guest.flock(handle, READ), Err(Errno::EAGAIN));

    // A process's fcntl(2) lock, which is never one with those of open file descriptions.
    let try_host = |operation| {
        let locked = fcntl_lock(&host, operation);
        fcntl_lock(&host, FlockOperation::NonBlockingUnlock).unwrap();
        locked.is_ok()
    };
    let (shared, exclusive) =
        (FlockOperation::NonBlockingLockShared, FlockOperation::NonBlockingLockExclusive);
    assert!(try_host(exclusive));
    guest.set(handle, 1, WRITE, (4, 4)).unwrap();
    assert!(!try_host(shared));
    guest.set(handle, 1, READ, (4, 4)).unwrap();
    assert!(try_host(shared) && !try_host(exclusive));
}

#[test]
fn locks_go_when_their_holder_does() {
    let dir = shared_file();
    let (a, b) = (Guest::of(dir.path()), Guest::of(dir.path()));
    let of_b = b.open();
    let taken = || b.set(of_b, 9, WRITE, (0, END)) == Err(Errno::EAGAIN);
    let free = || {
        assert!(!taken());
        b.set(of_b, 9, UNLOCK, (0, END)).unwrap();
    };
    // A process closes any descriptor of the file.
    let (first, second) = (a.open(), a.open());
    a.set(first, 1, WRITE, (0, 0)).unwrap();
    assert_eq!(a.fs.flush(a.node, second, 2), Ok(()), "somebody else");
    assert!(taken());
    assert_eq!(a.fs.flush(a.node, second, 1), Ok(()));
    free();
    // An open file description goes.
    a.set(first, 7, WRITE, (0, 0)).unwrap();
    a.set(second, 8, READ, (5, 5)).unwrap();
    a.fs.release(a.node, first, false).unwrap();
    assert!(taken());
    a.fs.release(a.node, second, false).unwrap();
    free();
    // flock(2) with a user of the file still there.
    let (first, second) = (a.open(), b.open());
    a.flock(first, WRITE).unwrap();
    assert_eq!(b.flock(second, READ), Err(Errno::EAGAIN));
    a.fs.release(a.node, first, true).unwrap();
    b.flock(second, WRITE).unwrap();
    b.fs.release(b.node, second, true).unwrap();
    // The session goes.
    let first = a.open();
    a.set(first, 1, WRITE, (0, 0)).unwrap();
    a.flock(first, WRITE).unwrap();
    a.fs.end();
    free();
    b.flock(b.open(), WRITE).unwrap();
}

#[test]
fn descriptors_for_locks_are_given_back() {
    let dir = shared_file();
    let guest = Guest::of(dir.path());
    let handle = guest.open();
    guest.set(handle, 0, UNLOCK, (0, END)).unwrap();
    let before = guest.fs.descriptors();
    for owner in 0..100 {
        guest.set(handle, owner, READ, (0, 0)).unwrap();
    }
    assert_eq!(guest.fs.descriptors(), before + 100);
    for owner in 0..50 {
        guest.set(handle, owner, UNLOCK, (0, END)).unwrap();
    }
    // A lock that is not got leaves nothing either.
    for owner in 100..200 {
        assert_eq!(guest.set(handle, owner, WRITE, (0, 0)), Err(Errno::EAGAIN));
        assert_eq!(guest.get(handle, owner, WRITE, (0, 0)).kind, READ);
    }
    assert_eq!(guest.fs.descriptors(), before + 50);
    guest.fs.release(guest.node, handle, false).unwrap();
    assert_eq!(guest.fs.descriptors(), before - 1);
}

#[test]
fn what_was_not_agreed_on_is_not_served() {
    let dir = shared_file();
    for (agreed, posix, flock) in [
        (0, Err(Errno::ENOSYS), Err(Errno::ENOSYS)),
        (init::POSIX_LOCKS, Ok(()), Err(Errno::ENOSYS)),
        (init::FLOCK_LOCKS, Err(Errno::ENOSYS), Ok(())),
    ] {
        let guest = Guest::agreeing(dir.path(), agreed);
        let handle = guest.open();
        assert_eq!(guest.set(handle, 1, WRITE, (0, 0)), posix);
        assert_eq!(guest.flock(handle, WRITE), flock);
    }
}

#[test]
fn locks_that_make_no_sense_are_refused() {
    let dir = shared_file();
    let guest = Guest::of(dir.path());
    let handle = guest.open();
    for (kind, range, expected) in [
        (7, (0, 0), Errno::EINVAL),
        (u32::MAX, (0, 0), Errno::EINVAL),
        (WRITE, (5, 4), Errno::EINVAL),
        (WRITE, (1 << 63, u64::MAX), Errno::EINVAL),
    ] {
        assert_eq!(guest.set(handle, 1, kind, range), Err(expected), "{kind} {range:?}");
    }
    assert_eq!(guest.set(Handle(999), 1, WRITE, (0, 0)), Err(Errno::EBADF));
    assert_eq!(guest.flock(handle, 9), Err(Errno::EINVAL));
}

/// A lock that is asked for while something ends by which it would be given up is never left.
#[test]
fn no_lock_outlives_what_ends_while_it_is_made() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let mut guest = Guest::of(dir.path());
    for round in 0..500 {
        let handle = guest.open();
        let barrier = Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                barrier.wait();
                for start in 0..20 {
                    // Refused from the end on.
                    let _ = guest.set(handle, 7, WRITE, (2 * start, 2 * start));
                }
            });
            barrier.wait();
            match round % 2 {
                0 => guest.fs.end(),
                _ => guest.fs.release(guest.node, handle, false).unwrap(),
            }
        });
        let host = File::options().write(true).open(dir.path().join("file")).unwrap();
        let free = fcntl_lock(&host, FlockOperation::NonBlockingLockExclusive);
        assert!(free.is_ok(), "round {round}");
        guest.fs.end();
        guest.fs.start(&Negotiated { flags: init::POSIX_LOCKS, minor: 45 }).unwrap();
        guest.node = guest.fs.lookup(&user(0), NodeId::ROOT, &name("file")).unwrap().node;
    }
}
