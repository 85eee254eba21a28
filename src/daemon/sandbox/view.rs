//! What the serving process sees of the host's files.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode as Bits, OFlags, Statx, StatxFlags, fstat, statx};
use rustix::io;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags, fsconfig_create, fsmount, fsopen, mount_change, mount_remount,
    move_mount, open_tree, unmount,
};
use rustix::process::{chdir, chroot, fchdir, pivot_root};

use super::options::Mode;
use super::{Inside, Later, Premises};
use crate::daemon::error::StartError;
use crate::daemon::share;

/// Leaves only what `mode` lets this process see, and makes it the working directory.
pub(super) fn enter(mode: Mode, premises: &Premises) -> Result<Inside, StartError> {
    let proc_fds = open_proc_fds().map_err(|error| {
        StartError::new("/proc", format!("it cannot be used: {error}"), "mount it")
    })?;
    let refuse = |error| mode.refuse("a view of the share", &error);
    let cannot_share =
        |path: &Path, error: io::Errno| share::refuse(premises.option, path, &error.into());
    let mut inside = Inside {
        roots: Vec::new(),
        proc_fds,
        has_one_id: false,
        later: Later::Given,
        places: None,
    };
    match mode {
        Mode::Namespace => {
            mount_alone(premises, &mut inside).map_err(refuse)?;
            for (number, root) in inside.roots.iter().enumerate() {
                uncover(root, &name_of(premises, number)).map_err(|error| {
                    let problem =
                        format!("the mount on it hides {} here: {error}", premises.option);
                    let remedy = "mount as root, at another place, or with --sandbox none";
                    StartError::new("MOUNTPOINT", problem, remedy)
                })?;
            }
        }
        Mode::Chroot if premises.are_several => {
            let problem = "chroot has room for one directory only";
            return Err(StartError::new("--sandbox", problem, "use namespace or none"));
        }
        Mode::Chroot => {
            let share = premises.paths().next().unwrap_or(Path::new("/"));
            let root = chroot(share).and_then(|()| open("/"));
            // Denied by the share's own rights: what a sandbox may not do is not permitted.
            inside.roots.push(root.map_err(|error| match error {
                io::Errno::ACCESS => cannot_share(share, error),
                error => refuse(error),
            })?);
        }
        Mode::None | Mode::Auto => {
            for share in premises.paths() {
                inside.roots.push(open(share).map_err(|error| cannot_share(share, error))?);
            }
        }
    }
    match (&*inside.roots, premises.paths().next()) {
        ([root], Some(share)) if !premises.are_several => {
            fchdir(root).map_err(|error| cannot_share(share, error))?;
        }
        _ => chdir("/").map_err(refuse)?,
    }
    Ok(inside)
}

fn open(path: impl rustix::path::Arg) -> io::Result<OwnedFd> {
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Bits::empty())
}

/// As a mount of its own where possible: then ".." leads nowhere from it.
fn open_proc_fds() -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, "/proc/self/fd", flags).or_else(|_| open("/proc/self/fd"))
}

/// Where one share is in the empty tree that is this process's whole world.
const SHARE: &str = "share";

/// Where shares may come later: at `d0` and so on directories, at `f0` and so on files.
pub(in crate::daemon) const PLACES: (&str, usize) = ("/later", 64);

/// Replaces all mounts by the shares and what is mounted in them. The root of the new tree is an
/// empty directory that cannot be changed: no path that any library looks up leads into a share.
fn mount_alone(premises: &Premises, inside: &mut Inside) -> io::Result<()> {
    if premises.may_grow() {
        inside.later = Later::Mounted([namespace("mnt")?, namespace("user")?]);
    }
    // Mounts that the host makes in a share later still appear; none of ours does there.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    let mut shares = Vec::new();
    for (number, share) in premises.paths().enumerate() {
        shares.push((name_of(premises, number), copy_tree(share)?));
    }
    let empty = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(empty.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let top = fsmount(empty.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    for (name, share) in &shares {
        let is_dir = FileType::from_raw_mode(fstat(share)?.st_mode) == FileType::Directory;
        make_place(&top, name, is_dir)?;
    }
    if premises.may_grow() {
        make_places(&top)?;
    }
    let from_fd = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(top.as_fd(), "", CWD, "/", from_fd)?;
    fchdir(&top)?;
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    chdir("/")?;
    for (name, share) in &shares {
        move_mount(share.as_fd(), "", CWD, name, from_fd)?;
    }
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID;
    mount_remount("/", flags | MountFlags::NODEV | MountFlags::NOEXEC, c"")?;
    inside.roots.extend(shares.into_iter().map(|(_, share)| share));
    if premises.may_grow() {
        inside.places = Some(open(PLACES.0)?);
    }
    Ok(())
}

/// Where a share is in that tree.
fn name_of(premises: &Premises, number: usize) -> String {
    if premises.are_several { number.to_string() } else { SHARE.to_owned() }
}

/// Takes off what covers the root of a share: a mount of our own, of which nobody here may keep a
/// copy, for it ends with its last one. A user namespace cannot take off what it came with.
fn uncover(share: &OwnedFd, name: &str) -> io::Result<()> {
    let id = |stat: io::Result<Statx>| stat.map(|stat| stat.stx_mnt_id);
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let own = id(statx(share, "", flags, StatxFlags::MNT_ID))?;
    // Whoever serves what covers it is not asked: that is to be this process.
    while id(statx(CWD, name, AtFlags::STATX_DONT_SYNC, StatxFlags::MNT_ID))? != own {
        unmount(name, UnmountFlags::DETACH)?;
    }
    Ok(())
}

/// What is at `path`, with what is mounted in it, as a mount of its own that is nowhere yet.
pub(in crate::daemon) fn copy_tree(path: &Path) -> io::Result<OwnedFd> {
    let clone = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, path, clone)
}

/// A namespace of this process, to be entered by others.
fn namespace(kind: &str) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/ns/{kind}");
    rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Bits::empty())
}

fn make_places(top: &OwnedFd) -> io::Result<()> {
    let (folder, count) = PLACES;
    let folder = folder.trim_start_matches('/');
    make_place(top, folder, true)?;
    for number in 0..count {
        make_place(top, &format!("{folder}/d{number}"), true)?;
        make_place(top, &format!("{folder}/f{number}"), false)?;
    }
    Ok(())
}

/// Makes what something can be mounted on.
fn make_place(top: &OwnedFd, name: &str, is_dir: bool) -> io::Result<()> {
    match is_dir {
        true => rustix::fs::mkdirat(top, name, Bits::from_raw_mode(0o700)),
        false => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            rustix::fs::openat(top, name, flags, Bits::from_raw_mode(0o600)).map(drop)
        }
    }
}
