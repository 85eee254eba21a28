//! One queue and those who use it.

use std::time::{Duration, Instant};

use super::forgets::Forgets;
use super::histogram::Histogram;
use super::script::Script;
use crate::client::Mode;
use crate::error::{Error, Result};
use crate::queue::Queue;

/// How long a reply may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A script, and who it is for.
pub(super) struct Slot {
    pub(super) script: Script,
    /// It is what is measured, and not what goes on beside it.
    pub(super) measured: bool,
    pub(super) begun: Instant,
}

impl Slot {
    pub(super) fn new(script: Script, measured: bool) -> Self {
        Slot { script, measured, begun: Instant::now() }
    }
}

/// What was done.
#[derive(Clone, Default)]
pub(super) struct Done {
    /// Cycles, or directory entries.
    pub(super) units: u64,
    /// From the beginning of a cycle to its end.
    pub(super) latency: Histogram,
}

/// Goes through the slots' scripts until `end`; those that have begun are finished.
pub(super) fn run(
    queue: &mut Queue,
    slots: &mut [Slot],
    forgets: &Forgets,
    mode: Mode,
    end: Instant,
) -> Result<Done> {
    let mut done = Done::default();
    let mut carries = vec![usize::MAX; usize::from(queue.ring().size())];
    for (at, slot) in slots.iter_mut().enumerate() {
        slot.begun = Instant::now();
        carries[usize::from(slot.script.submit(queue)?)] = at;
    }
    queue.kick()?;
    let mut busy = slots.len();
    while busy > 0 {
        let deadline = Instant::now() + PATIENCE;
        let mut next = Some(match mode {
            Mode::Spin => queue.spin(deadline)?,
            Mode::Block => queue.wait(deadline)?,
        });
        while let Some(used) = next {
            let at = carries[usize::from(used.head)];
            let slot = slots.get_mut(at).ok_or_else(|| Error::device("a reply to nobody"))?;
            let ended = slot.script.reply(used.len, forgets)?;
            let mut goes_on = true;
            if let Some(units) = ended {
                let now = Instant::now();
                if slot.measured {
                    done.units += units;
                    done.latency.add(now - slot.begun);
                }
                slot.begun = now;
                goes_on = now < end;
            }
            if goes_on {
                carries[usize::from(slot.script.submit(queue)?)] = at;
            } else {
                busy -= 1;
            }
            next = queue.reap()?;
        }
        queue.kick()?;
    }
    Ok(done)
}
