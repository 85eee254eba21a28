//! `scripts/demo`, as somebody runs it who sees Ferry for the first time.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ferryfs_bench::{Process, wait_until};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use super::{Flavour, Slots};
use crate::{BOOT, repo};

/// It builds first.
const BUILD: Duration = Duration::from_secs(600);

flavours! {
    linux_6_1 = Linux61: a_demo_ends_as_its_command_does;
    uml_7 = Uml7: an_interrupted_demo_leaves_nothing;
}

/// A demo under way, with a folder for all that is temporary.
struct Demo {
    process: Process,
    folder: TempDir,
}

impl Demo {
    /// In a process group of its own, for which Ctrl-C is what it is in a terminal.
    fn start(flavour: Flavour, command: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut demo = Command::new("env");
        demo.args(["--default-signal=INT", "sh", "-c", "exec \"$0\" \"$@\" >&2"]);
        demo.arg(repo().join("scripts/demo")).args(["--guest", flavour.name(), "--"]).args(command);
        demo.env("TMPDIR", folder.path()).env("FERRY_DEMO", folder.path()).process_group(0);
        let process = Process::start(demo).unwrap();
        let boots = process.wait_for_line("booting", BUILD);
        assert!(boots.is_ok(), "{boots:?}: {}", process.stderr());
        Demo { process, folder }
    }

    /// Waits for its end, after which nothing of it is there.
    fn ends_with(mut self, status: i32) {
        let ended = self.process.wait(BOOT).unwrap();
        assert_eq!(ended.code(), Some(status), "{}", self.process.stderr());
        let left: Vec<_> = fs::read_dir(self.folder.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
        let folder = self.folder.path().to_str().unwrap();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(folder), "{mounts}");
        // Those that were told to end, and that nobody waits for, take a moment.
        wait_until("its processes have ended", || !is_in_an_environment(folder));
    }
}

/// Whether some process has this in its environment.
fn is_in_an_environment(text: &str) -> bool {
    let has = |path: &Path| {
        let environment = fs::read(path.join("environ")).unwrap_or_default();
        environment.windows(text.len()).any(|part| part == text.as_bytes())
    };
    fs::read_dir("/proc").unwrap().any(|entry| has(&entry.unwrap().path()))
}

fn a_demo_ends_as_its_command_does(flavour: Flavour) {
    let _slots = Slots::all();
    let command = ["sh", "-c", "test \"$(cat /mnt/hello.txt)\" = 'Hello from the host.' && exit 3"];
    Demo::start(flavour, &command).ends_with(3);
}

fn an_interrupted_demo_leaves_nothing(flavour: Flavour) {
    let _slots = Slots::all();
    let demo = Demo::start(flavour, &["head -n 1 /mnt/hello.txt; sleep 1000"]);
    let up = demo.process.wait_for_line("Hello from the host.", BOOT);
    assert!(up.is_ok(), "{up:?}: {}", demo.process.stderr());
    let folder = demo.folder.path().to_str().unwrap();
    assert!(is_in_an_environment(folder) && fs::read_dir(folder).unwrap().count() > 0);
    let group = Pid::from_raw(demo.process.pid().cast_signed()).unwrap();
    rustix::process::kill_process_group(group, Signal::INT).unwrap();
    demo.ends_with(130);
}
