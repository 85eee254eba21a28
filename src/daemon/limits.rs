//! How many files may be open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Asking for more than this helps nobody and may be refused.
const MOST: u64 = 1_000_000;

/// Sets the limit of open files and returns what holds afterwards. Without a wish it becomes the
/// hard limit, but no more than a million; 0 leaves it alone.
pub(super) fn set_open_files(wish: Option<u64>) -> u64 {
    let now = getrlimit(Resource::Nofile);
    let hard = now.maximum.unwrap_or(u64::MAX);
    let soft = now.current.unwrap_or(u64::MAX);
    let limit = match wish {
        Some(0) => return soft,
        Some(limit) => limit,
        None => hard.min(MOST),
    };
    let wanted = Rlimit { current: Some(limit), maximum: Some(limit.max(hard)) };
    let Err(error) = setrlimit(Resource::Nofile, wanted) else { return limit };
    let most = Rlimit { current: now.maximum, maximum: now.maximum };
    let now = setrlimit(Resource::Nofile, most).map_or(soft, |()| hard);
    log::warn!(
        "--rlimit-nofile: cannot set the limit of open files to {limit} ({error}); going on with \
         {now}, raise the hard limit ({hard}) for more"
    );
    now
}

/// What the process itself needs: rings, memory of the guest, threads, the log.
const RESERVE: u64 = 256;

/// How many descriptors may be held for the guest, out of `limit`.
pub(super) fn for_the_guest(limit: u64) -> usize {
    let left = limit.saturating_sub(RESERVE).max(limit / 2);
    usize::try_from(left).unwrap_or(usize::MAX)
}

/// What an inode that the guest knows takes of our memory, at most: itself, and its places in
/// tables that grow by doubling.
const INODE: u64 = 512;

/// How many inodes the guest may know, unless that is asked for: they take up to an eighth of the
/// host's memory.
pub(super) fn inodes() -> usize {
    let host = rustix::system::sysinfo();
    let bytes = host.totalram.saturating_mul(host.mem_unit.into());
    usize::try_from(bytes / 8 / INODE).unwrap_or(usize::MAX)
}
