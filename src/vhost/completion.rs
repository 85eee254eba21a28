//! Giving requests back to the guest, and telling it.

use super::deferred::Finished;
use super::memory::Regions;
use super::queue::Setup;
use super::ring::Ring;
use super::terms::Terms;
use crate::mem::Segment;

/// Gives requests that have waited elsewhere back to the guest.
pub(super) fn give_back(
    terms: &Terms,
    setup: &Setup,
    ring: &mut Ring<'_>,
    finished: impl IntoIterator<Item = Finished>,
) {
    for Finished { head, written, buffers } in finished {
        log_writes(terms, &buffers.regions, buffers.writable(), written as usize);
        complete(terms, setup, ring, head, written);
    }
}

/// Gives a request back, of whose buffers so many bytes were written.
pub(super) fn complete(terms: &Terms, setup: &Setup, ring: &mut Ring<'_>, head: u16, written: u32) {
    let offset = ring.complete(head, written);
    setup.counts.given_back.add(1);
    if let Some(log) = &terms.log {
        // The element, and the index in front of all elements.
        let at = setup.log_at.unwrap_or(setup.ring.used);
        log.mark(at.saturating_add(offset as u64), 8);
        log.mark(at, 4);
    }
    // With EVENT_IDX a signal costs nothing that the guest did not ask for, so that it need not
    // wait for the last of a batch; only then is it worth a fence to be certain.
    if terms.event_idx && ring.seems_to_want_signal() {
        signal(setup);
    }
}

/// Marks what was written, after it was: a bit that is set earlier could be read and cleared
/// before the bytes are there. The guest does not look before the used ring tells it to.
pub(super) fn log_writes(
    terms: &Terms,
    regions: &Regions,
    written: &[Segment<'_>],
    mut len: usize,
) {
    let Some(log) = &terms.log else { return };
    for segment in written {
        let here = len.min(segment.len());
        regions.guest_runs(segment.addr(), here, |guest, len| log.mark(guest, len));
        len -= here;
        if len == 0 {
            break;
        }
    }
}

pub(super) fn signal(setup: &Setup) {
    setup.counts.signals.add(1);
    setup.telling.tell(setup.call.as_ref());
}
