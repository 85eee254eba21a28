//! A file system below the share whose server does not answer any more.

use ferryfs::fuse::Opcode;
use ferryfs::fuse::abi::{GetattrIn, OutHeader};
use ferryfs_bench::{Frame, Layout, Process, Queue, ROOT, Request};
use rustix::process::{Pid, Signal, kill_process};
use zerocopy::{FromZeros, IntoBytes};

use super::faulty::{SILENCE, Served};
use super::*;

/// A directory with a file, served over /dev/fuse by a process that can be stopped.
pub(super) struct Server {
    process: Process,
    at: PathBuf,
}

impl Server {
    fn on(place: &Place, at: &str) -> Self {
        Self::with(&[], place, at)
    }

    pub(super) fn with(args: &[&str], place: &Place, at: &str) -> Self {
        let (source, at) = (place.dir("source"), place.dir(at));
        fs::write(source.join("file"), "far away").unwrap();
        let mut command = Command::new(ferryfs());
        command.args(["mount", "--cache=never", "--io-uring=off"]).args(args).arg(source).arg(&at);
        let process = Process::start(command).unwrap();
        process.wait_for_line("Mounted", LONG).unwrap();
        Server { process, at }
    }

    pub(super) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.serving()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    pub(super) fn stop(&self) {
        self.signal(Signal::STOP);
        let status = self.process.proc("status");
        wait_until("it is stopped", || fs::read_to_string(&status).unwrap().contains("State:\tT"));
    }

    pub(super) fn go_on(&self) {
        self.signal(Signal::CONT);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = unmount(&self.at, UnmountFlags::DETACH);
    }
}

/// A queue with many requests on their way.
pub(super) struct Line {
    queue: Queue,
    sent: Vec<(u16, u64, Frame)>,
}

impl Line {
    pub(super) fn new(machine: &mut Machine, index: usize) -> Self {
        Line { queue: machine.guest.queue(index).unwrap(), sent: Vec::new() }
    }

    pub(super) fn send(&mut self, opcode: Opcode, node: u64, args: &[u8], reply: usize) {
        let mut frame = Frame::new(self.queue.region(), Layout::Linux, (4096, 4096)).unwrap();
        let unique = Client::next_unique();
        let request =
            Request { opcode: opcode as u32, node, args: &[args], reply, ..Request::default() };
        frame.fill(unique, &request).unwrap();
        let head = self.queue.submit(frame.readable(), frame.writable()).unwrap();
        self.queue.kick().unwrap();
        self.sent.push((head, unique, frame));
    }

    pub(super) fn getattr(&mut self, node: u64) {
        self.send(Opcode::Getattr, node, GetattrIn::new_zeroed().as_bytes(), 104);
    }

    fn lookup(&mut self, name: &str) {
        self.send(Opcode::Lookup, ROOT, format!("{name}\0").as_bytes(), 128);
    }

    /// Waits for the next answer; the error number in it.
    fn next(&mut self) -> (u16, i32) {
        let used = self.queue.wait(Instant::now() + LONG).unwrap();
        let at = self.sent.iter().position(|(head, ..)| *head == used.head).unwrap();
        let (head, unique, frame) = self.sent.swap_remove(at);
        let OutHeader { error, unique: answered, .. } = frame.reply_head();
        assert_eq!(answered, unique);
        (head, error)
    }

    /// Expects that the last request is answered before all that are older.
    pub(super) fn expect_last(&mut self) {
        let (head, ..) = *self.sent.last().unwrap();
        assert_eq!(self.next(), (head, 0));
    }

    pub(super) fn expect_rest(&mut self, mut is_right: impl FnMut(i32) -> bool) {
        while !self.sent.is_empty() {
            let (_, error) = self.next();
            assert!(is_right(error), "{error}");
        }
    }
}

#[test]
fn a_silent_server_holds_up_nobody_but_those_who_ask_it() {
    if cannot_serve("failing_host::silent") {
        return;
    }
    let place = Place::new();
    let share = place.dir("share");
    let local = share.join("local");
    fs::write(&local, "here").unwrap();
    let server = Server::on(&place, "share/remote");
    let mut machine = Machine::new(&share, &[]);
    let remote = machine.find(ROOT, "remote");
    let far = machine.find(remote, "file");
    let far_fh = machine.fs.open(far, libc::O_RDWR).unwrap().fh;
    let node = machine.find(ROOT, "local");
    let fh = machine.fs.open(node, libc::O_RDWR).unwrap().fh;
    let mut line = Line::new(&mut machine, 3);
    for round in 0..2 {
        server.stop();
        // More than there are threads for those that wait.
        for _ in 0..60 {
            line.getattr(far);
            line.lookup("remote");
        }
        // The queue that carried them goes on,
        line.getattr(node);
        line.expect_last();
        // and so do others, also with what has to wait for storage.
        for fs in [&mut machine.fs, &mut machine.other] {
            fs.write(node, fh, 0, b"here").unwrap();
            fs.fsync(node, fh, false).unwrap();
            let file = fs::File::open(&local).unwrap();
            file.sync_all().unwrap();
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
            assert_eq!(fs.read(node, fh, 0, 100).unwrap(), b"here");
            fs.mkdir(ROOT, "dir", 0o755).unwrap();
            fs.rmdir(ROOT, "dir").unwrap();
            let list = fs.opendir(ROOT).unwrap().fh;
            let names = fs.readdirplus(ROOT, list, 0, 4096).unwrap();
            assert_eq!(names.len(), 4, "round {round}");
            fs.releasedir(ROOT, list).unwrap();
        }
        server.go_on();
        line.expect_rest(|error| error == 0);
        assert_eq!(machine.fs.read(far, far_fh, 0, 100).unwrap(), b"far away");
    }
}

#[test]
fn a_mount_that_was_silent_from_the_beginning_holds_up_nobody_else() {
    if cannot_serve("failing_host::silent::beginning") {
        return;
    }
    for sandbox in ["namespace", "none"] {
        let place = Place::new();
        let share = place.dir("share");
        fs::write(share.join("local"), "here").unwrap();
        let server = Server::on(&place, "share/remote");
        let mut machine = Machine::new(&share, &["--sandbox", sandbox]);
        server.stop();
        let mut line = Line::new(&mut machine, 3);
        line.lookup("remote");
        line.lookup("local");
        line.expect_last();
        let fs = &mut machine.fs;
        let list = fs.opendir(ROOT).unwrap().fh;
        let entries = fs.readdirplus(ROOT, list, 0, 4096).unwrap();
        assert_eq!(entries.len(), 4);
        // Inodes on mounts that nobody has seen yet.
        fs.create(ROOT, "new", libc::O_RDWR, 0o644).unwrap();
        fs.lookup(ROOT, "local").unwrap();
        server.go_on();
        line.expect_rest(|error| error == 0);
    }
}

#[test]
fn a_silent_server_below_a_mount_holds_up_nobody_but_those_who_ask_it() {
    if cannot_mount("failing_host::silent::mount") {
        return;
    }
    for way in ["--io-uring=off", "--io-uring=auto"] {
        let place = Place::new();
        let (share, at) = (place.dir("share"), place.dir("at"));
        fs::write(share.join("local"), "here").unwrap();
        let server = Server::on(&place, "share/remote");
        let mut command = Command::new(ferryfs());
        command.args(["mount", "--cache=never", "--threads=2", way]).arg(&share).arg(&at);
        let process = Process::start(command).unwrap();
        process.wait_for_line("Mounted", LONG).unwrap();
        // Names that are known are asked for by everybody who uses them.
        assert_eq!(fs::read(at.join("remote/file")).unwrap(), b"far away");
        server.stop();
        let ask =
            |_| Command::new("cat").arg(at.join("remote/file")).stdout(Stdio::piped()).spawn();
        let waiting: Vec<_> = (0..8).map(ask).collect();
        // All of them are on their way, and more than there are threads for ordinary requests.
        for pid in waiting.iter().map(|child| child.as_ref().unwrap().id()) {
            wait_until("it waits", || {
                let stack = fs::read_to_string(format!("/proc/{pid}/stack")).unwrap();
                stack.contains("request_wait_answer")
            });
        }
        let read = Command::new("timeout").arg("10").arg("cat").arg(at.join("local")).output();
        server.go_on();
        let read = read.unwrap();
        for child in waiting {
            assert_eq!(child.unwrap().wait_with_output().unwrap().stdout, b"far away");
        }
        unmount(&at, UnmountFlags::DETACH).unwrap();
        assert_eq!(read.stdout, b"here", "{way}");
    }
}

#[test]
fn a_server_that_dies_fails_what_waits_for_it_and_may_come_back() {
    if cannot_serve("failing_host::silent::dead") {
        return;
    }
    let place = Place::new();
    let share = place.dir("share");
    let server = Server::on(&place, "share/remote");
    // In a namespace the mount that comes back is seen only where the host shares its mounts.
    let mut machine = Machine::new(&share, &["--sandbox", "none"]);
    let remote = machine.find(ROOT, "remote");
    let far = machine.find(remote, "file");
    server.stop();
    let mut line = Line::new(&mut machine, 3);
    for _ in 0..30 {
        line.getattr(far);
    }
    line.getattr(ROOT);
    line.expect_last();
    server.signal(Signal::KILL);
    line.expect_rest(|error| [-libc::ENOTCONN, -libc::ECONNABORTED].contains(&error));
    drop(server);
    let _server = Server::on(&place, "share/remote");
    let again = machine.find(ROOT, "remote");
    assert_ne!(again, remote);
    let far = machine.find(again, "file");
    let fh = machine.fs.open(far, libc::O_RDONLY).unwrap().fh;
    assert_eq!(machine.fs.read(far, fh, 0, 100).unwrap(), b"far away");
}

/// Sessions that begin and end close what is open at the server, which takes as long as that.
#[test]
fn a_session_that_a_silent_server_does_not_let_end_holds_up_no_queue() {
    if cannot_serve("failing_host::silent::session") {
        return;
    }
    for opcode in [Opcode::Destroy, Opcode::Init] {
        let place = Place::new();
        let share = place.dir("share");
        let server = Served::at(&place.dir("share/remote"));
        let mut machine = Machine::new(&share, &[]);
        let remote = machine.find(ROOT, "remote");
        let far = machine.find(remote, "file");
        machine.fs.open(far, libc::O_RDWR).unwrap();
        server.fail_with(SILENCE);
        let mut line = Line::new(&mut machine, 3);
        let (minor, flags) = LINUX_6_18;
        let flags = flags & u64::from(u32::MAX);
        let offer = [7, minor, 128 << 10, u32::try_from(flags).unwrap()];
        let args = if opcode == Opcode::Init { offer.as_bytes() } else { &[] };
        line.send(opcode, 0, args, 64);
        // Whatever it is told: the queue goes on.
        line.getattr(ROOT);
        let (head, ..) = *line.sent.last().unwrap();
        let first = line.queue.wait(Instant::now() + LONG);
        // Whatever was found: the daemon could not end either.
        server.fail_with(0);
        assert_eq!(first.unwrap().head, head, "{opcode:?}");
        line.sent.pop();
        line.expect_rest(|error| error == 0);
        machine.fs.init(LINUX_6_18).unwrap();
        machine.fs.getattr(ROOT, None).unwrap();
    }
}

#[test]
fn a_silent_server_does_not_keep_the_daemon_from_ending() {
    if cannot_serve("failing_host::silent::ending") {
        return;
    }
    let place = Place::new();
    let share = place.dir("share");
    let server = Served::at(&place.dir("share/remote"));
    let mut machine = Machine::new(&share, &[]);
    let remote = machine.find(ROOT, "remote");
    server.fail_with(SILENCE);
    let mut line = Line::new(&mut machine, 3);
    line.getattr(remote);
    line.getattr(ROOT);
    line.expect_last();
    // The server has taken the request: from then on not even SIGKILL ends a thread that waits.
    let tasks = machine.daemon.process().proc("task");
    wait_until("a thread waits for the server", || {
        let tasks = fs::read_dir(&tasks).unwrap().map(|task| task.unwrap().path());
        let stacks = tasks.filter_map(|task| fs::read_to_string(task.join("stack")).ok());
        stacks.into_iter().any(|stack| stack.contains("request_wait_answer"))
    });
    machine.daemon.process().signal(Signal::TERM).unwrap();
    let deadline = Instant::now() + LONG;
    while !machine.daemon.process().has_ended().unwrap() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
    }
    let has_ended = machine.daemon.process().has_ended().unwrap();
    // Whatever was found: this process could not end either.
    server.fail_with(0);
    assert!(has_ended);
    assert_eq!(machine.daemon.process_mut().wait(LONG).unwrap().code(), Some(0));
}
