//! What file systems that are served to one guest have in common.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};

/// Limits and numbers that hold for all file systems of one guest together.
#[derive(Clone)]
pub struct Common {
    pub(super) budget: Arc<Budget>,
    pub(super) devices: Arc<Devices>,
}

impl Common {
    /// For one file system that has the guest to itself, with room for `descriptors`.
    pub(super) fn alone(descriptors: usize) -> Self {
        Common { budget: Arc::new(Budget::new(descriptors)), devices: Arc::default() }
    }

    /// For several file systems, which hold `descriptors` together. Where inode numbers are made
    /// unique, none of them has one below 2^63.
    #[must_use]
    pub fn new(descriptors: usize) -> Self {
        let common = Self::alone(descriptors);
        // The first device keeps its numbers; none of them is to be it.
        common.devices.number(u64::MAX);
        common
    }

    /// Descriptors that are held, and how many may be.
    #[must_use]
    pub fn descriptors(&self) -> (usize, usize) {
        (self.budget.open.load(Ordering::Relaxed), self.budget.most)
    }

    /// One more that gives up descriptors when there are too many.
    pub fn add(&self, holder: Weak<dyn Holder>) {
        let mut holders = self.budget.holders.write().unwrap_or_else(PoisonError::into_inner);
        holders.retain(|holder| holder.strong_count() > 0);
        holders.push(holder);
    }
}

/// What holds descriptors that it could open again.
pub trait Holder: Send + Sync {
    /// Closes one that was not needed lately; false if there is none.
    fn give_up_descriptor(&self) -> bool;
}

/// How many descriptors may be open.
pub(super) struct Budget {
    pub(super) most: usize,
    pub(super) open: AtomicUsize,
    /// Who has some of them; nobody where there is only one who could.
    holders: RwLock<Vec<Weak<dyn Holder>>>,
    /// Whose turn it is to give one up.
    turn: AtomicUsize,
}

impl Budget {
    /// Never so few that one request could need them all.
    fn new(most: usize) -> Self {
        Budget {
            most: most.max(16),
            open: AtomicUsize::new(0),
            holders: RwLock::default(),
            turn: AtomicUsize::new(0),
        }
    }

    /// Has one of the holders close a descriptor, each in its turn: so those who need theirs get
    /// them back from those who do not. None if there are no holders.
    pub(super) fn make_room(&self) -> Option<bool> {
        let holders = self.holders.read().unwrap_or_else(PoisonError::into_inner);
        if holders.is_empty() {
            return None;
        }
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut tried = (0..holders.len()).map(|step| first.wrapping_add(step) % holders.len());
        Some(tried.any(|at| holders[at].upgrade().is_some_and(|one| one.give_up_descriptor())))
    }
}

/// Devices in the order in which they were met.
#[derive(Default)]
pub(super) struct Devices(RwLock<Vec<u64>>);

impl Devices {
    /// Which of them it is.
    pub(super) fn number(&self, dev: u64) -> u64 {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let at = known.iter().position(|known| *known == dev);
        drop(known);
        at.unwrap_or_else(|| {
            let mut devices = self.0.write().unwrap_or_else(PoisonError::into_inner);
            devices.iter().position(|known| *known == dev).unwrap_or_else(|| {
                devices.push(dev);
                devices.len() - 1
            })
        }) as u64
    }
}
