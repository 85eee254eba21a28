//! Where the guest has the window, and what it finds there.
//!
//! A guest's buffers may lie in its window. What is mapped there is never touched as memory: that
//! ends where the file does, whenever somebody cuts it. It is read and written as a file.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::window::{DaxWindow, State, number};
use crate::fuse::{Errno, Result, Source};

impl DaxWindow {
    /// True if a region that the front-end takes for the guest's memory is a part of the window:
    /// `len` bytes at guest address `at`, which are those of `file` at `offset`.
    pub fn is_part(&self, file: &File, offset: u64, (at, len): (u64, u64)) -> bool {
        let Some(file) = number(file) else { return false };
        let mut state = self.lock();
        let base = if self.probe.is(file) {
            Some(at)
        } else if state.recent.contains(&file) {
            state.base_of(file, offset, at, len)
        } else {
            return false;
        };
        state.base = base.or(state.base);
        true
    }

    /// Reads what the guest has at an address in its window.
    ///
    /// # Errors
    /// `EFAULT` if there is no file there, or it has ended.
    pub fn read_guest(&self, at: u64, bytes: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            let (source, offset, room) = self.find(at.checked_add(done as u64))?;
            let end = bytes.len().min(done.saturating_add(room));
            match rustix::io::pread(source.as_fd(), &mut bytes[done..end], offset) {
                Ok(count @ 1..) => done += count,
                Ok(0) => return Err(Errno::EFAULT),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Writes where the guest has it at an address in its window.
    ///
    /// # Errors
    /// `EFAULT` if there is no file there that may be written, or it has ended.
    pub fn write_guest(&self, at: u64, bytes: &[u8]) -> Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            let (source, offset, room) = self.find(at.checked_add(done as u64))?;
            let part = &bytes[done..bytes.len().min(done.saturating_add(room))];
            let size = rustix::fs::fstat(source.as_fd())?.st_size.cast_unsigned();
            if !source.writable || offset.saturating_add(part.len() as u64) > size {
                return Err(Errno::EFAULT);
            }
            match rustix::io::pwrite(source.as_fd(), part, offset)? {
                0 => return Err(Errno::EFAULT),
                count => done += count,
            }
        }
        Ok(())
    }

    /// The file that the guest has at an address, where in it that is, and how much follows.
    fn find(&self, at: Option<u64>) -> Result<(Arc<Source>, u64, usize)> {
        let state = self.lock();
        let at = at.zip(state.base).and_then(|(at, base)| at.checked_sub(base));
        let found = at.and_then(|at| state.extents.at(at)).ok_or(Errno::EFAULT)?;
        let (mapping, skip) = found;
        let room = usize::try_from(mapping.len - skip).unwrap_or(usize::MAX);
        Ok((mapping.file.clone(), mapping.offset + skip, room))
    }
}

impl State {
    /// Where the window begins if this is one of its mappings.
    fn base_of(&self, file: (u64, u64), offset: u64, at: u64, len: u64) -> Option<u64> {
        let mut alike = self.extents.iter().filter(|mapping| {
            (mapping.offset, mapping.len) == (offset, len) && number(&*mapping.file) == Some(file)
        });
        // The same part of a file may be mapped twice.
        let first = alike.next()?;
        if alike.next().is_some() { None } else { at.checked_sub(first.start) }
    }
}
