//! Taking back what a reply gave.

use zerocopy::FromBytes;

use super::abi::{CreateOut, Direntplus, EntryOut, OpenOut};
use super::filesystem::{Filesystem, Handle, NodeId};
use super::opcode::Opcode;

/// Gives up the lookups and handles in the body of a reply to `opcode`.
pub(super) fn undo<F: Filesystem>(fs: &F, opcode: Opcode, node: NodeId, body: &[u8]) {
    let forget = |entry: &EntryOut| {
        if entry.nodeid != NodeId::NONE.0 {
            fs.forget(NodeId(entry.nodeid), 1);
        }
    };
    // A handle that is gone already is what we want.
    match opcode {
        Opcode::Lookup | Opcode::Mknod | Opcode::Mkdir | Opcode::Symlink | Opcode::Link => {
            if let Ok(entry) = EntryOut::read_from_bytes(body) {
                forget(&entry);
            }
        }
        Opcode::Create | Opcode::Tmpfile => {
            if let Ok(created) = CreateOut::read_from_bytes(body) {
                let _ = fs.release(NodeId(created.entry.nodeid), Handle(created.open.fh), false);
                forget(&created.entry);
            }
        }
        Opcode::Open => {
            if let Ok(opened) = OpenOut::read_from_bytes(body) {
                let _ = fs.release(node, Handle(opened.fh), false);
            }
        }
        Opcode::Opendir => {
            if let Ok(opened) = OpenOut::read_from_bytes(body) {
                let _ = fs.releasedir(node, Handle(opened.fh));
            }
        }
        Opcode::Readdirplus => {
            let mut rest = body;
            while let Ok((record, _)) = Direntplus::read_from_prefix(rest) {
                forget(&record.entry);
                let len = size_of::<Direntplus>() + record.dirent.namelen as usize;
                rest = rest.get(len.next_multiple_of(8)..).unwrap_or_default();
            }
        }
        _ => {}
    }
}
