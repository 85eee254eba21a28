//! From an opcode and its arguments to one call of the file system.

use super::abi::*;
use super::account::Account;
use super::args::Args;
use super::change::{AttrChange, SetTime};
use super::dirents::DirSink;
use super::ends::Since;
use super::errno::{Errno, Result};
use super::extensions::Extensions;
use super::filesystem::{
    Caller, CopyRange, Create, Created, Filesystem, Handle, Lock, NewNode, NodeId,
};
use super::flags::{self, init, setattr};
use super::name::Name;
use super::opcode::Opcode;
use super::session::Patience;
use super::window::MapRange;
use crate::mem::{Input, Output};

/// What is known of a request before its arguments are.
pub(super) struct Request<'a> {
    pub(super) opcode: Opcode,
    pub(super) head: &'a InHeader,
    /// Accepted INIT flags.
    pub(super) agreed: u64,
    pub(super) extensions: &'a [u8],
    pub(super) patience: Patience,
    pub(super) account: &'a Account,
    /// What ends the session meanwhile.
    pub(super) since: Since<'a>,
}

/// Where data comes from and goes to.
pub(super) struct Room<'i, 'o, 'r> {
    /// What the request carries beyond what was copied.
    pub(super) data: Input<'i>,
    /// The reply's body.
    pub(super) reply: &'r mut Output<'o>,
    /// Private memory for values that the kernel wants in one piece.
    pub(super) value: &'r mut [u8],
}

impl Request<'_> {
    fn caller(&self) -> Caller {
        let InHeader { uid, gid, pid, .. } = *self.head;
        Caller { uid, gid, pid, group: None, patience: self.patience }
    }

    fn node(&self) -> NodeId {
        NodeId(self.head.nodeid)
    }

    /// Who makes an inode, and where: for the requests that may have extensions.
    fn new_node<'a>(&'a self, name: &'a Name, umask: u32) -> Result<(Caller, NewNode<'a>)> {
        let extensions = Extensions::parse(self.extensions)?;
        let by = Caller { group: extensions.group, ..self.caller() };
        let security = extensions.security;
        Ok((by, NewNode { parent: self.node(), name, umask, security }))
    }
}

/// Does what `request` asks for; the room in the reply was checked against the opcode's table.
#[expect(clippy::too_many_lines, reason = "one arm an opcode, and nothing else")]
pub(super) fn call<F: Filesystem>(
    fs: &F,
    request: &Request<'_>,
    mut args: Args<'_>,
    room: Room<'_, '_, '_>,
) -> Result<()> {
    let (by, node, since) = (&request.caller(), request.node(), &request.since);
    let reply = room.reply;
    match request.opcode {
        Opcode::Lookup => {
            let entry = since.entry(fs, fs.lookup(by, node, args.name()?)?)?;
            request.account.negative.add(u64::from(entry.node == NodeId(0)));
            reply.put(&entry.to_wire())?;
        }
        Opcode::Getattr => {
            let arg: GetattrIn = args.fixed()?;
            let handle = (arg.getattr_flags & flags::getattr::FH != 0).then_some(Handle(arg.fh));
            reply.put(&fs.getattr(node, handle)?.to_wire())?;
        }
        Opcode::Statx => {
            let arg: StatxIn = args.fixed()?;
            let handle = (arg.getattr_flags & flags::getattr::FH != 0).then_some(Handle(arg.fh));
            reply.put(&fs.statx(node, handle, arg.sx_mask)?.to_wire())?;
        }
        Opcode::Setattr => {
            let change = attr_change(&args.fixed()?);
            reply.put(&fs.setattr(by, node, &change)?.to_wire())?;
        }
        Opcode::Readlink => {
            let len = fs.readlink(node, &mut room.value[..PATH_MAX])?;
            reply.put_bytes(&room.value[..len])?;
        }
        Opcode::Symlink => {
            let (name, target) = (args.name()?, args.text()?);
            if target.is_empty() {
                return Err(Errno::ENOENT);
            }
            if target.count_bytes() >= PATH_MAX {
                return Err(Errno::ENAMETOOLONG);
            }
            let (by, at) = request.new_node(name, 0)?;
            reply.put(&since.entry(fs, fs.symlink(&by, &at, target)?)?.to_wire())?;
        }
        Opcode::Mknod => {
            let arg: MknodIn = args.fixed()?;
            let (by, at) = request.new_node(args.name()?, arg.umask)?;
            let made = fs.mknod(&by, &at, arg.mode, arg.rdev)?;
            reply.put(&since.entry(fs, made)?.to_wire())?;
        }
        Opcode::Mkdir => {
            let arg: MkdirIn = args.fixed()?;
            let (by, at) = request.new_node(args.name()?, arg.umask)?;
            reply.put(&since.entry(fs, fs.mkdir(&by, &at, arg.mode)?)?.to_wire())?;
        }
        Opcode::Unlink => fs.unlink(by, node, args.name()?)?,
        Opcode::Rmdir => fs.rmdir(by, node, args.name()?)?,
        Opcode::Rename => {
            let arg: RenameIn = args.fixed()?;
            let (from, to) = (args.name()?, args.name()?);
            fs.rename(by, (node, from), (NodeId(arg.newdir), to), 0)?;
        }
        Opcode::Rename2 => {
            let arg: Rename2In = args.fixed()?;
            let (from, to) = (args.name()?, args.name()?);
            fs.rename(by, (node, from), (NodeId(arg.newdir), to), arg.flags)?;
        }
        Opcode::Link => {
            let arg: LinkIn = args.fixed()?;
            let name = args.name()?;
            let linked = fs.link(by, NodeId(arg.oldnodeid), (node, name))?;
            reply.put(&since.entry(fs, linked)?.to_wire())?;
        }
        Opcode::Open => {
            let arg: OpenIn = args.fixed()?;
            let kill = arg.open_flags & flags::open::KILL_SUIDGID != 0;
            let opened = since.file(fs, node, fs.open(node, arg.flags, kill)?)?;
            let keeps = opened.flags & flags::opened::KEEP_CACHE != 0;
            request.account.kept.add(u64::from(keeps));
            reply.put(&opened.to_wire())?;
        }
        Opcode::Read => {
            let arg: ReadIn = args.fixed()?;
            limit(reply, arg.size)?;
            let size = fs.read(node, Handle(arg.fh), arg.offset, request.patience, reply)?;
            request.account.read.add(size as u64);
        }
        Opcode::Write => {
            let arg: WriteIn = args.fixed()?;
            let mut data = room.data;
            if data.len() < arg.size as usize {
                return Err(Errno::EINVAL);
            }
            data.truncate(arg.size as usize);
            let flags = (arg.flags, arg.write_flags);
            let size = fs.write(node, Handle(arg.fh), arg.offset, flags, &mut data)?;
            request.account.written.add(size as u64);
            reply.put(&WriteOut { size: count32(size)?, padding: 0 })?;
        }
        Opcode::Statfs => reply.put(&fs.statfs(node)?)?,
        Opcode::Release => {
            let arg: ReleaseIn = args.fixed()?;
            let unlock = arg.release_flags & flags::release::FLOCK_UNLOCK != 0;
            fs.release(node, Handle(arg.fh), unlock)?;
        }
        Opcode::Fsync => {
            let arg: FsyncIn = args.fixed()?;
            let data_only = arg.fsync_flags & flags::fsync::FDATASYNC != 0;
            fs.fsync(node, Handle(arg.fh), data_only)?;
        }
        Opcode::Flush => {
            let arg: FlushIn = args.fixed()?;
            fs.flush(node, Handle(arg.fh), arg.lock_owner)?;
        }
        Opcode::Setxattr => {
            let arg: SetxattrIn = args.fixed()?;
            let ext = match request.agreed & init::SETXATTR_EXT {
                0 => 0,
                _ => args.fixed::<SetxattrExt>()?.setxattr_flags,
            };
            let (name, value) = (xattr_name(&mut args)?, args.bytes(arg.size as usize)?);
            fs.setxattr(node, name, value, (arg.flags, ext))?;
        }
        Opcode::Getxattr => {
            let arg: GetxattrSize = args.fixed()?;
            let name = xattr_name(&mut args)?;
            put_value(arg.size, room.value, reply, |value| fs.getxattr(node, name, value))?;
        }
        Opcode::Listxattr => {
            let arg: GetxattrSize = args.fixed()?;
            put_value(arg.size, room.value, reply, |names| fs.listxattr(node, names))?;
        }
        Opcode::Removexattr => fs.removexattr(node, xattr_name(&mut args)?)?,
        Opcode::Opendir => {
            let opened = fs.opendir(node, args.fixed::<OpenIn>()?.flags)?;
            reply.put(&since.dir(fs, node, opened)?.to_wire())?;
        }
        Opcode::Readdir | Opcode::Readdirplus => {
            let arg: ReadIn = args.fixed()?;
            limit(reply, arg.size)?;
            let overtakes = |node| since.overtakes(fs, node);
            let plus = request.opcode == Opcode::Readdirplus;
            let mut sink = DirSink::new(reply, plus.then_some(&overtakes));
            fs.readdir(by, node, Handle(arg.fh), arg.offset, &mut sink)?;
        }
        Opcode::Releasedir => fs.releasedir(node, Handle(args.fixed::<ReleaseIn>()?.fh))?,
        Opcode::Fsyncdir => {
            let arg: FsyncIn = args.fixed()?;
            let data_only = arg.fsync_flags & flags::fsync::FDATASYNC != 0;
            fs.fsyncdir(node, Handle(arg.fh), data_only)?;
        }
        Opcode::Access => fs.access(by, node, args.fixed::<AccessIn>()?.mask)?,
        Opcode::Create => {
            let arg: CreateIn = args.fixed()?;
            let (by, at) = request.new_node(args.name()?, arg.umask)?;
            let made = fs.create(&by, &at, &create(&arg))?;
            put_created(reply, since.created(fs, made)?)?;
        }
        Opcode::Tmpfile => {
            let arg: CreateIn = args.fixed()?;
            // A placeholder ("/"), which must not be used.
            args.text()?;
            let Extensions { group, security } = Extensions::parse(request.extensions)?;
            let by = Caller { group, ..*by };
            let made = fs.tmpfile(&by, node, (arg.umask, security), &create(&arg))?;
            put_created(reply, since.created(fs, made)?)?;
        }
        Opcode::Fallocate => {
            let arg: FallocateIn = args.fixed()?;
            fs.fallocate(by, node, Handle(arg.fh), (arg.offset, arg.length), arg.mode)?;
        }
        Opcode::Lseek => {
            let arg: LseekIn = args.fixed()?;
            let offset = fs.lseek(node, Handle(arg.fh), arg.offset, arg.whence)?;
            reply.put(&LseekOut { offset })?;
        }
        Opcode::CopyFileRange => {
            let mut copy = copy_range(node, &args.fixed()?);
            copy.len = copy.len.min(u64::from(!0xfffu32));
            let size = count32(fs.copy_file_range(by, &copy)?)?;
            reply.put(&WriteOut { size, padding: 0 })?;
        }
        Opcode::CopyFileRange64 => {
            let bytes_copied = fs.copy_file_range(by, &copy_range(node, &args.fixed()?))?;
            reply.put(&CopyFileRangeOut { bytes_copied })?;
        }
        Opcode::Ioctl => {
            let arg: IoctlIn = args.fixed()?;
            if arg.flags & flags::ioctl::UNRESTRICTED != 0 {
                return Err(Errno::EPERM);
            }
            let handle = (Handle(arg.fh), arg.flags & flags::ioctl::DIR != 0);
            let input = args.bytes(arg.in_size as usize)?;
            let output = room.value.get_mut(..arg.out_size as usize).ok_or(Errno::EINVAL)?;
            output.fill(0);
            let len = fs.ioctl(node, handle, arg.cmd, input, output)?;
            reply.put(&IoctlOut { result: 0, flags: 0, in_iovs: 0, out_iovs: 0 })?;
            reply.put_bytes(&output[..len])?;
        }
        Opcode::Syncfs => fs.syncfs(node)?,
        Opcode::Getlk => {
            let arg: LkIn = args.fixed()?;
            reply.put(&fs.getlk(node, Handle(arg.fh), &lock(&arg))?)?;
        }
        Opcode::Setlk | Opcode::Setlkw => {
            let arg: LkIn = args.fixed()?;
            let waits = request.opcode == Opcode::Setlkw;
            match fs.setlk(node, Handle(arg.fh), &lock(&arg)) {
                Err(Errno::EAGAIN) if waits => return Err(Errno::NOT_YET),
                set => set?,
            }
        }
        Opcode::Setupmapping => {
            let mappings = fs.mappings().ok_or(Errno::ENOSYS)?;
            mappings.setup(node, &map_range(&args.fixed()?)?)?;
        }
        Opcode::Removemapping => {
            let mappings = fs.mappings().ok_or(Errno::ENOSYS)?;
            let count = args.fixed::<RemovemappingIn>()?.count;
            let ranges: Result<_> = (0..count)
                .map(|_| args.fixed().map(|one: RemovemappingOne| (one.moffset, one.len)))
                .collect();
            mappings.remove(ranges?)?;
        }
        Opcode::Bmap | Opcode::Poll => return Err(Errno::ENOSYS),
        Opcode::Init
        | Opcode::Destroy
        | Opcode::Forget
        | Opcode::BatchForget
        | Opcode::Interrupt
        | Opcode::NotifyReply => unreachable!("the session handles these itself"),
    }
    Ok(())
}

const PATH_MAX: usize = 4096;

fn xattr_name<'a>(args: &mut Args<'a>) -> Result<&'a std::ffi::CStr> {
    let name = args.text()?;
    match name.count_bytes() {
        0 | 256.. => Err(Errno::ERANGE),
        _ => Ok(name),
    }
}

/// A reply that is cut short would look like the end of the file.
fn limit(reply: &mut Output<'_>, size: u32) -> Result<()> {
    if reply.room() < size as usize {
        return Err(Errno::EINVAL);
    }
    reply.truncate(size as usize);
    Ok(())
}

fn count32(count: impl TryInto<u32>) -> Result<u32> {
    count.try_into().map_err(|_| Errno::EOVERFLOW)
}

/// Puts a value of at most `size` bytes, or if `size` is 0 how long it is.
fn put_value(
    size: u32,
    buffer: &mut [u8],
    reply: &mut Output<'_>,
    get: impl FnOnce(&mut [u8]) -> Result<usize>,
) -> Result<()> {
    let size = (size as usize).min(buffer.len());
    let value = &mut buffer[..size];
    let len = get(value)?;
    if size == 0 {
        reply.put(&GetxattrSize { size: count32(len)?, padding: 0 })?;
    } else {
        reply.put_bytes(value.get(..len).ok_or(Errno::ERANGE)?)?;
    }
    Ok(())
}

fn put_created(reply: &mut Output<'_>, (entry, opened): Created) -> Result<()> {
    Ok(reply.put(&CreateOut { entry: entry.to_wire(), open: opened.to_wire() })?)
}

fn create(arg: &CreateIn) -> Create {
    let kill_suidgid = arg.open_flags & flags::open::KILL_SUIDGID != 0;
    Create { flags: arg.flags, mode: arg.mode, kill_suidgid }
}

fn copy_range(node: NodeId, arg: &CopyFileRangeIn) -> CopyRange {
    CopyRange {
        from: (node, Handle(arg.fh_in), arg.off_in),
        to: (NodeId(arg.nodeid_out), Handle(arg.fh_out), arg.off_out),
        len: arg.len,
        flags: arg.flags,
    }
}

fn map_range(arg: &SetupmappingIn) -> Result<MapRange> {
    if arg.flags & !(flags::mapping::READ | flags::mapping::WRITE) != 0 || arg.flags == 0 {
        return Err(Errno::EINVAL);
    }
    let write = arg.flags & flags::mapping::WRITE != 0;
    Ok(MapRange { offset: arg.foffset, len: arg.len, window: arg.moffset, write })
}

fn lock(arg: &LkIn) -> Lock {
    let flock = arg.lk_flags & flags::lock::FLOCK != 0;
    Lock { owner: arg.owner, range: arg.lk, flock }
}

fn attr_change(arg: &SetattrIn) -> AttrChange {
    let has = |bit| arg.valid & bit != 0;
    let time = |set, now, seconds, nanoseconds: u32| match (has(set), has(now)) {
        (false, _) => None,
        (true, true) => Some(SetTime::Now),
        (true, false) => Some(SetTime::At(seconds, nanoseconds)),
    };
    AttrChange {
        handle: has(setattr::FH).then_some(Handle(arg.fh)),
        mode: has(setattr::MODE).then_some(arg.mode),
        uid: has(setattr::UID).then_some(arg.uid),
        gid: has(setattr::GID).then_some(arg.gid),
        size: has(setattr::SIZE).then_some(arg.size),
        atime: time(setattr::ATIME, setattr::ATIME_NOW, arg.atime, arg.atimensec),
        mtime: time(setattr::MTIME, setattr::MTIME_NOW, arg.mtime, arg.mtimensec),
        kill_suidgid: has(setattr::KILL_SUIDGID),
    }
}
