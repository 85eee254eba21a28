//! What the serving process sees of the host's files.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode as Bits, OFlags};
use rustix::io;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags, fsconfig_create, fsmount, fsopen, mount_change, mount_remount,
    move_mount, open_tree, unmount,
};
use rustix::process::{chroot, fchdir, pivot_root};

use super::Inside;
use super::options::Mode;
use crate::daemon::error::StartError;

/// Leaves only what `mode` lets this process see, and makes the share its working directory.
pub(super) fn enter(mode: Mode, (option, share): (&str, &Path)) -> Result<Inside, StartError> {
    let proc_fds = open_proc_fds().map_err(|error| {
        StartError::new("/proc", format!("it cannot be used: {error}"), "mount it")
    })?;
    let refuse = |error| mode.refuse("a view of the share", &error);
    let root = match mode {
        Mode::Namespace => mount_alone(share).map_err(refuse)?,
        Mode::Chroot => chroot(share).and_then(|()| open("/")).map_err(refuse)?,
        Mode::None | Mode::Auto => open(share).map_err(|error| {
            let problem = format!("cannot share {}: {error}", share.display());
            StartError::new(option, problem, "name a directory that you may read")
        })?,
    };
    fchdir(&root).map_err(refuse)?;
    Ok(Inside { root, proc_fds, has_one_id: false })
}

fn open(path: impl rustix::path::Arg) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Bits::empty())
}

/// As a mount of its own where possible: then ".." leads nowhere from it.
fn open_proc_fds() -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, "/proc/self/fd", flags).or_else(|_| open("/proc/self/fd"))
}

/// Where the share is in the empty tree that is this process's whole world.
const SHARE: &str = "share";

/// Replaces all mounts by the share and what is mounted in it. The root of the new tree is an
/// empty directory that cannot be changed: no path that any library looks up leads into the share.
fn mount_alone(share: &Path) -> io::Result<OwnedFd> {
    // Mounts that the host makes in the share later still appear; none of ours does there.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    let clone = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let share = open_tree(CWD, share, clone)?;
    let empty = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(empty.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let top = fsmount(empty.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    rustix::fs::mkdirat(&top, SHARE, Bits::from_raw_mode(0o700))?;
    let from_fd = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(top.as_fd(), "", CWD, "/", from_fd)?;
    fchdir(&top)?;
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    move_mount(share.as_fd(), "", CWD, SHARE, from_fd)?;
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID;
    mount_remount("/", flags | MountFlags::NODEV | MountFlags::NOEXEC, c"")?;
    open(SHARE)
}
