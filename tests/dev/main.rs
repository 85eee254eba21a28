//! The daemon behind Linux's own FUSE client.
#![cfg(test)]

mod backing;
mod endings;
mod lines;
mod registrations;
mod rings;
mod users;
mod watch;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ferryfs_bench::{LONG, Process, skip, wait_until};
use rustix::mount::{UnmountFlags, unmount};
use tempfile::TempDir;

/// The program under test.
const FERRYFS: &str = env!("CARGO_BIN_EXE_ferryfs");

/// True if the test cannot run here, which was said.
fn cannot_mount(test: &str) -> bool {
    if !rustix::process::geteuid().is_root() {
        return skip(test, "mounting needs root");
    }
    !Path::new("/dev/fuse").exists() && skip(test, "there is no /dev/fuse")
}

/// Runs the program until it ends by itself; its exit code and what it says.
fn run(args: &[&OsStr]) -> (Option<i32>, String) {
    let mut command = Command::new(FERRYFS);
    command.args(args);
    let mut process = Process::start(command).unwrap();
    let status = process.wait(LONG).unwrap();
    (status.code(), process.stderr())
}

/// True if something is mounted on `path`.
fn is_mounted(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    mounts.lines().any(|line| line.split(' ').nth(1) == path.to_str())
}

/// Unmounts. A process that another test is just starting may have inherited a descriptor.
fn leave(at: &Path) {
    wait_until("not busy", || unmount(at, UnmountFlags::empty()).is_ok());
}

/// Two folders, SOURCE and MOUNTPOINT. What is mounted is unmounted with them.
struct Folders {
    folder: TempDir,
}

impl Folders {
    fn new() -> Self {
        let folders = Folders { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(folders.source()).unwrap();
        fs::create_dir(folders.at()).unwrap();
        folders
    }

    fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    fn at(&self) -> PathBuf {
        self.folder.path().join("at")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Serves one on the other.
    fn mount(self, args: &[&str]) -> Mounted {
        let mut command = Command::new(FERRYFS);
        command.arg("mount");
        if !args.iter().any(|arg| arg.starts_with("--io-uring")) {
            // Other tests switch it on for all.
            command.arg("--io-uring=off");
        }
        command.args(args).arg(self.source()).arg(self.at());
        let process = Process::start(command).unwrap();
        let mounted = process.wait_for_line("Mounted", LONG);
        assert!(mounted.is_ok(), "{}", process.stderr());
        Mounted { folders: self, process }
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        while unmount(self.at(), UnmountFlags::DETACH).is_ok() {}
    }
}

/// A mount that is served.
struct Mounted {
    // First: what is left of the mount is then unmounted.
    process: Process,
    folders: Folders,
}

impl Mounted {
    fn new(args: &[&str]) -> Self {
        Folders::new().mount(args)
    }

    /// A path in the source.
    fn host(&self, name: &str) -> PathBuf {
        self.folders.source().join(name)
    }

    /// A path in the mount.
    fn at(&self, name: &str) -> PathBuf {
        self.folders.at().join(name)
    }

    /// The daemon's exit code, when it has ended by itself.
    fn exit_code(&mut self) -> Option<i32> {
        self.process.wait(LONG).unwrap().code()
    }

    /// The number of the connection under /sys/fs/fuse/connections.
    fn connection(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let dev = fs::metadata(self.folders.at()).unwrap().dev();
        u64::from(rustix::fs::minor(dev)) | u64::from(rustix::fs::major(dev)) << 20
    }
}
