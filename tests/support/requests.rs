//! One well-formed request for every opcode.

use ferryfs::fuse::Opcode;
use ferryfs::fuse::abi::*;
use zerocopy::{FromZeros, Immutable, IntoBytes};

/// A request of caller 1000:100 with the `unique` that tests expect back.
pub fn request(opcode: Opcode, node: u64, parts: &[&[u8]]) -> Vec<u8> {
    extended(opcode, node, parts, &[])
}

/// A request with extensions behind its arguments.
pub fn extended(opcode: Opcode, node: u64, parts: &[&[u8]], extensions: &[u8]) -> Vec<u8> {
    let body = [parts.concat(), extensions.to_vec()].concat();
    let head = InHeader {
        len: u32::try_from(size_of::<InHeader>() + body.len()).unwrap(),
        opcode: opcode as u32,
        unique: 0x1234_5678_9abc_def0,
        nodeid: node,
        uid: 1000,
        gid: 100,
        pid: 42,
        total_extlen: u16::try_from(extensions.len() / 8).unwrap(),
        padding: 0,
    };
    [head.as_bytes(), &body].concat()
}

/// An argument struct with some fields set and the others 0.
pub fn arg<T: FromZeros + IntoBytes + Immutable>(set: impl FnOnce(&mut T)) -> Vec<u8> {
    let mut value = T::new_zeroed();
    set(&mut value);
    value.as_bytes().to_vec()
}

/// INIT as Linux 6.18 sends it.
pub fn init() -> Vec<u8> {
    init_offering(0x73ff_fffb, Some(0x0000_05fd))
}

/// INIT of minor 45 with these flags.
pub fn init_offering(flags: u32, flags2: Option<u32>) -> Vec<u8> {
    let first = InitIn { major: 7, minor: 45, max_readahead: 131_072, flags };
    let second = arg::<InitExtIn>(|more| more.flags2 = flags2.unwrap_or(0));
    let second = if flags2.is_some() { &second[..] } else { &[] };
    request(Opcode::Init, 0, &[first.as_bytes(), second])
}

/// A request for every opcode that has a reply but INIT and DESTROY, for inode 1 and handle 7.
pub fn one_of_each() -> Vec<(Opcode, Vec<u8>)> {
    let name: &[u8] = b"name\0";
    let read = arg::<ReadIn>(|read| (read.fh, read.offset, read.size) = (7, 99, 200));
    let parts = |opcode| -> Vec<Vec<u8>> {
        match opcode {
            Opcode::Lookup | Opcode::Unlink | Opcode::Rmdir | Opcode::Removexattr => vec![],
            Opcode::Getattr => vec![arg::<GetattrIn>(|get| (get.getattr_flags, get.fh) = (1, 7))],
            Opcode::Setattr => vec![arg::<SetattrIn>(|set| {
                (set.valid, set.mode, set.size, set.atime) = (0x19, 0o640, 5, -1);
            })],
            Opcode::Mknod => {
                vec![arg::<MknodIn>(|mknod| (mknod.mode, mknod.rdev) = (0o20644, 259))]
            }
            Opcode::Mkdir => {
                vec![arg::<MkdirIn>(|mkdir| (mkdir.mode, mkdir.umask) = (0o755, 0o22))]
            }
            Opcode::Rename => vec![arg::<RenameIn>(|rename| rename.newdir = 5)],
            Opcode::Rename2 => vec![arg::<Rename2In>(|to| (to.newdir, to.flags) = (5, 2))],
            Opcode::Link => vec![arg::<LinkIn>(|link| link.oldnodeid = 6)],
            Opcode::Open | Opcode::Opendir => vec![arg::<OpenIn>(|open| open.flags = 0o100_002)],
            Opcode::Read | Opcode::Readdir | Opcode::Readdirplus => vec![read.clone()],
            Opcode::Write => vec![arg::<WriteIn>(|write| {
                (write.fh, write.offset, write.size) = (7, 31, 300);
            })],
            Opcode::Release | Opcode::Releasedir => vec![arg::<ReleaseIn>(|end| end.fh = 7)],
            Opcode::Fsync | Opcode::Fsyncdir => {
                vec![arg::<FsyncIn>(|sync| (sync.fh, sync.fsync_flags) = (7, 1))]
            }
            Opcode::Setxattr => vec![
                arg::<SetxattrIn>(|set| (set.size, set.flags) = (5, 1)),
                arg::<SetxattrExt>(|ext| ext.setxattr_flags = 1),
            ],
            Opcode::Getxattr | Opcode::Listxattr => {
                vec![arg::<GetxattrSize>(|get| get.size = 150)]
            }
            Opcode::Flush => vec![arg::<FlushIn>(|flush| (flush.fh, flush.lock_owner) = (7, 3))],
            Opcode::Access => vec![arg::<AccessIn>(|access| access.mask = 5)],
            Opcode::Create | Opcode::Tmpfile => vec![arg::<CreateIn>(|create| {
                (create.flags, create.mode) = (0o102, 0o600);
            })],
            Opcode::Fallocate => vec![arg::<FallocateIn>(|area| {
                (area.fh, area.offset, area.length, area.mode) = (7, 1, 2, 3);
            })],
            Opcode::Lseek => vec![arg::<LseekIn>(|seek| (seek.fh, seek.offset) = (7, 4096))],
            Opcode::CopyFileRange | Opcode::CopyFileRange64 => {
                vec![arg::<CopyFileRangeIn>(|copy| {
                    (copy.fh_in, copy.nodeid_out, copy.fh_out, copy.len) = (7, 2, 8, 1000);
                })]
            }
            Opcode::Ioctl => vec![arg::<IoctlIn>(|ioctl| {
                (ioctl.fh, ioctl.cmd, ioctl.in_size, ioctl.out_size) = (7, 9, 4, 160);
            })],
            Opcode::Setupmapping => vec![arg::<SetupmappingIn>(|map| {
                (map.fh, map.foffset, map.len, map.flags) = (!0, 4096, 8192, 3);
            })],
            Opcode::Removemapping => vec![
                arg::<RemovemappingIn>(|remove| remove.count = 2),
                arg::<RemovemappingOne>(|one| one.len = 4096),
                arg::<RemovemappingOne>(|one| one.moffset = 4096),
            ],
            Opcode::Syncfs => vec![arg::<SyncfsIn>(|_| {})],
            Opcode::Statx => vec![arg::<StatxIn>(|statx| statx.sx_mask = 0xfff)],
            _ => vec![vec![0; opcode.fixed_len()]],
        }
    };
    let after = |opcode| -> Vec<&[u8]> {
        match opcode {
            Opcode::Lookup
            | Opcode::Unlink
            | Opcode::Rmdir
            | Opcode::Removexattr
            | Opcode::Mknod
            | Opcode::Mkdir
            | Opcode::Link
            | Opcode::Create
            | Opcode::Getxattr => vec![name],
            Opcode::Tmpfile => vec![b"/\0"],
            Opcode::Symlink => vec![name, b"some/target\0"],
            Opcode::Rename | Opcode::Rename2 => vec![name, b"other\0"],
            Opcode::Setxattr => vec![name, b"value"],
            Opcode::Ioctl => vec![b"data"],
            Opcode::Write => vec![&[0x5a; 300]],
            _ => vec![],
        }
    };
    let answered =
        |opcode: &&Opcode| !opcode.is_silent() && !matches!(opcode, Opcode::Init | Opcode::Destroy);
    let build = |opcode: &Opcode| {
        let parts = parts(*opcode);
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).chain(after(*opcode)).collect();
        (*opcode, request(*opcode, 1, &parts))
    };
    Opcode::ALL.iter().filter(answered).map(build).collect()
}

/// The requests that [`one_of_each`] leaves out, as they begin and end sessions or have no reply:
/// INIT in both its lengths, DESTROY, FORGET of one inode and of two.
pub fn of_sessions() -> Vec<(Opcode, Vec<u8>)> {
    let two = [
        BatchForgetIn { count: 2, dummy: u32::MAX }.as_bytes(),
        ForgetOne { nodeid: 5, nlookup: 1 }.as_bytes(),
        ForgetOne { nodeid: 6, nlookup: u64::MAX }.as_bytes(),
    ]
    .concat();
    vec![
        (Opcode::Init, init()),
        (Opcode::Init, init_offering(0x33ff_fffb, None)),
        (Opcode::Destroy, request(Opcode::Destroy, 0, &[])),
        (Opcode::Forget, request(Opcode::Forget, 9, &[ForgetIn { nlookup: 3 }.as_bytes()])),
        (Opcode::BatchForget, request(Opcode::BatchForget, 0, &[&two])),
        (Opcode::Interrupt, request(Opcode::Interrupt, 0, &[&[7; 8]])),
        (Opcode::NotifyReply, request(Opcode::NotifyReply, 9, &[&[7; 40], b"data"])),
    ]
}
