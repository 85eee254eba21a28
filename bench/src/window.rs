//! The front-end's half of a DAX window: it maps files when the daemon asks it to.
#![expect(unsafe_code, reason = "maps files over a reserved range of addresses")]

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use vhost::vhost_user::message::{VhostUserMMap, VhostUserMMapFlags};
use vhost::vhost_user::{FrontendReqHandler, HandlerResult, VhostUserFrontendReqHandler};

use crate::error::{Error, Result};
use crate::memory::PAGE;

/// What a front-end maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Whatever `mmap(2)` does.
    Exact,
    /// What QEMU 11.1 does: only whole pages inside of a file, and all of them writable.
    Qemu,
}

/// A window, with the files really mapped. Whatever the protocol forbids is remembered.
pub struct DaxWindow {
    base: *mut u8,
    size: u64,
    profile: Profile,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Lengths by offset.
    mapped: BTreeMap<u64, u64>,
    requests: usize,
    /// Requests are answered only when this ends.
    held: bool,
    /// A request waits for that.
    waiting: bool,
    refuses: bool,
    crimes: Vec<String>,
}

// SAFETY: the addresses are only ever given to the kernel.
unsafe impl Send for DaxWindow {}
// SAFETY: as for Send.
unsafe impl Sync for DaxWindow {}

impl DaxWindow {
    /// An empty window of `size` bytes.
    ///
    /// # Errors
    /// There are no addresses for it.
    pub fn new(size: u64, profile: Profile) -> Result<Arc<Self>> {
        let len = usize::try_from(size).map_err(|_| Error::Full)?;
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let base =
            unsafe { mmap_anonymous(ptr::null_mut(), len, ProtFlags::empty(), MapFlags::PRIVATE)? };
        let (state, changed) = (Mutex::default(), Condvar::new());
        Ok(Arc::new(DaxWindow { base: base.cast(), size, profile, state, changed }))
    }

    /// Answers the daemon on a thread, for as long as it talks to us. Returns the descriptor to
    /// give to it.
    ///
    /// # Errors
    /// There is no socket, or no thread.
    pub fn listen(self: &Arc<Self>) -> Result<OwnedFd> {
        let mut handler = FrontendReqHandler::new(self.clone()).map_err(io::Error::other)?;
        handler.set_reply_ack_flag(true);
        // SAFETY: the handler owns the descriptor, and lives at least as long as it is borrowed.
        let theirs = unsafe { BorrowedFd::borrow_raw(handler.get_tx_raw_fd()) };
        let theirs = theirs.try_clone_to_owned()?;
        // The handler keeps a copy of the daemon's end, so that it never sees the daemon's: the
        // thread ends with the process.
        std::thread::Builder::new().name("front-end".into()).spawn(move || {
            while !matches!(
                handler.handle_request(),
                Err(vhost::vhost_user::Error::Disconnected
                    | vhost::vhost_user::Error::SocketBroken(_))
            ) {}
        })?;
        Ok(theirs)
    }

    /// What the guest sees at `offset`; None if there is something that cannot be seen, because
    /// nothing is mapped there or the file has ended.
    #[must_use]
    pub fn read(&self, offset: u64, len: usize) -> Option<Vec<u8>> {
        let file = scratch()?;
        let at = self.at(offset);
        // SAFETY: the kernel reads at addresses that are ours to map, and tells if it cannot.
        let read = unsafe { libc::pwrite(file.as_raw_fd(), at.cast(), len, 0) };
        let mut bytes = vec![0; len];
        (usize::try_from(read) == Ok(len)).then_some(())?;
        rustix::io::pread(&file, &mut bytes, 0).ok()?;
        Some(bytes)
    }

    /// The guest writes at `offset`; false if it cannot.
    #[must_use]
    pub fn write(&self, offset: u64, bytes: &[u8]) -> bool {
        let Some(file) = scratch() else { return false };
        if rustix::io::pwrite(&file, bytes, 0) != Ok(bytes.len()) {
            return false;
        }
        let at = self.at(offset);
        // SAFETY: as for read; the kernel writes only to what is mapped writable.
        let written = unsafe { libc::pread(file.as_raw_fd(), at.cast(), bytes.len(), 0) };
        usize::try_from(written) == Ok(bytes.len())
    }

    /// Mappings, by offset and length.
    #[must_use]
    pub fn mapped(&self) -> Vec<(u64, u64)> {
        self.lock().mapped.iter().map(|(start, len)| (*start, *len)).collect()
    }

    /// Requests that were answered.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.lock().requests
    }

    /// From now on requests are not answered, or are again.
    pub fn hold(&self, held: bool) {
        self.lock().held = held;
        self.changed.notify_all();
    }

    /// From now on nothing is mapped, or is again.
    pub fn refuse(&self, refuses: bool) {
        self.lock().refuses = refuses;
    }

    /// Waits until a request waits for the end of a [`hold`](Self::hold).
    ///
    /// # Errors
    /// None came in time.
    pub fn wait_for_request(&self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        while !state.waiting {
            let left = deadline.checked_duration_since(Instant::now()).ok_or(Error::Timeout)?;
            state =
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// Unmaps everything, as at a reset of the device.
    pub fn reset(&self) {
        let mapped = std::mem::take(&mut self.lock().mapped);
        for (start, len) in mapped {
            self.clear(start, len);
        }
    }

    /// What the daemon asked for against the protocol.
    #[must_use]
    pub fn crimes(&self) -> Vec<String> {
        self.lock().crimes.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at(&self, offset: u64) -> *mut u8 {
        assert!(offset < self.size);
        self.base.wrapping_add(usize::try_from(offset).expect("an address"))
    }

    fn clear(&self, start: u64, len: u64) {
        let (flags, len) = (MapFlags::PRIVATE | MapFlags::FIXED, usize::try_from(len));
        // SAFETY: inside of the range that new() has reserved, of which nobody has references.
        let cleared = unsafe {
            mmap_anonymous(self.at(start).cast(), len.expect("mapped"), ProtFlags::empty(), flags)
        };
        cleared.expect("addresses that are reserved");
    }

    /// Waits for the end of a hold; notes what is wrong with a request anyway.
    fn receive(&self, request: &VhostUserMMap) -> io::Result<(u64, u64)> {
        let mut state = self.lock();
        while state.held {
            state.waiting = true;
            self.changed.notify_all();
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting = false;
        state.requests += 1;
        let (start, len) = (request.shm_offset, request.len);
        let aligned = [start, len, request.fd_offset].iter().all(|at| at.is_multiple_of(PAGE));
        let inside = start.checked_add(len).is_some_and(|end| end <= self.size);
        if request.shmid != 0 || !aligned || !inside {
            state.crimes.push(format!("{request:x?}"));
            return Err(no());
        }
        Ok((start, len))
    }

    fn map_file(&self, start: u64, file: &dyn AsRawFd, request: &VhostUserMMap) -> io::Result<()> {
        // SAFETY: the handler owns the descriptor until we return.
        let file = unsafe { BorrowedFd::borrow_raw(file.as_raw_fd()) };
        let (len, offset) = (request.len, request.fd_offset);
        let writable = request.flags & VhostUserMMapFlags::WRITABLE.bits() != 0;
        let size = u64::try_from(rustix::fs::fstat(file)?.st_size).map_err(|_| no())?;
        if self.profile == Profile::Qemu && offset.saturating_add(len) > size {
            return Err(no());
        }
        let mut access = ProtFlags::READ;
        access.set(ProtFlags::WRITE, writable || self.profile == Profile::Qemu);
        let (flags, len) = (MapFlags::SHARED | MapFlags::FIXED, usize::try_from(len));
        // SAFETY: as in clear().
        unsafe {
            mmap(self.at(start).cast(), len.map_err(|_| no())?, access, flags, file, offset)?
        };
        Ok(())
    }
}

fn no() -> io::Error {
    io::Error::from_raw_os_error(libc::EINVAL)
}

/// A file in memory, to have the kernel copy from and to.
fn scratch() -> Option<OwnedFd> {
    rustix::fs::memfd_create("scratch", rustix::fs::MemfdFlags::CLOEXEC).ok()
}

impl VhostUserFrontendReqHandler for DaxWindow {
    fn shmem_map(&self, request: &VhostUserMMap, file: &dyn AsRawFd) -> HandlerResult<u64> {
        let (start, len) = self.receive(request)?;
        let mut state = self.lock();
        if state.refuses {
            return Err(no());
        }
        let before = state.mapped.range(..start + len).next_back();
        if before.is_some_and(|(before, len)| before + len > start) {
            state.crimes.push(format!("a map over a map: {request:x?}"));
            return Err(no());
        }
        self.map_file(start, file, request)?;
        state.mapped.insert(start, len);
        Ok(0)
    }

    fn shmem_unmap(&self, request: &VhostUserMMap) -> HandlerResult<u64> {
        let (start, len) = self.receive(request)?;
        let mut state = self.lock();
        if state.mapped.get(&start) != Some(&len) {
            return Err(no());
        }
        state.mapped.remove(&start);
        self.clear(start, len);
        Ok(0)
    }
}

impl Drop for DaxWindow {
    fn drop(&mut self) {
        let len = usize::try_from(self.size).expect("mapped");
        // SAFETY: the range that new() has mapped; nobody has references into it. It fails only
        // for arguments that are no range.
        let _ = unsafe { munmap(self.base.cast(), len) };
    }
}
