//! Attributes of inodes and of file systems.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, Statx, StatxFlags, StatxTimestamp, Timespec, Timestamps, UTIME_NOW,
    UTIME_OMIT, Uid,
};
use rustix::path::DecInt;

use super::Passthrough;
use super::identity::stat_fd;
use super::inode::Inode;
use super::mounts::Mount;
use crate::fuse::abi::{self, Attr, Kstatfs, SxTime};
use crate::fuse::flags::{attr, init};
use crate::fuse::{
    AttrChange, Attributes, Caller, Errno, Handle, NodeId, Result, SetTime, StatxAttributes,
};

impl Passthrough {
    /// Attributes by the open file if there is one, so that no descriptor is needed.
    pub(super) fn stat(
        &self,
        node: NodeId,
        inode: &Inode,
        handle: Option<Handle>,
    ) -> Result<Statx> {
        match handle.and_then(|handle| self.open_file_of(node, handle)) {
            Some(file) => stat_fd(file.as_fd()),
            None => self.with_fd(node, inode, stat_fd),
        }
    }

    pub(super) fn attributes(&self, inode: &Inode, stat: &Statx) -> Attributes {
        Attributes { attr: self.attr(inode, stat), valid: self.valid(self.config.attr_valid) }
    }

    /// The inode number of an inode that the guest knows. It is shown a file on which another file
    /// system begins as one of the file system around it.
    fn ino_of(&self, inode: &Inode, ino: u64) -> u64 {
        match self.announces_submounts() && inode.is_mounted && !inode.is_dir() {
            true => self.mounts.foreign_ino(inode.id.dev, ino),
            false => self.guest_ino(inode.id.dev, ino),
        }
    }

    /// The inode number that the guest sees.
    pub(super) fn guest_ino(&self, dev: u64, ino: u64) -> u64 {
        if self.announces_submounts() { ino } else { self.mounts.unique_ino(dev, ino) }
    }

    pub(super) fn stat_more(
        &self,
        node: NodeId,
        handle: Option<Handle>,
        mask: u32,
    ) -> Result<StatxAttributes> {
        if self.has_agreed(init::HAS_INODE_DAX) {
            // It cannot tell which files are mapped, and a guest would take all of them not to be.
            return Err(Errno::ENOSYS);
        }
        let inode = self.inodes.get(node)?;
        let mut stat = self.to_statx(&inode, &self.stat(node, &inode, handle)?);
        stat.mask &= mask | StatxFlags::BASIC_STATS.bits();
        Ok(StatxAttributes { stat, valid: self.valid(self.config.attr_valid) })
    }

    pub(super) fn change(
        &self,
        by: &Caller,
        node: NodeId,
        change: &AttrChange,
    ) -> Result<Attributes> {
        let inode = self.inodes.get(node)?;
        let stat = match change.handle {
            Some(handle) => {
                let file = self.file(node, handle)?;
                let truncate = |size| Ok(rustix::fs::ftruncate(file.as_fd(), size)?);
                self.change_by(by, file.as_fd(), change, truncate)?
            }
            None => {
                let truncate = |size| {
                    let file = self.reopen(node, &inode, OFlags::WRONLY | OFlags::CLOEXEC)?;
                    Ok(rustix::fs::ftruncate(file, size)?)
                };
                self.with_fd(node, &inode, |fd| self.change_by(by, fd, change, truncate))?
            }
        };
        Ok(self.attributes(&inode, &stat))
    }

    /// Changes owner, size, mode and times, in that order, because a change of owner or size
    /// takes bits out of the mode, and one of size sets times.
    fn change_by(
        &self,
        by: &Caller,
        fd: BorrowedFd<'_>,
        change: &AttrChange,
        truncate: impl FnOnce(u64) -> Result<()>,
    ) -> Result<Statx> {
        if change.uid.is_some() || change.gid.is_some() || change.size.is_some() {
            self.drop_renamed_capabilities(fd, None)?;
        }
        if is_nothing(change) {
            return self.change_nothing(by, fd);
        }
        if change.uid.is_some() || change.gid.is_some() {
            let uid = change.uid.map(|uid| self.config.uids.to_host(uid)).transpose()?;
            let gid = change.gid.map(|gid| self.config.gids.to_host(gid)).transpose()?;
            let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
            rustix::fs::chownat(fd, c"", uid, gid, AtFlags::EMPTY_PATH)?;
        }
        if let Some(size) = change.size {
            self.with_privilege(!change.kill_suidgid, || truncate(size))?;
        }
        if let Some(mode) = change.mode {
            let (path, mode) = (DecInt::from_fd(fd), Mode::from_raw_mode(mode & 0o7777));
            let chmod = || Ok(rustix::fs::chmodat(&self.proc_fds, path, mode, AtFlags::empty())?);
            self.powers.with_fsetid(true, chmod)?;
        }
        if change.atime.is_some() || change.mtime.is_some() {
            let times = Timestamps {
                last_access: timespec(change.atime),
                last_modification: timespec(change.mtime),
            };
            rustix::fs::utimensat(fd, c"", &times, AtFlags::EMPTY_PATH)?;
        }
        stat_fd(fd)
    }

    /// What is left of a chown(2) to nobody else, which takes set-user-id away all the same: the
    /// guest's kernel leaves that to us. From root it may be something else, a write to a file
    /// with capabilities, which takes away only those.
    fn change_nothing(&self, by: &Caller, fd: BorrowedFd<'_>) -> Result<Statx> {
        let owner = self.config.uids.to_guest(stat_fd(fd)?.stx_uid);
        if by.uid == owner && by.uid != 0 {
            rustix::fs::chownat(fd, c"", None, None, AtFlags::EMPTY_PATH)?;
        }
        stat_fd(fd)
    }

    /// What the kernel would decide by mode and ids; never asked by guests, who check themselves.
    pub(super) fn check_access(&self, by: &Caller, node: NodeId, mask: u32) -> Result<()> {
        let inode = self.inodes.get(node)?;
        let attributes = self.attr(&inode, &self.stat(node, &inode, None)?);
        let mode = attributes.mode;
        let granted = if by.uid == 0 {
            let execute = u32::from(mode & 0o111 != 0 || mode & libc::S_IFMT == libc::S_IFDIR);
            6 | execute
        } else if by.uid == attributes.uid {
            mode >> 6 & 7
        } else if by.gid == attributes.gid || by.group == Some(attributes.gid) {
            mode >> 3 & 7
        } else {
            mode & 7
        };
        match mask {
            0..=7 if mask & !granted == 0 => Ok(()),
            0..=7 => Err(Errno::EACCES),
            _ => Err(Errno::EINVAL),
        }
    }

    pub(super) fn stat_fs(&self, node: NodeId) -> Result<Kstatfs> {
        let inode = self.inodes.get(node)?;
        let fs = self.with_fd(node, &inode, |fd| Ok(rustix::fs::fstatvfs(fd)?))?;
        let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        Ok(Kstatfs {
            blocks: fs.f_blocks,
            bfree: fs.f_bfree,
            bavail: fs.f_bavail,
            files: fs.f_files,
            ffree: fs.f_ffree,
            bsize: small(fs.f_bsize),
            namelen: small(fs.f_namemax),
            frsize: small(fs.f_frsize),
            padding: 0,
            spare: [0; 6],
        })
    }

    /// Makes the inode's file system durable, and all that the guest does not know to be others.
    pub(super) fn sync_fs(&self, node: NodeId) -> Result<()> {
        let sync = |fd: BorrowedFd<'_>| {
            let open = self.inodes.open(|| self.open_again(fd, OFlags::RDONLY))?;
            Ok(rustix::fs::syncfs(open)?)
        };
        let announced = self.announces_submounts();
        let own = self.inodes.get(node)?.mount.clone();
        let is_meant = |mount: &Mount| !announced || mount.is_file || std::ptr::eq(mount, &*own);
        self.mounts.for_each(is_meant, sync)
    }

    pub(super) fn read_link(&self, node: NodeId, target: &mut [u8]) -> Result<usize> {
        let inode = self.inodes.get(node)?;
        if inode.kind() != libc::S_IFLNK {
            return Err(Errno::EINVAL);
        }
        let fd = self.fd(node, &inode)?;
        Ok(rustix::fs::readlinkat_raw(fd.as_fd(), c"", target)?)
    }

    /// Opens what `fd` stands for once more, with other flags.
    pub(super) fn open_again(
        &self,
        fd: BorrowedFd<'_>,
        flags: OFlags,
    ) -> Result<std::os::fd::OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.proc_fds, DecInt::from_fd(fd), flags, Mode::empty())?)
    }

    pub(super) fn attr(&self, inode: &Inode, stat: &Statx) -> Attr {
        let submount = inode.is_submount() && self.announces_submounts();
        let submount = if submount { attr::SUBMOUNT } else { 0 };
        let mapped = if self.is_mapped(inode, stat.stx_size) { attr::DAX } else { 0 };
        Attr {
            ino: self.ino_of(inode, stat.stx_ino),
            size: stat.stx_size,
            blocks: stat.stx_blocks,
            atime: stat.stx_atime.tv_sec,
            mtime: stat.stx_mtime.tv_sec,
            ctime: stat.stx_ctime.tv_sec,
            atimensec: stat.stx_atime.tv_nsec,
            mtimensec: stat.stx_mtime.tv_nsec,
            ctimensec: stat.stx_ctime.tv_nsec,
            mode: stat.stx_mode.into(),
            nlink: stat.stx_nlink,
            uid: self.config.uids.to_guest(stat.stx_uid),
            gid: self.config.gids.to_guest(stat.stx_gid),
            rdev: encode_dev(stat.stx_rdev_major, stat.stx_rdev_minor),
            blksize: stat.stx_blksize,
            flags: submount | mapped,
        }
    }

    fn to_statx(&self, inode: &Inode, stat: &Statx) -> abi::Statx {
        let known = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        abi::Statx {
            mask: stat.stx_mask & known.bits(),
            blksize: stat.stx_blksize,
            attributes: stat.stx_attributes.bits(),
            nlink: stat.stx_nlink,
            uid: self.config.uids.to_guest(stat.stx_uid),
            gid: self.config.gids.to_guest(stat.stx_gid),
            mode: stat.stx_mode,
            spare0: 0,
            ino: self.ino_of(inode, stat.stx_ino),
            size: stat.stx_size,
            blocks: stat.stx_blocks,
            attributes_mask: stat.stx_attributes_mask.bits(),
            atime: to_sx_time(&stat.stx_atime),
            btime: to_sx_time(&stat.stx_btime),
            ctime: to_sx_time(&stat.stx_ctime),
            mtime: to_sx_time(&stat.stx_mtime),
            rdev_major: stat.stx_rdev_major,
            rdev_minor: stat.stx_rdev_minor,
            dev_major: stat.stx_dev_major,
            dev_minor: stat.stx_dev_minor,
            spare2: [0; 14],
        }
    }
}

fn to_sx_time(time: &StatxTimestamp) -> SxTime {
    SxTime { tv_sec: time.tv_sec, tv_nsec: time.tv_nsec, reserved: 0 }
}

/// True if no attribute is given a value.
fn is_nothing(AttrChange { mode, uid, gid, size, atime, mtime, .. }: &AttrChange) -> bool {
    mode.or(*uid).or(*gid).is_none() && size.is_none() && atime.or(*mtime).is_none()
}

/// The kernel's 32-bit encoding of a device number (`new_encode_dev`).
pub(super) fn encode_dev(major: u32, minor: u32) -> u32 {
    minor & 0xff | (major & 0xfff) << 8 | (minor & 0xfff00) << 12
}

/// Major and minor of a device number in the kernel's 32-bit encoding (`new_decode_dev`).
pub(super) fn decode_dev(dev: u32) -> (u32, u32) {
    (dev >> 8 & 0xfff, dev & 0xff | dev >> 12 & 0xfff00)
}

fn timespec(time: Option<SetTime>) -> Timespec {
    match time {
        None => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        Some(SetTime::Now) => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        Some(SetTime::At(tv_sec, nanoseconds)) => {
            Timespec { tv_sec, tv_nsec: nanoseconds.min(999_999_999).into() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_survive_their_encoding() {
        for (major, minor) in [(0, 0), (1, 3), (8, 17), (0xfff, 0xfffff), (259, 300)] {
            assert_eq!(decode_dev(encode_dev(major, minor)), (major, minor));
        }
        assert_eq!(encode_dev(8, 1), 0x801);
    }
}
