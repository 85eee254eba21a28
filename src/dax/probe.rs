//! What a front-end can map is found out by trying.

use std::io;
use std::sync::Arc;

use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create, open};

use super::extents::{Mapping, PAGE};
use super::window::{Channel, FileNumber, Refusal, number};
use crate::fuse::{Abilities, NodeId, Source};

/// Whole pages of the file, behind which there is a part of one.
const WHOLE: u64 = 3;

/// A file to try with, in memory.
pub(super) struct Probe {
    writable: Arc<Source>,
    read_only: Arc<Source>,
}

impl Probe {
    pub(super) fn new() -> io::Result<Self> {
        let file = memfd_create(c"ferryfs-probe", MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&file, WHOLE * PAGE + 13)?;
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        let read_only = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Probe {
            writable: Arc::new(Source::new(NodeId::NONE, true, file)),
            read_only: Arc::new(Source::new(NodeId::NONE, false, read_only)),
        })
    }

    /// True if it is the file that is tried with.
    pub(super) fn is(&self, file: FileNumber) -> bool {
        number(&*self.writable) == Some(file)
    }

    /// What `channel` maps; None if it is nothing at all. What it has mapped it has unmapped.
    pub(super) fn run(&self, channel: &dyn Channel) -> Result<Option<Abilities>, Refusal> {
        let tries = |file: &Arc<Source>, page: u64| {
            let (file, writable) = (file.clone(), file.writable);
            let mapping = Mapping { start: 0, len: PAGE, file, offset: page * PAGE, writable };
            match channel.map(&mapping) {
                Ok(()) => channel.unmap(0, PAGE).map(|()| true),
                Err(Refusal::Refused) => Ok(false),
                Err(Refusal::Gone) => Err(Refusal::Gone),
            }
        };
        if !tries(&self.writable, 0)? {
            return Ok(None);
        }
        Ok(Some(Abilities {
            partial_page: tries(&self.writable, WHOLE)?,
            past_end: tries(&self.writable, WHOLE + 1)?,
            // Whoever maps what may not be written cannot write to it either.
            read_only: tries(&self.read_only, 0)?,
        }))
    }
}
