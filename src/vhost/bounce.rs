//! Requests with buffers in the guest's DAX window, as with O_DIRECT into a file that is mapped.
//!
//! They are served on memory of ours, which is filled before from where the guest has its buffers,
//! and copied there afterwards.

use super::memory::Regions;
use super::ring::{BadChain, Ring};
use crate::dax::DaxWindow;
use crate::fuse::{Errno, Filesystem, Patience, Scratch, Served, Session, give_up};
use crate::mem::{Input, Output, Segment, SegmentList};

/// More than the largest request that a guest may send.
const MOST: usize = 4 << 20;

/// A buffer of a request.
struct Buffer {
    at: u64,
    len: u32,
    writable: bool,
    /// In place of it, if it is not in the guest's memory.
    bounce: Option<Vec<u8>>,
}

/// Serves the request at `head`, some buffers of which are not in the guest's memory. Tells
/// `written` what was written into those that are.
///
/// # Errors
/// There is no request.
pub(super) fn serve<F: Filesystem>(
    window: &DaxWindow,
    session: &Session<F>,
    (ring, regions, head): (&Ring<'_>, &Regions, u16),
    scratch: &mut Scratch,
    written: impl FnOnce(&[Segment<'_>], usize),
) -> Result<Served, BadChain> {
    let mut buffers = buffers(ring, regions, head)?;
    let mut filled = Ok(());
    for buffer in buffers.iter_mut().filter(|buffer| !buffer.writable) {
        if let Some(bytes) = &mut buffer.bounce {
            filled = filled.and(window.read_guest(buffer.at, bytes));
        }
    }
    let mut served = with_lists(regions, &mut buffers, |input, output| match filled {
        Ok(()) => session.serve(scratch, input, output, Patience::Storage),
        Err(error) => give_up(input, output, error),
    })?;
    if let Served::Reply(len) = served {
        let mut left = len as usize;
        let mut copied = Ok(());
        for buffer in buffers.iter().filter(|buffer| buffer.writable) {
            let here = left.min(buffer.len as usize);
            left -= here;
            if let Some(bytes) = &buffer.bounce {
                copied = copied.and(window.write_guest(buffer.at, &bytes[..here]));
            }
        }
        if let Err(error) = copied {
            served = refuse(regions, &mut buffers, error)?;
        }
    } else if let Served::Later(_) = served {
        served = refuse(regions, &mut buffers, Errno::EFAULT)?;
    }
    if let Served::Reply(len) = served {
        let mut list = SegmentList::new();
        let memory = buffers.iter().filter(|buffer| buffer.writable);
        for buffer in memory.take_while(|buffer| buffer.bounce.is_none()) {
            regions.segments(buffer.at, buffer.len, &mut list)??;
        }
        written(list.as_slice(), len as usize);
    }
    Ok(served)
}

/// The buffers of a request, with others in place of those that are not in memory.
fn buffers(ring: &Ring<'_>, regions: &Regions, head: u16) -> Result<Vec<Buffer>, BadChain> {
    let mut buffers = Vec::new();
    let mut total = 0;
    ring.walk(head, |at, len, writable| {
        total += len as usize;
        if total > MOST || buffers.len() == SegmentList::CAPACITY {
            return Err(BadChain::TooLong);
        }
        let bounce = (!regions.has(at, len)).then(|| vec![0; len as usize]);
        buffers.push(Buffer { at, len, writable, bounce });
        Ok(())
    })?;
    Ok(buffers)
}

fn with_lists(
    regions: &Regions,
    buffers: &mut [Buffer],
    with: impl FnOnce(Input<'_>, Output<'_>) -> Served,
) -> Result<Served, BadChain> {
    let (mut readable, mut writable) = (SegmentList::new(), SegmentList::new());
    for buffer in buffers {
        let list = if buffer.writable { &mut writable } else { &mut readable };
        match &mut buffer.bounce {
            Some(bytes) => list.push(Segment::from(&mut bytes[..]))?,
            None => regions.segments(buffer.at, buffer.len, list)??,
        }
    }
    Ok(with(Input::new(readable.as_slice()), Output::new(writable.as_slice())))
}

/// Answers with an error, if there is memory for that.
fn refuse(regions: &Regions, buffers: &mut [Buffer], error: Errno) -> Result<Served, BadChain> {
    let first = buffers.iter().find(|buffer| buffer.writable);
    if first.is_none_or(|first| first.bounce.is_some()) {
        return Ok(Served::Unanswerable);
    }
    with_lists(regions, buffers, |input, output| give_up(input, output, error))
}
