//! Threads that are other users.
#![expect(unsafe_code, reason = "calls that rustix leaves to its caller, or does not have")]

use std::ffi::CString;
use std::io;
use std::path::Path;

use rustix::process::{Gid, Uid};
use rustix::thread::{
    UnshareFlags, set_thread_groups, set_thread_res_gid, set_thread_res_uid, unshare_unsafe,
};

/// A user with its groups, of which the first is the main one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct User(pub(super) u32, pub(super) &'static [u32]);

pub(super) const ROOT: User = User(0, &[0]);

/// Runs `act` as a user, whose rights are gone with its id, on a thread with a umask of its own.
pub(super) fn acting<T: Send>(user: User, umask: u32, act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            unshare(UnshareFlags::FS).unwrap();
            rustix::process::umask(umask.into());
            let User(uid, groups) = user;
            let groups: Vec<_> = groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
            set_thread_groups(&groups[1..]).unwrap();
            set_thread_res_gid(groups[0], groups[0], groups[0]).unwrap();
            let uid = Uid::from_raw(uid);
            set_thread_res_uid(uid, uid, uid).unwrap();
            act()
        });
        thread.join().unwrap()
    })
}

/// Gives the calling thread something of its own.
pub(super) fn unshare(what: UnshareFlags) -> rustix::io::Result<()> {
    assert!(!what.contains(UnshareFlags::FILES));
    // SAFETY: the table of descriptors stays shared, as everybody expects.
    unsafe { unshare_unsafe(what) }
}

/// truncate(2), which opens nothing.
pub(super) fn truncate(path: &Path, len: i64) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_encoded_bytes())?;
    // SAFETY: the path is a string with its NUL.
    match unsafe { libc::truncate(path.as_ptr(), len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
