//! What an operator sees of a running daemon.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;

use ferryfs_bench::{Process, ROOT};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::*;

/// A machine whose daemon has a control socket.
struct Watched {
    machine: Machine,
    folder: TempDir,
}

impl Watched {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let control = folder.path().join("control");
        let args = ["--control", control.to_str().unwrap(), "--negative-timeout", "1"];
        let mut machine = Machine::with(&[&args, more].concat(), Setup::default());
        machine.fs.init(LINUX_6_18).unwrap();
        Watched { machine, folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("control")
    }

    /// What `ferryfs ctl` prints.
    fn ctl(&self, args: &[&str]) -> String {
        let mut command = Command::new(ferryfs());
        let output = command.arg("ctl").arg("--control").arg(self.path()).args(args).output();
        let output = output.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "{args:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, question: &str) -> Value {
        serde_json::from_str(&self.ctl(&["--json", question])).unwrap()
    }

    /// What is answered to these bytes.
    fn raw(&self, said: &[u8]) -> String {
        let mut stream = UnixStream::connect(self.path()).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.write_all(said).unwrap();
        let mut answer = String::new();
        // It may hang up before all of a long line has been read.
        let _ = stream.read_to_string(&mut answer);
        answer
    }
}

fn operation<'a>(stats: &'a Value, name: &str) -> &'a Value {
    let all = stats["operations"].as_array().unwrap();
    all.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("{name}: {stats}"))
}

#[test]
fn what_was_served_is_counted() {
    let mut watched = Watched::new();
    let fs = &mut watched.machine.fs;
    for name in ["a", "b", "c"] {
        fs.mkdir(ROOT, name, 0o755).unwrap();
    }
    fs.mkdir(ROOT, "a", 0o755).unwrap_err();
    fs.unlink(ROOT, "gone").unwrap_err();
    assert_eq!(fs.lookup(ROOT, "nothing").unwrap().nodeid, 0);
    let path = watched.machine.put("file", pattern(5000));
    let node = watched.machine.find(ROOT, "file");
    let fs = &mut watched.machine.fs;
    let fh = fs.open(node, libc::O_RDWR).unwrap().fh;
    assert_eq!(fs.read(node, fh, 0, 9000).unwrap().len(), 5000);
    assert_eq!(fs.write(node, fh, 0, &[7; 300]).unwrap(), 300);
    assert_eq!(fs::read(path).unwrap()[..300], [7; 300]);

    let stats = watched.json("stats");
    for (name, requests, errors) in [
        ("INIT", 1, 0),
        ("MKDIR", 4, 1),
        ("UNLINK", 1, 1),
        ("LOOKUP", 2, 0),
        ("OPEN", 1, 0),
        ("READ", 1, 0),
        ("WRITE", 1, 0),
    ] {
        let found = operation(&stats, name);
        assert_eq!(
            (found["requests"].as_u64(), found["errors"].as_u64()),
            (Some(requests), Some(errors)),
            "{name}"
        );
        let timed =
            found["buckets"].as_array().unwrap().iter().filter_map(Value::as_u64).sum::<u64>();
        assert!(timed > 0 && found["nanos"].as_u64() > Some(0), "the first is timed: {found}");
    }
    assert_eq!(stats["errors"], serde_json::json!({ "EEXIST": 1, "ENOENT": 1 }));
    assert_eq!((&stats["read_bytes"], &stats["written_bytes"]), (&5000.into(), &300.into()));
    assert_eq!(stats["negative_names"], 1);
    assert_eq!((&stats["inodes"], &stats["open_files"]), (&5.into(), &1.into()));
    assert_eq!(stats["pid"], watched.machine.daemon.process().pid());
    let queue = &stats["queues"][1];
    assert_eq!((&queue["requests"], &queue["in_flight"]), (&11.into(), &0.into()));
    // A guest that looks by itself is not signalled.
    assert!(queue["signals"].as_u64() <= Some(11) && queue["sleeps"].as_u64() > Some(0), "{queue}");
    assert_eq!(stats["queues"][0]["requests"], 0);

    let inodes = watched.json("inodes");
    assert_eq!(
        (&inodes["inodes"], &inodes["directories"], &inodes["files"]),
        (&5.into(), &4.into(), &1.into())
    );
    assert!(inodes["descriptors"].as_u64() < inodes["descriptor_budget"].as_u64());
    let sessions = watched.json("sessions");
    assert!(sessions["connected_seconds"].as_f64() > Some(0.0));
    assert!(sessions["agreed_flags"].as_u64() > Some(0));
}

#[test]
fn a_device_reset_leaves_nothing_in_flight_and_forgets_the_guest() {
    let mut watched = Watched::new();
    watched.machine.fs.mkdir(ROOT, "a", 0o755).unwrap();
    watched.machine.guest.reset_device().unwrap();
    assert_eq!(watched.json("stats")["queues"][1]["in_flight"], 0);
    assert_eq!(watched.json("sessions")["agreed_flags"], Value::Null);
    assert_eq!(operation(&watched.json("stats"), "MKDIR")["requests"], 1, "counts go on");
}

#[test]
fn people_and_prometheus_can_read_it() {
    let mut watched = Watched::new();
    watched.machine.fs.mkdir(ROOT, "a", 0o755).unwrap();
    let stats = watched.ctl(&["stats"]);
    let mkdir = stats.lines().find(|line| line.starts_with("MKDIR ")).unwrap();
    assert_eq!(mkdir.split_whitespace().take(3).collect::<Vec<_>>(), ["MKDIR", "1", "0"]);
    assert!(watched.ctl(&["inodes"]).starts_with("2 inodes: 2 directories, 0 files, 0 others\n"));
    assert!(watched.ctl(&["sessions"]).starts_with("A front-end has been connected for 0 s\n"));
    let top = watched.ctl(&["top", "--count", "2", "--interval", "0.05"]);
    assert_eq!(top.matches("operation ").count(), 2, "{top}");
    assert!(top.contains(": 0 requests in "), "{top}");

    let metrics = watched.ctl(&["metrics"]);
    assert!(metrics.ends_with('\n'));
    let mut types = BTreeMap::new();
    let mut last_bucket: Option<(String, u64)> = None;
    for line in metrics.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').unwrap();
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} comes twice");
            continue;
        }
        if line.starts_with("# HELP ") {
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap();
        value.parse::<f64>().unwrap();
        let name = sample.split('{').next().unwrap();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| {
            name.strip_suffix(end)
                .filter(|name| types.get(*name).is_some_and(|kind| kind == "histogram"))
        });
        let kind = types.get(family.unwrap_or(name)).unwrap_or_else(|| panic!("{line}"));
        assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        if name.ends_with("_bucket") {
            let of = sample.split(",le=").next().unwrap().to_owned();
            let count = value.parse().unwrap();
            if let Some((before, least)) = &last_bucket {
                assert!(*before != of || *least <= count, "{line} is less than the one before");
            }
            last_bucket = Some((of, count));
        }
    }
    assert!(metrics.contains("\nferryfs_requests_total{operation=\"MKDIR\"} 1\n"));
    assert!(
        metrics.contains(
            "ferryfs_request_duration_seconds_bucket{operation=\"MKDIR\",le=\"+Inf\"} 16\n"
        )
    );
    assert!(metrics.contains("ferryfs_request_duration_seconds_count{operation=\"MKDIR\"} 16\n"));
}

#[test]
fn it_can_be_told_how_much_to_log() {
    let mut watched = Watched::new();
    assert_eq!(watched.ctl(&["log-level"]), "INFO\n");
    assert_eq!(watched.ctl(&["log-level", "trace"]), "TRACE\n");
    watched.machine.fs.unlink(ROOT, "gone").unwrap_err();
    let process = watched.machine.daemon.process();
    process.wait_for_line("TRACE] ferryfs::fuse::session: Some(Unlink)", LONG).unwrap();
    assert_eq!(watched.ctl(&["log-level", "error"]), "ERROR\n");
    let said = process.stderr();
    watched.machine.fs.init(LINUX_6_18).unwrap();
    assert_eq!(watched.ctl(&["log-level"]), "ERROR\n");
    assert_eq!(watched.machine.daemon.process().stderr(), said);
}

#[test]
fn a_signal_makes_it_log_what_was_served() {
    let mut watched = Watched::new();
    watched.machine.fs.mkdir(ROOT, "a", 0o755).unwrap();
    let process = watched.machine.daemon.process();
    process.signal(Signal::USR1).unwrap();
    process.wait_for_line("INFO ] MKDIR ", LONG).unwrap();
    process.wait_for_line("INFO ] Queue 1: 2 requests", LONG).unwrap();
    watched.machine.fs.mkdir(ROOT, "b", 0o755).unwrap();
}

#[test]
fn only_its_user_may_ask_and_nonsense_does_not_end_it() {
    let watched = Watched::new();
    assert_eq!(fs::metadata(watched.path()).unwrap().permissions().mode() & 0o777, 0o600);
    for nonsense in [&b"\n"[..], b"frob\n", b"log-level x\n", b"log-level a b\n", b"\xff\xfe\n"] {
        let answer = watched.raw(nonsense);
        assert!(answer.is_empty() || answer.starts_with("{\"error\":"), "{answer}");
    }
    watched.raw(&[b'x'; 100_000]);
    drop(UnixStream::connect(watched.path()).unwrap());
    // One who says nothing keeps others waiting for a while only.
    let _silent = UnixStream::connect(watched.path()).unwrap();
    assert_eq!(watched.ctl(&["log-level"]), "INFO\n");
    let Watched { machine: Machine { hiprio, fs, guest, mut daemon }, folder } = watched;
    drop((hiprio, fs, guest));
    daemon.process_mut().wait(LONG).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "the socket is removed");
}

#[test]
fn a_control_socket_that_cannot_be_is_a_reason_not_to_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("dir")).unwrap();
    let _busy = UnixListener::bind(path("busy")).unwrap();
    for control in ["busy", "no/control"] {
        let mut command = Command::new(ferryfs());
        command.arg("--shared-dir").arg(path("dir")).arg("--socket-path").arg(path("sock"));
        command.arg("--control").arg(path(control));
        let mut process = Process::start(command).unwrap();
        assert_eq!(process.wait(LONG).unwrap().code(), Some(2));
        let said = process.stderr();
        assert!(said.starts_with("ferryfs: --control: cannot listen on "), "{said}");
        assert!(!path("sock").exists() && !path("sock.pid").exists());
    }
}

#[test]
fn who_asks_where_no_daemon_is_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(ferryfs());
    command.args(["ctl", "--control"]).arg(folder.path().join("none")).arg("stats");
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.starts_with("ferryfs: --control: nobody answers"), "{said}");
}

#[test]
fn it_can_be_seen_into_whatever_confines_it() {
    for sandbox in ["namespace", "chroot", "none"] {
        if sandbox == "chroot" && !is_root() {
            continue;
        }
        let mut watched = Watched::with(&["--sandbox", sandbox]);
        watched.machine.fs.mkdir(ROOT, "a", 0o755).unwrap();
        let stats = watched.json("stats");
        assert_eq!(operation(&stats, "MKDIR")["requests"], 1, "{sandbox}");
        assert_eq!(stats["pid"], watched.machine.daemon.process().pid(), "{sandbox}");
        // Both processes get it, as from systemctl kill.
        let process = watched.machine.daemon.process();
        let serving = rustix::process::Pid::from_raw(process.serving().try_into().unwrap());
        rustix::process::kill_process(serving.unwrap(), Signal::USR1).unwrap();
        process.signal(Signal::USR1).unwrap();
        process.wait_for_line("INFO ] MKDIR ", LONG).unwrap();
        assert_eq!(watched.ctl(&["log-level", "debug"]), "DEBUG\n", "{sandbox}");
        watched.machine.fs.mkdir(ROOT, "b", 0o755).unwrap();
    }
}
