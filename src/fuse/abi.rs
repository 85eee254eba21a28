//! Wire structs with the kernel's field names (`include/uapi/linux/fuse.h`, minor 45).
//!
//! Integers are in the guest's byte order, which must be the host's. Sizes are asserted beside
//! each name; zerocopy proves that no struct has padding the compiler chose.
#![expect(missing_docs, reason = "the fields are the kernel's, documented there")]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The protocol's major version.
pub const MAJOR: u32 = 7;
/// The newest minor version spoken.
pub const MINOR: u32 = 45;
/// The oldest minor version spoken (Linux 4.19).
pub const OLDEST_MINOR: u32 = 27;

macro_rules! wire {
    ($( $(#[$doc:meta])* struct $name:ident[$size:literal] { $($field:ident: $type:ty,)* } )*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub struct $name { $(pub $field: $type,)* }
        const _: () = assert!(size_of::<$name>() == $size);
    )* };
}

wire! {
    /// Header of every request.
    struct InHeader[40] {
        len: u32, opcode: u32, unique: u64, nodeid: u64, uid: u32, gid: u32, pid: u32,
        total_extlen: u16, padding: u16,
    }
    /// Header of every reply.
    struct OutHeader[16] { len: u32, error: i32, unique: u64, }

    /// `struct fuse_attr`.
    struct Attr[88] {
        ino: u64, size: u64, blocks: u64, atime: i64, mtime: i64, ctime: i64,
        atimensec: u32, mtimensec: u32, ctimensec: u32,
        mode: u32, nlink: u32, uid: u32, gid: u32, rdev: u32, blksize: u32, flags: u32,
    }
    /// `struct fuse_sx_time`.
    struct SxTime[16] { tv_sec: i64, tv_nsec: u32, reserved: i32, }
    /// `struct fuse_statx`.
    struct Statx[256] {
        mask: u32, blksize: u32, attributes: u64, nlink: u32, uid: u32, gid: u32,
        mode: u16, spare0: u16, ino: u64, size: u64, blocks: u64, attributes_mask: u64,
        atime: SxTime, btime: SxTime, ctime: SxTime, mtime: SxTime,
        rdev_major: u32, rdev_minor: u32, dev_major: u32, dev_minor: u32, spare2: [u64; 14],
    }
    /// `struct fuse_kstatfs`.
    struct Kstatfs[80] {
        blocks: u64, bfree: u64, bavail: u64, files: u64, ffree: u64,
        bsize: u32, namelen: u32, frsize: u32, padding: u32, spare: [u32; 6],
    }
    /// `struct fuse_file_lock`.
    struct FileLock[24] { start: u64, end: u64, kind: u32, pid: u32, }

    /// Reply of LOOKUP and of everything that makes an inode.
    struct EntryOut[128] {
        nodeid: u64, generation: u64, entry_valid: u64, attr_valid: u64,
        entry_valid_nsec: u32, attr_valid_nsec: u32, attr: Attr,
    }
    /// FORGET.
    struct ForgetIn[8] { nlookup: u64, }
    /// One item of BATCH_FORGET.
    struct ForgetOne[16] { nodeid: u64, nlookup: u64, }
    /// BATCH_FORGET.
    struct BatchForgetIn[8] { count: u32, dummy: u32, }
    /// GETATTR.
    struct GetattrIn[16] { getattr_flags: u32, dummy: u32, fh: u64, }
    /// Reply of GETATTR and SETATTR.
    struct AttrOut[104] { attr_valid: u64, attr_valid_nsec: u32, dummy: u32, attr: Attr, }
    /// STATX.
    struct StatxIn[24] { getattr_flags: u32, reserved: u32, fh: u64, sx_flags: u32, sx_mask: u32, }
    /// Reply of STATX.
    struct StatxOut[288] {
        attr_valid: u64, attr_valid_nsec: u32, flags: u32, spare: [u64; 2], stat: Statx,
    }
    /// MKNOD.
    struct MknodIn[16] { mode: u32, rdev: u32, umask: u32, padding: u32, }
    /// MKDIR.
    struct MkdirIn[8] { mode: u32, umask: u32, }
    /// RENAME.
    struct RenameIn[8] { newdir: u64, }
    /// RENAME2.
    struct Rename2In[16] { newdir: u64, flags: u32, padding: u32, }
    /// LINK.
    struct LinkIn[8] { oldnodeid: u64, }
    /// SETATTR.
    struct SetattrIn[88] {
        valid: u32, padding: u32, fh: u64, size: u64, lock_owner: u64,
        atime: i64, mtime: i64, ctime: i64, atimensec: u32, mtimensec: u32, ctimensec: u32,
        mode: u32, unused4: u32, uid: u32, gid: u32, unused5: u32,
    }
    /// OPEN and OPENDIR.
    struct OpenIn[8] { flags: u32, open_flags: u32, }
    /// CREATE and TMPFILE.
    struct CreateIn[16] { flags: u32, mode: u32, umask: u32, open_flags: u32, }
    /// Reply of OPEN and OPENDIR, and second part of those of CREATE and TMPFILE.
    struct OpenOut[16] { fh: u64, open_flags: u32, backing_id: i32, }
    /// Reply of CREATE and TMPFILE.
    struct CreateOut[144] { entry: EntryOut, open: OpenOut, }
    /// RELEASE and RELEASEDIR.
    struct ReleaseIn[24] { fh: u64, flags: u32, release_flags: u32, lock_owner: u64, }
    /// FLUSH.
    struct FlushIn[24] { fh: u64, unused: u32, padding: u32, lock_owner: u64, }
    /// READ, READDIR and READDIRPLUS.
    struct ReadIn[40] {
        fh: u64, offset: u64, size: u32, read_flags: u32, lock_owner: u64, flags: u32, padding: u32,
    }
    /// WRITE.
    struct WriteIn[40] {
        fh: u64, offset: u64, size: u32, write_flags: u32, lock_owner: u64, flags: u32,
        padding: u32,
    }
    /// Reply of WRITE and COPY_FILE_RANGE.
    struct WriteOut[8] { size: u32, padding: u32, }
    /// FSYNC and FSYNCDIR.
    struct FsyncIn[16] { fh: u64, fsync_flags: u32, padding: u32, }
    /// First half of SETXATTR, and all of it unless SETXATTR_EXT was accepted.
    struct SetxattrIn[8] { size: u32, flags: u32, }
    /// Second half of SETXATTR if SETXATTR_EXT was accepted.
    struct SetxattrExt[8] { setxattr_flags: u32, padding: u32, }
    /// GETXATTR and LISTXATTR, and their replies to a size of 0.
    struct GetxattrSize[8] { size: u32, padding: u32, }
    /// GETLK, SETLK and SETLKW.
    struct LkIn[48] { fh: u64, owner: u64, lk: FileLock, lk_flags: u32, padding: u32, }
    /// ACCESS.
    struct AccessIn[8] { mask: u32, padding: u32, }
    /// INIT up to minor 35.
    struct InitIn[16] { major: u32, minor: u32, max_readahead: u32, flags: u32, }
    /// What INIT_EXT adds to INIT.
    struct InitExtIn[48] { flags2: u32, unused: [u32; 11], }
    /// Reply of INIT.
    struct InitOut[64] {
        major: u32, minor: u32, max_readahead: u32, flags: u32,
        max_background: u16, congestion_threshold: u16, max_write: u32, time_gran: u32,
        max_pages: u16, map_alignment: u16, flags2: u32, max_stack_depth: u32,
        request_timeout: u16, unused: [u16; 11],
    }
    /// IOCTL.
    struct IoctlIn[32] { fh: u64, flags: u32, cmd: u32, arg: u64, in_size: u32, out_size: u32, }
    /// Head of the reply of IOCTL.
    struct IoctlOut[16] { result: i32, flags: u32, in_iovs: u32, out_iovs: u32, }
    /// BMAP.
    struct BmapIn[16] { block: u64, blocksize: u32, padding: u32, }
    /// POLL.
    struct PollIn[24] { fh: u64, kh: u64, flags: u32, events: u32, }
    /// FALLOCATE.
    struct FallocateIn[32] { fh: u64, offset: u64, length: u64, mode: u32, padding: u32, }
    /// LSEEK.
    struct LseekIn[24] { fh: u64, offset: u64, whence: u32, padding: u32, }
    /// Reply of LSEEK.
    struct LseekOut[8] { offset: u64, }
    /// COPY_FILE_RANGE and COPY_FILE_RANGE_64.
    struct CopyFileRangeIn[56] {
        fh_in: u64, off_in: u64, nodeid_out: u64, fh_out: u64, off_out: u64, len: u64, flags: u64,
    }
    /// Reply of COPY_FILE_RANGE_64.
    struct CopyFileRangeOut[8] { bytes_copied: u64, }
    /// SYNCFS.
    struct SyncfsIn[8] { padding: u64, }
    /// SETUPMAPPING.
    struct SetupmappingIn[40] { fh: u64, foffset: u64, len: u64, flags: u64, moffset: u64, }
    /// REMOVEMAPPING; its items follow at an odd multiple of 4.
    struct RemovemappingIn[4] { count: u32, }
    /// One item of REMOVEMAPPING.
    struct RemovemappingOne[16] { moffset: u64, len: u64, }
    /// INTERRUPT.
    struct InterruptIn[8] { unique: u64, }
    /// Notice that an inode has changed.
    struct NotifyInvalInodeOut[24] { ino: u64, off: i64, len: i64, }
    /// Notice that a name has; it follows, with its NUL.
    struct NotifyInvalEntryOut[16] { parent: u64, namelen: u32, flags: u32, }

    /// Head of a READDIR record; the name follows, padded to 8 bytes.
    struct Dirent[24] { ino: u64, off: u64, namelen: u32, kind: u32, }
    /// Head of a READDIRPLUS record.
    struct Direntplus[152] { entry: EntryOut, dirent: Dirent, }

    /// Head of a group of security contexts, and of any extension record.
    struct ExtHeader[8] { size: u32, kind: u32, }
    /// Head of one security context.
    struct Secctx[8] { size: u32, padding: u32, }
}
