//! A daemon that is killed in the middle of its work.

use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use ferryfs_bench::{Error, ROOT};
use rustix::process::{Pid, Signal, kill_process};

use super::*;

/// A record that tells its own number.
fn record(number: u64) -> [u8; 64] {
    [number.to_le_bytes(); 8].concat().try_into().unwrap()
}

#[test]
fn what_was_acknowledged_outlives_the_daemon() {
    let place = Place::new();
    let share = place.dir("share");
    for round in 0..6 {
        let args: &[&str] = if round % 2 == 0 { &[] } else { &["--writeback"] };
        let mut machine = Machine::new(&share, args);
        let (file, dirs) = (format!("file{round}"), format!("dirs{round}"));
        let made = machine.fs.create(ROOT, &file, libc::O_RDWR, 0o644).unwrap();
        let (node, fh) = (made.entry.nodeid, made.open.fh);
        let parent = machine.fs.mkdir(ROOT, &dirs, 0o755).unwrap().nodeid;
        let pid = i32::try_from(machine.daemon.process().serving()).unwrap();
        let pid = Pid::from_raw(pid).unwrap();
        let (written, named) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            let Machine { fs, other, .. } = &mut machine;
            let (written, named) = (&written, &named);
            // Each until the daemon is gone.
            scope.spawn(move || {
                for number in 0.. {
                    let done = fs.write(node, fh, 64 * number, &record(number)).and_then(|_| {
                        if number % 100 == 99 { fs.fsync(node, fh, true) } else { Ok(()) }
                    });
                    match done {
                        Ok(()) => written.store(number + 1, Ordering::SeqCst),
                        Err(Error::Gone) => return,
                        Err(other) => panic!("{other}"),
                    }
                }
            });
            scope.spawn(move || {
                for number in 0.. {
                    let (from, to) = (format!("new{number}"), number.to_string());
                    let done = other
                        .mkdir(parent, &from, 0o755)
                        .and_then(|_| other.rename((parent, &from), (parent, &to)));
                    match done {
                        Ok(()) => named.store(number + 1, Ordering::SeqCst),
                        Err(Error::Gone) => return,
                        Err(other) => panic!("{other}"),
                    }
                }
            });
            wait_until("there is something to lose", || {
                written.load(Ordering::SeqCst) > 150 * (round + 1)
                    && named.load(Ordering::SeqCst) > 20 * (round + 1)
            });
            kill_process(pid, Signal::KILL).unwrap();
        });
        assert!(!machine.daemon.process_mut().wait(LONG).unwrap().success());
        let content = fs::File::open(share.join(&file)).unwrap();
        for number in 0..written.load(Ordering::SeqCst) {
            let mut bytes = [0; 64];
            content.read_exact_at(&mut bytes, 64 * number).unwrap();
            assert!(bytes == record(number), "record {number} is lost");
        }
        for number in 0..named.load(Ordering::SeqCst) {
            assert!(share.join(&dirs).join(number.to_string()).is_dir(), "{number} is lost");
        }
    }
}
