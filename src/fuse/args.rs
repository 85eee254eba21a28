//! Taking arguments off the private copy of a request.

use std::ffi::CStr;

use zerocopy::{FromBytes, Immutable};

use super::errno::{Errno, Result};
use super::name::Name;

/// The bytes of a request's copy that were not taken yet.
pub(super) struct Args<'a> {
    rest: &'a [u8],
}

impl<'a> Args<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Args { rest }
    }

    pub(super) fn fixed<T: FromBytes + Immutable>(&mut self) -> Result<T> {
        let (value, rest) = T::read_from_prefix(self.rest).map_err(|_| Errno::EINVAL)?;
        self.rest = rest;
        Ok(value)
    }

    /// A NUL-terminated string of any content.
    pub(super) fn text(&mut self) -> Result<&'a CStr> {
        let text = CStr::from_bytes_until_nul(self.rest).map_err(|_| Errno::EINVAL)?;
        self.rest = &self.rest[text.to_bytes_with_nul().len()..];
        Ok(text)
    }

    pub(super) fn name(&mut self) -> Result<&'a Name> {
        Name::new(self.text()?)
    }

    pub(super) fn bytes(&mut self, len: usize) -> Result<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(Errno::EINVAL)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// The last `len` bytes, which are then gone.
    pub(super) fn tail(&mut self, len: usize) -> Result<&'a [u8]> {
        let at = self.rest.len().checked_sub(len).ok_or(Errno::EINVAL)?;
        let (rest, tail) = self.rest.split_at(at);
        self.rest = rest;
        Ok(tail)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}
