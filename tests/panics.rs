//! A bug in a file system costs the request that meets it, and nothing else.

use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ferryfs::fuse::abi::Attr;
use ferryfs::fuse::*;
use ferryfs::mem::Output;
use ferryfs::vhost::{self, DeviceConfig};
use ferryfs_bench::{Guest, LINUX_6_18, ROOT, Setup};
use zerocopy::FromZeros;

/// Panics whenever it is asked about this node.
const BAD: u64 = 13;

static PANICS: AtomicUsize = AtomicUsize::new(0);

struct Buggy;

fn check(node: NodeId) {
    if node.0 == BAD {
        PANICS.fetch_add(1, Ordering::Relaxed);
        panic!("a bug");
    }
}

impl Filesystem for Buggy {
    fn wanted(&self) -> u64 {
        0
    }

    fn waits(&self, opcode: Opcode, node: NodeId) -> Option<Wait> {
        if opcode == Opcode::Statfs {
            check(node);
        }
        // Served by another thread.
        (opcode == Opcode::Open).then_some(Wait::Storage)
    }

    fn forget(&self, node: NodeId, _: u64) {
        check(node);
    }

    fn getattr(&self, node: NodeId, _: Option<Handle>) -> Result<Attributes> {
        check(node);
        let attr = Attr { ino: node.0, ..Attr::new_zeroed() };
        Ok(Attributes { attr, valid: Duration::ZERO })
    }

    fn open(&self, node: NodeId, _: u32, _: bool) -> Result<Opened> {
        check(node);
        Ok(Opened { handle: Handle(1), flags: 0, backing: None })
    }

    fn read(
        &self,
        node: NodeId,
        _: Handle,
        _: u64,
        _: Patience,
        out: &mut Output<'_>,
    ) -> Result<usize> {
        out.put_bytes(b"half of it")?;
        check(node);
        Ok(10)
    }
}

#[test]
fn a_request_that_makes_us_panic_gets_eio_and_the_device_lives() {
    // It would only fill the log.
    std::panic::set_hook(Box::new(|_| {}));
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let poll = Duration::ZERO;
    let config = DeviceConfig { tag: None, request_queues: 1, cpus: 2, waiting_threads: 2, poll };
    std::thread::scope(|scope| {
        let server = scope.spawn(|| {
            let (stream, _) = listener.accept().unwrap();
            let session = Session::new(Buggy, Carrier::VIRTIO).into();
            vhost::serve(stream, session, config, (&vhost::Traffic::default(), None, None))
        });
        let mut guest = Guest::connect(&socket, Setup::default()).unwrap();
        let mut hiprio = guest.client(0).unwrap();
        let mut fs = guest.client(1).unwrap();
        fs.init(LINUX_6_18).unwrap();
        for round in 1..=100 {
            assert_eq!(fs.getattr(BAD, None).unwrap_err(), Errno::EIO);
            assert_eq!(fs.open(BAD, 0).unwrap_err(), Errno::EIO);
            assert_eq!(fs.read(BAD, 1, 0, 4096).unwrap_err(), Errno::EIO);
            assert_eq!(fs.statfs(BAD).unwrap_err(), Errno::EIO);
            hiprio.forget(BAD, 1).unwrap();
            fs.batch_forget(&[(BAD, 1), (ROOT, 1)]).unwrap();
            assert_eq!(fs.getattr(ROOT, None).unwrap().attr.ino, ROOT);
            assert_eq!(fs.open(ROOT, 0).unwrap().fh, 1);
            assert_eq!(fs.read(ROOT, 1, 0, 4096).unwrap(), b"half of it");
            assert!(PANICS.load(Ordering::Relaxed) >= 4 * round);
        }
        drop((hiprio, fs, guest));
        server.join().unwrap().unwrap();
    });
    assert_eq!(PANICS.load(Ordering::Relaxed), 600, "none was left out");
}
