//! The requests about open files and directories.

use ferryfs::fuse::Opcode;
use ferryfs::fuse::abi::*;
use ferryfs::fuse::flags::fsync;
use zerocopy::IntoBytes;

use crate::client::Client;
use crate::dirents::{self, DirEntry};
use crate::error::Result;
use crate::frame::Request;
use crate::requests::length;

#[expect(clippy::missing_errors_doc, reason = "all are as Client::call's")]
impl Client {
    /// OPEN.
    pub fn open(&mut self, node: u64, flags: i32) -> Result<OpenOut> {
        let arg = OpenIn { flags: flags.cast_unsigned(), open_flags: 0 };
        self.ask(Request { args: &[arg.as_bytes()], ..self.request(Opcode::Open, node) })
    }

    /// RELEASE.
    pub fn release(&mut self, node: u64, fh: u64) -> Result<()> {
        let arg = ReleaseIn { fh, flags: 0, release_flags: 0, lock_owner: 0 };
        self.order(&Request { args: &[arg.as_bytes()], ..self.request(Opcode::Release, node) })
    }

    /// READ.
    pub fn read(&mut self, node: u64, fh: u64, offset: u64, size: u32) -> Result<Vec<u8>> {
        self.read_pages(Opcode::Read, node, fh, (offset, size))
    }

    /// WRITE, as a direct write of a descriptor without flags; bytes written.
    pub fn write(&mut self, node: u64, fh: u64, offset: u64, data: &[u8]) -> Result<u32> {
        self.write_with(node, fh, offset, data, (0, 0))
    }

    /// WRITE with `open(2)` flags and `FUSE_WRITE_*` flags.
    pub fn write_with(
        &mut self,
        node: u64,
        fh: u64,
        offset: u64,
        data: &[u8],
        (flags, write_flags): (i32, u32),
    ) -> Result<u32> {
        let (size, flags) = (length(data)?, flags.cast_unsigned());
        let arg = WriteIn { fh, offset, size, write_flags, lock_owner: 0, flags, padding: 0 };
        let args = &[arg.as_bytes()];
        let reply = self.ask(Request { args, data, ..self.request(Opcode::Write, node) });
        reply.map(|reply: WriteOut| reply.size)
    }

    /// FLUSH.
    pub fn flush(&mut self, node: u64, fh: u64) -> Result<()> {
        let arg = FlushIn { fh, unused: 0, padding: 0, lock_owner: 0 };
        self.order(&Request { args: &[arg.as_bytes()], ..self.request(Opcode::Flush, node) })
    }

    /// FSYNC.
    pub fn fsync(&mut self, node: u64, fh: u64, data_only: bool) -> Result<()> {
        self.sync(Opcode::Fsync, node, fh, data_only)
    }

    /// FSYNCDIR.
    pub fn fsyncdir(&mut self, node: u64, fh: u64, data_only: bool) -> Result<()> {
        self.sync(Opcode::Fsyncdir, node, fh, data_only)
    }

    fn sync(&mut self, opcode: Opcode, node: u64, fh: u64, data_only: bool) -> Result<()> {
        let fsync_flags = if data_only { fsync::FDATASYNC } else { 0 };
        let arg = FsyncIn { fh, fsync_flags, padding: 0 };
        self.order(&Request { args: &[arg.as_bytes()], ..self.request(opcode, node) })
    }

    /// FALLOCATE.
    pub fn fallocate(
        &mut self,
        node: u64,
        fh: u64,
        (offset, length): (u64, u64),
        mode: i32,
    ) -> Result<()> {
        let arg = FallocateIn { fh, offset, length, mode: mode.cast_unsigned(), padding: 0 };
        self.order(&Request { args: &[arg.as_bytes()], ..self.request(Opcode::Fallocate, node) })
    }

    /// LSEEK.
    pub fn lseek(&mut self, node: u64, fh: u64, offset: u64, whence: i32) -> Result<u64> {
        let arg = LseekIn { fh, offset, whence: whence.cast_unsigned(), padding: 0 };
        let reply =
            self.ask(Request { args: &[arg.as_bytes()], ..self.request(Opcode::Lseek, node) });
        reply.map(|reply: LseekOut| reply.offset)
    }

    /// COPY_FILE_RANGE; bytes copied.
    pub fn copy_file_range(&mut self, node: u64, copy: &CopyFileRangeIn) -> Result<u32> {
        let args = &[copy.as_bytes()];
        let reply = self.ask(Request { args, ..self.request(Opcode::CopyFileRange, node) });
        reply.map(|reply: WriteOut| reply.size)
    }

    /// COPY_FILE_RANGE_64; bytes copied.
    pub fn copy_file_range_64(&mut self, node: u64, copy: &CopyFileRangeIn) -> Result<u64> {
        let args = &[copy.as_bytes()];
        let reply = self.ask(Request { args, ..self.request(Opcode::CopyFileRange64, node) });
        reply.map(|reply: CopyFileRangeOut| reply.bytes_copied)
    }

    /// OPENDIR.
    pub fn opendir(&mut self, node: u64) -> Result<OpenOut> {
        let arg = OpenIn { flags: 0, open_flags: 0 };
        self.ask(Request { args: &[arg.as_bytes()], ..self.request(Opcode::Opendir, node) })
    }

    /// RELEASEDIR.
    pub fn releasedir(&mut self, node: u64, fh: u64) -> Result<()> {
        let arg = ReleaseIn { fh, flags: 0, release_flags: 0, lock_owner: 0 };
        self.order(&Request { args: &[arg.as_bytes()], ..self.request(Opcode::Releasedir, node) })
    }

    /// READDIR into `size` bytes; no entries at the end.
    pub fn readdir(&mut self, node: u64, fh: u64, offset: u64, size: u32) -> Result<Vec<DirEntry>> {
        let bytes = self.read_pages(Opcode::Readdir, node, fh, (offset, size))?;
        dirents::parse(&bytes, false)
    }

    /// READDIRPLUS into `size` bytes; no entries at the end.
    pub fn readdirplus(
        &mut self,
        node: u64,
        fh: u64,
        offset: u64,
        size: u32,
    ) -> Result<Vec<DirEntry>> {
        let bytes = self.read_pages(Opcode::Readdirplus, node, fh, (offset, size))?;
        dirents::parse(&bytes, true)
    }

    fn read_pages(
        &mut self,
        opcode: Opcode,
        node: u64,
        fh: u64,
        (offset, size): (u64, u32),
    ) -> Result<Vec<u8>> {
        let arg = ReadIn { fh, offset, size, read_flags: 0, lock_owner: 0, flags: 0, padding: 0 };
        let (args, reply_data) = (&[arg.as_bytes()], size as usize);
        self.call(&Request { args, reply_data, ..self.request(opcode, node) })
    }

    /// GETLK: the lock that is in the way.
    pub fn getlk(&mut self, node: u64, arg: &LkIn) -> Result<FileLock> {
        self.ask(Request { args: &[arg.as_bytes()], ..self.request(Opcode::Getlk, node) })
    }

    /// SETLK, or SETLKW to wait for the lock.
    pub fn setlk(&mut self, node: u64, arg: &LkIn, wait: bool) -> Result<()> {
        let opcode = if wait { Opcode::Setlkw } else { Opcode::Setlk };
        self.order(&Request { args: &[arg.as_bytes()], ..self.request(opcode, node) })
    }

    /// IOCTL; what is behind the reply's header.
    pub fn ioctl(
        &mut self,
        node: u64,
        arg: &IoctlIn,
        data: &[u8],
        out_size: usize,
    ) -> Result<Vec<u8>> {
        let args = &[arg.as_bytes(), data];
        // `struct fuse_ioctl_out` comes first.
        let reply = 16 + out_size;
        self.call(&Request { args, reply, ..self.request(Opcode::Ioctl, node) })
    }

    /// POLL; the events that are there.
    pub fn poll(&mut self, node: u64, fh: u64, events: u32) -> Result<u32> {
        let arg = PollIn { fh, kh: 0, flags: 0, events };
        let reply =
            self.ask(Request { args: &[arg.as_bytes()], ..self.request(Opcode::Poll, node) });
        reply.map(|[events, _]: [u32; 2]| events)
    }

    /// BMAP; the block on the device.
    pub fn bmap(&mut self, node: u64, block: u64, blocksize: u32) -> Result<u64> {
        let arg = BmapIn { block, blocksize, padding: 0 };
        self.ask(Request { args: &[arg.as_bytes()], ..self.request(Opcode::Bmap, node) })
    }
}
