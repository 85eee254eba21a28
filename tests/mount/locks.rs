//! Locks between two mounts of a directory and a process of the host.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Read;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;

use super::*;

const FLAGS: [&str; 2] = ["--posix-lock", "--flock"];

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

/// A directory, two mounts of it, and a file in it as all three see it.
fn thrice(args: &[&str]) -> (TempDir, [Mounted; 2], [PathBuf; 3]) {
    let source = tempfile::tempdir().unwrap();
    let mounts = [(); 2].map(|()| Mounted::on(source.path(), args));
    let paths = [source.path().join("file"), mounts[0].at("file"), mounts[1].at("file")];
    fs::write(&paths[0], "").unwrap();
    (source, mounts, paths)
}

/// Another process with a lock, which it gives up when it is told to.
struct Holder(Child);

impl Holder {
    /// By flock(1), from util-linux.
    fn of(path: &Path) -> Self {
        let mut child = Command::new("flock")
            .arg(path)
            .args(["sh", "-c", "echo held; read line"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0; 5];
        child.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
        assert_eq!(&said, b"held\n");
        Holder(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

/// Expects that a file can be locked, as soon as no child of ours has a copy of the descriptor
/// that held the lock before.
fn is_free(path: &Path) {
    wait_until("the lock is free", || open(path).try_lock().is_ok());
}

#[test]
fn two_mounts_and_the_host_exclude_each_other_by_flock() {
    if !can_mount() {
        return;
    }
    let (_source, _mounts, paths) = thrice(&FLAGS);
    for holder in &paths {
        let held = Holder::of(holder);
        for other in &paths {
            let locked = open(other).try_lock();
            assert!(matches!(locked, Err(TryLockError::WouldBlock)), "{holder:?}, {other:?}");
            let shared = open(other).try_lock_shared();
            assert!(matches!(shared, Err(TryLockError::WouldBlock)), "{holder:?}, {other:?}");
        }
        drop(held);
        for other in &paths {
            is_free(other);
        }
        let shared: Vec<_> = paths.iter().map(|path| open(path)).collect();
        // The kernel closes files of a mount in its own time; so those that were just locked.
        for file in &shared {
            wait_until("the lock can be shared", || file.try_lock_shared().is_ok());
        }
        assert!(open(holder).try_lock().is_err());
    }
}

#[test]
fn two_mounts_and_the_host_exclude_each_other_by_fcntl() {
    if !can_mount() {
        return;
    }
    let (_source, _mounts, paths) = thrice(&FLAGS);
    // Each is another inode for the kernel, so that one process can hold all of them.
    for holder in &paths {
        let held = open(holder);
        fcntl_lock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
        for other in paths.iter().filter(|other| *other != holder) {
            for operation in
                [FlockOperation::NonBlockingLockExclusive, FlockOperation::NonBlockingLockShared]
            {
                let error = fcntl_lock(open(other), operation).unwrap_err();
                let wanted = [Errno::AGAIN, Errno::ACCESS];
                assert!(wanted.contains(&error), "{holder:?}, {other:?}: {error}");
            }
        }
        // Any close ends a process's locks.
        drop(open(holder));
        for other in &paths {
            let file = open(other);
            fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
            fcntl_lock(&file, FlockOperation::Unlock).unwrap();
        }
    }
}

#[test]
fn who_waits_for_a_lock_gets_it_when_it_is_free_and_holds_up_nobody() {
    if !can_mount() {
        return;
    }
    // One thread serves, so that whoever waited in it would stop everything.
    let (_source, mounts, paths) = thrice(&[&FLAGS[..], &["--threads=1"]].concat());
    for (holder, waiter) in [(0, 1), (1, 2), (2, 0), (1, 1)] {
        let held = Holder::of(&paths[holder]);
        let (has_it, given_up) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                open(&paths[waiter]).lock().unwrap();
                assert!(given_up.load(Ordering::SeqCst), "{holder}, {waiter}");
                has_it.store(true, Ordering::SeqCst);
            });
            for round in 0..50 {
                let name = mounts[0].at(&format!("file{round}"));
                fs::write(&name, "x").unwrap();
                fs::remove_file(name).unwrap();
            }
            assert!(!has_it.load(Ordering::SeqCst), "{holder}, {waiter}");
            given_up.store(true, Ordering::SeqCst);
            drop(held);
        });
        assert!(has_it.load(Ordering::SeqCst));
    }
}

#[test]
fn who_waits_for_a_lock_can_be_killed_and_a_lock_goes_with_its_process() {
    if !can_mount() {
        return;
    }
    let (_source, _mounts, paths) = thrice(&FLAGS);
    let held = Holder::of(&paths[1]);
    let mut waiting = Command::new("flock").arg(&paths[2]).arg("true").spawn().unwrap();
    // It may not have come to its lock yet; then there is nothing to be interrupted.
    std::thread::sleep(Duration::from_millis(300));
    assert!(waiting.try_wait().unwrap().is_none());
    waiting.kill().unwrap();
    waiting.wait().unwrap();
    // Nobody took the lock on the dead process's behalf.
    drop(held);
    is_free(&paths[0]);

    let mut killed = Holder::of(&paths[1]);
    killed.0.kill().unwrap();
    killed.0.wait().unwrap();
    is_free(&paths[0]);
}

#[test]
fn without_the_options_locks_hold_in_their_mount_only() {
    if !can_mount() {
        return;
    }
    let (_source, mounts, paths) = thrice(&[]);
    assert!(mounts[0].process.stderr().contains("Locks of the guest do not hold on the host"));
    let held = Holder::of(&paths[1]);
    assert!(open(&paths[1]).try_lock().is_err());
    for other in [&paths[0], &paths[2]] {
        is_free(other);
        fcntl_lock(open(other), FlockOperation::NonBlockingLockExclusive).unwrap();
    }
    drop(held);
}
