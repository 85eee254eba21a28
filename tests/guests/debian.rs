//! A Debian system for guests that have a share for their root.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::repo;

/// The one that the newer guests run from; nobody may change it.
pub(super) fn debian() -> PathBuf {
    let guests = env::var_os("FERRY_GUESTS").unwrap_or_else(|| "target/guests".into());
    repo().join(guests).join("tree")
}

/// A directory that can be changed without changing what is below it: an overlay, and in it
/// `over`, which is not one, because no overlay can have its upper layer in another.
pub(super) struct Layered(TempDir);

impl Layered {
    pub(super) fn over(lower: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = |name| {
            let path = dir.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let (upper, work, merged) = (folder("upper"), folder("work"), folder("merged"));
        let plain = folder("over");
        let layers = [("lowerdir", lower), ("upperdir", &upper), ("workdir", &work)];
        let options = layers.map(|(key, path)| format!("{key}={}", path.display())).join(",");
        mount(
            Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(&merged),
        );
        let over = merged.join("over");
        fs::create_dir(&over).unwrap();
        mount(Command::new("mount").arg("--bind").args([&plain, &over]));
        Layered(dir)
    }

    pub(super) fn path(&self) -> PathBuf {
        self.0.path().join("merged")
    }
}

impl Drop for Layered {
    fn drop(&mut self) {
        // Lazily: a daemon that a failed test has left may still use it.
        let ended =
            Command::new("umount").args(["--lazy", "--recursive"]).arg(self.path()).status();
        assert!(ended.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

fn mount(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}
