//! Waking a queue's thread.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::{AtFlags, FileType, StatxFlags, statx};

use super::telling::Telling;

/// An event by which threads of this process wake one of them.
pub(super) struct Event(OwnedFd);

/// How often a ring is looked at whose front-end gives no event for kicks.
const LOOK: Duration = Duration::from_millis(1);

/// True if it may be an event: an eventfd, or a pipe or socket, of which User-Mode Linux makes them.
/// A file could belong to a server that is silent, which nothing interrupts; and what is written to
/// it, the daemon's rights would write.
pub(super) fn may_be_event(file: &File) -> bool {
    // The server of a file is not asked.
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let stat = statx(file, c"", flags, StatxFlags::TYPE);
    stat.is_ok_and(|stat| {
        let kind = FileType::from_raw_mode(stat.stx_mode.into());
        matches!(kind, FileType::Unknown | FileType::Fifo | FileType::Socket)
    })
}

impl Event {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Event(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub(super) fn notify(&self) {
        // It fails only if 2^64 - 2 notifications were not read, and then this one is not missed.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Sleeps until this event, which is not taken, but no longer than `pause`.
    pub(super) fn pause(&self, pause: Duration) {
        // Whatever it gives, the caller looks what there is.
        let _ = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], pause.try_into().ok().as_ref());
    }

    /// Sleeps until this event, which is not taken, or until `file` is ready for `what`, has failed
    /// or has come to its end.
    pub(super) fn or_ready(&self, file: &File, what: PollFlags) {
        // Whatever it gives, the caller tries.
        let _ = poll(&mut [PollFd::new(&self.0, PollFlags::IN), PollFd::new(file, what)], None);
    }

    /// Sleeps until this event, `kick` or `bell`, and takes what has come of the first two. What a
    /// front-end gives for a kick event may be another thing that [seems](may_be_event) one. True if
    /// `kick` came.
    pub(super) fn wait_or(
        &self,
        (kick, telling): (Option<&OwnedFd>, &Telling),
        bell: Option<BorrowedFd<'_>>,
    ) -> bool {
        let look = LOOK.try_into().ok();
        let wait = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut waits = [self.0.as_fd(); 3].map(wait);
        let mut count = 1;
        for fd in kick.map(AsFd::as_fd).into_iter().chain(bell) {
            waits[count] = wait(fd);
            count += 1;
        }
        let (waits, timeout) = (&mut waits[..count], look.as_ref().filter(|_| kick.is_none()));
        if let Err(error) = poll(waits, timeout)
            && error != rustix::io::Errno::INTR
        {
            log::error!("Cannot wait for a kick: {error}");
            std::thread::sleep(LOOK);
            return false;
        }
        let came = |fd: &PollFd<'_>| fd.revents().contains(PollFlags::IN);
        let (own, kicked) = (came(&waits[0]), kick.is_some() && came(&waits[1]));
        let rang = bell.is_some() && came(&waits[count - 1]);
        if own {
            let _ = rustix::io::read(&self.0, &mut [0; 8]);
        }
        if let (true, Some(kick)) = (kicked, kick) {
            if telling.hear(kick) {
                return true;
            }
            // Not an event: then it may be ready for ever.
            std::thread::sleep(LOOK);
        } else if !own && !rang && kick.is_some() {
            // An error or a hang-up of what is no event.
            std::thread::sleep(LOOK);
        }
        false
    }
}
