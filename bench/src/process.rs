//! A child process that is never left behind.
#![expect(unsafe_code, reason = "runs one call between fork and exec")]

use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::error::{Error, Result};
use crate::queue::poll_for;
use crate::usage;

/// A running program and what it says on its standard error output. It is killed, by its process
/// id, when this is dropped, and by the kernel when the thread that started it ends.
pub struct Process {
    child: Child,
    pidfd: OwnedFd,
    log: Arc<Log>,
    reader: Option<JoinHandle<()>>,
}

/// What a program has said so far.
#[derive(Default)]
struct Log {
    state: Mutex<Said>,
    changed: Condvar,
}

#[derive(Default)]
struct Said {
    text: String,
    ended: bool,
}

impl Process {
    /// Starts `command`.
    ///
    /// # Errors
    /// Whatever starting it gives.
    pub fn start(mut command: Command) -> Result<Self> {
        let die = || {
            let signal = Some(Signal::KILL);
            rustix::process::set_parent_process_death_signal(signal).map_err(io::Error::from)
        };
        // SAFETY: what runs between fork and exec is one system call, without a lock or heap.
        unsafe { command.pre_exec(die) };
        let mut child = command.stderr(Stdio::piped()).spawn()?;
        let stderr = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let log = Arc::new(Log::default());
        let reader = std::thread::spawn({
            let log = log.clone();
            move || log.collect(stderr)
        });
        let pidfd = rustix::process::pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
        Ok(Process { child, pidfd, log, reader: Some(reader) })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.log.lock().text.clone()
    }

    /// Waits until it has said a line with `text` in it.
    ///
    /// # Errors
    /// [`Error::Timeout`], or [`Error::Gone`] if it will say nothing any more.
    pub fn wait_for_line(&self, text: &str, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        let mut said = self.log.lock();
        loop {
            if said.text.lines().any(|line| line.contains(text)) {
                return Ok(());
            }
            if said.ended {
                return Err(Error::Gone);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Timeout);
            }
            let waited = self.log.changed.wait_timeout(said, left);
            said = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// [`Error::Timeout`].
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        if poll_for(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], timeout)? == 0 {
            return Err(Error::Timeout);
        }
        let status = self.child.wait()?;
        self.join_reader();
        Ok(status)
    }

    /// True if it has ended by itself.
    ///
    /// # Errors
    /// Whatever asking gives.
    pub fn has_ended(&self) -> Result<bool> {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        Ok(poll_for(&mut fds, Duration::ZERO)? > 0)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// It has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(rustix::process::pidfd_send_signal(&self.pidfd, signal)?)
    }

    /// Open descriptors.
    ///
    /// # Errors
    /// It has ended.
    pub fn descriptors(&self) -> Result<usize> {
        Ok(fs::read_dir(self.proc("fd"))?.count())
    }

    /// Threads.
    ///
    /// # Errors
    /// It has ended.
    pub fn threads(&self) -> Result<usize> {
        Ok(fs::read_dir(self.proc("task"))?.count())
    }

    /// Bytes of resident memory.
    ///
    /// # Errors
    /// It has ended.
    pub fn resident(&self) -> Result<u64> {
        let status = fs::read_to_string(self.proc("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(kib.ok_or(io::ErrorKind::InvalidData)? << 10)
    }

    /// True if every thread waits for something.
    ///
    /// # Errors
    /// It has ended.
    pub fn is_asleep(&self) -> Result<bool> {
        usage::are_asleep(&[self.pid()])
    }

    /// The process that does the work: its child, if it has one that it only watches.
    #[must_use]
    pub fn serving(&self) -> u32 {
        let pid = self.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let child = children.ok().and_then(|pids| pids.trim().parse().ok());
        child.unwrap_or(pid)
    }

    /// A file in the serving process's folder of `/proc`.
    #[must_use]
    pub fn proc(&self, name: impl AsRef<OsStr>) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.serving())).join(name.as_ref())
    }

    fn join_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            // It only ends early by a panic, and then what it has collected is still there.
            let _ = reader.join();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it is gone already, which is what is wanted.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = self.child.wait();
        self.join_reader();
    }
}

impl Log {
    fn collect(&self, stderr: ChildStderr) {
        for line in BufReader::new(stderr).lines() {
            let Ok(line) = line else {
                break;
            };
            let mut said = self.lock();
            said.text.push_str(&line);
            said.text.push('\n');
            self.changed.notify_all();
        }
        self.lock().ended = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
