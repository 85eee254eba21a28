//! The few `ioctl(2)`s that make sense on another host's file: flags and project ids.

use std::os::fd::AsFd;

use super::Passthrough;
use super::sys;
use crate::fuse::{Errno, Handle, NodeId, Result};

/// `include/uapi/linux/fs.h`.
const FS_IOC_GETFLAGS: u32 = 0x8008_6601;
const FS_IOC_SETFLAGS: u32 = 0x4008_6602;
const FS_IOC_FSGETXATTR: u32 = 0x801c_581f;
const FS_IOC_FSSETXATTR: u32 = 0x401c_5820;

/// The flags are an int, although the commands' numbers say long.
const FLAGS: usize = 4;
/// `struct fsxattr`.
const FSXATTR: usize = 28;

impl Passthrough {
    pub(super) fn control(
        &self,
        node: NodeId,
        (handle, directory): (Handle, bool),
        command: u32,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<usize> {
        let (file, dir);
        let fd = if directory {
            dir = self.dir(node, handle)?;
            dir.as_fd()
        } else {
            file = self.file(node, handle)?;
            file.as_fd()
        };
        match command {
            FS_IOC_GETFLAGS => {
                let room = output.get_mut(..FLAGS).ok_or(Errno::EINVAL)?;
                sys::ioctl::<FLAGS>(fd, command, room)?;
                Ok(output.len())
            }
            FS_IOC_FSGETXATTR => {
                let room = output.get_mut(..FSXATTR).ok_or(Errno::EINVAL)?;
                sys::ioctl::<FSXATTR>(fd, command, room)?;
                Ok(output.len())
            }
            FS_IOC_SETFLAGS => {
                self.may_change()?;
                let mut flags: [u8; FLAGS] = *input.first_chunk().ok_or(Errno::EINVAL)?;
                sys::ioctl::<FLAGS>(fd, command, &mut flags)?;
                Ok(0)
            }
            FS_IOC_FSSETXATTR => {
                self.may_change()?;
                let mut attributes: [u8; FSXATTR] = *input.first_chunk().ok_or(Errno::EINVAL)?;
                sys::ioctl::<FSXATTR>(fd, command, &mut attributes)?;
                Ok(0)
            }
            _ => Err(Errno::ENOTTY),
        }
    }
}
