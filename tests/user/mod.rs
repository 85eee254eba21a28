//! An ordinary user, for tests that root runs.
#![allow(
    dead_code,
    clippy::allow_attributes,
    clippy::unwrap_used,
    reason = "part of test binaries, each of which uses its own part of this"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ferryfs_bench::{LONG, Process, skip};
use rustix::process::geteuid;
use tempfile::TempDir;

/// An ordinary user with ids of its own to give away, and a folder of its own.
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// The first of the ids, and how many they are.
    pub subuids: (u32, u32),
    folder: TempDir,
}

impl User {
    /// One who is in `/etc/passwd`, `/etc/subuid` and `/etc/subgid`.
    pub fn find(test: &str) -> Option<Self> {
        if !geteuid().is_root() {
            skip(test, "it needs root");
            return None;
        }
        if !Path::new("/usr/bin/newuidmap").exists() {
            skip(test, "there is no newuidmap");
            return None;
        }
        let (users, ids) =
            (fs::read_to_string("/etc/passwd").unwrap(), fs::read_to_string("/etc/subuid"));
        let found = ids.unwrap_or_default().lines().find_map(|line| {
            let [name, first, count] = line.split(':').collect::<Vec<_>>()[..] else { return None };
            let user = users.lines().find(|user| user.split(':').next() == Some(name))?;
            let mut words = user.split(':').skip(2);
            let uid = words.next()?.parse().ok().filter(|uid| *uid != 0)?;
            let gid = words.next()?.parse().ok()?;
            Some((uid, gid, (first.parse().ok()?, count.parse().ok()?)))
        });
        let Some((uid, gid, subuids)) = found else {
            skip(test, "nobody is in /etc/subuid");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        // Where cargo builds may be out of other users' reach. Not copied by this process: one that
        // another test starts meanwhile would keep it open for writing, and nobody could start it.
        let copied = Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_ferryfs"))
            .arg(folder.path())
            .status()
            .unwrap();
        assert!(copied.success());
        fs::create_dir(folder.path().join("share")).unwrap();
        for path in [folder.path().to_owned(), folder.path().join("share")] {
            std::os::unix::fs::chown(&path, Some(uid), Some(gid)).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        }
        Some(User { uid, gid, subuids, folder })
    }

    /// A path in its folder, where it has the program as well.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts the program on a directory, and waits until front-ends may connect.
    pub fn start(&self, args: &[String]) -> Process {
        let mut command = Command::new(self.path("ferryfs"));
        command.uid(self.uid).gid(self.gid).env_clear().env("PATH", "/usr/bin:/bin");
        command.arg("--shared-dir").arg(self.path("share"));
        command.arg("--socket-path").arg(self.path("sock")).args(args);
        let process = Process::start(command).unwrap();
        let ready = process.wait_for_line("Waiting for", LONG);
        assert!(ready.is_ok(), "{args:?}: {}", process.stderr());
        process
    }

    /// Who owns what is in the directory.
    pub fn owner(&self, name: &str) -> (u32, u32) {
        let found = fs::symlink_metadata(self.path("share").join(name)).unwrap();
        (found.uid(), found.gid())
    }
}
