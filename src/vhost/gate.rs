//! Where a queue's thread and those who change its ring meet.
//!
//! The thread serves by a copy of the ring's setup, between [`Gate::enter`] and [`Gate::leave`].
//! Whoever wants something of it asks for attention; it looks up between two requests, and comes
//! back to the gate if somebody waits there or the setup has changed.

use std::io;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::event::Event;
use super::queue::Setup;
use super::telling;
use crate::sync::atomic::AtomicBool;
use crate::sync::{Condvar, Mutex, MutexGuard};

pub(super) struct Gate {
    state: Mutex<State>,
    passed: Condvar,
    /// Somebody is at the gate, or something has come back: the thread is to look.
    attention: AtomicBool,
    /// Wakes the thread when it sleeps.
    pub(super) wake: Event,
}

#[derive(Default)]
struct State {
    setup: Setup,
    /// The thread is between the gate and the gate.
    serving: bool,
    /// So many want the ring to rest.
    holds: usize,
    /// The thread serves by an older setup.
    changed: bool,
    has_thread: bool,
    ended: bool,
}

impl Gate {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Gate {
            state: Mutex::default(),
            passed: Condvar::new(),
            attention: AtomicBool::new(false),
            wake: Event::new()?,
        })
    }

    /// Changes what may change while the ring is served: all but where it is and how far it got.
    /// The thread takes it up before its next request.
    pub(super) fn change(&self, change: impl FnOnce(&mut Setup)) {
        let mut state = self.lock();
        change(&mut state.setup);
        state.changed = true;
        drop(state);
        self.ask_for_attention();
        self.passed.notify_all();
    }

    /// Runs `change` on the setup while no request is being served by the queue's thread.
    pub(super) fn at_rest<R>(&self, change: impl FnOnce(&mut Setup) -> R) -> R {
        let mut state = self.lock();
        state.holds += 1;
        self.ask_for_attention();
        while state.serving {
            let waited = self.passed.wait_timeout(state, telling::LONG);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            // The front-end may see to it that the thread tells it something, or listens, for ever.
            state.setup.telling.interrupt();
        }
        let changed = change(&mut state.setup);
        state.holds -= 1;
        drop(state);
        self.passed.notify_all();
        changed
    }

    /// What `read` finds in the setup.
    pub(super) fn read<R>(&self, read: impl FnOnce(&Setup) -> R) -> R {
        read(&self.lock().setup)
    }

    /// Starts the thread by `start`, unless there is one.
    pub(super) fn start(&self, start: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut state = self.lock();
        if !state.has_thread {
            start()?;
            state.has_thread = true;
        }
        Ok(())
    }

    /// Lets the thread end, which rests.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.passed.notify_all();
    }

    /// Has the thread look up.
    pub(super) fn ask_for_attention(&self) {
        // Not a store: whoever takes the last of several calls has to see what all were for.
        self.attention.swap(true, Ordering::Release);
        self.wake.notify();
    }

    /// True if the thread is to look up.
    pub(super) fn has_call(&self) -> bool {
        self.attention.load(Ordering::Relaxed)
    }

    /// The same, and takes it back: who asks from now on asks anew.
    pub(super) fn take_call(&self) -> bool {
        self.has_call() && self.attention.swap(false, Ordering::Acquire)
    }

    /// True if the thread is to come to the gate.
    pub(super) fn is_wanted(&self) -> bool {
        let state = self.lock();
        state.holds > 0 || state.changed || state.ended
    }

    /// Waits until the ring may be served. None at the end.
    pub(super) fn enter(&self) -> Option<Setup> {
        let mut state = self.lock();
        loop {
            if state.ended {
                return None;
            }
            if state.holds == 0 && state.setup.started && state.setup.enabled {
                state.serving = true;
                state.changed = false;
                return Some(state.setup.clone());
            }
            state = self.passed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The thread is back, and `note`s what has become of the ring.
    pub(super) fn leave(&self, note: impl FnOnce(&mut Setup)) {
        let mut state = self.lock();
        note(&mut state.setup);
        state.serving = false;
        drop(state);
        self.passed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
