//! A daemon to test or to measure.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::error::Result;
use crate::process::Process;

/// The line after which front-ends may connect; virtiofsd has the same.
const READY: &str = "Waiting for vhost-user socket connection...";

/// How long a daemon may take until then.
const START: Duration = Duration::from_secs(30);

/// A daemon that is ready for a front-end, with a socket in a folder of its own.
pub struct Daemon {
    // Before the folder: nothing may use that any more when it is removed.
    process: Process,
    folder: TempDir,
    share: PathBuf,
}

#[expect(clippy::missing_errors_doc, reason = "it cannot be started, or ends before it is ready")]
impl Daemon {
    /// Starts `binary` on an empty directory, with `args` besides those that it needs.
    pub fn start(binary: &Path, args: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let share = folder.path().join("share");
        std::fs::create_dir(&share)?;
        Self::start_in(binary, args, share, folder)
    }

    /// Starts `binary` on a directory that is there already.
    pub fn start_on(binary: &Path, args: &[&str], share: &Path) -> Result<Self> {
        Self::start_in(binary, args, share.to_owned(), tempfile::tempdir()?)
    }

    /// Starts `binary` on what is in the directory `share` of a folder: `shares` are NAME=PATH
    /// there, with `:ro` behind it or not.
    pub fn start_shares(
        binary: &Path,
        args: &[&str],
        shares: &[&str],
        folder: TempDir,
    ) -> Result<Self> {
        let share = folder.path().join("share");
        let mut command = Command::new(binary);
        command.current_dir(&share);
        command.args(shares.iter().flat_map(|one| ["--share", one]));
        Self::wait(command, args, share, folder)
    }

    fn start_in(binary: &Path, args: &[&str], share: PathBuf, folder: TempDir) -> Result<Self> {
        let mut command = Command::new(binary);
        command.arg("--shared-dir").arg(&share);
        Self::wait(command, args, share, folder)
    }

    fn wait(mut command: Command, args: &[&str], share: PathBuf, folder: TempDir) -> Result<Self> {
        command.arg("--socket-path").arg(folder.path().join("socket")).args(args);
        let process = Process::start(command)?;
        process.wait_for_line(READY, START)?;
        Ok(Daemon { process, folder, share })
    }

    /// The process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The process, to wait for its end.
    pub fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The directory that is shared, or that the shares are in.
    #[must_use]
    pub fn share(&self) -> &Path {
        &self.share
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }
}
