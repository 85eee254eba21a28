//! Mounting where a confined daemon can see it.
#![expect(unsafe_code, reason = "takes the one thread's mounts apart from those of others")]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, fstat, stat};
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, UnmountFlags, mount_change, move_mount,
};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use super::super::sandbox::copy_tree;

/// Mounts what is at `path` at `place` in other namespaces, which this process enters for good.
pub(super) fn mount(path: &Path, place: &Path, namespaces: &[OwnedFd]) -> io::Result<OwnedFd> {
    let tree = match copy_tree(path) {
        // A user who may not mount here may do so in a user namespace of theirs, if the mounts that
        // are seen belong to it.
        Err(_) if is_elsewhere(namespaces)? => {
            enter_users(namespaces)?;
            // SAFETY: only mounts are taken apart, not descriptors or memory.
            unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
            copy_tree(path)?
        }
        copied => copied?,
    };
    enter(namespaces)?;
    move_mount(tree.as_fd(), "", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    // Mounts that the host makes in it later still appear; none of the daemon's does there.
    mount_change(place, MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    Ok(tree)
}

/// Enters the namespaces of a daemon.
pub(super) fn enter(namespaces: &[OwnedFd]) -> io::Result<()> {
    enter_users(namespaces)?;
    let mounts = namespaces.first().ok_or(io::ErrorKind::InvalidData)?;
    Ok(move_into_link_name_space(mounts.as_fd(), Some(LinkNameSpaceType::Mount))?)
}

/// Takes away what is mounted at `place`, once nobody uses it.
pub(super) fn unmount(place: &Path) -> io::Result<()> {
    Ok(rustix::mount::unmount(place, UnmountFlags::DETACH)?)
}

fn enter_users(namespaces: &[OwnedFd]) -> io::Result<()> {
    if !is_elsewhere(namespaces)? {
        return Ok(());
    }
    let users = namespaces.get(1).ok_or(io::ErrorKind::InvalidData)?;
    Ok(move_into_link_name_space(users.as_fd(), Some(LinkNameSpaceType::User))?)
}

/// True if the daemon is in another user namespace than this process.
fn is_elsewhere(namespaces: &[OwnedFd]) -> io::Result<bool> {
    let users = namespaces.get(1).ok_or(io::ErrorKind::InvalidData)?;
    let (here, there) = (stat("/proc/self/ns/user"), fstat(users)?);
    // Where there is no such file any more, we have come from another.
    Ok(here.is_ok_and(|here| here.st_ino != there.st_ino))
}
