//! What can be measured.

use std::fs::File;
use std::sync::Arc;

use ferryfs::fuse::abi::*;
use ferryfs::fuse::flags::{init, write};
use ferryfs::fuse::{Errno, Opcode};
use rustix::fs::Advice;
use zerocopy::IntoBytes;

use super::message::Message;
use super::script::{Effect, Fill, Script, Step};
use super::tree::{DATA, SMALL, TARGET, Tree, XATTR, name};
use crate::client::{Caller, Client};
use crate::error::Result;
use crate::frame::Request;
use crate::memory::Region;
use crate::requests::ROOT;

/// Where an operation finds its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file system with storage.
    Storage,
    /// One in memory: where inodes are made, that of many file systems hides the daemon's.
    Memory,
}

/// A cycle of requests.
#[derive(Clone, Copy)]
pub struct Operation {
    /// By which it is asked for.
    pub name: &'static str,
    /// Where its files are.
    pub place: Place,
    pub(super) build: Builder,
    /// What others do meanwhile, and how many.
    pub(super) beside: Option<(Builder, usize)>,
}

pub(super) type Builder = fn(&mut Site<'_>, usize) -> Result<Script>;

/// All operations.
pub const OPERATIONS: [Operation; 31] = [
    op("getattr", getattr),
    op("lookup-known", |site, slot| lookup(site, slot, Effect::Entry)),
    op("lookup-miss", miss),
    op("lookup-forget", |site, slot| lookup(site, slot, Effect::EntryToForget)),
    op("open-release", open),
    op("read-4k", |site, slot| read(site, slot, 4 << 10)),
    op("read-128k", |site, slot| read(site, slot, 128 << 10)),
    op("read-1m", |site, slot| read(site, slot, 1 << 20)),
    op("read-cold-4k", |site, slot| cold_read(site, slot, 4 << 10, 128 << 10)),
    op("write-4k", |site, slot| write(site, slot, 4 << 10)),
    op("write-1m", |site, slot| write(site, slot, 1 << 20)),
    in_memory("write-4k-tmpfs", |site, slot| write(site, slot, 4 << 10)),
    op("readdirplus-32k", |site, _| list(site, 1000, 32 << 10)),
    op("readdirplus-4k", |site, _| list(site, 1000, 4 << 10)),
    in_memory("readdirplus-100k", |site, _| list(site, 100_000, 32 << 10)),
    in_memory("create-root", |site, slot| create(site, slot, 0)),
    in_memory("create-1000", |site, slot| create(site, slot, 1000)),
    op("small-file", small),
    op("getxattr-hit", |site, slot| getxattr(site, slot, XATTR, Effect::Nothing)),
    op("getxattr-miss", |site, slot| {
        getxattr(site, slot, "security.capability", Effect::Fails(Errno::ENODATA))
    }),
    op("flush", flush),
    in_memory("getattr-tmpfs", getattr),
    in_memory("lookup-known-tmpfs", |site, slot| lookup(site, slot, Effect::Entry)),
    in_memory("lookup-miss-tmpfs", miss),
    in_memory("lookup-forget-tmpfs", |site, slot| lookup(site, slot, Effect::EntryToForget)),
    in_memory("open-release-tmpfs", open),
    in_memory("read-4k-tmpfs", |site, slot| read(site, slot, 4 << 10)),
    in_memory("small-file-tmpfs", small),
    beside("getattr-fsync", fsync, 1),
    beside("getattr-cold-read", |site, slot| cold_read(site, slot, 128 << 10, 1 << 20), 4),
    beside("getattr-lock", lock, 4),
];

const fn op(name: &'static str, build: Builder) -> Operation {
    Operation { name, place: Place::Storage, build, beside: None }
}

const fn in_memory(name: &'static str, build: Builder) -> Operation {
    Operation { name, place: Place::Memory, build, beside: None }
}

const fn beside(name: &'static str, other: Builder, count: usize) -> Operation {
    Operation { name, place: Place::Storage, build: getattr, beside: Some((other, count)) }
}

impl Operation {
    /// The operation of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        OPERATIONS.into_iter().find(|operation| operation.name == name)
    }

    /// True if it goes on beside other requests that take long.
    #[must_use]
    pub fn is_beside_others(&self) -> bool {
        self.beside.is_some()
    }
}

/// Where scripts are made.
pub(super) struct Site<'a> {
    pub(super) client: &'a mut Client,
    pub(super) region: &'a Arc<Region>,
    pub(super) tree: &'a Tree,
    /// Files that stay open, with their inodes.
    pub(super) opened: &'a mut Vec<(u64, u64)>,
}

impl Site<'_> {
    fn message(&self, request: &Request<'_>) -> Result<Message> {
        Message::new(self.region, request)
    }

    fn step(&self, request: &Request<'_>, fill: Fill, effect: Effect) -> Result<Step> {
        Ok(Step::new(self.message(request)?, fill, effect))
    }

    fn node(&mut self, kind: &str, slot: usize) -> Result<u64> {
        Ok(self.client.lookup(ROOT, name(kind, slot))?.nodeid)
    }

    /// An open file, and its inode.
    fn file(&mut self, name: &str) -> Result<(u64, u64)> {
        let node = self.client.lookup(ROOT, name)?.nodeid;
        let handle = self.client.open(node, libc::O_RDWR)?.fh;
        self.opened.push((node, handle));
        Ok((node, handle))
    }
}

fn request(opcode: Opcode, node: u64) -> Request<'static> {
    Request { opcode: opcode as u32, node, ..Request::default() }
}

fn zero(name: &str) -> Vec<u8> {
    [name.as_bytes(), &[0]].concat()
}

fn one(step: Step) -> Script {
    Script::new(vec![step], 0)
}

fn getattr(site: &mut Site<'_>, slot: usize) -> Result<Script> {
    let node = site.node("known", slot)?;
    let arg = GetattrIn { getattr_flags: 0, dummy: 0, fh: 0 };
    let (args, reply) = (&[arg.as_bytes()][..], size_of::<AttrOut>());
    let ask = Request { args, reply, ..request(Opcode::Getattr, node) };
    Ok(one(site.step(&ask, Fill::Nothing, Effect::Nothing)?))
}

fn looking_up<'a>(args: &'a [&'a [u8]]) -> Request<'a> {
    Request { args, reply: size_of::<EntryOut>(), ..request(Opcode::Lookup, ROOT) }
}

fn lookup(site: &mut Site<'_>, slot: usize, effect: Effect) -> Result<Script> {
    let kind = match effect {
        Effect::EntryToForget => "other",
        _ => "known",
    };
    let name = zero(&name(kind, slot));
    Ok(one(site.step(&looking_up(&[&name]), Fill::Nothing, effect)?))
}

fn miss(site: &mut Site<'_>, slot: usize) -> Result<Script> {
    let missing = name("missing", slot);
    // Without negative entries it is an error.
    let effect = match site.client.lookup(ROOT, &missing) {
        Ok(_) => Effect::Nothing,
        Err(_) => Effect::Fails(Errno::ENOENT),
    };
    Ok(one(site.step(&looking_up(&[&zero(&missing)]), Fill::Nothing, effect)?))
}

fn opening(site: &Site<'_>, node: u64, fill: Fill) -> Result<Step> {
    let arg = OpenIn { flags: libc::O_RDONLY.cast_unsigned(), open_flags: 0 };
    let (args, reply) = (&[arg.as_bytes()][..], size_of::<OpenOut>());
    let ask = Request { args, reply, ..request(Opcode::Open, node) };
    site.step(&ask, fill, Effect::Opened)
}

fn releasing(site: &Site<'_>, node: u64, fill: Fill) -> Result<Step> {
    let arg = ReleaseIn { fh: 0, flags: 0, release_flags: 0, lock_owner: 0 };
    let ask = Request { args: &[arg.as_bytes()], ..request(Opcode::Release, node) };
    site.step(&ask, fill, Effect::Nothing)
}

fn open(site: &mut Site<'_>, slot: usize) -> Result<Script> {
    let node = site.node("small", slot)?;
    let steps = vec![opening(site, node, Fill::Nothing)?, releasing(site, node, Fill::Handle)?];
    Ok(Script::new(steps, 0))
}

fn reading(
    site: &Site<'_>,
    (node, fh): (u64, u64),
    size: u32,
    (fill, effect): (Fill, Effect),
) -> Result<Step> {
    let flags = libc::O_RDWR.cast_unsigned();
    let arg = ReadIn { fh, offset: 0, size, read_flags: 0, lock_owner: 0, flags, padding: 0 };
    let (args, reply_data) = (&[arg.as_bytes()][..], size as usize);
    let ask = Request { args, reply_data, ..request(Opcode::Read, node) };
    site.step(&ask, fill, effect)
}

/// Slots begin at different places of the file.
fn place(slot: usize, size: u64, len: u64) -> u64 {
    ((slot as u64 * 7) << 20) % len / size * size
}

fn read(site: &mut Site<'_>, slot: usize, size: u32) -> Result<Script> {
    site.tree.data()?;
    let file = site.file("data")?;
    let next = Fill::Next(size.into(), DATA);
    let step = reading(site, file, size, (next, Effect::Nothing))?;
    Ok(Script::new(vec![step], place(slot, size.into(), DATA)))
}

fn writing(site: &mut Site<'_>, slot: usize, size: u32) -> Result<(Step, (u64, u64))> {
    site.tree.target(slot)?;
    let (node, fh) = site.file(&name("target", slot))?;
    // As Linux writes its cache through when the flag was accepted.
    let kills = site.client.agreed & init::HANDLE_KILLPRIV_V2 != 0;
    let write_flags = if kills { write::KILL_SUIDGID } else { 0 };
    let flags = libc::O_RDWR.cast_unsigned();
    let arg = WriteIn { fh, offset: 0, size, write_flags, lock_owner: 0, flags, padding: 0 };
    let (args, data) = (&[arg.as_bytes()][..], &vec![0xa5; size as usize][..]);
    let reply = size_of::<WriteOut>();
    let ask = Request { args, data, reply, ..request(Opcode::Write, node) };
    let step = site.step(&ask, Fill::Next(size.into(), TARGET), Effect::Nothing)?;
    Ok((step, (node, fh)))
}

fn write(site: &mut Site<'_>, slot: usize, size: u32) -> Result<Script> {
    Ok(one(writing(site, slot, size)?.0))
}

fn fsync(site: &mut Site<'_>, slot: usize) -> Result<Script> {
    let (write, (node, fh)) = writing(site, slot, 4 << 10)?;
    let arg = FsyncIn { fh, fsync_flags: 0, padding: 0 };
    let ask = Request { args: &[arg.as_bytes()], ..request(Opcode::Fsync, node) };
    let sync = site.step(&ask, Fill::Nothing, Effect::Nothing)?;
    Ok(Script::new(vec![write, sync], 0))
}

/// Every slot reads a part of each stretch, as long as the host reads ahead, and takes the stretch
/// out of the cache again.
fn cold_read(site: &mut Site<'_>, slot: usize, size: u32, stretch: u64) -> Result<Script> {
    let host = File::open(site.tree.data()?)?;
    // As a whole first: what was written is in large folios, of which no part goes alone.
    rustix::fs::fadvise(&host, 0, None, Advice::DontNeed)?;
    let file = site.file("data")?;
    let fills = (Fill::Next(stretch, DATA), Effect::Evict(host, stretch));
    let step = reading(site, file, size, fills)?;
    Ok(Script::new(vec![step], place(slot, stretch, DATA)))
}

/// All slots want one lock.
fn lock(site: &mut Site<'_>, slot: usize) -> Result<Script> {
    let (node, fh) = site.file(&name("known", 0))?;
    let step = |opcode, kind: i32| {
        let (start, end, pid) = (0, u64::MAX >> 1, 1);
        let lk = FileLock { start, end, kind: kind.cast_unsigned(), pid };
        let arg = LkIn { fh, owner: slot as u64 + 1, lk, lk_flags: 0, padding: 0 };
        let ask = Request { args: &[arg.as_bytes()], ..request(opcode, node) };
        site.step(&ask, Fill::Nothing, Effect::Nothing)
    };
    let steps = vec![step(Opcode::Setlkw, libc::F_WRLCK)?, step(Opcode::Setlk, libc::F_UNLCK)?];
    Ok(Script::new(steps, 0))
}

fn list(site: &mut Site<'_>, count: usize, size: u32) -> Result<Script> {
    let name = site.tree.full(count)?;
    let node = site.client.lookup(ROOT, name)?.nodeid;
    let arg = OpenIn { flags: 0, open_flags: 0 };
    let (args, reply) = (&[arg.as_bytes()][..], size_of::<OpenOut>());
    let ask = Request { args, reply, ..request(Opcode::Opendir, node) };
    let open = site.step(&ask, Fill::Nothing, Effect::Opened)?;

    let (fh, offset) = (0, 0);
    let arg = ReadIn { fh, offset, size, read_flags: 0, lock_owner: 0, flags: 0, padding: 0 };
    let (args, reply_data) = (&[arg.as_bytes()][..], size as usize);
    let ask = Request { args, reply_data, ..request(Opcode::Readdirplus, node) };
    // Few are known already when a listing begins again; many are not.
    let effect = Effect::Listing { forgets: count > 1000 };
    let list = site.step(&ask, Fill::Position, effect)?;

    let arg = ReleaseIn { fh, flags: 0, release_flags: 0, lock_owner: 0 };
    let ask = Request { args: &[arg.as_bytes()], ..request(Opcode::Releasedir, node) };
    let release = site.step(&ask, Fill::Handle, Effect::Closed)?;
    Ok(Script::new(vec![open, list, release], 0))
}

fn create(site: &mut Site<'_>, slot: usize, uid: u32) -> Result<Script> {
    let dir = site.client.lookup(ROOT, "made")?.nodeid;
    let caller = Caller { uid, gid: uid, pid: 1 };
    let name = zero(&name("made", slot));

    let flags = (libc::O_RDWR | libc::O_CREAT | libc::O_EXCL).cast_unsigned();
    let arg = CreateIn { flags, mode: libc::S_IFREG | 0o644, umask: 0o22, open_flags: 0 };
    let (args, reply) = (&[arg.as_bytes(), &name][..], size_of::<CreateOut>());
    let ask = Request { args, reply, caller, ..request(Opcode::Create, dir) };
    let create = site.step(&ask, Fill::Nothing, Effect::Created)?;
    let release = releasing(site, 0, Fill::NodeAndHandle)?;
    let ask = Request { args: &[&name], caller, ..request(Opcode::Unlink, dir) };
    let unlink = site.step(&ask, Fill::Nothing, Effect::Forgets)?;
    Ok(Script::new(vec![create, release, unlink], 0))
}

fn flushing(site: &Site<'_>, node: u64, fh: u64, fill: Fill) -> Result<Step> {
    let arg = FlushIn { fh, unused: 0, padding: 0, lock_owner: 0 };
    let ask = Request { args: &[arg.as_bytes()], ..request(Opcode::Flush, node) };
    site.step(&ask, fill, Effect::Flushed)
}

fn flush(site: &mut Site<'_>, slot: usize) -> Result<Script> {
    let (node, fh) = site.file(&name("small", slot))?;
    Ok(one(flushing(site, node, fh, Fill::Nothing)?))
}

/// What a program makes of reading a small file that the guest does not know.
fn small(site: &mut Site<'_>, slot: usize) -> Result<Script> {
    let name = zero(&name("small", slot));
    let lookup = site.step(&looking_up(&[&name]), Fill::Nothing, Effect::Entry)?;
    let open = opening(site, 0, Fill::Node)?;
    let size = u32::try_from(SMALL.next_multiple_of(4096)).unwrap_or(4096);
    let read = reading(site, (0, 0), size, (Fill::NodeAndHandle, Effect::Nothing))?;
    let flush = flushing(site, 0, 0, Fill::NodeAndHandle)?;
    let arg = ReleaseIn { fh: 0, flags: 0, release_flags: 0, lock_owner: 0 };
    let ask = Request { args: &[arg.as_bytes()], ..request(Opcode::Release, 0) };
    let release = site.step(&ask, Fill::NodeAndHandle, Effect::Forgets)?;
    Ok(Script::new(vec![lookup, open, read, flush, release], 0))
}

fn getxattr(site: &mut Site<'_>, slot: usize, xattr: &str, effect: Effect) -> Result<Script> {
    let node = site.node("small", slot)?;
    let arg = GetxattrSize { size: 64, padding: 0 };
    let name = zero(xattr);
    let (args, reply) = (&[arg.as_bytes(), &name][..], 64);
    let ask = Request { args, reply, ..request(Opcode::Getxattr, node) };
    Ok(one(site.step(&ask, Fill::Nothing, effect)?))
}
