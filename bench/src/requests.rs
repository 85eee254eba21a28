//! The requests about sessions, names and inodes.

use ferryfs::fuse::abi::*;
use ferryfs::fuse::flags::{getattr, init};
use ferryfs::fuse::{NodeId, Opcode};
use zerocopy::IntoBytes;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::frame::Request;

/// The root's nodeid.
pub const ROOT: u64 = NodeId::ROOT.0;

/// Minor version and INIT flags of a guest with Linux 6.1.
pub const LINUX_6_1: (u32, u64) = (38, 0xb_7bff_fffb);

/// Minor version and INIT flags of a guest with Linux 6.18.
pub const LINUX_6_18: (u32, u64) = (45, 0x5ff_7bff_fffb);

/// `XATTR_SIZE_MAX`, which is more than `PATH_MAX`.
const LONGEST_VALUE: usize = 64 << 10;

/// A name as requests carry it.
fn zero(name: impl AsRef<[u8]>) -> Vec<u8> {
    [name.as_ref(), &[0]].concat()
}

#[expect(clippy::cast_possible_truncation, reason = "it is the lower half that is meant")]
fn halves(flags: u64) -> (u32, u32) {
    (flags as u32, (flags >> 32) as u32)
}

pub(crate) fn length(bytes: &[u8]) -> Result<u32> {
    u32::try_from(bytes.len()).map_err(|_| Error::Full)
}

#[expect(clippy::missing_errors_doc, reason = "all are as Client::call's")]
impl Client {
    /// INIT; flags of bit 32 and above go into the second word.
    pub fn init(&mut self, (minor, flags): (u32, u64)) -> Result<InitOut> {
        let (flags, flags2) = halves(flags);
        let offer = InitIn { major: MAJOR, minor, max_readahead: 128 << 10, flags };
        let more = InitExtIn { flags2, unused: [0; 11] };
        let both = [offer.as_bytes(), more.as_bytes()];
        let args = if minor < 36 { &both[..1] } else { &both };
        let reply: InitOut = self.ask(Request { args, ..self.request(Opcode::Init, 0) })?;
        self.agreed = u64::from(reply.flags) | u64::from(reply.flags2) << 32;
        Ok(reply)
    }

    /// DESTROY.
    pub fn destroy(&mut self) -> Result<()> {
        self.order(&self.request(Opcode::Destroy, 0))
    }

    /// LOOKUP; nodeid 0 is a name that does not exist.
    pub fn lookup(&mut self, parent: u64, name: impl AsRef<[u8]>) -> Result<EntryOut> {
        self.ask(Request { args: &[&zero(name)], ..self.request(Opcode::Lookup, parent) })
    }

    /// FORGET.
    pub fn forget(&mut self, node: u64, nlookup: u64) -> Result<()> {
        let arg = ForgetIn { nlookup };
        self.tell(&Request { args: &[arg.as_bytes()], ..self.request(Opcode::Forget, node) })
    }

    /// BATCH_FORGET of nodeids, each with its number of lookups.
    pub fn batch_forget(&mut self, items: &[(u64, u64)]) -> Result<()> {
        let count = u32::try_from(items.len()).map_err(|_| Error::Full)?;
        let one = |&(nodeid, nlookup): &(u64, u64)| ForgetOne { nodeid, nlookup };
        let items: Vec<_> = items.iter().map(one).collect();
        let head = BatchForgetIn { count, dummy: 0 };
        let args = &[head.as_bytes(), items.as_bytes()];
        self.tell(&Request { args, ..self.request(Opcode::BatchForget, 0) })
    }

    /// INTERRUPT.
    pub fn interrupt(&mut self, unique: u64) -> Result<()> {
        let arg = InterruptIn { unique };
        self.tell(&Request { args: &[arg.as_bytes()], ..self.request(Opcode::Interrupt, 0) })
    }

    /// NOTIFY_REPLY.
    pub fn notify_reply(&mut self, node: u64, data: &[u8]) -> Result<()> {
        self.tell(&Request { data, ..self.request(Opcode::NotifyReply, node) })
    }

    /// GETATTR, through an open file if one is given.
    pub fn getattr(&mut self, node: u64, fh: Option<u64>) -> Result<AttrOut> {
        let getattr_flags = if fh.is_some() { getattr::FH } else { 0 };
        let arg = GetattrIn { getattr_flags, dummy: 0, fh: fh.unwrap_or_default() };
        self.ask(Request { args: &[arg.as_bytes()], ..self.request(Opcode::Getattr, node) })
    }

    /// STATX, through an open file if one is given.
    pub fn statx(&mut self, node: u64, fh: Option<u64>, sx_mask: u32) -> Result<StatxOut> {
        let getattr_flags = if fh.is_some() { getattr::FH } else { 0 };
        let fh = fh.unwrap_or_default();
        let arg = StatxIn { getattr_flags, reserved: 0, fh, sx_flags: 0, sx_mask };
        self.ask(Request { args: &[arg.as_bytes()], ..self.request(Opcode::Statx, node) })
    }

    /// SETATTR.
    pub fn setattr(&mut self, node: u64, change: &SetattrIn) -> Result<AttrOut> {
        self.ask(Request { args: &[change.as_bytes()], ..self.request(Opcode::Setattr, node) })
    }

    /// ACCESS.
    pub fn access(&mut self, node: u64, mask: u32) -> Result<()> {
        let arg = AccessIn { mask, padding: 0 };
        self.order(&Request { args: &[arg.as_bytes()], ..self.request(Opcode::Access, node) })
    }

    /// STATFS.
    pub fn statfs(&mut self, node: u64) -> Result<Kstatfs> {
        self.ask(self.request(Opcode::Statfs, node))
    }

    /// SYNCFS.
    pub fn syncfs(&mut self, node: u64) -> Result<()> {
        let arg = SyncfsIn { padding: 0 };
        self.order(&Request { args: &[arg.as_bytes()], ..self.request(Opcode::Syncfs, node) })
    }

    /// READLINK.
    pub fn readlink(&mut self, node: u64) -> Result<Vec<u8>> {
        self.call(&Request { reply_data: 4096, ..self.request(Opcode::Readlink, node) })
    }

    /// SYMLINK.
    pub fn symlink(
        &mut self,
        parent: u64,
        name: impl AsRef<[u8]>,
        target: impl AsRef<[u8]>,
    ) -> Result<EntryOut> {
        self.make(Opcode::Symlink, parent, &[&zero(name), &zero(target)])
    }

    /// MKNOD.
    pub fn mknod(
        &mut self,
        parent: u64,
        name: impl AsRef<[u8]>,
        mode: u32,
        rdev: u32,
    ) -> Result<EntryOut> {
        let arg = MknodIn { mode, rdev, umask: 0, padding: 0 };
        self.make(Opcode::Mknod, parent, &[arg.as_bytes(), &zero(name)])
    }

    /// MKDIR.
    pub fn mkdir(&mut self, parent: u64, name: impl AsRef<[u8]>, mode: u32) -> Result<EntryOut> {
        let arg = MkdirIn { mode, umask: 0 };
        self.make(Opcode::Mkdir, parent, &[arg.as_bytes(), &zero(name)])
    }

    /// CREATE.
    pub fn create(
        &mut self,
        parent: u64,
        name: impl AsRef<[u8]>,
        flags: i32,
        mode: u32,
    ) -> Result<CreateOut> {
        let flags = flags.cast_unsigned();
        let arg = CreateIn { flags, mode, umask: 0, open_flags: 0 };
        self.make(Opcode::Create, parent, &[arg.as_bytes(), &zero(name)])
    }

    /// TMPFILE.
    pub fn tmpfile(&mut self, dir: u64, flags: i32, mode: u32) -> Result<CreateOut> {
        let flags = flags.cast_unsigned();
        let arg = CreateIn { flags, mode, umask: 0, open_flags: 0 };
        self.make(Opcode::Tmpfile, dir, &[arg.as_bytes(), b"/\0"])
    }

    /// A request that makes an inode, with the current extensions.
    fn make<T: zerocopy::FromBytes>(
        &mut self,
        opcode: Opcode,
        parent: u64,
        args: &[&[u8]],
    ) -> Result<T> {
        let extensions = std::mem::take(&mut self.extensions);
        let request = Request { args, extensions: &extensions, ..self.request(opcode, parent) };
        let made = self.ask(request);
        self.extensions = extensions;
        made
    }

    /// UNLINK.
    pub fn unlink(&mut self, parent: u64, name: impl AsRef<[u8]>) -> Result<()> {
        self.order(&Request { args: &[&zero(name)], ..self.request(Opcode::Unlink, parent) })
    }

    /// RMDIR.
    pub fn rmdir(&mut self, parent: u64, name: impl AsRef<[u8]>) -> Result<()> {
        self.order(&Request { args: &[&zero(name)], ..self.request(Opcode::Rmdir, parent) })
    }

    /// RENAME.
    pub fn rename(
        &mut self,
        (parent, name): (u64, impl AsRef<[u8]>),
        (newdir, new): (u64, impl AsRef<[u8]>),
    ) -> Result<()> {
        let arg = RenameIn { newdir };
        let args = &[arg.as_bytes(), &zero(name), &zero(new)];
        self.order(&Request { args, ..self.request(Opcode::Rename, parent) })
    }

    /// RENAME2.
    pub fn rename2(
        &mut self,
        (parent, name): (u64, impl AsRef<[u8]>),
        (newdir, new): (u64, impl AsRef<[u8]>),
        flags: u32,
    ) -> Result<()> {
        let arg = Rename2In { newdir, flags, padding: 0 };
        let args = &[arg.as_bytes(), &zero(name), &zero(new)];
        self.order(&Request { args, ..self.request(Opcode::Rename2, parent) })
    }

    /// LINK.
    pub fn link(
        &mut self,
        oldnodeid: u64,
        (parent, name): (u64, impl AsRef<[u8]>),
    ) -> Result<EntryOut> {
        let arg = LinkIn { oldnodeid };
        let args = &[arg.as_bytes(), &zero(name)];
        self.ask(Request { args, ..self.request(Opcode::Link, parent) })
    }

    /// SETXATTR, in the form that was agreed on.
    pub fn setxattr(
        &mut self,
        node: u64,
        name: impl AsRef<[u8]>,
        value: &[u8],
        flags: u32,
    ) -> Result<()> {
        let arg = SetxattrIn { size: length(value)?, flags };
        let ext = SetxattrExt { setxattr_flags: 0, padding: 0 };
        let ext = if self.agreed & init::SETXATTR_EXT == 0 { &[] } else { ext.as_bytes() };
        let args = &[arg.as_bytes(), ext, &zero(name), value];
        self.order(&Request { args, ..self.request(Opcode::Setxattr, node) })
    }

    /// GETXATTR into `size` bytes.
    pub fn getxattr(&mut self, node: u64, name: impl AsRef<[u8]>, size: u32) -> Result<Vec<u8>> {
        let arg = GetxattrSize { size, padding: 0 };
        let args = &[arg.as_bytes(), &zero(name)];
        let reply = (size as usize).min(LONGEST_VALUE);
        self.call(&Request { args, reply, ..self.request(Opcode::Getxattr, node) })
    }

    /// GETXATTR that only asks for the size.
    pub fn getxattr_size(&mut self, node: u64, name: impl AsRef<[u8]>) -> Result<u32> {
        let arg = GetxattrSize { size: 0, padding: 0 };
        let args = &[arg.as_bytes(), &zero(name)];
        let reply = self.ask(Request { args, ..self.request(Opcode::Getxattr, node) });
        reply.map(|reply: GetxattrSize| reply.size)
    }

    /// LISTXATTR into `size` bytes.
    pub fn listxattr(&mut self, node: u64, size: u32) -> Result<Vec<u8>> {
        let arg = GetxattrSize { size, padding: 0 };
        let reply = (size as usize).min(LONGEST_VALUE);
        let args = &[arg.as_bytes()];
        self.call(&Request { args, reply, ..self.request(Opcode::Listxattr, node) })
    }

    /// LISTXATTR that only asks for the size.
    pub fn listxattr_size(&mut self, node: u64) -> Result<u32> {
        let arg = GetxattrSize { size: 0, padding: 0 };
        let args = &[arg.as_bytes()];
        let reply = self.ask(Request { args, ..self.request(Opcode::Listxattr, node) });
        reply.map(|reply: GetxattrSize| reply.size)
    }

    /// REMOVEXATTR.
    pub fn removexattr(&mut self, node: u64, name: impl AsRef<[u8]>) -> Result<()> {
        self.order(&Request { args: &[&zero(name)], ..self.request(Opcode::Removexattr, node) })
    }

    /// SETUPMAPPING.
    pub fn setupmapping(&mut self, node: u64, arg: &SetupmappingIn) -> Result<()> {
        self.order(&Request { args: &[arg.as_bytes()], ..self.request(Opcode::Setupmapping, node) })
    }

    /// REMOVEMAPPING of offsets in the window, each with its length.
    pub fn removemapping(&mut self, node: u64, items: &[(u64, u64)]) -> Result<()> {
        let count = u32::try_from(items.len()).map_err(|_| Error::Full)?;
        let items: Vec<_> = items.iter().map(|&(offset, len)| [offset, len]).collect();
        let head = RemovemappingIn { count };
        let args = &[head.as_bytes(), items.as_bytes()];
        self.order(&Request { args, ..self.request(Opcode::Removemapping, node) })
    }
}
