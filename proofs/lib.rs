//! What has to hold in whatever order threads take their steps, for the files themselves.

#[path = "../src/mem/free.rs"]
mod free;
#[path = "../src/vhost/gate.rs"]
mod gate;
#[path = "../src/mem/slab.rs"]
pub mod slab;
#[path = "../src/sync.rs"]
mod sync;

/// What `gate.rs` needs of the queue.
mod queue {
    #[derive(Clone, Default)]
    pub(super) struct Setup {
        pub(super) started: bool,
        pub(super) enabled: bool,
        pub(super) telling: super::telling::Telling,
    }
}

/// Nothing is told, so that nothing is to be interrupted.
mod telling {
    use std::time::Duration;

    pub(super) const LONG: Duration = Duration::ZERO;

    #[derive(Clone, Default)]
    pub(super) struct Telling;

    impl Telling {
        pub(super) fn interrupt(&self) {}
    }
}

/// An event as loom can have it.
#[expect(clippy::unwrap_used, reason = "a proof may")]
mod event {
    use std::io;

    use loom::sync::{Condvar, Mutex};

    pub(super) struct Event {
        has_come: Mutex<bool>,
        comes: Condvar,
    }

    impl Event {
        pub(super) fn new() -> io::Result<Self> {
            Ok(Event { has_come: Mutex::new(false), comes: Condvar::new() })
        }

        pub(super) fn notify(&self) {
            *self.has_come.lock().unwrap() = true;
            self.comes.notify_one();
        }

        /// Waits for it, and takes it.
        #[cfg(test)]
        pub(super) fn wait(&self) {
            let mut has_come = self.has_come.lock().unwrap();
            while !*has_come {
                has_come = self.comes.wait(has_come).unwrap();
            }
            *has_come = false;
        }
    }
}

#[cfg(test)]
mod gates;
#[cfg(test)]
mod slabs;
