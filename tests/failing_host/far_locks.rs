//! Locks of files whose server does not answer any more.

use ferryfs::fuse::Opcode;
use ferryfs::fuse::abi::{FileLock, LkIn};
use ferryfs_bench::ROOT;
use rustix::process::Signal;
use zerocopy::IntoBytes;

use super::silent::{Line, Server};
use super::*;

const READ: i32 = libc::F_RDLCK;
const WRITE: i32 = libc::F_WRLCK;
const UNLOCK: i32 = libc::F_UNLCK;

/// A file of the guest.
#[derive(Clone, Copy)]
struct Open {
    node: u64,
    fh: u64,
}

impl Open {
    /// For one owner to lock or unlock one byte of it.
    fn byte(self, owner: u64, kind: i32, at: u64) -> LkIn {
        let lk = FileLock { start: at, end: at, kind: kind.cast_unsigned(), pid: 1 };
        LkIn { fh: self.fh, owner, lk, lk_flags: 0, padding: 0 }
    }
}

/// A guest whose locks hold on the host, a file of the share and one of a server below it.
struct Scene {
    server: Server,
    machine: Machine,
    near: Open,
    far: Open,
    _place: Place,
}

impl Scene {
    fn new() -> Self {
        let place = Place::new();
        let share = place.dir("share");
        fs::write(share.join("local"), "here").unwrap();
        let server = Server::with(&["--posix-lock"], &place, "share/remote");
        let mut machine = Machine::new(&share, &["--posix-lock"]);
        let open = |machine: &mut Machine, parent, name: &str| {
            let node = machine.find(parent, name);
            Open { node, fh: machine.fs.open(node, libc::O_RDWR).unwrap().fh }
        };
        let near = open(&mut machine, ROOT, "local");
        let remote = machine.find(ROOT, "remote");
        let far = open(&mut machine, remote, "file");
        Scene { server, machine, near, far, _place: place }
    }

    fn lock(&mut self, file: Open, owner: u64, kind: i32, at: u64) {
        self.machine.fs.setlk(file.node, &file.byte(owner, kind, at), false).unwrap();
    }

    /// Waits until the daemon has a thread of this name that `is_so`, by its folder of /proc.
    fn wait_for_thread(&self, name: &str, is_so: fn(&Path) -> bool) {
        let tasks = self.machine.daemon.process().proc("task");
        let named = |task: &Path| {
            fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim_end() == name)
        };
        wait_until("there is such a thread", || {
            let mut tasks = fs::read_dir(&tasks).unwrap().map(|task| task.unwrap().path());
            tasks.any(|task| named(&task) && is_so(&task))
        });
    }
}

/// True if a thread waits for the server.
fn asks(task: &Path) -> bool {
    let stack = fs::read_to_string(task.join("stack"));
    stack.is_ok_and(|stack| stack.contains("request_wait_answer"))
}

impl Drop for Scene {
    /// Whatever was found: who waits for the server could not end otherwise.
    fn drop(&mut self) {
        self.server.signal(Signal::CONT);
    }
}

fn send(line: &mut Line, file: Open, lock: &LkIn, waits: bool) {
    let opcode = if waits { Opcode::Setlkw } else { Opcode::Setlk };
    line.send(opcode, file.node, lock.as_bytes(), 16);
}

#[test]
fn a_lock_that_a_silent_server_does_not_give_holds_up_no_other() {
    if cannot_serve("failing_host::far_locks::table") {
        return;
    }
    let mut scene = Scene::new();
    let (near, far) = (scene.near, scene.far);
    scene.lock(far, 1, READ, 0);
    scene.lock(near, 1, READ, 0);
    let mut line = Line::new(&mut scene.machine, 3);
    scene.server.stop();
    send(&mut line, far, &far.byte(1, WRITE, 2), false);
    scene.wait_for_thread("waiting", asks);
    scene.lock(near, 1, WRITE, 2);
    scene.lock(near, 2, READ, 0);
    let there = scene.machine.fs.getlk(near.node, &near.byte(3, WRITE, 2)).unwrap();
    assert_eq!(there.kind, WRITE.cast_unsigned());
    scene.lock(near, 2, UNLOCK, 0);
    let fs = &mut scene.machine.fs;
    fs.flush(near.node, near.fh).unwrap();
    fs.release(near.node, near.fh).unwrap();
    scene.server.go_on();
    line.expect_rest(|error| error == 0);
    let there = scene.machine.fs.getlk(far.node, &far.byte(3, WRITE, 2)).unwrap();
    assert_eq!(there.kind, WRITE.cast_unsigned());
}

#[test]
fn waiting_for_a_lock_of_a_silent_server_holds_up_no_other_wait() {
    if cannot_serve("failing_host::far_locks::waiting") {
        return;
    }
    let mut scene = Scene::new();
    let (near, far) = (scene.near, scene.far);
    scene.lock(far, 1, WRITE, 0);
    scene.lock(near, 1, WRITE, 0);
    let mut line = Line::new(&mut scene.machine, 3);
    send(&mut line, far, &far.byte(2, WRITE, 0), true);
    scene.wait_for_thread("retrying", |_| true);
    scene.server.stop();
    scene.wait_for_thread("retrying", asks);
    let mut other = Line::new(&mut scene.machine, 4);
    send(&mut other, near, &near.byte(2, WRITE, 0), true);
    // Requests are taken in turn: when this one is answered, the other waits.
    other.getattr(ROOT);
    other.expect_last();
    scene.lock(near, 1, UNLOCK, 0);
    other.expect_last();
    scene.server.go_on();
    scene.lock(far, 1, UNLOCK, 0);
    line.expect_last();
}

#[test]
fn a_wait_for_a_lock_that_begins_while_the_ring_is_stopped_is_given_up() {
    if cannot_serve("failing_host::far_locks::stop") {
        return;
    }
    let mut scene = Scene::new();
    let far = scene.far;
    scene.lock(far, 1, WRITE, 0);
    let mut line = Line::new(&mut scene.machine, 3);
    scene.server.stop();
    // The first thing that is asked of the server is no lock, but an open file for it.
    send(&mut line, far, &far.byte(2, WRITE, 0), true);
    scene.wait_for_thread("waiting", asks);
    std::thread::scope(|scope| {
        let guest = &mut scene.machine.guest;
        let stopping = scope.spawn(move || guest.stop(3));
        std::thread::sleep(Duration::from_millis(200));
        assert!(!stopping.is_finished(), "it waits for a server that is asked");
        scene.server.go_on();
        assert_eq!(stopping.join().unwrap().unwrap(), 1);
    });
    line.expect_rest(|error| error == -libc::ENOLCK);
}
