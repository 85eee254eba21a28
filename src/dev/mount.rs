//! Mounting through Linux's FUSE client (`Documentation/filesystems/fuse.rst`).

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, unmount,
};

use super::device;

/// How to mount.
#[derive(Clone, Debug)]
pub struct MountOptions {
    /// What mount tables show as the source.
    pub source: String,
    /// Refuse all changes in the kernel as well.
    pub read_only: bool,
}

/// A mount, and the device through which it is served.
pub struct Mount {
    device: OwnedFd,
    at: PathBuf,
}

impl Mount {
    /// Mounts on `at`. Requests queue up until they are served.
    ///
    /// # Errors
    /// What the kernel says, most often `EPERM`: this needs `CAP_SYS_ADMIN`.
    pub fn new(at: &Path, options: &MountOptions) -> io::Result<Self> {
        let device = device::open()?;
        let fs = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC)?;
        let fd = device.as_raw_fd().to_string();
        let user = rustix::process::geteuid().as_raw().to_string();
        let group = rustix::process::getegid().as_raw().to_string();
        for (key, value) in [
            ("source", options.source.as_str()),
            ("subtype", "ferryfs"),
            ("fd", &fd),
            ("rootmode", "40000"),
            ("user_id", &user),
            ("group_id", &group),
        ] {
            fsconfig_set_string(fs.as_fd(), key, value)?;
        }
        fsconfig_set_flag(fs.as_fd(), "allow_other")?;
        fsconfig_set_flag(fs.as_fd(), "default_permissions")?;
        fsconfig_create(fs.as_fd())?;
        let attributes = match options.read_only {
            true => MountAttrFlags::MOUNT_ATTR_RDONLY,
            false => MountAttrFlags::empty(),
        };
        let mount = fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(mount.as_fd(), "", rustix::fs::CWD, at, flags)?;
        Ok(Mount { device, at: at.to_owned() })
    }

    /// Descriptors of the device for [`serve`](super::serve), one a thread.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn devices(&self, threads: usize) -> io::Result<Vec<OwnedFd>> {
        (0..threads.max(1)).map(|_| device::clone(self.device.as_fd())).collect()
    }

    /// True unless it was unmounted.
    #[must_use]
    pub fn is_there(&self) -> bool {
        let mut polled = [PollFd::new(&self.device, PollFlags::empty())];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut polled, Some(&at_once)).is_ok() && !polled[0].revents().contains(PollFlags::ERR)
    }

    /// Takes the mount out of the tree; it ends when nobody uses it any more.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn detach(&self) -> io::Result<()> {
        Ok(unmount(&self.at, UnmountFlags::DETACH)?)
    }
}
