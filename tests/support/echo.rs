//! A file system without files: every answer is made of the arguments, so that a reply shows
//! whether they arrived.

use std::ffi::CStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::time::Duration;

use ferryfs::fuse::abi::{Attr, FileLock, Kstatfs, Statx};
use ferryfs::fuse::*;
use ferryfs::mem::{Input, Output};
use zerocopy::FromZeros;

/// Remembers what cannot be told in a reply.
#[derive(Default)]
pub struct Echo {
    pub forgotten: Mutex<Vec<(u64, u64)>>,
    pub sessions: Mutex<(u32, u32)>,
}

fn hash(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

fn attr(what: impl Hash) -> Attr {
    Attr { ino: hash(what), mode: 0o100_644, ..Attr::new_zeroed() }
}

fn entry(what: impl Hash) -> Entry {
    let (attr_valid, entry_valid) = (Duration::from_millis(1500), Duration::from_nanos(7));
    Entry { node: NodeId(hash(&what) | 1), attr: attr(what), attr_valid, entry_valid }
}

fn attributes(what: impl Hash) -> Attributes {
    Attributes { attr: attr(what), valid: Duration::from_secs(3) }
}

/// Tells by its error number what arrived.
fn told(what: impl Hash) -> Result<()> {
    Err(Errno::from_raw(i32::try_from(1 + hash(what) % 511).unwrap()))
}

fn caller(by: &Caller) -> (u32, u32, u32, Option<u32>) {
    (by.uid, by.gid, by.pid, by.group)
}

fn place<'a>(at: &'a NewNode<'_>) -> impl Hash + Copy + 'a {
    let security = at.security.map(|security| (security.name, security.value));
    (at.parent.0, at.name, at.umask, security)
}

fn how(how: &Create) -> (u32, u32, bool) {
    (how.flags, how.mode, how.kill_suidgid)
}

fn opened(what: impl Hash) -> Opened {
    Opened { handle: Handle(hash(what)), flags: 5, backing: None }
}

fn fill(out: &mut [u8], what: impl Hash) -> Result<usize> {
    let bytes = hash(what).to_string().repeat(4).into_bytes();
    match out.len() {
        0 => Ok(bytes.len()),
        len if len < bytes.len() => Err(Errno::ERANGE),
        _ => {
            out[..bytes.len()].copy_from_slice(&bytes);
            Ok(bytes.len())
        }
    }
}

impl Mappings for Echo {
    fn setup(&self, node: NodeId, range: &MapRange) -> Result<()> {
        told((node, format!("{range:?}")))
    }
    fn remove(&self, ranges: Vec<(u64, u64)>) -> Result<()> {
        told(ranges)
    }
    fn begin(&self) {}
    fn clear(&self) {}
}

impl Filesystem for Echo {
    fn mappings(&self) -> Option<&dyn Mappings> {
        Some(self)
    }

    fn wanted(&self) -> u64 {
        u64::MAX
    }
    fn start(&self, _: &Negotiated) -> Result<()> {
        self.sessions.lock().unwrap().0 += 1;
        Ok(())
    }
    fn end(&self) {
        self.sessions.lock().unwrap().1 += 1;
    }
    fn lookup(&self, by: &Caller, parent: NodeId, name: &Name) -> Result<Entry> {
        Ok(entry((caller(by), parent, name)))
    }
    fn forget(&self, node: NodeId, lookups: u64) {
        self.forgotten.lock().unwrap().push((node.0, lookups));
    }
    fn getattr(&self, node: NodeId, handle: Option<Handle>) -> Result<Attributes> {
        Ok(attributes((node, handle)))
    }
    fn setattr(&self, by: &Caller, node: NodeId, change: &AttrChange) -> Result<Attributes> {
        Ok(attributes((caller(by), node, format!("{change:?}"))))
    }
    fn statx(&self, node: NodeId, handle: Option<Handle>, mask: u32) -> Result<StatxAttributes> {
        let stat = Statx { ino: hash((node, handle, mask)), ..Statx::new_zeroed() };
        Ok(StatxAttributes { stat, valid: Duration::from_secs(4) })
    }
    fn readlink(&self, node: NodeId, target: &mut [u8]) -> Result<usize> {
        fill(target, node)
    }
    fn symlink(&self, by: &Caller, at: &NewNode<'_>, target: &CStr) -> Result<Entry> {
        Ok(entry((caller(by), place(at), target)))
    }
    fn mknod(&self, by: &Caller, at: &NewNode<'_>, mode: u32, rdev: u32) -> Result<Entry> {
        Ok(entry((caller(by), place(at), mode, rdev)))
    }
    fn mkdir(&self, by: &Caller, at: &NewNode<'_>, mode: u32) -> Result<Entry> {
        Ok(entry((caller(by), place(at), mode)))
    }
    fn unlink(&self, by: &Caller, parent: NodeId, name: &Name) -> Result<()> {
        told((caller(by), parent, name))
    }
    fn rmdir(&self, by: &Caller, parent: NodeId, name: &Name) -> Result<()> {
        told((caller(by), parent, name, "rmdir"))
    }
    fn rename(
        &self,
        by: &Caller,
        from: (NodeId, &Name),
        to: (NodeId, &Name),
        flags: u32,
    ) -> Result<()> {
        told((caller(by), from, to, flags))
    }
    fn link(&self, by: &Caller, node: NodeId, to: (NodeId, &Name)) -> Result<Entry> {
        Ok(entry((caller(by), node, to)))
    }
    fn open(&self, node: NodeId, flags: u32, kill_suidgid: bool) -> Result<Opened> {
        Ok(opened((node, flags, kill_suidgid)))
    }
    fn read(
        &self,
        node: NodeId,
        handle: Handle,
        offset: u64,
        _: Patience,
        out: &mut Output<'_>,
    ) -> Result<usize> {
        let bytes = hash((node, handle, offset)).to_string().repeat(8);
        out.put_bytes(bytes.as_bytes())?;
        Ok(bytes.len())
    }
    fn write(
        &self,
        node: NodeId,
        handle: Handle,
        offset: u64,
        flags: (u32, u32),
        data: &mut Input<'_>,
    ) -> Result<usize> {
        let mut bytes = vec![0; data.len()];
        data.take(&mut bytes)?;
        Ok(usize::try_from(hash((node, handle, offset, flags, bytes)) % 1000).unwrap())
    }
    fn statfs(&self, node: NodeId) -> Result<Kstatfs> {
        Ok(Kstatfs { blocks: hash(node), ..Kstatfs::new_zeroed() })
    }
    fn release(&self, node: NodeId, handle: Handle, unlock: bool) -> Result<()> {
        told((node, handle, unlock))
    }
    fn fsync(&self, node: NodeId, handle: Handle, data_only: bool) -> Result<()> {
        told((node, handle, data_only))
    }
    fn flush(&self, node: NodeId, handle: Handle, lock_owner: u64) -> Result<()> {
        told((node, handle, lock_owner))
    }
    fn setxattr(&self, node: NodeId, name: &CStr, value: &[u8], flags: (u32, u32)) -> Result<()> {
        told((node, name, value, flags))
    }
    fn getxattr(&self, node: NodeId, name: &CStr, value: &mut [u8]) -> Result<usize> {
        fill(value, (node, name))
    }
    fn listxattr(&self, node: NodeId, names: &mut [u8]) -> Result<usize> {
        fill(names, node)
    }
    fn removexattr(&self, node: NodeId, name: &CStr) -> Result<()> {
        told((node, name))
    }
    fn opendir(&self, node: NodeId, flags: u32) -> Result<Opened> {
        Ok(opened((node, flags)))
    }
    fn readdir(
        &self,
        by: &Caller,
        node: NodeId,
        handle: Handle,
        offset: u64,
        sink: &mut DirSink<'_, '_>,
    ) -> Result<()> {
        let ino = hash((caller(by), node, handle));
        for (at, name) in ["a", "seven77", "eight888", "more than eight bytes"].iter().enumerate() {
            let (offset, name) = (offset.wrapping_add(at as u64 + 1), name.as_bytes());
            if sink.add(&Record { ino, offset, kind: 8, name }, Some(&entry(name))).is_err() {
                break;
            }
        }
        Ok(())
    }
    fn releasedir(&self, node: NodeId, handle: Handle) -> Result<()> {
        told((node, handle, "dir"))
    }
    fn fsyncdir(&self, node: NodeId, handle: Handle, data_only: bool) -> Result<()> {
        told((node, handle, data_only, "dir"))
    }
    fn access(&self, by: &Caller, node: NodeId, mask: u32) -> Result<()> {
        told((caller(by), node, mask))
    }
    fn create(&self, by: &Caller, at: &NewNode<'_>, create: &Create) -> Result<Created> {
        let what = (caller(by), place(at), how(create));
        Ok((entry(what), opened(what)))
    }
    fn tmpfile(
        &self,
        by: &Caller,
        dir: NodeId,
        (umask, security): (u32, Option<SecurityContext<'_>>),
        create: &Create,
    ) -> Result<Created> {
        let security = security.map(|security| (security.name, security.value));
        let what = (caller(by), dir, umask, security, how(create));
        Ok((entry(what), opened(what)))
    }
    fn fallocate(
        &self,
        by: &Caller,
        node: NodeId,
        handle: Handle,
        range: (u64, u64),
        mode: u32,
    ) -> Result<()> {
        told((caller(by), node, handle, range, mode))
    }
    fn lseek(&self, node: NodeId, handle: Handle, offset: u64, whence: u32) -> Result<u64> {
        Ok(hash((node, handle, offset, whence)))
    }
    fn copy_file_range(&self, by: &Caller, copy: &CopyRange) -> Result<u64> {
        Ok(hash((caller(by), copy.from, copy.to, copy.len, copy.flags)) % 1000)
    }
    fn getlk(&self, node: NodeId, handle: Handle, lock: &Lock) -> Result<FileLock> {
        Ok(FileLock { start: hash((node, handle, format!("{lock:?}"))), ..FileLock::new_zeroed() })
    }
    fn setlk(&self, node: NodeId, handle: Handle, lock: &Lock) -> Result<()> {
        told((node, handle, format!("{lock:?}")))
    }
    fn ioctl(
        &self,
        node: NodeId,
        handle: (Handle, bool),
        command: u32,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<usize> {
        match output.is_empty() {
            true => Ok(0),
            false => fill(output, (node, handle, command, input)),
        }
    }
    fn syncfs(&self, node: NodeId) -> Result<()> {
        told((node, "syncfs"))
    }
}
