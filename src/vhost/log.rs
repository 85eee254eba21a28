//! The log of written pages that live migration wants (vhost-user, "Migration").
#![expect(unsafe_code, reason = "sets bits in memory that is shared with the front-end")]

use std::sync::atomic::{AtomicU8, Ordering};

use super::lost::Foreign;

/// Bytes that one bit stands for.
const PAGE: u64 = 4096;

/// One bit a page of guest memory, shared with the front-end.
pub(super) struct DirtyLog {
    bits: Foreign,
}

impl DirtyLog {
    pub(super) fn new(bits: Foreign) -> Self {
        DirtyLog { bits }
    }

    /// Marks the pages of `len` bytes at a guest address; those beyond the log are not in it.
    pub(super) fn mark(&self, guest: u64, len: usize) {
        let Some(last) = (len as u64).checked_sub(1).and_then(|more| guest.checked_add(more))
        else {
            return;
        };
        for page in guest / PAGE..=last / PAGE {
            let Ok(byte) = usize::try_from(page / 8) else { return };
            if byte >= self.bits.size() {
                return;
            }
            // SAFETY: inside the mapping (checked), which lives as long as this; the front-end
            // reads and clears bits by atomic operations as well.
            let byte = unsafe { AtomicU8::from_ptr(self.bits.as_ptr().add(byte)) };
            byte.fetch_or(1 << (page % 8), Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::MmapRegion;

    #[test]
    fn every_touched_page_is_marked_and_no_other() {
        for (guest, len, pages) in [
            (0, 1, vec![0]),
            (4095, 2, vec![0, 1]),
            (4096, 4096, vec![1]),
            (7 * 4096 + 5, 3 * 4096, vec![7, 8, 9, 10]),
            (100, 0, vec![]),
            // The log ends after 16 pages.
            (15 * 4096, 10 * 4096, vec![15]),
            (1 << 60, 1, vec![]),
            (u64::MAX, 2, vec![]),
        ] {
            let log = DirtyLog::new(Foreign::new(MmapRegion::new(2).unwrap()).unwrap());
            log.mark(guest, len);
            let marked: Vec<_> = (0..16)
                .filter(|page| {
                    // SAFETY: the mapping has two bytes.
                    let byte = unsafe { *log.bits.as_ptr().add(page / 8) };
                    byte & 1 << (page % 8) != 0
                })
                .collect();
            assert_eq!(marked, pages, "{len} bytes at {guest:#x}");
        }
    }
}
