//! A daemon and a guest that uses it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ferryfs_bench::{Daemon, Process, wait_until};
use rustix::process::Signal;
use tempfile::TempDir;

use super::flavour::Flavour;
use super::{BOOT, STEP, program, repo};

/// A guest under way, and its daemon.
pub(super) struct Machine {
    // First: the guest hangs up before the daemons are killed.
    guest: Guest,
    daemon: Daemon,
    /// That of a second share.
    other: Option<Daemon>,
}

/// `scripts/guest`, which is asked to end before it is made to.
struct Guest(Process);

impl Drop for Guest {
    fn drop(&mut self) {
        // Both fail if it has ended already; what remains otherwise is done by `Process`.
        let _ = self.0.signal(Signal::TERM);
        let _ = self.0.wait(Duration::from_secs(5));
    }
}

/// A daemon on a directory of its own.
pub(super) fn daemon(flavour: Flavour, args: &[&str]) -> Daemon {
    Daemon::start(ferryfs(), &[&flavour.daemon_args("ferry"), args].concat()).unwrap()
}

/// A daemon on a directory that is there, with the first tag or another one.
pub(super) fn daemon_on((flavour, tag): (Flavour, &str), args: &[&str], share: &Path) -> Daemon {
    Daemon::start_on(ferryfs(), &[&flavour.daemon_args(tag), args].concat(), share).unwrap()
}

/// A daemon with several shares, as `Daemon::start_shares` has them.
pub(super) fn daemon_of(args: &[&str], shares: &[&str], folder: TempDir) -> Daemon {
    Daemon::start_shares(ferryfs(), args, shares, folder).unwrap()
}

fn ferryfs() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ferryfs"))
}

impl Machine {
    /// Boots a guest that has the share on /mnt and runs a script.
    pub(super) fn boot(flavour: Flavour, daemon: Daemon, options: &[&str], script: &str) -> Self {
        fs::create_dir_all(daemon.share().join("turns")).unwrap();
        Self::start(flavour, (daemon, None), options, script)
    }

    /// Boots a guest that has the share for its root and another one on /mnt2.
    pub(super) fn boot_from(
        flavour: Flavour,
        (root, other): (Daemon, Daemon),
        script: &str,
    ) -> Self {
        Self::start(flavour, (root, Some(other)), &["--root"], script)
    }

    fn start(
        flavour: Flavour,
        (daemon, other): (Daemon, Option<Daemon>),
        options: &[&str],
        script: &str,
    ) -> Self {
        // All that the guest says goes where the process is listened to.
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$0\" \"$@\" >&2"]).arg(repo().join("scripts/guest"));
        command.arg(flavour.name()).arg("--socket").arg(daemon.socket());
        if let Some(other) = &other {
            command.arg("--socket").arg(other.socket()).args(["--tag", "other"]);
        }
        command.args(["--timeout", &BOOT.as_secs().to_string()]).args(options);
        command.arg("--put").arg(program::path());
        command.arg("--").arg(format!("{}{script}", include_str!("prelude.sh")));
        Machine { guest: Guest(Process::start(command).unwrap()), daemon, other }
    }

    /// A socket of QEMU's, when it is there.
    pub(super) fn socket(&self, name: &str) -> PathBuf {
        let socket = self.daemon.socket().with_file_name(name);
        wait_until("QEMU listens", || socket.exists());
        socket
    }

    /// Waits for the end of a guest that has migrated, with which nobody goes on here.
    pub(super) fn has_left(mut self) {
        self.guest.0.wait(STEP).unwrap();
        ended_well(&mut self.daemon);
    }

    pub(super) fn daemon(&self) -> &Process {
        self.daemon.process()
    }

    /// Descriptors of the daemon, without those of the directory in which the guest looks for the
    /// end of a turn.
    pub(super) fn descriptors(&self) -> usize {
        let links = fs::read_dir(self.daemon().proc("fd")).unwrap();
        let target = |link: io::Result<fs::DirEntry>| fs::read_link(link.unwrap().path());
        // By its name alone, since the daemon has a view of its own of where it is.
        let counts = |target: &PathBuf| !target.ends_with("turns");
        links.map(target).filter(|target| target.as_ref().is_ok_and(counts)).count()
    }

    /// Waits until the guest leaves the turn with this name to us, and does something in it.
    pub(super) fn turn<T>(&self, name: &str, act: impl FnOnce() -> T) -> T {
        self.reach(name);
        let done = act();
        self.end_turn(name);
        done
    }

    /// Waits until the guest leaves the turn with this name to us.
    pub(super) fn reach(&self, name: &str) {
        let reached = self.guest.0.wait_for_line(&format!("turn: {name}"), STEP);
        assert!(reached.is_ok(), "the turn {name}: {reached:?}");
    }

    /// Lets the guest go on.
    pub(super) fn end_turn(&self, name: &str) {
        fs::write(self.daemon.share().join("turns").join(name), "").unwrap();
    }

    /// A path in the shared directory.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.daemon.share().join(name)
    }

    /// Runs the probe here, in the shared directory.
    pub(super) fn probe(&self, words: &str) {
        program::probe(self.daemon.share(), words);
    }

    /// Waits for the guest's end and the daemon's; both have to be good, and nothing remains.
    pub(super) fn finish(mut self) {
        let ended = self.guest.0.wait(BOOT);
        assert!(ended.as_ref().is_ok_and(|status| status.success()), "the guest: {ended:?}");
        for daemon in [Some(&mut self.daemon), self.other.as_mut()].into_iter().flatten() {
            ended_well(daemon);
        }
    }
}

/// Waits for the daemon's end, which has to be good.
fn ended_well(daemon: &mut Daemon) {
    let ended = daemon.process_mut().wait(STEP);
    assert!(ended.as_ref().is_ok_and(|status| status.success()), "the daemon: {ended:?}");
    let said = daemon.process().stderr();
    for word in ["WARN", "ERROR", "panic"] {
        assert!(!said.contains(word), "the daemon had something to say");
    }
    let socket = daemon.socket();
    let entries = fs::read_dir(socket.parent().unwrap()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let left: Vec<PathBuf> = paths.filter(|path| path != daemon.share()).collect();
    assert!(left.is_empty(), "the daemon left {left:?}");
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (guest, daemon) = (self.guest.0.stderr(), self.daemon().stderr());
            eprintln!("--- what the guest said\n{guest}--- what the daemon said\n{daemon}---");
        }
    }
}
