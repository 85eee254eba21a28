//! Where segments meet files: one `preadv2` or `pwritev2`, no buffer of ours in between.
#![expect(unsafe_code, reason = "hands shared memory to the kernel")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::cursor::Cursor;
use super::segment::{Segment, SegmentList};
use super::{Input, Output};

impl Output<'_> {
    /// Reads from `file` at `offset` into the room that is left, until the room is full, the
    /// file ends or nothing more comes. Returns the number of bytes, which may be 0.
    ///
    /// A short `preadv2` is the end of a regular file: there is no second call to find out. With
    /// `RWF_NOWAIT` in the flags it may also mean that the rest is not in memory.
    ///
    /// # Errors
    /// The call's errno; `EINVAL` for an offset above `i64::MAX`.
    pub fn fill_from(
        &mut self,
        file: BorrowedFd<'_>,
        offset: u64,
        flags: i32,
    ) -> io::Result<usize> {
        let count = transfer(&self.rest, offset, |runs, count, at| {
            // SAFETY: `runs` are iovecs over memory that the cursor keeps valid (Segment's
            // contract); the kernel copies into it and tolerates concurrent changes.
            unsafe { libc::preadv2(file.as_raw_fd(), runs, count, at, flags) }
        })?;
        self.rest.advance(count);
        self.filled += count;
        Ok(count)
    }

    /// Runs `with` on the room that is left, as `iovec`s and how many they are. They are there
    /// while it runs; what they name is for as long as the segments.
    pub fn with_iovecs<T>(&self, with: impl FnOnce(*const libc::iovec, u32) -> T) -> T {
        with_iovecs(&self.rest, with)
    }
}

impl Input<'_> {
    /// Writes all that is left to `file` at `offset` with the `RWF_*` flags given. Returns the
    /// bytes written: fewer than were there only if an error ended it after some progress.
    ///
    /// # Errors
    /// The call's errno if nothing was written; `EINVAL` for an offset above `i64::MAX`.
    pub fn drain_to(&mut self, file: BorrowedFd<'_>, offset: u64, flags: i32) -> io::Result<usize> {
        let mut done = 0;
        while !self.is_empty() {
            let at = offset.saturating_add(done as u64);
            let written = transfer(&self.rest, at, |runs, count, at| {
                // SAFETY: as in fill_from; the kernel only reads this memory.
                unsafe { libc::pwritev2(file.as_raw_fd(), runs, count, at, flags) }
            });
            match written {
                Ok(0) => break,
                Ok(count) => {
                    self.rest.advance(count);
                    done += count;
                }
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }
}

/// Calls `io` with the cursor's runs as iovecs, again while it is interrupted.
fn transfer(
    cursor: &Cursor<'_>,
    offset: u64,
    io: impl Fn(*const libc::iovec, i32, i64) -> isize,
) -> io::Result<usize> {
    let at = i64::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    with_iovecs(cursor, |runs, count| {
        loop {
            let done = io(runs, count.cast_signed(), at);
            if let Ok(done) = usize::try_from(done) {
                return Ok(done);
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    })
}

fn with_iovecs<T>(cursor: &Cursor<'_>, with: impl FnOnce(*const libc::iovec, u32) -> T) -> T {
    let mut runs = [const { MaybeUninit::<Segment<'_>>::uninit() }; SegmentList::CAPACITY];
    let mut count = 0;
    for (slot, run) in runs.iter_mut().zip(cursor.runs()) {
        slot.write(run);
        count += 1;
    }
    // Segment is a transparent iovec, and the first `count` are initialised.
    with(runs.as_ptr().cast::<libc::iovec>(), count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn bytes_go_to_a_file_and_back_through_any_runs() {
        let file = tempfile::tempfile().unwrap();
        let mut bytes = *b"0123456789";
        let (a, b) = bytes.split_at_mut(3);
        let runs = [Segment::from(a), Segment::from(b)];
        let mut input = Input::new(&runs);
        input.take(&mut [0]).unwrap();
        assert_eq!(input.drain_to(file.as_fd(), 2, 0).unwrap(), 9);

        let mut back = [b'-'; 16];
        let (a, b) = back.split_at_mut(5);
        let runs = [Segment::from(a), Segment::from(b)];
        let mut output = Output::new(&runs);
        output.put_bytes(b"=").unwrap();
        assert_eq!(output.fill_from(file.as_fd(), 3, 0).unwrap(), 8);
        assert_eq!((output.filled(), output.room()), (9, 7));
        assert_eq!(&back, b"=23456789-------");
    }

    #[test]
    fn an_offset_past_the_largest_file_is_refused() {
        let file = tempfile::tempfile().unwrap();
        let mut byte = [0u8];
        let runs = [Segment::from(&mut byte[..])];
        let error = Output::new(&runs).fill_from(file.as_fd(), 1 << 63, 0).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
        let error = Input::new(&runs).drain_to(file.as_fd(), u64::MAX, 0).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    }
}
