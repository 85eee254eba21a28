//! What the other side is told without having asked.

use std::ffi::CStr;

use zerocopy::IntoBytes;

use super::abi::{NotifyInvalEntryOut, NotifyInvalInodeOut, OutHeader};
use super::errno::Result;
use super::filesystem::NodeId;

/// What somebody else has changed. What is not in the other side's cache is `ENOENT`, which is
/// as good.
///
/// What else the protocol has is not here: a deletion names the child by its nodeid, and we have
/// none of a parent and a name; requests are sent again for a server that takes a connection over,
/// whose nodeids would be unknown to ours; and nobody here has content to store or to take back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice<'a> {
    /// Attributes are not what they were.
    Attributes(NodeId),
    /// Attributes and content are not what they were.
    Content(NodeId),
    /// A name in a directory may mean something else now, or nothing.
    Name(NodeId, &'a CStr),
    /// So may a name, but whoever uses what it means now is not disturbed unless it does
    /// (since 7.38, if `HAS_EXPIRE_ONLY` was offered).
    Expired(NodeId, &'a CStr),
    /// Any name may (since 7.44).
    AllNames,
}

/// A carrier that can tell the other side of changes.
///
/// The other side may hold a lock on an inode while it waits for an answer about it, and take
/// the same lock to hear of a change: so no thread may tell of one while it has a request to
/// answer, nor while it holds what answering needs.
pub trait Notify: Send + Sync {
    /// Tells of a change.
    ///
    /// # Errors
    /// What the other side says.
    fn notify(&self, notice: Notice<'_>) -> Result<()>;
}

const INVAL_INODE: i32 = 2;
const INVAL_ENTRY: i32 = 3;
const INC_EPOCH: i32 = 8;

/// `FUSE_EXPIRE_ONLY`.
const EXPIRE_ONLY: u32 = 1;

impl Notice<'_> {
    /// Replaces the content of `message` by the notice as it is on the wire.
    pub fn write(self, message: &mut Vec<u8>) {
        message.clear();
        message.extend([0; size_of::<OutHeader>()]);
        let code = match self {
            Notice::Attributes(node) => {
                let body = NotifyInvalInodeOut { ino: node.0, off: -1, len: 0 };
                message.extend(body.as_bytes());
                INVAL_INODE
            }
            Notice::Content(node) => {
                let body = NotifyInvalInodeOut { ino: node.0, off: 0, len: 0 };
                message.extend(body.as_bytes());
                INVAL_INODE
            }
            Notice::Name(parent, name) | Notice::Expired(parent, name) => {
                let flags = if matches!(self, Notice::Expired(..)) { EXPIRE_ONLY } else { 0 };
                let namelen = u32::try_from(name.count_bytes()).unwrap_or(u32::MAX);
                let body = NotifyInvalEntryOut { parent: parent.0, namelen, flags };
                message.extend(body.as_bytes());
                message.extend(name.to_bytes_with_nul());
                INVAL_ENTRY
            }
            Notice::AllNames => INC_EPOCH,
        };
        let len = u32::try_from(message.len()).unwrap_or(u32::MAX);
        let head = OutHeader { len, error: code, unique: 0 };
        message[..size_of::<OutHeader>()].copy_from_slice(head.as_bytes());
    }
}
