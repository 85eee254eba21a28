//! `ferryfs mount` as its users meet it: through Linux's own FUSE client. Needs root and
//! /dev/fuse.
#![cfg(test)]

mod creating;
mod differential;
mod flags;
mod host;
mod life;
mod locks;
mod servers;
mod space;
mod users;
mod ways;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use ferryfs_bench::{LONG, Process, skip, wait_until};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::thread::UnshareFlags;
use tempfile::TempDir;
use users::unshare;

/// Both ways of keeping inodes.
const HANDLES: [&str; 2] = ["--inode-file-handles=prefer", "--inode-file-handles=never"];

/// True if the calling test can mount, in a namespace of its thread's own: what it mounts is gone
/// when it ends, in whatever way. If not, says so, past the capture of a test's output.
fn can_mount() -> bool {
    let reason = if !rustix::process::geteuid().is_root() {
        "it needs root"
    } else if !Path::new("/dev/fuse").exists() {
        "there is no /dev/fuse"
    } else if unshare(UnshareFlags::NEWNS).is_err() {
        "it may not have a mount namespace of its own"
    } else {
        let propagation = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", propagation).unwrap();
        return true;
    };
    let thread = std::thread::current();
    !skip(thread.name().unwrap_or_default(), reason)
}

fn ferryfs() -> Command {
    Command::new(env!("CARGO_BIN_EXE_ferryfs"))
}

/// A directory that is mounted at another one.
struct Mounted {
    process: Process,
    folder: TempDir,
}

impl Mounted {
    /// Mounts an empty directory.
    fn new(args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        fs::create_dir(&source).unwrap();
        Self::mount(&source, args, folder)
    }

    /// Mounts a directory that is there already.
    fn on(source: &Path, args: &[&str]) -> Self {
        Self::mount(source, args, tempfile::tempdir().unwrap())
    }

    fn mount(source: &Path, args: &[&str], folder: TempDir) -> Self {
        let at = folder.path().join("mount");
        fs::create_dir(&at).unwrap();
        let mut command = ferryfs();
        command.arg("mount").arg(source).arg(at).args(args);
        let process = Process::start(command).unwrap();
        process.wait_for_line("Mounted", LONG).unwrap();
        Mounted { process, folder }
    }

    /// Where it is mounted.
    fn root(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    /// A path in the mount.
    fn at(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// The same path on the host.
    fn on_host(&self, name: &str) -> PathBuf {
        self.folder.path().join("source").join(name)
    }

    fn is_mounted(&self) -> bool {
        let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let at = format!(" {} ", self.root().display());
        table.lines().any(|line| line.contains(&at))
    }

    fn exit(&mut self) -> ExitStatus {
        self.process.wait(LONG).unwrap()
    }

    /// Unmounts, and expects that the program ends without a complaint.
    fn finish(mut self) {
        // Another test's thread may just be between fork and exec, with our descriptors.
        wait_until("it is free", || unmount(self.root(), UnmountFlags::empty()).is_ok());
        assert_eq!(self.exit().code(), Some(0));
        let said = self.process.stderr();
        assert!(!said.contains("WARN") && !said.contains("ERROR"), "{said}");
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = unmount(self.root(), UnmountFlags::DETACH);
    }
}

/// The errno of what had to fail.
fn errno<T>(result: io::Result<T>) -> i32 {
    result.map(drop).expect_err("it succeeds").raw_os_error().unwrap()
}
