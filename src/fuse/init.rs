//! The INIT negotiation.

use super::abi::{InitExtIn, InitIn, InitOut, MAJOR, MINOR, OLDEST_MINOR};
use super::errno::{Errno, Result};
use super::flags::init;

/// What a carrier can and cannot do, whatever the file system wants.
#[derive(Clone, Copy, Debug)]
pub struct Carrier {
    /// [`init`] bits that make no sense here and are never accepted.
    pub never: u64,
    /// [`init`] bits that the carrier makes use of by itself.
    pub own: u64,
    /// Largest WRITE, in bytes.
    pub max_write: u32,
    /// Largest request or reply, in pages of 4096 bytes.
    pub max_pages: u16,
    /// How many file systems may lie on top of one another where files are passed through to the
    /// kernel.
    pub stack_depth: u32,
}

impl Carrier {
    /// Virtqueues. Newer guests offer flags of /dev/fuse here too, because Linux shares the code
    /// (`fs/fuse/inode.c`); accepting OVER_IO_URING would block every request for ever, and
    /// REQUEST_TIMEOUT would end the mount on a slow fsync.
    pub const VIRTIO: Carrier = Carrier {
        never: init::SPLICE_WRITE
            | init::SPLICE_MOVE
            | init::SPLICE_READ
            | init::ABORT_ERROR
            | init::HAS_EXPIRE_ONLY
            | init::PASSTHROUGH
            | init::HAS_RESEND
            | init::OVER_IO_URING
            | init::REQUEST_TIMEOUT,
        own: 0,
        max_write: 1 << 20,
        max_pages: 256,
        stack_depth: 0,
    };

    /// /dev/fuse by read(2) and write(2), without splice.
    pub const DEV: Carrier = Carrier {
        never: init::SPLICE_WRITE
            | init::SPLICE_MOVE
            | init::SPLICE_READ
            | init::MAP_ALIGNMENT
            | init::SUBMOUNTS
            | init::HAS_INODE_DAX
            | init::REQUEST_TIMEOUT,
        own: init::ABORT_ERROR,
        max_write: 1 << 20,
        max_pages: 256,
        stack_depth: 1,
    };
}

/// What a session agreed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Negotiated {
    /// Accepted [`init`] bits.
    pub flags: u64,
    /// Minor version.
    pub minor: u32,
}

impl Negotiated {
    /// True if all of `flags` were accepted.
    #[must_use]
    pub fn has(&self, flags: u64) -> bool {
        self.flags & flags == flags
    }
}

/// What the protocol layer itself makes use of.
const OURS: u64 = init::BIG_WRITES | init::MAX_PAGES | init::SETXATTR_EXT | init::CREATE_SUPP_GROUP;

/// Requests that the guest may have outstanding in the background (readahead, writeback).
const MAX_BACKGROUND: u16 = u16::MAX;

/// Files are mapped by pages of 4096 bytes: the logarithm.
const MAP_ALIGNMENT: u16 = 12;

/// Those of `agreed` that could not have been agreed on here, whatever a guest offered.
pub(super) fn foreign(agreed: u64, wanted: u64, carrier: &Carrier) -> u64 {
    agreed & !((wanted | OURS | carrier.own | init::INIT_EXT) & !carrier.never)
}

/// Whether an INIT is answered at all.
///
/// # Errors
/// `EPROTO` for a version that is not spoken.
pub(super) fn is_spoken(offer: &InitIn) -> Result<()> {
    let spoken = offer.major == MAJOR && offer.minor >= OLDEST_MINOR;
    spoken.then_some(()).ok_or(Errno::EPROTO)
}

/// Answers an INIT: whatever is accepted was offered, is wanted, and suits the carrier.
///
/// # Errors
/// `EPROTO` for a version that is not spoken.
pub(super) fn negotiate(
    offer: &InitIn,
    more: Option<&InitExtIn>,
    wanted: u64,
    carrier: &Carrier,
) -> Result<(InitOut, Negotiated)> {
    is_spoken(offer)?;
    let mut offered = u64::from(offer.flags);
    match more {
        Some(more) if offered & init::INIT_EXT != 0 => offered |= u64::from(more.flags2) << 32,
        _ => offered &= !init::INIT_EXT,
    }
    let mut flags = offered & (wanted | OURS | carrier.own | init::INIT_EXT) & !carrier.never;
    if flags & init::HANDLE_KILLPRIV_V2 != 0 {
        flags &= !init::HANDLE_KILLPRIV;
    }
    // The kernel cannot have both; who asks for both has files that it is to write later.
    if flags & init::WRITEBACK_CACHE != 0 {
        flags &= !init::PASSTHROUGH;
    }
    if flags >> 32 == 0 {
        flags &= !init::INIT_EXT;
    }
    let agreed = Negotiated { flags, minor: offer.minor.min(MINOR) };
    let (low, high) = halves(flags);
    let reply = InitOut {
        major: MAJOR,
        minor: agreed.minor,
        max_readahead: offer.max_readahead,
        flags: low,
        max_background: MAX_BACKGROUND,
        congestion_threshold: MAX_BACKGROUND / 4 * 3,
        max_write: carrier.max_write,
        time_gran: 1,
        max_pages: if agreed.has(init::MAX_PAGES) { carrier.max_pages } else { 0 },
        map_alignment: if agreed.has(init::MAP_ALIGNMENT) { MAP_ALIGNMENT } else { 0 },
        flags2: high,
        max_stack_depth: if agreed.has(init::PASSTHROUGH) { carrier.stack_depth } else { 0 },
        request_timeout: 0,
        unused: [0; 11],
    };
    Ok((reply, agreed))
}

#[expect(clippy::cast_possible_truncation, reason = "it is the lower half that is meant")]
fn halves(flags: u64) -> (u32, u32) {
    (flags as u32, (flags >> 32) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(minor: u32, flags: u32, flags2: Option<u32>) -> Result<(InitOut, Negotiated)> {
        let offer = InitIn { major: 7, minor, max_readahead: 131_072, flags };
        let more = flags2.map(|flags2| InitExtIn { flags2, unused: [0; 11] });
        negotiate(&offer, more.as_ref(), u64::MAX, &Carrier::VIRTIO)
    }

    #[test]
    fn nothing_is_accepted_that_was_not_offered() {
        for (flags, flags2) in [(0, None), (0, Some(u32::MAX)), (1 << 30, None), (0xff, Some(3))] {
            let (reply, _) = ask(38, flags, flags2).unwrap();
            assert_eq!(reply.flags & !flags, 0);
            assert_eq!(reply.flags2, 0, "without INIT_EXT there is no second word");
        }
    }

    #[test]
    fn what_makes_no_sense_on_virtio_is_never_accepted() {
        let (reply, agreed) = ask(45, u32::MAX, Some(u32::MAX)).unwrap();
        assert_eq!(agreed.flags & Carrier::VIRTIO.never, 0);
        assert_eq!(reply.flags, !(7 << 7) & !(1 << 21) & !(1 << 19));
        assert_eq!(reply.flags2 >> 5 & 1, 0, "PASSTHROUGH");
        assert_eq!(reply.flags2 >> 9 & 1, 0, "OVER_IO_URING");
    }

    #[test]
    fn the_older_of_two_versions_is_spoken() {
        assert_eq!(ask(27, 0, None).unwrap().0.minor, 27);
        assert_eq!(ask(38, 0, None).unwrap().0.minor, 38);
        assert_eq!(ask(99, 0, None).unwrap().0.minor, 45);
        assert_eq!(ask(26, 0, None).unwrap_err(), Errno::EPROTO);
        let offer = InitIn { major: 8, minor: 0, max_readahead: 0, flags: 0 };
        assert_eq!(negotiate(&offer, None, 0, &Carrier::VIRTIO).unwrap_err(), Errno::EPROTO);
    }

    #[test]
    fn of_two_ways_to_clear_setuid_the_newer_is_taken() {
        let (v1, v2) = (1 << 19, 1 << 28);
        assert_eq!(ask(45, v1 | v2, None).unwrap().0.flags, v2);
        assert_eq!(ask(31, v1, None).unwrap().0.flags, v1);
    }

    #[test]
    fn a_guest_without_max_pages_gets_none() {
        assert_eq!(ask(38, 0, None).unwrap().0.max_pages, 0);
        let (reply, _) = ask(38, 1 << 22, None).unwrap();
        assert_eq!((reply.max_pages, reply.max_write), (256, 1 << 20));
    }
}
