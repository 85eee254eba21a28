//! What a queue's thread does when its ring is empty.

use std::hint::spin_loop;
use std::time::{Duration, Instant};

use super::event::Event;

/// How a thread waits for requests.
pub(super) enum Idle {
    /// It looks all the time for a while, if requests tend to come soon, and then sleeps.
    Poll(Poll),
    /// Nobody waits for the replies, so that the next requests are left to gather.
    Gather,
}

/// How long requests gather that nobody waits for: each that comes meanwhile costs the guest no
/// kick, and us no waking.
const GATHER: Duration = Duration::from_micros(200);

impl Idle {
    /// True if the ring should be looked at again before the guest is asked for a kick. `busy`
    /// tells whether it had requests the last time, and `is_wanted` that it has, or that something
    /// else is to be done.
    pub(super) fn look(&mut self, wake: &Event, busy: bool, is_wanted: impl Fn() -> bool) -> bool {
        match self {
            Idle::Poll(poll) => poll.look(is_wanted),
            Idle::Gather => {
                if busy {
                    wake.pause(GATHER);
                }
                busy
            }
        }
    }

    /// Sleeps by `sleep`, and learns from how long that took.
    pub(super) fn sleep<T>(&mut self, sleep: impl FnOnce() -> T) -> T {
        match self {
            Idle::Poll(poll) if !poll.longest.is_zero() => {
                let start = Instant::now();
                let slept = sleep();
                poll.learn(start.elapsed());
                slept
            }
            Idle::Poll(_) | Idle::Gather => sleep(),
        }
    }
}

/// Polling for as long as pays: as the kernel does before it halts a virtual processor.
#[derive(Default)]
pub(super) struct Poll {
    /// Never longer than this.
    longest: Duration,
    now: Duration,
    /// Others needed the processor; they have it until then.
    banned: Option<Instant>,
}

/// The shortest time that is worth it.
const SHORTEST: Duration = Duration::from_micros(10);

/// Who looked this long ago was not running meanwhile: somebody else needs the processor.
const LOST: Duration = Duration::from_micros(100);

/// How long that is respected.
const BAN: Duration = Duration::from_millis(10);

/// How often the ring is looked at before the clock is.
const LOOKS: usize = 32;

impl Poll {
    pub(super) fn new(longest: Duration) -> Self {
        Poll { longest, ..Poll::default() }
    }

    fn look(&mut self, is_wanted: impl Fn() -> bool) -> bool {
        if self.now.is_zero() {
            return false;
        }
        let start = Instant::now();
        let mut last = start;
        loop {
            for _ in 0..LOOKS {
                if is_wanted() {
                    return true;
                }
                spin_loop();
            }
            let now = Instant::now();
            if now - last > LOST {
                (self.now, self.banned) = (Duration::ZERO, Some(now + BAN));
                return false;
            }
            if now - start > self.now {
                return false;
            }
            last = now;
        }
    }

    fn learn(&mut self, slept: Duration) {
        if let Some(until) = self.banned {
            if Instant::now() < until {
                return;
            }
            self.banned = None;
        }
        self.now = match slept < self.longest {
            true => (self.now * 2).max(SHORTEST).min(self.longest),
            false => self.now / 2,
        };
        if self.now < SHORTEST {
            self.now = Duration::ZERO;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MICROSECOND: Duration = Duration::from_micros(1);

    #[test]
    fn polling_begins_when_requests_come_soon_and_ends_when_they_do_not() {
        let mut poll = Poll::new(50 * MICROSECOND);
        assert!(!poll.look(|| true), "nothing is known yet");
        for expected in [10, 20, 40, 50, 50] {
            poll.learn(20 * MICROSECOND);
            assert_eq!(poll.now, expected * MICROSECOND);
        }
        assert!(poll.look(|| true));
        for expected in [25, 12, 0, 0] {
            poll.learn(60 * MICROSECOND);
            assert_eq!(poll.now.as_micros(), expected);
        }
        assert!(!poll.look(|| true));
    }

    #[test]
    fn without_a_limit_there_is_no_polling() {
        let mut poll = Poll::new(Duration::ZERO);
        poll.learn(Duration::ZERO);
        assert!(!poll.look(|| true));
    }

    #[test]
    fn who_loses_the_processor_stops_polling_for_a_while() {
        let mut poll = Poll { longest: 100 * BAN, now: 100 * BAN, banned: None };
        let looks = std::cell::Cell::new(0);
        let found = poll.look(|| {
            looks.set(looks.get() + 1);
            std::thread::sleep(LOST);
            false
        });
        assert!(!found && looks.get() == LOOKS);
        poll.banned = poll.banned.map(|until| until + 100 * BAN);
        poll.learn(MICROSECOND);
        assert!(poll.now.is_zero());
        poll.banned = Some(Instant::now());
        poll.learn(MICROSECOND);
        assert_eq!(poll.now, SHORTEST);
    }
}
