//! The way from the root down to a directory.

use std::ffi::{CStr, CString};
use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags};

use super::super::Passthrough;
use super::super::descriptors::Fd;
use super::super::identity::{FileId, stat_fd};
use super::super::inodes::Inodes;
use super::super::mounts::reopen_dir;
use crate::fuse::{Errno, Name, NodeId, Result};

/// Directories that are open because the last path led through them: the next one is likely to
/// begin like it. Each was opened by one name in the one before, without following links.
pub(super) struct Trail<'a> {
    inodes: &'a Inodes,
    /// The root first.
    steps: Vec<Step>,
}

/// One open directory.
pub(super) struct Step {
    name: CString,
    pub(super) fd: Fd,
    pub(super) id: FileId,
}

const DIR: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl<'a> Trail<'a> {
    pub(super) fn new(fs: &'a Passthrough) -> Result<Self> {
        let root = fs.directory(NodeId::ROOT)?;
        let fd = fs.inodes.fd(NodeId::ROOT, &root)?;
        let fd = fs.inodes.open(|| reopen_dir(fd.as_fd(), DIR))?;
        let step = Step { name: CString::default(), fd, id: root.id };
        Ok(Trail { inodes: &fs.inodes, steps: vec![step] })
    }

    /// The directory at a path, which is the root's if it is empty.
    pub(super) fn to(&mut self, path: &[u8]) -> Result<&Step> {
        let mut at = 1;
        for component in path.split(|byte| *byte == b'/').filter(|_| !path.is_empty()) {
            let known = self.steps.get(at).is_some_and(|step| step.name.as_bytes() == component);
            if !known {
                self.steps.truncate(at);
                let step = self.step(component)?;
                self.steps.push(step);
            }
            at += 1;
        }
        self.steps.truncate(at);
        self.steps.last().ok_or(Errno::ESTALE)
    }

    fn step(&self, component: &[u8]) -> Result<Step> {
        let name = checked(component)?;
        let above = self.steps.last().ok_or(Errno::ESTALE)?;
        let open = || Ok(rustix::fs::openat(above.fd.as_fd(), &*name, DIR, Mode::empty())?);
        let fd = self.inodes.open(open)?;
        let id = FileId::of(&stat_fd(fd.as_fd())?);
        Ok(Step { name, fd, id })
    }
}

/// The path of the directory in which a path's last name is, and that.
pub(super) fn split(path: &[u8]) -> Result<(&[u8], CString)> {
    let (dir, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&path[..0], path),
    };
    Ok((dir, checked(name)?))
}

/// The path of a name in a directory.
pub(super) fn join(dir: &[u8], name: &CStr) -> Vec<u8> {
    let mut path = dir.to_vec();
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name.to_bytes());
    path
}

/// A name that is one component, and no other directory than one below.
fn checked(component: &[u8]) -> Result<CString> {
    let name = CString::new(component).map_err(|_| Errno::EINVAL)?;
    Name::new(&name)?;
    Ok(name)
}
