//! Mounting and unmounting again and again in one process.
#![expect(clippy::unwrap_used, reason = "a test may")]
#![expect(unsafe_code, reason = "mallinfo2(3)")]

use ferryfs::dev::{
    Carriage, End, Mount, MountOptions, Notifier, PARAMETER, Registrar, Rings, serve,
};
use ferryfs::fuse::flags::init;
use ferryfs::fuse::{Carrier, Session};
use ferryfs::passthrough::{Cache, Config, Passthrough};
use ferryfs_bench::{skip, wait_until};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a process holds.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    threads: usize,
    allocated: usize,
}

impl Held {
    fn now() -> Self {
        let count = |folder| fs::read_dir(folder).unwrap().count();
        // Not the resident memory: that depends on how many threads allocated at the same time.
        // SAFETY: it takes nothing and gives numbers.
        let heap = unsafe { libc::mallinfo2() };
        Held {
            descriptors: count("/proc/self/fd"),
            threads: count("/proc/self/task"),
            allocated: heap.uordblks + heap.hblkhd,
        }
    }
}

/// Lets the kernel offer rings, as long as this lives; nobody else changes that meanwhile.
struct Offered(String, #[expect(dead_code, reason = "held")] MutexGuard<'static, ()>);

static TURN: Mutex<()> = Mutex::new(());

impl Offered {
    fn new() -> Option<Self> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let offered = Offered(fs::read_to_string(PARAMETER).ok()?, turn);
        fs::write(PARAMETER, "Y").ok()?;
        // Where they may not be used there are none.
        Rings::new(false).is_ok().then_some(offered)
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        let _ = fs::write(PARAMETER, &self.0);
    }
}

fn mount(at: &Path) -> Mount {
    let options = MountOptions {
        source: "cycles".into(),
        subtype: "ferryfs".into(),
        allow_other: true,
        max_read: None,
        auto_unmount: false,
        attributes: Vec::new(),
    };
    Mount::new(at, &options).unwrap()
}

/// True if the requests came by rings.
fn cycle(source: &Path, at: &Path, by_rings: bool) -> bool {
    let mut share = Passthrough::new(source, Config::new(Cache::Auto)).unwrap();
    let mount = mount(at);
    let (registrar, asks) = Registrar::new(&mount, 10).unwrap();
    let registrar = std::thread::spawn(|| registrar.serve());
    share.pass_through(Arc::new(asks), Vec::new());
    let _notifier = Notifier::new(mount.device()).unwrap();
    let mut carrier = Carrier::DEV;
    let rings = by_rings.then(|| Rings::new(false).unwrap());
    if by_rings {
        carrier.own |= init::OVER_IO_URING;
    }
    let session = Arc::new(Session::new(share, carrier));
    let was_ready = AtomicBool::new(false);
    let (end, came_by_rings) = std::thread::scope(|scope| {
        let server = scope.spawn(|| {
            let carriage = Carriage { devices: mount.devices(2).unwrap(), rings };
            serve(&session, carriage, || was_ready.store(true, Ordering::Relaxed))
        });
        // By a thread that serves nothing.
        fs::write(at.join("file"), "x").unwrap();
        assert_eq!(fs::read(at.join("file")).unwrap(), b"x");
        assert_eq!(fs::read_dir(at).unwrap().count(), 1);
        let came_by_rings = session.has_agreed(init::OVER_IO_URING);
        mount.detach().unwrap();
        (server.join().unwrap().unwrap(), came_by_rings)
    });
    assert_eq!((end, was_ready.into_inner()), (End::Unmounted, true));
    assert_eq!(session.filesystem().inodes(), 1);
    assert_eq!(session.filesystem().handles(), 0);
    drop(session);
    registrar.join().unwrap();
    came_by_rings
}

#[test]
fn a_thousand_mounts_leave_nothing_behind() {
    if !rustix::process::geteuid().is_root() || !Path::new("/dev/fuse").exists() {
        skip("a_thousand_mounts_leave_nothing_behind", "mounting needs root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let offered = Offered::new();
    if offered.is_none() {
        skip("a_thousand_mounts_leave_nothing_behind", "without rings, which cannot be had");
    }
    // In one of ten: a mount has one for each processor that there may ever be.
    let by_rings = |cycle| offered.is_some() && cycle % 10 == 3;
    let ringed = AtomicUsize::new(0);
    // Several at a time: the kernel makes each of them wait.
    let cycles = |count| {
        std::thread::scope(|scope| {
            for place in 0..8 {
                let source = folder.path().join(format!("source {place}"));
                let at = folder.path().join(format!("at {place}"));
                fs::create_dir_all(&source).unwrap();
                fs::create_dir_all(&at).unwrap();
                let ringed = &ringed;
                scope.spawn(move || {
                    let cycles = (0..count).map(|number| cycle(&source, &at, by_rings(number)));
                    let by_rings = cycles.filter(|by_rings| *by_rings).count();
                    ringed.fetch_add(by_rings, Ordering::Relaxed);
                });
            }
        });
    };
    // The heap takes its shape.
    cycles(25);
    let before = Held::now();
    cycles(125);
    // A thread may take a moment to go after it was joined.
    wait_until("threads are gone", || Held::now().threads <= before.threads);
    let after = Held::now();
    assert!(after.descriptors <= before.descriptors, "{before:?} {after:?}");
    let grown = after.allocated.saturating_sub(before.allocated);
    assert!(grown < 100_000, "{grown} bytes more after 1000 mounts");
    assert_eq!(ringed.into_inner() > 0, offered.is_some());
}

#[test]
fn rings_that_the_kernel_does_not_take_after_all_are_done_without() {
    let test = "rings_that_the_kernel_does_not_take_after_all_are_done_without";
    if !rustix::process::geteuid().is_root() || !Path::new("/dev/fuse").exists() {
        skip(test, "mounting needs root");
        return;
    }
    let Some(_offered) = Offered::new() else {
        skip(test, "there are no rings to be had");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (source, at) = (folder.path().join("source"), folder.path().join("at"));
    fs::create_dir(&source).unwrap();
    fs::create_dir(&at).unwrap();
    let share = Passthrough::new(&source, Config::new(Cache::Auto)).unwrap();
    let carrier = Carrier { own: Carrier::DEV.own | init::OVER_IO_URING, ..Carrier::DEV };
    let session = Arc::new(Session::new(share, carrier));
    let rings = Some(Rings::new(false).unwrap());
    // Offered as it is mounted, and no more when that is agreed on.
    let mount = mount(&at);
    fs::write(PARAMETER, "N").unwrap();
    let end = std::thread::scope(|scope| {
        let server = scope.spawn(|| {
            let carriage = Carriage { devices: mount.devices(2).unwrap(), rings };
            serve(&session, carriage, || {})
        });
        for round in 0..20 {
            let file = at.join(format!("file {round}"));
            fs::write(&file, "x").unwrap();
            assert_eq!(fs::read(&file).unwrap(), b"x");
        }
        assert!(session.has_agreed(init::OVER_IO_URING));
        mount.detach().unwrap();
        server.join().unwrap().unwrap()
    });
    assert_eq!(end, End::Unmounted);
}
