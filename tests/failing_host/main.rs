//! A host whose file systems fail: what the guest is told, what goes on meanwhile, and what is
//! when the fault ends.
#![cfg(test)]

mod closing;
mod descriptors;
mod far_locks;
mod faulty;
mod full;
mod kills;
mod roots;
mod silent;
mod storage;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ferryfs_bench::{Client, Daemon, Guest, LINUX_6_18, Setup};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

/// What no step of a test may take longer than.
const LONG: Duration = Duration::from_secs(30);

/// The program under test.
fn ferryfs() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ferryfs"))
}

/// Says why a test does not run, past the capture of its output: scripts/test counts such lines.
fn skip(test: &str, reason: &str) -> bool {
    let line = format!("\nSKIPPED: {test}: {reason}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    true
}

/// True if the test cannot run here, which was said.
fn cannot_mount(test: &str) -> bool {
    !rustix::process::geteuid().is_root() && skip(test, "mounting needs root")
}

/// The same for a test that mounts a FUSE file system.
fn cannot_serve(test: &str) -> bool {
    cannot_mount(test) || !Path::new("/dev/fuse").exists() && skip(test, "there is no /dev/fuse")
}

/// Waits until something is so that nobody tells us of.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < deadline, "in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A folder to mount things in. What is left of them goes with it.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Place { folder: tempfile::tempdir().unwrap() }
    }

    /// A folder in it, which is made if it is not there.
    fn dir(&self, name: &str) -> PathBuf {
        let dir = self.folder.path().join(name);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// A tmpfs with these options.
    fn tmpfs(&self, name: &str, options: &std::ffi::CStr) -> PathBuf {
        let dir = self.dir(name);
        mount("tmpfs", &dir, "tmpfs", MountFlags::empty(), options).unwrap();
        dir
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let ours = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        // The innermost was mounted last.
        for at in ours.filter(|at| Path::new(at).starts_with(self.folder.path())).rev() {
            let _ = unmount(at, UnmountFlags::DETACH);
        }
    }
}

/// A guest with two queues for requests, and its daemon.
struct Machine {
    fs: Client,
    other: Client,
    guest: Guest,
    // Last: the guest hangs up before the daemon is killed.
    daemon: Daemon,
}

impl Machine {
    /// A guest that has sent its INIT.
    fn new(share: &Path, args: &[&str]) -> Self {
        let daemon = Daemon::start_on(ferryfs(), args, share).unwrap();
        let mut guest = Guest::connect(&daemon.socket(), Setup::default()).unwrap();
        let mut fs = guest.client(1).unwrap();
        let other = guest.client(2).unwrap();
        fs.init(LINUX_6_18).unwrap();
        Machine { fs, other, guest, daemon }
    }

    /// Looks up a name that is there.
    fn find(&mut self, parent: u64, name: &str) -> u64 {
        let node = self.fs.lookup(parent, name).unwrap().nodeid;
        assert_ne!(node, 0, "{name} does not exist");
        node
    }
}
