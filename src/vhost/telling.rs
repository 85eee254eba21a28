//! Telling the front-end something by an event of its own, and being told.
//!
//! Whether a write waits while the event is full, and a read while somebody else has read it, is for
//! the front-end to choose, and to change at any time: to ask first would cost a system call each
//! time and prove nothing. So they may wait, and who cannot wait for that has a signal interrupt
//! them.
#![expect(unsafe_code, reason = "a signal that interrupts a system call")]

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Once};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;

/// Ignored where nobody handles it, so that one that comes late does no harm.
const SIGNAL: libc::c_int = libc::SIGURG;

/// How long a thread may do that while another one waits for it.
pub(super) const LONG: Duration = Duration::from_millis(10);

/// Whether something is being told or heard.
#[derive(Default)]
pub(super) struct Telling {
    /// The thread that does it; 0 is none.
    thread: AtomicI32,
}

impl Telling {
    /// A front-end without an event looks by itself.
    pub(super) fn tell(&self, event: Option<&Arc<OwnedFd>>) {
        let Some(event) = event else { return };
        if let Err(error) = self.meet(|| rustix::io::write(event, &1u64.to_ne_bytes())) {
            log::debug!("Cannot notify the front-end: {error}");
        }
    }

    /// Takes what the front-end has told by an event; false if that is none.
    pub(super) fn hear(&self, event: impl AsFd) -> bool {
        let mut count = [0; 8];
        match self.meet(|| rustix::io::read(event, &mut count)) {
            Err(Errno::AGAIN | Errno::INTR) => true,
            heard => heard == Ok(count.len()),
        }
    }

    fn meet<R>(&self, call: impl FnOnce() -> R) -> R {
        self.thread.store(THIS.with(|id| *id), Ordering::Relaxed);
        let result = call();
        self.thread.store(0, Ordering::Relaxed);
        result
    }

    /// Interrupts who tells or hears something, if anybody does. It may come too early or too late:
    /// who has to wait does this again and again.
    pub(super) fn interrupt(&self) {
        let thread = self.thread.load(Ordering::Relaxed);
        if thread != 0 {
            // SAFETY: a signal that has a handler which does nothing.
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, SIGNAL) };
        }
    }

    /// Runs `work`, which tells things for which nobody else waits.
    pub(super) fn hurry<R>(&self, work: impl FnOnce() -> R) -> R {
        thread::scope(|scope| {
            let (done, is_done) = channel::<()>();
            let watch = move || {
                while is_done.recv_timeout(LONG) == Err(RecvTimeoutError::Timeout) {
                    self.interrupt();
                }
            };
            if let Err(error) = thread::Builder::new().spawn_scoped(scope, watch) {
                log::warn!("Cannot start a thread to watch this one: {error}");
            }
            let result = work();
            drop(done);
            result
        })
    }
}

thread_local! {
    /// The kernel's id of this thread, which can be interrupted.
    static THIS: i32 = {
        handle();
        rustix::thread::gettid().as_raw_nonzero().get()
    };
}

/// Has the signal interrupt what this thread does, and do nothing else.
fn handle() {
    static HANDLED: Once = Once::new();
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: both are plain data, for which zeros are valid, and the set is made before it is
    // used; the handler has the form that is asked for without SA_SIGINFO, and does nothing.
    unsafe {
        HANDLED.call_once(|| {
            let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
            let handler: extern "C" fn(libc::c_int) = nothing;
            action.sa_sigaction = handler as *const () as usize;
            // No SA_RESTART: what is interrupted ends.
            action.sa_flags = libc::SA_ONSTACK;
            libc::sigaction(SIGNAL, &raw const action, std::ptr::null_mut());
        });
        // Whoever started the process may have had it held back.
        let mut set = MaybeUninit::zeroed();
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), SIGNAL);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), std::ptr::null_mut());
    }
}
