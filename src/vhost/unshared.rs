//! Guests whose memory is not shared with us, and what to say of them: once a front-end.
//!
//! A front-end that can share none says so by an empty table. One that gives us a descriptor of
//! memory of which it has a copy of its own says nothing: the guest's requests are in that copy,
//! and for us the rings stay empty for ever.

use std::sync::atomic::{AtomicBool, Ordering};

use super::queue::Setup;

/// What a front-end is answered.
pub(super) const NONE: &str = "the guest's memory is not shared with us";

/// So many kicks of a ring on which there never was anything are too many. The one is QEMU's, which
/// rings once whenever it starts a queue (`virtio_bus_set_host_notifier`). A guest kicks after it
/// has made a request available, and what is read after its kick is then that request.
const KICKS: u64 = 2;

/// What was said.
#[derive(Default)]
pub(super) struct Told {
    none: AtomicBool,
    not_ours: AtomicBool,
}

impl Told {
    /// There is no memory at all.
    pub(super) fn of_none(&self) {
        if !self.none.swap(true, Ordering::Relaxed) {
            log::error!(
                "The guest's memory is not shared with us: start the virtual machine with memory \
                 that is, as QEMU's memory-backend-memfd with share=on"
            );
        }
    }

    /// A queue is empty and about to sleep. FORGETs are made when the guest likes, so that the
    /// first one tells nothing.
    pub(super) fn of_empty(&self, index: usize, setup: &Setup) {
        if setup.kicks >= KICKS
            && index > 0
            && setup.counts.taken.get() == 0
            && !self.not_ours.swap(true, Ordering::Relaxed)
        {
            log::warn!(
                "Queue {index} was kicked but is empty, and nothing ever came by it: the guest's \
                 memory may not be shared with us (share=on)"
            );
        }
    }
}
