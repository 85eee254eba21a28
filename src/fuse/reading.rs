//! READs that wait for storage, and that the carrier has somebody do who waits: the kernel.

use std::os::fd::BorrowedFd;

use super::abi::{InHeader, OutHeader, ReadIn};
use super::account::Entry;
use super::errno::Errno;
use super::filesystem::{Filesystem, Handle, NodeId};
use super::opcode::Opcode;
use super::session::{Patience, Scratch, Served, Session, answer, or_eio};
use crate::mem::{Input, Output};

/// A READ that was begun: all that is needed to answer it, as the request may have changed since.
pub struct Reading {
    unique: u64,
    offset: u64,
    size: usize,
    entry: Entry,
}

/// Page caches hold files by these bytes, or by multiples of them.
pub(crate) const PAGE: u64 = 4096;

impl<F: Filesystem> Session<F> {
    /// Begins a READ that has to wait for storage, by `begin`: it is to have all of the room that
    /// it is given filled from an offset of a file, which is open for as long as it runs. None if
    /// it gives false, or if the request is another: it is then to be served as any.
    ///
    /// Each that was begun is ended, by the same worker, with [`end_read`](Self::end_read); or is
    /// served as any.
    pub fn begin_read(
        &self,
        scratch: &Scratch,
        mut input: Input<'_>,
        mut output: Output<'_>,
        begin: impl FnOnce(BorrowedFd<'_>, u64, &Output<'_>) -> bool,
    ) -> Option<Reading> {
        let (mut head, mut arg) = ([0; size_of::<InHeader>()], [0; size_of::<ReadIn>()]);
        input.take(&mut head).and_then(|()| input.take(&mut arg)).ok()?;
        let (head, arg): (InHeader, ReadIn) =
            (zerocopy::transmute!(head), zerocopy::transmute!(arg));
        let (node, size) = (NodeId(head.nodeid), arg.size as usize);
        let is_plain = Opcode::from_wire(head.opcode) == Some(Opcode::Read)
            && head.len as usize == size_of::<InHeader>() + size_of::<ReadIn>();
        output.split_off(size_of::<OutHeader>()).ok()?;
        if !is_plain || size == 0 || output.room() < size || !self.has_begun() {
            return None;
        }
        output.truncate(size);
        let entry = scratch.account.open(Some(Opcode::Read), Patience::Storage);
        let (mut begin, mut begun) = (Some(begin), false);
        let mut with = |file: BorrowedFd<'_>| {
            begun = begin.take().is_some_and(|begin| begin(file, arg.offset, &output));
        };
        // What comes of it otherwise is for the file system to say when it is served as any.
        let _ = or_eio(|| match self.filesystem().waits(Opcode::Read, node) {
            None => self.filesystem().with_file(node, Handle(arg.fh), &mut with),
            Some(_) => Ok(()),
        });
        begun.then_some(Reading { unique: head.unique, offset: arg.offset, size, entry })
    }

    /// Puts the reply to a READ for which `count` bytes have come. None if that may not be all:
    /// the request is then to be served as any.
    pub fn end_read(
        &self,
        scratch: &Scratch,
        reading: &Reading,
        count: usize,
        output: Output<'_>,
    ) -> Option<Served> {
        // What is cut off at a page may have met an error, or memory that is gone. Behind a file's
        // end there is nothing, and within a page there is no other reason.
        let end = reading.offset.checked_add(count as u64)?;
        let is_whole = count == reading.size || count == 0 || !end.is_multiple_of(PAGE);
        if count > reading.size || !is_whole {
            return None;
        }
        let served =
            answer(reading.unique, output, |room| room.has_got(count).map_err(|_| Errno::EIO));
        scratch.account.read.add(count as u64);
        scratch.account.close(&reading.entry, None);
        Some(served)
    }
}
