//! Eventfds: kicks and calls.
#![expect(unsafe_code, reason = "lends a descriptor that vmm-sys-util does not lend")]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::error::Result;

/// An event that one side sends and the other waits for.
pub struct Event(EventFd);

impl Event {
    /// An event that has not happened.
    ///
    /// # Errors
    /// Whatever `eventfd(2)` gives.
    pub fn new() -> Result<Self> {
        Ok(Event(EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?))
    }

    /// One for which whoever writes to it or reads it waits.
    ///
    /// # Errors
    /// Whatever `eventfd(2)` gives.
    pub fn blocking() -> Result<Self> {
        Ok(Event(EventFd::new(EFD_CLOEXEC)?))
    }

    /// The same, which has happened so often that nobody can write to it before it is read.
    ///
    /// # Errors
    /// Whatever `eventfd(2)` gives.
    pub fn full() -> Result<Self> {
        let event = Self::blocking()?;
        event.0.write(u64::MAX - 1)?;
        Ok(event)
    }

    /// What is no event, and is given to the daemon as one.
    #[must_use]
    pub fn of(file: OwnedFd) -> Self {
        // SAFETY: the descriptor is open, and given away.
        Event(unsafe { EventFd::from_raw_fd(file.into_raw_fd()) })
    }

    /// Makes it happen once more.
    ///
    /// # Errors
    /// Whatever writing gives.
    pub fn notify(&self) -> Result<()> {
        Ok(self.0.write(1)?)
    }

    /// How often it has happened since the last time this was asked; it must be readable.
    ///
    /// # Errors
    /// Whatever reading gives.
    pub fn take(&self) -> Result<u64> {
        Ok(self.0.read()?)
    }

    pub(crate) fn inner(&self) -> &EventFd {
        &self.0
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the event is borrowed for as long as the descriptor is, and owns it.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}
