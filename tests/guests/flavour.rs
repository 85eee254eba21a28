//! The kinds of guests.

use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use ferryfs_bench::{Process, skip};

use super::repo;

/// Fetching and unpacking a guest, on a slow line.
const SETUP: Duration = Duration::from_secs(1800);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavour {
    Linux61,
    Linux7,
    Uml7,
}

impl Flavour {
    /// The name that the scripts know.
    pub(super) fn name(self) -> &'static str {
        match self {
            Flavour::Linux61 => "linux-6.1",
            Flavour::Linux7 => "linux-7",
            Flavour::Uml7 => "uml-7",
        }
    }

    /// What the daemon has to be told: User-Mode Linux takes the tag from the device.
    pub(super) fn daemon_args(self, tag: &str) -> Vec<&str> {
        if self == Flavour::Uml7 { vec!["--tag", tag] } else { Vec::new() }
    }

    /// Options of the guest for its queues.
    pub(super) fn queues(self) -> &'static [&'static str] {
        if self == Flavour::Linux7 { &["--queues", "4"] } else { &[] }
    }

    /// How many of them it uses: from Linux 6.11 on one for each of its two CPUs.
    pub(super) fn queues_in_use(self) -> usize {
        if self == Flavour::Linux7 { 2 } else { 1 }
    }

    /// True if such guests can boot here. If not, says so: past the capture of a test's output,
    /// on a line of its own that scripts/test looks for.
    pub(super) fn is_there(self, test: &str) -> bool {
        static SETUPS: [OnceLock<Result<(), String>>; 3] = [const { OnceLock::new() }; 3];
        let setup = SETUPS[self as usize].get_or_init(|| self.set_up());
        if let Err(reason) = setup {
            skip(&format!("{test} on {}", self.name()), reason);
        }
        setup.is_ok()
    }

    fn set_up(self) -> Result<(), String> {
        if !rustix::process::geteuid().is_root() {
            return Err("it needs root".into());
        }
        let mut command = Command::new(repo().join("scripts/guest-setup"));
        command.arg(self.name());
        let mut setup = Process::start(command).map_err(|error| error.to_string())?;
        match setup.wait(SETUP) {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => Err(setup.stderr().lines().last().unwrap_or("no reason given").to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}
