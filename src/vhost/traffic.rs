//! What goes through the queues.

use std::sync::{Arc, Mutex, PoisonError};

use crate::tally::Count;

/// What one queue has carried; whoever has the queue's turn counts.
#[derive(Debug, Default)]
pub(super) struct QueueCounts {
    pub(super) taken: Count,
    pub(super) given_back: Count,
    pub(super) sleeps: Count,
    pub(super) signals: Count,
}

impl QueueCounts {
    /// What was taken and not given back never will be.
    pub(super) fn nothing_is_in_flight(&self) {
        self.given_back.add(self.taken.get().wrapping_sub(self.given_back.get()));
    }
}

/// What the queues of a device carry, for whoever wants to know while [`serve`](super::serve)
/// does its work.
#[derive(Debug, Default)]
pub struct Traffic(Mutex<Vec<Arc<QueueCounts>>>);

/// What one queue has carried since its front-end connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueTotals {
    /// Requests that were taken from the ring.
    pub requests: u64,
    /// Those of them that are being served, or wait.
    pub in_flight: u64,
    /// How often there was nothing to do.
    pub sleeps: u64,
    /// How often the guest was told that there are replies.
    pub signals: u64,
}

impl Traffic {
    /// The queues of a front-end that has connected.
    pub(super) fn watch(&self, queues: Vec<Arc<QueueCounts>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = queues;
    }

    /// What each queue has carried: first the one for FORGETs, then those for requests. Empty
    /// before a front-end has connected.
    #[must_use]
    pub fn totals(&self) -> Vec<QueueTotals> {
        let queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queues
            .iter()
            .map(|counts| {
                let given_back = counts.given_back.get();
                let requests = counts.taken.get();
                QueueTotals {
                    requests,
                    in_flight: requests.saturating_sub(given_back),
                    sleeps: counts.sleeps.get(),
                    signals: counts.signals.get(),
                }
            })
            .collect()
    }
}
