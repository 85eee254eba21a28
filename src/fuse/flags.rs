//! Flag bits of the protocol, by the kernel's names without their prefix.

macro_rules! bits {
    ($( $(#[$doc:meta])* mod $module:ident: $type:ty { $($name:ident = $bit:literal;)* } )*) => { $(
        $(#[$doc])*
        #[expect(missing_docs, reason = "the names are the kernel's")]
        pub mod $module { $(pub const $name: $type = 1 << $bit;)* }
    )* };
}

bits! {
    /// INIT: `flags` in the lower word, `flags2` in the upper.
    mod init: u64 {
        ASYNC_READ = 0; POSIX_LOCKS = 1; ATOMIC_O_TRUNC = 3; EXPORT_SUPPORT = 4; BIG_WRITES = 5;
        DONT_MASK = 6; SPLICE_WRITE = 7; SPLICE_MOVE = 8; SPLICE_READ = 9; FLOCK_LOCKS = 10;
        HAS_IOCTL_DIR = 11; AUTO_INVAL_DATA = 12; DO_READDIRPLUS = 13; READDIRPLUS_AUTO = 14;
        ASYNC_DIO = 15; WRITEBACK_CACHE = 16; NO_OPEN_SUPPORT = 17; PARALLEL_DIROPS = 18;
        HANDLE_KILLPRIV = 19; POSIX_ACL = 20; ABORT_ERROR = 21; MAX_PAGES = 22;
        CACHE_SYMLINKS = 23; NO_OPENDIR_SUPPORT = 24; EXPLICIT_INVAL_DATA = 25;
        MAP_ALIGNMENT = 26; SUBMOUNTS = 27; HANDLE_KILLPRIV_V2 = 28; SETXATTR_EXT = 29;
        INIT_EXT = 30; SECURITY_CTX = 32; HAS_INODE_DAX = 33; CREATE_SUPP_GROUP = 34;
        HAS_EXPIRE_ONLY = 35; DIRECT_IO_ALLOW_MMAP = 36; PASSTHROUGH = 37;
        NO_EXPORT_SUPPORT = 38; HAS_RESEND = 39; ALLOW_IDMAP = 40; OVER_IO_URING = 41;
        REQUEST_TIMEOUT = 42;
    }
    /// SETATTR: which fields are meant (`FATTR_*`).
    mod setattr: u32 {
        MODE = 0; UID = 1; GID = 2; SIZE = 3; ATIME = 4; MTIME = 5; FH = 6; ATIME_NOW = 7;
        MTIME_NOW = 8; LOCKOWNER = 9; CTIME = 10; KILL_SUIDGID = 11;
    }
    /// GETATTR and STATX.
    mod getattr: u32 { FH = 0; }
    /// Reply of OPEN, OPENDIR and CREATE (`FOPEN_*`).
    mod opened: u32 {
        DIRECT_IO = 0; KEEP_CACHE = 1; NONSEEKABLE = 2; CACHE_DIR = 3; STREAM = 4; NOFLUSH = 5;
        PARALLEL_DIRECT_WRITES = 6; PASSTHROUGH = 7;
    }
    /// OPEN and CREATE (`FUSE_OPEN_*`).
    mod open: u32 { KILL_SUIDGID = 0; }
    /// WRITE (`FUSE_WRITE_*`).
    mod write: u32 { CACHE = 0; LOCKOWNER = 1; KILL_SUIDGID = 2; }
    /// RELEASE (`FUSE_RELEASE_*`).
    mod release: u32 { FLUSH = 0; FLOCK_UNLOCK = 1; }
    /// FSYNC and FSYNCDIR.
    mod fsync: u32 { FDATASYNC = 0; }
    /// GETLK, SETLK and SETLKW.
    mod lock: u32 { FLOCK = 0; }
    /// IOCTL (`FUSE_IOCTL_*`).
    mod ioctl: u32 { COMPAT = 0; UNRESTRICTED = 1; RETRY = 2; THIRTY_TWO_BIT = 3; DIR = 4; }
    /// SETXATTR with SETXATTR_EXT.
    mod setxattr: u32 { ACL_KILL_SGID = 0; }
    /// SETUPMAPPING.
    mod mapping: u64 { WRITE = 0; READ = 1; }
    /// `attr.flags` (`FUSE_ATTR_*`).
    mod attr: u32 { SUBMOUNT = 0; DAX = 1; }
}
