//! Two processes: one serves, one waits for its end.
#![expect(unsafe_code, reason = "clone(2) and signal sets")]

use std::fmt::Display;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, kill_process, pidfd_open, waitpid,
};

use crate::daemon::error::StartError;
use crate::daemon::run::{EXIT_SERVE, EXIT_START};

/// What the first process does for the one that serves.
pub(in crate::daemon) trait Outside {
    /// The serving process is confined and begins.
    fn begun(&mut self) {}

    /// A signal asks the daemon to end.
    fn asked_to_end(&mut self) -> Ending;

    /// SIGUSR1 asks for what the serving process has done so far.
    fn asked_to_report(&mut self) {}

    /// The serving process has ended, or is about to.
    fn ended(&mut self);
}

/// How the serving process comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::daemon) enum Ending {
    /// It is killed. Nothing is lost by that: what was acknowledged is in the host's kernel.
    Kill,
    /// It will notice.
    ByItself,
}

/// Which of two processes this is.
pub(super) enum Side {
    Outside(Child),
    Inside(Parent),
}

/// The process that serves, seen from the one that waits.
pub(super) struct Child {
    pid: Pid,
    channel: UnixStream,
}

/// The process that waits, seen from the one that serves.
pub(super) struct Parent {
    channel: UnixStream,
}

/// What a process that was killed may take to end: it frees its memory.
const KILLED: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// Signals that the waiting process waits for.
const AWAITED: [libc::c_int; 5] =
    [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGCHLD, libc::SIGUSR1];

/// Keeps signals that would end this process until [`Child::supervise`] waits for them, so that
/// nothing is left behind that was made before.
pub(in crate::daemon) fn hold_signals() -> io::Result<()> {
    mask(libc::SIG_BLOCK)
}

/// Makes a child in `namespaces` of its own. It must be called while there is only one thread.
pub(super) fn split(namespaces: libc::c_int) -> io::Result<Side> {
    let (ours, childs) = UnixStream::pair()?;
    // From before there is a child, so that none of its signals is missed.
    mask(libc::SIG_BLOCK)?;
    let flags = libc::c_ulong::from((namespaces | libc::SIGCHLD).cast_unsigned());
    let none: libc::c_ulong = 0;
    // SAFETY: as fork(2): memory is copied, there is no stack to be given, and nothing is shared.
    // The one thread holds no lock.
    match unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // Who sends it to all processes of the daemon does not mean to end this one.
            // SAFETY: it installs no handler.
            unsafe { libc::signal(libc::SIGUSR1, libc::SIG_IGN) };
            mask(libc::SIG_UNBLOCK)?;
            Ok(Side::Inside(Parent { channel: childs }))
        }
        pid => {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            Ok(Side::Outside(Child { pid: pid.ok_or(io::ErrorKind::Other)?, channel: ours }))
        }
    }
}

impl Child {
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Lets it confine itself, and waits until it has, or has not.
    pub(super) fn let_go(mut self) -> Result<Self, StartError> {
        let mut problem = String::new();
        let said = self.channel.write_all(&[1]);
        // An end without a word is seen when its status is asked for.
        let _ = said.and_then(|()| self.channel.read_to_string(&mut problem));
        if problem.is_empty() {
            return Ok(self);
        }
        let _ = waitpid(Some(self.pid), WaitOptions::empty());
        Err(StartError::from_line(problem))
    }

    /// Waits for its end, and ends it when a signal asks for that. The exit code of the daemon.
    pub(super) fn supervise(self, mut outside: impl Outside) -> ExitCode {
        outside.begun();
        loop {
            let signal = wait_for_signal();
            if signal == libc::SIGUSR1 {
                outside.asked_to_report();
            } else if signal != libc::SIGCHLD {
                log::info!("Ended by signal {signal}");
                if outside.asked_to_end() == Ending::Kill {
                    outside.ended();
                    self.kill();
                    return ExitCode::SUCCESS;
                }
            } else if let Ok(Some((_, status))) = waitpid(Some(self.pid), WaitOptions::NOHANG) {
                outside.ended();
                return exit_code(status);
            }
        }
    }

    /// Kills it, and sees it end if it does so soon: a thread that waits for a server which has
    /// taken its request and is silent cannot even be killed before that speaks.
    fn kill(&self) {
        let ended = pidfd_open(self.pid, PidfdFlags::empty());
        let _ = kill_process(self.pid, Signal::KILL);
        if let Ok(ended) = ended {
            let _ = poll(&mut [PollFd::new(&ended, PollFlags::IN)], Some(&KILLED));
        }
        let _ = waitpid(Some(self.pid), WaitOptions::NOHANG);
    }
}

impl Parent {
    /// Waits until the outside is ready.
    pub(super) fn wait(&self) {
        if !matches!((&self.channel).read(&mut [0]), Ok(1)) {
            std::process::exit(EXIT_START.into());
        }
    }

    /// True if nobody waits for this process any more.
    pub(super) fn is_gone(&self) -> bool {
        let mut polled = [PollFd::new(&self.channel, PollFlags::empty())];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut polled, Some(&at_once)).is_err() || polled[0].revents().contains(PollFlags::HUP)
    }

    /// Tells why there will be no sandbox, and ends.
    pub(super) fn give_up(self, error: &dyn Display) -> ! {
        let _ = (&self.channel).write_all(error.to_string().as_bytes());
        std::process::exit(EXIT_START.into());
    }
}

fn exit_code(status: WaitStatus) -> ExitCode {
    if let Some(code) = status.exit_status() {
        return u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from);
    }
    match status.terminating_signal() {
        Some(libc::SIGSYS) => log::error!(
            "The serving process made a system call that it should have no use for, and was \
             stopped (see --seccomp); the host's audit log has its number"
        ),
        Some(signal) => log::error!("The serving process was ended by signal {signal}"),
        None => log::error!("The serving process has ended"),
    }
    ExitCode::from(EXIT_SERVE)
}

fn mask(how: libc::c_int) -> io::Result<()> {
    let set = awaited();
    // SAFETY: a valid set, and none to be filled.
    match unsafe { libc::pthread_sigmask(how, &raw const set, std::ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

fn wait_for_signal() -> libc::c_int {
    let (set, mut signal) = (awaited(), 0);
    // SAFETY: a valid set, and an int to be filled. It fails only for sets that are not valid.
    unsafe { libc::sigwait(&raw const set, &raw mut signal) };
    signal
}

fn awaited() -> libc::sigset_t {
    // SAFETY: sigemptyset initialises what it is given; the numbers are of signals.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in AWAITED {
            libc::sigaddset(&raw mut set, signal);
        }
        set
    }
}
