//! Unmounting after our own end, however that comes.
//!
//! `fusermount3` can do this too, but only for mounts that every user may use: it looks at them
//! as root first.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

/// A process that unmounts when we are gone without a word.
pub(super) struct Keeper {
    word: Option<ChildStdin>,
    /// Only who has started it may call it off: a child of ours has a copy of this.
    master: u32,
    child: Child,
}

/// Reads a line; if there is none, becomes the command in its arguments.
const SCRIPT: &str = r#"read -r _ || exec "$@""#;

impl Keeper {
    /// `command` is what unmounts, its arguments up to the path.
    pub(super) fn start(command: &[&str], at: &Path) -> io::Result<Self> {
        let mut child = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "sh"])
            .args(command)
            .arg(at)
            .current_dir("/")
            // What the terminal sends is for us, who know what to do then.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Keeper { word: child.stdin.take(), master: std::process::id(), child })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if self.master != std::process::id() {
            return;
        }
        if let Some(mut word) = self.word.take() {
            let _ = word.write_all(b"\n");
        }
        let _ = self.child.wait();
    }
}
