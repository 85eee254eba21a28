//! Counting a process's system calls, by `ptrace(2)`.
#![expect(unsafe_code, reason = "ptrace(2) and waitpid(2) of threads, which rustix does not have")]

use std::collections::BTreeMap;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::{fs, io, mem};

use libc::pid_t;

use crate::error::{Error, Result};
use crate::process::Process;

/// How often each system call was made, by its number.
pub type Calls = BTreeMap<i64, u64>;

/// System calls have smaller numbers.
const NUMBERS: usize = 1024;

/// Counts the system calls of all threads of a process, those that start later as well, until
/// this is dropped.
pub struct Tracer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    counts: [AtomicU64; NUMBERS],
    ended: AtomicBool,
}

impl Tracer {
    /// Begins to count.
    ///
    /// # Errors
    /// `EPERM` if that is not allowed here.
    pub fn attach(process: &Process) -> Result<Self> {
        let shared = Arc::new(Shared {
            counts: [const { AtomicU64::new(0) }; NUMBERS],
            ended: false.into(),
        });
        let mut threads = Vec::new();
        for task in fs::read_dir(process.proc("task"))? {
            let name = task?.file_name();
            let thread = name.to_str().and_then(|name| name.parse::<pid_t>().ok());
            threads.push(thread.ok_or(io::ErrorKind::InvalidData)?);
        }
        let (ready, is_ready) = channel();
        // The thread that attaches is the one that traces.
        let thread = std::thread::spawn({
            let shared = shared.clone();
            move || shared.trace(&threads, &ready)
        });
        let tracer = Tracer { shared, thread: Some(thread) };
        is_ready.recv().map_err(|_| Error::Gone)??;
        Ok(tracer)
    }

    /// What was called so far.
    #[must_use]
    pub fn calls(&self) -> Calls {
        let counts = self.shared.counts.iter().map(|count| count.load(Ordering::SeqCst));
        (0..).zip(counts).filter(|(_, count)| *count > 0).collect()
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // It only ends early by a panic, and then it traces no more.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Lets go of the threads when it returns, because then its own thread ends.
    fn trace(&self, threads: &[pid_t], ready: &Sender<io::Result<()>>) {
        let mut waiting = threads.len();
        if let Err(error) = threads.iter().try_for_each(|thread| seize(*thread)) {
            // Nobody listens if the other side has given up.
            let _ = ready.send(Err(error));
            return;
        }
        while !self.ended.load(Ordering::SeqCst) {
            let Some((thread, status)) = stopped() else {
                std::thread::yield_now();
                continue;
            };
            if !libc::WIFSTOPPED(status) {
                continue;
            }
            let mut signal = 0;
            match (status >> 16, libc::WSTOPSIG(status)) {
                (0, SYSCALL) => {
                    if let Some(number) = entered(thread)
                        && let Some(count) = self.counts.get(number)
                    {
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                }
                (0, other) => signal = other,
                (libc::PTRACE_EVENT_STOP, _) => {
                    waiting = waiting.saturating_sub(1);
                }
                _ => {}
            }
            resume(thread, signal);
            if waiting == 0 {
                let _ = ready.send(Ok(()));
                waiting = usize::MAX;
            }
        }
    }
}

/// A stop at a system call, with `PTRACE_O_TRACESYSGOOD`.
const SYSCALL: i32 = libc::SIGTRAP | 0x80;

fn seize(thread: pid_t) -> io::Result<()> {
    let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE;
    let none = ptr::null_mut::<u8>();
    // SAFETY: neither request touches our memory.
    let done = unsafe {
        match libc::ptrace(libc::PTRACE_SEIZE, thread, none, options) {
            0 => libc::ptrace(libc::PTRACE_INTERRUPT, thread, none, none),
            error => error,
        }
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// One of the threads that has stopped, and why.
fn stopped() -> Option<(pid_t, i32)> {
    let mut status = 0;
    // Not the children of other threads, for which those wait.
    let which = libc::__WALL | libc::__WNOTHREAD | libc::WNOHANG;
    // SAFETY: writes one int.
    let thread = unsafe { libc::waitpid(-1, &raw mut status, which) };
    (thread > 0).then_some((thread, status))
}

/// The system call that a stopped thread is about to make, unless it comes from one.
fn entered(thread: pid_t) -> Option<usize> {
    let len = size_of::<libc::ptrace_syscall_info>();
    // SAFETY: plain numbers, for which zeros are a value.
    let mut info: libc::ptrace_syscall_info = unsafe { mem::zeroed() };
    // SAFETY: the kernel writes at most `len` bytes.
    let got = unsafe { libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, thread, len, &raw mut info) };
    if got <= 0 || info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return None;
    }
    // SAFETY: `op` says that it is this member.
    let number = unsafe { info.u.entry.nr };
    usize::try_from(number).ok()
}

/// Lets a thread go on until its next system call; it gets the signal that it was stopped for.
fn resume(thread: pid_t, signal: i32) {
    let none = ptr::null_mut::<u8>();
    // SAFETY: touches none of our memory. It fails only if the thread is gone.
    unsafe { libc::ptrace(libc::PTRACE_SYSCALL, thread, none, signal) };
}
