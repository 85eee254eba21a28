//! What was negotiated with the front-end, for all queues.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::log::DirtyLog;
use super::memory::Regions;

/// One state of the negotiation.
#[derive(Clone, Default)]
pub(super) struct Terms {
    /// Counts the changes.
    epoch: u64,
    pub(super) regions: Arc<Regions>,
    pub(super) event_idx: bool,
    pub(super) indirect: bool,
    /// There while live migration is under way: what is written must be marked in it.
    pub(super) log: Option<Arc<DirtyLog>>,
}

/// The terms that hold now.
#[derive(Default)]
pub(super) struct CurrentTerms {
    terms: Mutex<Terms>,
    epoch: AtomicU64,
}

impl CurrentTerms {
    /// Changes them; every request that the guest makes available after this is served by the
    /// new ones.
    pub(super) fn change(&self, change: impl FnOnce(&mut Terms)) {
        let mut terms = self.terms.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut terms);
        terms.epoch += 1;
        self.epoch.store(terms.epoch, Ordering::Release);
    }

    pub(super) fn get(&self) -> Terms {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// True if nothing has changed since `terms` were got.
    pub(super) fn are(&self, terms: &Terms) -> bool {
        self.epoch.load(Ordering::Acquire) == terms.epoch
    }
}
