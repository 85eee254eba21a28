//! How the daemon starts, whoever starts it and however little they leave it, and whom it tells.

use std::fs;
use std::io::Read;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};

use ferryfs_bench::{Process, ROOT};
use rustix::process::{Pid, PidfdFlags, Signal};
use tempfile::TempDir;

use super::*;

const READY: &str = "Waiting for vhost-user socket connection...";

/// A folder with a directory to share, and where a socket may be.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("dir")).unwrap();
        Place(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A shell that becomes the daemon after `before`, which may use "$0" and "$@".
    fn shell(&self, before: &str) -> Command {
        let mut command = Command::new("bash");
        command.arg("-c").arg(format!("{before}; exec \"$0\" \"$@\"")).arg(ferryfs());
        command.arg("--shared-dir").arg(self.path("dir")).current_dir(self.0.path());
        command
    }

    /// Starts the daemon on the usual socket.
    fn start(&self, before: &str, args: &[&str]) -> Process {
        let mut command = self.shell(before);
        command.arg("--socket-path").arg(self.path("sock")).args(args);
        Process::start(command).unwrap()
    }

    fn is_empty(&self) -> bool {
        fs::read_dir(self.0.path()).unwrap().count() == 1
    }
}

/// A guest makes a directory and goes.
fn use_it(stream: UnixStream) {
    let mut guest = Guest::over(stream, Setup::default()).unwrap();
    let mut fs = guest.client(1).unwrap();
    fs.init(LINUX_6_18).unwrap();
    fs.mkdir(ROOT, "made", 0o755).unwrap();
}

fn ends_well(mut process: Process) -> String {
    let status = process.wait(LONG).unwrap();
    assert_eq!(status.code(), Some(0), "{}", process.stderr());
    process.stderr()
}

#[test]
fn a_descriptor_is_written_to_and_closed_when_front_ends_may_connect() {
    let place = Place::new();
    let mut command = place.shell("exec 9>&1 1>/dev/null");
    command.arg("--socket-path").arg(place.path("sock")).args(["--ready-fd", "9"]);
    let (mut ready, writer) = std::io::pipe().unwrap();
    command.stdout(writer);
    let process = Process::start(command).unwrap();
    let mut said = String::new();
    ready.read_to_string(&mut said).unwrap();
    assert_eq!(said, "\n");
    use_it(UnixStream::connect(place.path("sock")).unwrap());
    ends_well(process);
}

#[test]
fn everybody_is_told_from_inside_every_sandbox() {
    for sandbox in ["namespace", "chroot", "none"] {
        if sandbox == "chroot" && !is_root() {
            continue;
        }
        let place = Place::new();
        let path = place.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(LONG)).unwrap();
        let before = format!("exec 9>&1 1>/dev/null; export NOTIFY_SOCKET={}", path.display());
        let mut command = place.shell(&before);
        command.arg("--socket-path").arg(place.path("sock"));
        command.args(["--ready-fd", "9", "--sandbox", sandbox, "--log-format=json"]);
        let (mut ready, writer) = std::io::pipe().unwrap();
        command.stdout(writer);
        let process = Process::start(command).unwrap();
        let mut said = String::new();
        ready.read_to_string(&mut said).unwrap();
        assert_eq!(said, "\n", "{sandbox}");
        use_it(UnixStream::connect(place.path("sock")).unwrap());
        for expected in ["READY=1\n", "STATUS=Serving", "STOPPING=1\n"] {
            let mut said = [0; 200];
            let len = socket.recv(&mut said).unwrap();
            let said = String::from_utf8_lossy(&said[..len]);
            assert!(said.starts_with(expected), "{sandbox}: {said}");
        }
        assert!(ends_well(process).lines().all(|line| line.starts_with("{\"time\":\"")));
    }
}

#[test]
fn a_start_that_fails_says_nothing_to_that_descriptor() {
    let place = Place::new();
    let mut command = place.shell("exec 9>&1 1>/dev/null");
    command.arg("--socket-path").arg(place.path("no/sock")).args(["--ready-fd", "9"]);
    let (mut ready, writer) = std::io::pipe().unwrap();
    command.stdout(writer);
    let mut process = Process::start(command).unwrap();
    let mut said = String::new();
    ready.read_to_string(&mut said).unwrap();
    assert_eq!((said.as_str(), process.wait(LONG).unwrap().code()), ("", Some(2)));
    let mut process = place.start("true", &["--ready-fd", "77"]);
    assert_eq!(process.wait(LONG).unwrap().code(), Some(2));
    assert!(process.stderr().starts_with("ferryfs: --ready-fd: "), "{}", process.stderr());
    assert!(place.is_empty());
}

#[test]
fn systemd_is_told_how_far_the_daemon_is() {
    let place = Place::new();
    let name = format!("ferryfs-test-{}", std::process::id());
    let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
    let path = place.path("notify");
    let sockets = [
        (path.to_str().unwrap().to_owned(), UnixDatagram::bind(&path).unwrap()),
        (format!("@{name}"), UnixDatagram::bind_addr(&abstract_name).unwrap()),
    ];
    for (address, socket) in sockets {
        socket.set_read_timeout(Some(LONG)).unwrap();
        let next = || {
            let mut said = [0; 200];
            let len = socket.recv(&mut said).unwrap();
            String::from_utf8(said[..len].to_vec()).unwrap()
        };
        let process = place.start(&format!("export NOTIFY_SOCKET={address}"), &[]);
        assert_eq!(next(), "READY=1\nSTATUS=Waiting for the front-end");
        let stream = UnixStream::connect(place.path("sock")).unwrap();
        assert_eq!(next(), "STATUS=Serving a front-end");
        drop(stream);
        assert!(next().starts_with("STOPPING=1\n"));
        ends_well(process);

        let process = place.start(&format!("export NOTIFY_SOCKET={address}"), &[]);
        assert!(next().starts_with("READY=1\n"));
        process.signal(Signal::TERM).unwrap();
        assert!(next().starts_with("STOPPING=1\n"));
        ends_well(process);
    }
}

#[test]
fn a_socket_that_systemd_passes_is_used() {
    for (before, args) in [
        ("export LISTEN_FDS=1 LISTEN_PID=$$; exec 3<&0", &[][..]),
        ("export LISTEN_FDS=1 LISTEN_PID=$$; exec 3<&0", &["--fd", "3"]),
        ("export LISTEN_FDS=2 LISTEN_PID=$$; exec 4<&0 3</dev/null", &["--fd", "4"]),
    ] {
        let place = Place::new();
        let listener = UnixListener::bind(place.path("sock")).unwrap();
        let mut command = place.shell(before);
        command.args(args).stdin(std::os::fd::OwnedFd::from(listener));
        let process = Process::start(command).unwrap();
        use_it(UnixStream::connect(place.path("sock")).unwrap());
        ends_well(process);
        assert!(place.path("dir/made").exists());
    }
}

#[test]
fn sockets_that_are_not_for_this_process_are_not_used() {
    for (before, option) in [
        ("export LISTEN_FDS=1 LISTEN_PID=1; exec 3</dev/null", "--socket-path: it is missing"),
        ("export LISTEN_FDS=2 LISTEN_PID=$$; exec 3</dev/null", "--fd: systemd passes 2 sockets"),
        ("export LISTEN_FDS=1 LISTEN_PID=$$; exec 3</dev/null", "--fd: descriptor 3 is not"),
        ("export LISTEN_FDS=x LISTEN_PID=$$; exec 3</dev/null", "--socket-path: it is missing"),
    ] {
        let place = Place::new();
        let mut process = Process::start(place.shell(before)).unwrap();
        assert_eq!(process.wait(LONG).unwrap().code(), Some(2));
        let said = process.stderr();
        assert!(said.starts_with(&format!("ferryfs: {option}")), "{said}");
    }
}

#[test]
fn systemd_socket_activate_starts_it_at_the_first_connection() {
    let place = Place::new();
    let mut command = Command::new("systemd-socket-activate");
    command.arg("--listen").arg(place.path("sock")).arg(ferryfs());
    command.arg("--shared-dir").arg(place.path("dir")).args(["--fd", "3"]);
    command.args(["--xattr", "--no-announce-submounts"]);
    let Ok(process) = Process::start(command) else {
        let name = "starting::systemd_socket_activate_starts_it_at_the_first_connection";
        skip(name, "there is no systemd-socket-activate");
        return;
    };
    wait_until("it listens", || place.path("sock").exists());
    let connected = || UnixStream::connect(place.path("sock"));
    wait_until("it takes connections", || connected().is_ok());
    let said = ends_well(process);
    assert!(said.contains(READY), "{said}");
}

/// A process that is nobody's child any more.
struct Daemonized(std::os::fd::OwnedFd);

impl Drop for Daemonized {
    fn drop(&mut self) {
        // Fails if it has ended, as it should have.
        let _ = rustix::process::pidfd_send_signal(&self.0, Signal::KILL);
    }
}

#[test]
fn in_the_background_it_serves_on_after_who_started_it_has_gone() {
    let place = Place::new();
    let mut command = place.shell("true");
    command.args(["--socket-path", "sock", "--daemonize"]).stdout(Stdio::null());
    let mut starter = Process::start(command).unwrap();
    // Its end of our pipe is closed too, or this would not return.
    assert_eq!(starter.wait(LONG).unwrap().code(), Some(0), "{}", starter.stderr());
    let pid = fs::read_to_string(place.path("sock.pid")).unwrap();
    let pid = pid.trim().parse::<i32>().unwrap();
    assert_ne!(u32::try_from(pid).unwrap(), starter.pid());
    let of = Pid::from_raw(pid).unwrap();
    let _daemon = Daemonized(rustix::process::pidfd_open(of, PidfdFlags::empty()).unwrap());
    assert_eq!(rustix::process::getsid(Some(of)).unwrap(), of, "it has left the terminal");
    let proc = PathBuf::from(format!("/proc/{pid}"));
    assert_eq!(fs::read_link(proc.join("cwd")).unwrap(), Path::new("/"));
    for fd in ["fd/0", "fd/1", "fd/2"] {
        assert_eq!(fs::read_link(proc.join(fd)).unwrap(), Path::new("/dev/null"));
    }
    use_it(UnixStream::connect(place.path("sock")).unwrap());
    wait_until("it has cleaned up", || place.is_empty());
    wait_until("it has ended", || fs::read_link(proc.join("exe")).is_err());
}

#[test]
fn a_start_in_the_background_that_fails_is_told_to_who_started_it() {
    let place = Place::new();
    let mut command = place.shell("true");
    command.args(["--socket-path", "no/sock", "--daemonize"]);
    let mut process = Process::start(command).unwrap();
    assert_eq!(process.wait(LONG).unwrap().code(), Some(2));
    assert!(process.stderr().contains("ferryfs: --socket-path: "), "{}", process.stderr());
}

#[test]
fn it_serves_without_descriptors_environment_or_working_directory() {
    let place = Place::new();
    let socket = place.path("sock");
    for before in [
        "exec 0<&-",
        "exec 0<&- 1>&-",
        "exec 5</dev/null 9</dev/null 100</dev/null",
        "mkdir gone; cd gone; rmdir ../gone",
        "unset PATH HOME TMPDIR",
        "ulimit -c 0; umask 0777",
    ] {
        let process = place.start(before, &[]);
        process.wait_for_line(READY, LONG).unwrap();
        use_it(UnixStream::connect(&socket).unwrap());
        ends_well(process);
        assert!(place.is_empty(), "after {before}");
        fs::remove_dir(place.path("dir/made")).unwrap();
    }
    // Nobody reads what it says.
    let mut process = place.start("exec 2>&-", &[]);
    wait_until("it listens", || UnixStream::connect(&socket).is_ok());
    assert_eq!(process.wait(LONG).unwrap().code(), Some(0));
}

#[test]
fn sockets_may_have_relative_and_long_paths() {
    let long = "long".repeat(50);
    for path in ["sock", "./sock", "sub/sock", "../sock", &format!("{long}/sock")] {
        let place = Place::new();
        for folder in ["at", "at/sub", &format!("at/{long}")] {
            fs::create_dir(place.path(folder)).unwrap();
        }
        let mut command = place.shell("cd at");
        command.args(["--socket-path", path]);
        let process = Process::start(command).unwrap();
        process.wait_for_line(READY, LONG).unwrap();
        let socket = place.path("at").join(path);
        let pid_file = socket.with_extension("pid");
        assert_eq!(fs::read_to_string(&pid_file).unwrap(), format!("{}\n", process.pid()));
        let short = place.path("short");
        std::os::unix::fs::symlink(socket.parent().unwrap(), &short).unwrap();
        use_it(UnixStream::connect(short.join("sock")).unwrap());
        ends_well(process);
        assert!(!socket.exists() && !pid_file.exists(), "{path}");
    }
}

#[test]
fn a_directory_where_nothing_is_mounted_yet_is_refused_if_so_asked() {
    let place = Place::new();
    let mut process = place.start("true", &["--require-mountpoint"]);
    assert_eq!(process.wait(LONG).unwrap().code(), Some(2));
    let said = process.stderr();
    assert!(said.starts_with("ferryfs: --require-mountpoint: "), "{said}");
    assert!(place.is_empty());
    let mut command = Command::new(ferryfs());
    command.args(["--shared-dir", "/", "--readonly", "--require-mountpoint"]);
    command.arg("--socket-path").arg(place.path("sock"));
    let process = Process::start(command).unwrap();
    process.wait_for_line(READY, LONG).unwrap();
    process.signal(Signal::TERM).unwrap();
    ends_well(process);
}

#[test]
fn the_log_is_written_as_its_readers_want_it() {
    let place = Place::new();
    let journal = "export JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2)";
    for (before, args, line) in [
        (journal, &[][..], format!("<6>{READY}")),
        (
            "true",
            &["--log-format=json"],
            format!(
                "\"level\":\"INFO\",\"target\":\"ferryfs::daemon::readiness\",\"message\":\"{READY}\"}}"
            ),
        ),
        ("export JOURNAL_STREAM=1:2", &[], format!("Z INFO ] {READY}")),
        ("export RUST_LOG=info", &["--log-level=off"], format!("Z INFO ] {READY}")),
        ("export RUST_LOG=ferryfs=debug", &["--log-level=off"], format!("Z INFO ] {READY}")),
        ("export RUST_LOG=a=b=c", &[], "RUST_LOG is not a filter".to_owned()),
    ] {
        let process = place.start(before, args);
        process
            .wait_for_line(&line, LONG)
            .unwrap_or_else(|_| panic!("{line}: {}", process.stderr()));
        process.wait_for_line(READY, LONG).unwrap();
        process.signal(Signal::TERM).unwrap();
        ends_well(process);
    }
    for (before, args) in [("true", "--log-level=error"), ("export RUST_LOG=error", "--xattr")] {
        let process = place.start(before, &[args]);
        wait_until("it listens", || UnixStream::connect(place.path("sock")).is_ok());
        assert_eq!(ends_well(process), "");
    }
}
