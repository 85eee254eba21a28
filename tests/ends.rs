//! Sessions that end while requests are under way, as another queue's INIT has them do.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod support;

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use ferryfs::fuse::abi::Attr;
use ferryfs::fuse::*;
use support::requests::{init, one_of_each, request};
use support::serve;
use zerocopy::FromZeros;

/// When a request makes what it gives to the guest.
const NEVER_OVERTAKEN: u8 = 0;
const BEFORE_THE_END: u8 = 1;
const AFTER_THE_END: u8 = 2;

/// A file system that knows what a guest holds, whose requests are overtaken by an INIT.
#[derive(Default)]
struct Overtaken {
    session: OnceLock<Weak<Session<Self>>>,
    made: AtomicU8,
    ids: AtomicU64,
    held: Mutex<BTreeSet<u64>>,
    starting: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Overtaken {
    fn begun() -> Arc<Session<Self>> {
        let session = Arc::new(Session::new(Self::default(), Carrier::VIRTIO));
        session.filesystem().session.set(Arc::downgrade(&session)).unwrap();
        serve(&session, &init()).unwrap();
        session
    }

    fn end(&self) {
        let session = self.session.get().unwrap().upgrade().unwrap();
        self.made.store(NEVER_OVERTAKEN, Ordering::Relaxed);
        serve(&session, &init()).unwrap();
    }

    /// Ids of things that the guest holds from now on.
    fn make<const N: usize>(&self) -> [u64; N] {
        let made = self.made.load(Ordering::Relaxed);
        if made == AFTER_THE_END {
            self.end();
        }
        let ids = [(); N].map(|()| 2 + self.ids.fetch_add(1, Ordering::Relaxed));
        self.held.lock().unwrap().extend(ids);
        if made == BEFORE_THE_END {
            self.end();
        }
        ids
    }

    fn entry(&self) -> Entry {
        let [node] = self.make();
        entry(node)
    }

    fn opened(&self) -> Opened {
        let [handle] = self.make();
        opened(handle)
    }

    fn created(&self) -> Created {
        let [node, handle] = self.make();
        (entry(node), opened(handle))
    }

    fn give_up(&self, id: u64) {
        self.held.lock().unwrap().remove(&id);
    }
}

fn entry(node: u64) -> Entry {
    let valid = Duration::ZERO;
    Entry { node: NodeId(node), attr: Attr::new_zeroed(), attr_valid: valid, entry_valid: valid }
}

fn opened(handle: u64) -> Opened {
    Opened { handle: Handle(handle), flags: 0, backing: None }
}

impl Filesystem for Overtaken {
    fn wanted(&self) -> u64 {
        0
    }
    fn start(&self, _: &Negotiated) -> Result<()> {
        let starting = self.starting.lock().unwrap().take();
        starting.into_iter().for_each(|meanwhile| meanwhile());
        Ok(())
    }
    fn end(&self) {
        self.held.lock().unwrap().clear();
    }
    fn forget(&self, node: NodeId, lookups: u64) {
        assert_eq!(lookups, 1);
        self.give_up(node.0);
    }
    fn release(&self, _: NodeId, handle: Handle, _: bool) -> Result<()> {
        self.give_up(handle.0);
        Ok(())
    }
    fn releasedir(&self, _: NodeId, handle: Handle) -> Result<()> {
        self.give_up(handle.0);
        Ok(())
    }
    fn lookup(&self, _: &Caller, _: NodeId, _: &Name) -> Result<Entry> {
        Ok(self.entry())
    }
    fn symlink(&self, _: &Caller, _: &NewNode<'_>, _: &CStr) -> Result<Entry> {
        Ok(self.entry())
    }
    fn mknod(&self, _: &Caller, _: &NewNode<'_>, _: u32, _: u32) -> Result<Entry> {
        Ok(self.entry())
    }
    fn mkdir(&self, _: &Caller, _: &NewNode<'_>, _: u32) -> Result<Entry> {
        Ok(self.entry())
    }
    fn link(&self, _: &Caller, _: NodeId, _: (NodeId, &Name)) -> Result<Entry> {
        Ok(self.entry())
    }
    fn open(&self, _: NodeId, _: u32, _: bool) -> Result<Opened> {
        Ok(self.opened())
    }
    fn opendir(&self, _: NodeId, _: u32) -> Result<Opened> {
        Ok(self.opened())
    }
    fn create(&self, _: &Caller, _: &NewNode<'_>, _: &Create) -> Result<Created> {
        Ok(self.created())
    }
    fn tmpfile(
        &self,
        _: &Caller,
        _: NodeId,
        _: (u32, Option<SecurityContext<'_>>),
        _: &Create,
    ) -> Result<Created> {
        Ok(self.created())
    }
    fn readdir(
        &self,
        _: &Caller,
        _: NodeId,
        _: Handle,
        _: u64,
        sink: &mut DirSink<'_, '_>,
    ) -> Result<()> {
        let record = Record { ino: 1, offset: 1, kind: 4, name: b"name" };
        let entry = self.entry();
        sink.add(&record, Some(&entry)).unwrap();
        Ok(())
    }
}

#[test]
fn what_a_request_makes_that_is_overtaken_by_an_init_is_not_in_the_new_session() {
    let gives = |opcode: &Opcode| {
        matches!(
            opcode,
            Opcode::Lookup
                | Opcode::Symlink
                | Opcode::Mknod
                | Opcode::Mkdir
                | Opcode::Link
                | Opcode::Open
                | Opcode::Opendir
                | Opcode::Create
                | Opcode::Tmpfile
                | Opcode::Readdirplus
        )
    };
    let mut tried = 0;
    for (opcode, request) in one_of_each().into_iter().filter(|(opcode, _)| gives(opcode)) {
        for made in [NEVER_OVERTAKEN, BEFORE_THE_END, AFTER_THE_END] {
            let session = Overtaken::begun();
            let fs = session.filesystem();
            fs.made.store(made, Ordering::Relaxed);
            let reply = serve(&session, &request);
            let held = fs.held.lock().unwrap().len();
            if made == NEVER_OVERTAKEN {
                assert!(reply.is_ok() && held > 0, "{opcode:?}: {reply:?}");
                continue;
            }
            assert_eq!(held, 0, "{opcode:?}, {made}");
            match opcode {
                // The entry has no inode.
                Opcode::Readdirplus => assert_eq!(reply.unwrap()[..8], [0; 8]),
                _ => assert_eq!(reply, Err(libc::EIO), "{opcode:?}, {made}"),
            }
            tried += 1;
        }
    }
    assert_eq!(tried, 20);
    // The new session goes on.
    let session = Overtaken::begun();
    session.filesystem().made.store(AFTER_THE_END, Ordering::Relaxed);
    let all = one_of_each();
    let (_, lookup) = all.iter().find(|(opcode, _)| *opcode == Opcode::Lookup).unwrap();
    assert_eq!(serve(&session, lookup), Err(libc::EIO));
    assert!(serve(&session, lookup).is_ok());
    assert_eq!(session.filesystem().held.lock().unwrap().len(), 1);
}

#[test]
fn two_sessions_do_not_begin_at_the_same_time() {
    let session = Overtaken::begun();
    let (ended, is_ended) = channel();
    let other = session.clone();
    let meanwhile = move || {
        let ender = std::thread::spawn(move || {
            other.reset();
            ended.send(()).unwrap();
        });
        // Long enough for who does not wait, and of no matter for who does.
        let waited = is_ended.recv_timeout(Duration::from_millis(300));
        assert_eq!(waited, Err(RecvTimeoutError::Timeout), "it ended while one was beginning");
        drop(ender);
    };
    let (done, is_done) = channel();
    *session.filesystem().starting.lock().unwrap() = Some(Box::new(move || {
        meanwhile();
        done.send(()).unwrap();
    }));
    serve(&session, &init()).unwrap();
    is_done.recv().unwrap();
    // What ends it then ends this one.
    let statfs = request(Opcode::Statfs, 1, &[]);
    while serve(&session, &statfs) != Err(libc::EIO) {
        std::thread::yield_now();
    }
}
