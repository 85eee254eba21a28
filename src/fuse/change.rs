//! What SETATTR changes.

use super::filesystem::Handle;

/// A time to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// The server's clock.
    Now,
    /// Seconds since 1970, perhaps negative, and nanoseconds.
    At(i64, u32),
}

/// What SETATTR shall change; the rest stays.
#[derive(Clone, Copy, Debug, Default)]
pub struct AttrChange {
    /// An open file of the inode through which to change it.
    pub handle: Option<Handle>,
    /// Permission bits (the type bits are to be ignored).
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Size in bytes.
    pub size: Option<u64>,
    /// Time of last access.
    pub atime: Option<SetTime>,
    /// Time of last modification.
    pub mtime: Option<SetTime>,
    /// Set-user-id and set-group-id shall go, as after a write by a caller without privilege.
    pub kill_suidgid: bool,
}
