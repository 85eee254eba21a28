//! The one table of opcodes.

use super::abi::*;

macro_rules! opcodes {
    ($( $name:ident = $number:literal, $request:ty, $reply:ty; )*) => {
        /// What a request asks for (`enum fuse_opcode`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        #[expect(missing_docs, reason = "the names are the kernel's")]
        pub enum Opcode { $($name = $number,)* }

        impl Opcode {
            /// Every opcode, in the order of their numbers.
            pub const ALL: &[Opcode] = &[$(Opcode::$name,)*];

            /// The opcode with this number, if there is one.
            #[must_use]
            pub const fn from_wire(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Opcode::$name),)*
                    _ => None,
                }
            }

            /// Bytes of the struct that follows the request's header. Smaller requests are
            /// malformed; names and data come after it.
            #[must_use]
            pub const fn fixed_len(self) -> usize {
                match self { $(Opcode::$name => size_of::<$request>(),)* }
            }

            /// Bytes that a reply without error always has after its header. Room for them is
            /// checked before anything is done.
            #[must_use]
            pub const fn reply_len(self) -> usize {
                match self { $(Opcode::$name => size_of::<$reply>(),)* }
            }
        }
    };
}

opcodes! {
    Lookup = 1, (), EntryOut;
    Forget = 2, ForgetIn, ();
    Getattr = 3, GetattrIn, AttrOut;
    Setattr = 4, SetattrIn, AttrOut;
    Readlink = 5, (), ();
    Symlink = 6, (), EntryOut;
    Mknod = 8, MknodIn, EntryOut;
    Mkdir = 9, MkdirIn, EntryOut;
    Unlink = 10, (), ();
    Rmdir = 11, (), ();
    Rename = 12, RenameIn, ();
    Link = 13, LinkIn, EntryOut;
    Open = 14, OpenIn, OpenOut;
    Read = 15, ReadIn, ();
    Write = 16, WriteIn, WriteOut;
    Statfs = 17, (), Kstatfs;
    Release = 18, ReleaseIn, ();
    Fsync = 20, FsyncIn, ();
    Setxattr = 21, SetxattrIn, ();
    Getxattr = 22, GetxattrSize, ();
    Listxattr = 23, GetxattrSize, ();
    Removexattr = 24, (), ();
    Flush = 25, FlushIn, ();
    Init = 26, InitIn, InitOut;
    Opendir = 27, OpenIn, OpenOut;
    Readdir = 28, ReadIn, ();
    Releasedir = 29, ReleaseIn, ();
    Fsyncdir = 30, FsyncIn, ();
    Getlk = 31, LkIn, FileLock;
    Setlk = 32, LkIn, ();
    Setlkw = 33, LkIn, ();
    Access = 34, AccessIn, ();
    Create = 35, CreateIn, CreateOut;
    Interrupt = 36, InterruptIn, ();
    Bmap = 37, BmapIn, ();
    Destroy = 38, (), ();
    Ioctl = 39, IoctlIn, IoctlOut;
    Poll = 40, PollIn, ();
    NotifyReply = 41, (), ();
    BatchForget = 42, BatchForgetIn, ();
    Fallocate = 43, FallocateIn, ();
    Readdirplus = 44, ReadIn, ();
    Rename2 = 45, Rename2In, ();
    Lseek = 46, LseekIn, LseekOut;
    CopyFileRange = 47, CopyFileRangeIn, WriteOut;
    Setupmapping = 48, SetupmappingIn, ();
    Removemapping = 49, RemovemappingIn, ();
    Syncfs = 50, SyncfsIn, ();
    Tmpfile = 51, CreateIn, CreateOut;
    Statx = 52, StatxIn, StatxOut;
    CopyFileRange64 = 53, CopyFileRangeIn, CopyFileRangeOut;
}

impl Opcode {
    /// True for the requests that are never answered, not even with an error.
    #[must_use]
    pub const fn is_silent(self) -> bool {
        matches!(
            self,
            Opcode::Forget | Opcode::BatchForget | Opcode::Interrupt | Opcode::NotifyReply
        )
    }

    /// Bytes of a request of `whole` bytes that are judged, and so copied once before they are
    /// looked at. The rest is only moved, or read item by item.
    #[must_use]
    pub(super) const fn copied_len(self, whole: usize) -> usize {
        match self {
            Opcode::Write | Opcode::BatchForget => size_of::<InHeader>() + self.fixed_len(),
            _ => whole,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_agrees_with_itself() {
        for opcode in Opcode::ALL {
            assert_eq!(Opcode::from_wire(*opcode as u32), Some(*opcode));
        }
        for unassigned in [0, 7, 19, 54, 4096, u32::MAX] {
            assert_eq!(Opcode::from_wire(unassigned), None);
        }
    }
}
