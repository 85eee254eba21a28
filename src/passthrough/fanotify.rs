//! fanotify(7), with names: who has changed what in which directory.
#![expect(unsafe_code, reason = "system calls that rustix does not have")]

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::path::DecInt;

use super::sys;
use crate::fuse::{Errno, Result};

/// Something has changed in a watched directory.
pub(super) struct Event<'a> {
    pub(super) mask: u64,
    /// The process that has changed it, or 0 for one that we are not told.
    pub(super) pid: i32,
    /// The directory's key and the name in it, `.` for itself; none if changes were lost.
    pub(super) place: Option<(&'a [u8], &'a CStr)>,
}

pub(super) const NAMES: u64 =
    libc::FAN_CREATE | libc::FAN_DELETE | libc::FAN_MOVED_FROM | libc::FAN_MOVED_TO;
pub(super) const MODIFY: u64 = libc::FAN_MODIFY;
pub(super) const LOST: u64 = libc::FAN_Q_OVERFLOW;

const WATCHED: u64 = NAMES | MODIFY | libc::FAN_ATTRIB | libc::FAN_EVENT_ON_CHILD | libc::FAN_ONDIR;

/// A group of watches, as everybody may make one.
pub(super) fn group() -> Result<OwnedFd> {
    let flags = libc::FAN_CLASS_NOTIF | libc::FAN_REPORT_DFID_NAME | libc::FAN_CLOEXEC;
    // SAFETY: takes only numbers.
    let fd = unsafe { libc::fanotify_init(flags, libc::O_RDONLY as u32) };
    if fd < 0 {
        return Err(Errno::last());
    }
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Adds a directory to a group, or takes it out.
pub(super) fn mark(
    group: BorrowedFd<'_>,
    proc_fds: BorrowedFd<'_>,
    dir: BorrowedFd<'_>,
    add: bool,
) -> Result<()> {
    let what = if add { libc::FAN_MARK_ADD } else { libc::FAN_MARK_REMOVE };
    let name = DecInt::from_fd(dir);
    // SAFETY: the name is NUL-terminated; it leads to the directory past all others.
    let done = unsafe {
        libc::fanotify_mark(
            group.as_raw_fd(),
            what | libc::FAN_MARK_ONLYDIR,
            WATCHED,
            proc_fds.as_raw_fd(),
            name.as_c_str().as_ptr(),
        )
    };
    if done == 0 { Ok(()) } else { Err(Errno::last()) }
}

/// What names a directory in events: its file system and its handle.
pub(super) fn key(dir: BorrowedFd<'_>) -> Result<Vec<u8>> {
    let handle = sys::name_to_handle(dir, c"")?;
    let figures = rustix::fs::fstatfs(dir)?;
    // SAFETY: fsid_t is 8 bytes of plain numbers, which it does not let anybody look at.
    let fs: [u8; 8] = unsafe { std::mem::transmute(figures.f_fsid) };
    let bytes = handle.bytes.get(..handle.len as usize).ok_or(Errno::EOVERFLOW)?;
    Ok([&fs[..], &handle.len.to_ne_bytes(), &handle.kind.to_ne_bytes(), bytes].concat())
}

/// Bytes of the head of an event, and of a record in it before the handle.
const HEAD: usize = 24;
const RECORD: usize = 4;

/// The events in what was read from a group.
pub(super) fn events(mut read: &[u8]) -> impl Iterator<Item = Event<'_>> {
    std::iter::from_fn(move || {
        let len = u32::from_ne_bytes(field(read, 0)?) as usize;
        let event = read.get(..len.max(HEAD))?;
        read = &read[event.len()..];
        Some(Event {
            mask: u64::from_ne_bytes(field(event, 8)?),
            pid: i32::from_ne_bytes(field(event, 20)?),
            place: place(event.get(HEAD..)?),
        })
    })
}

/// The directory and the name in the first record.
fn place(records: &[u8]) -> Option<(&[u8], &CStr)> {
    let [kind, _, ..] = *records else { return None };
    let len = u16::from_ne_bytes(field(records, 2)?);
    let record = records.get(RECORD..usize::from(len))?;
    // The file system's id, the handle's length and kind, and the handle.
    let handle = u32::from_ne_bytes(field(record, 8)?) as usize;
    let (key, name) = record.split_at_checked(16 + handle)?;
    match kind {
        libc::FAN_EVENT_INFO_TYPE_DFID_NAME => Some((key, CStr::from_bytes_until_nul(name).ok()?)),
        libc::FAN_EVENT_INFO_TYPE_DFID => Some((key, c".")),
        _ => None,
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}
