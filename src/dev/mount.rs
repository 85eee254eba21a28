//! Mounting through Linux's FUSE client (`Documentation/filesystems/fuse.rst`).

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, unmount,
};
use rustix::process::{getegid, geteuid};

use super::error::MountError;
use super::keeper::Keeper;
use super::{device, helper};

/// How to mount.
#[derive(Clone, Debug)]
pub struct MountOptions {
    /// What mount tables show as the source.
    pub source: String,
    /// What mount tables show as the type, behind `fuse.`.
    pub subtype: String,
    /// Other users than the one who mounts may use it.
    pub allow_other: bool,
    /// Largest READ, if the kernel's own limit is not the one.
    pub max_read: Option<u32>,
    /// The mount ends with this process, however that ends.
    pub auto_unmount: bool,
    /// What the kernel does or refuses whatever the file system says.
    pub attributes: Vec<Attribute>,
}

/// Properties of mounts that have nothing to do with FUSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of mount(8)")]
pub enum Attribute {
    Ro,
    Nosuid,
    Nodev,
    Noexec,
    Noatime,
    Nodiratime,
}

impl Attribute {
    /// All of them.
    pub const ALL: [Attribute; 6] = [
        Attribute::Ro,
        Attribute::Nosuid,
        Attribute::Nodev,
        Attribute::Noexec,
        Attribute::Noatime,
        Attribute::Nodiratime,
    ];

    /// Its name for mount(8).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Attribute::Ro => "ro",
            Attribute::Nosuid => "nosuid",
            Attribute::Nodev => "nodev",
            Attribute::Noexec => "noexec",
            Attribute::Noatime => "noatime",
            Attribute::Nodiratime => "nodiratime",
        }
    }

    fn bits(self) -> (MountAttrFlags, MountFlags) {
        match self {
            Attribute::Ro => (MountAttrFlags::MOUNT_ATTR_RDONLY, MountFlags::RDONLY),
            Attribute::Nosuid => (MountAttrFlags::MOUNT_ATTR_NOSUID, MountFlags::NOSUID),
            Attribute::Nodev => (MountAttrFlags::MOUNT_ATTR_NODEV, MountFlags::NODEV),
            Attribute::Noexec => (MountAttrFlags::MOUNT_ATTR_NOEXEC, MountFlags::NOEXEC),
            Attribute::Noatime => (MountAttrFlags::MOUNT_ATTR_NOATIME, MountFlags::NOATIME),
            Attribute::Nodiratime => {
                (MountAttrFlags::MOUNT_ATTR_NODIRATIME, MountFlags::NODIRATIME)
            }
        }
    }
}

/// A mount, and the device through which it is served.
pub struct Mount {
    device: OwnedFd,
    at: Place,
    /// What the kernel calls it.
    id: Option<MountId>,
    /// Unmounts unless it is dropped.
    keeper: Mutex<Option<Keeper>>,
}

enum Place {
    /// We mounted it.
    Own(PathBuf),
    /// The helper did.
    Helped(PathBuf),
    /// Whoever gave us the device did.
    Unknown,
}

/// A mount's id, and the device of its file system.
type MountId = (u64, (u32, u32));

impl Place {
    fn path(&self) -> Option<&Path> {
        match self {
            Place::Own(at) | Place::Helped(at) => Some(at),
            Place::Unknown => None,
        }
    }
}

/// `STATX_MNT_ID_UNIQUE`: the id of a mount that no other will ever have (since Linux 6.8).
const UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// What the kernel calls the mount at `at`. Nobody is asked who might serve it.
fn mount_id(at: &Path) -> Option<MountId> {
    let stat = statx(CWD, at, AtFlags::STATX_DONT_SYNC, StatxFlags::MNT_ID | UNIQUE).ok()?;
    // Where ids are used again, the device tells mounts apart better than nothing.
    Some((stat.stx_mnt_id, (stat.stx_dev_major, stat.stx_dev_minor)))
}

impl Mount {
    /// Mounts on `at`, with the help of `fusermount3` if we may not. Requests queue up until they
    /// are served.
    ///
    /// # Errors
    /// Why there is no mount.
    pub fn new(at: &Path, options: &MountOptions) -> Result<Self, MountError> {
        let (device, at) = match options.mount(at) {
            Err(error) if error.is_forbidden() && !geteuid().is_root() => {
                (helper::mount(at, &options.list())?, Place::Helped(at.to_owned()))
            }
            mounted => (mounted?, Place::Own(at.to_owned())),
        };
        let id = at.path().and_then(mount_id);
        let mount = Mount { device, at, id, keeper: Mutex::default() };
        if options.auto_unmount {
            *mount.keeper() = mount.keep().inspect_err(|_| drop(mount.detach()))?;
        }
        Ok(mount)
    }

    fn keep(&self) -> Result<Option<Keeper>, MountError> {
        let (command, at) = match &self.at {
            Place::Own(at) => (&["umount", "-l", "--"][..], at),
            Place::Helped(at) => (&helper::UNMOUNT[..], at),
            Place::Unknown => return Ok(None),
        };
        Keeper::start(command, at).map(Some).map_err(MountError::NoKeeper)
    }

    /// A mount that somebody else made, through the device that they gave us.
    #[must_use]
    pub fn of(device: OwnedFd) -> Self {
        Mount { device, at: Place::Unknown, id: None, keeper: Mutex::default() }
    }

    /// The device, for what is not serving.
    #[must_use]
    pub fn device(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }

    /// Descriptors of the device for [`serve`](super::serve), one a thread.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn devices(&self, threads: usize) -> io::Result<Vec<OwnedFd>> {
        (0..threads.max(1)).map(|_| device::another(self.device.as_fd())).collect()
    }

    /// True as long as it is in the tree where it was made, whether anybody serves it or not.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.id.is_some() && self.at.path().and_then(mount_id) == self.id
    }

    /// The device number of its file system, if that is known.
    pub(super) fn file_system(&self) -> Option<(u32, u32)> {
        self.id.map(|(_, device)| device)
    }

    /// True if it is ours to take out of the tree.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        !matches!(self.at, Place::Unknown)
    }

    /// The mount is gone from the tree, by whatever hand: what is there now is not ours.
    pub fn is_gone(&self) {
        self.keeper().take();
    }

    fn keeper(&self) -> MutexGuard<'_, Option<Keeper>> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the mount out of the tree; it ends when nobody uses it any more.
    ///
    /// # Errors
    /// What the kernel says, or the helper.
    pub fn detach(&self) -> io::Result<()> {
        match &self.at {
            Place::Own(at) => unmount(at, UnmountFlags::DETACH)?,
            Place::Helped(at) => helper::unmount(at)?,
            Place::Unknown => {}
        }
        self.is_gone();
        Ok(())
    }
}

impl MountOptions {
    /// What the kernel has to know beyond what mount tables show.
    fn keys(&self, device: BorrowedFd<'_>) -> Vec<(&'static str, String)> {
        let mut keys = vec![
            ("fd", device.as_raw_fd().to_string()),
            ("rootmode", "40000".into()),
            ("user_id", geteuid().as_raw().to_string()),
            ("group_id", getegid().as_raw().to_string()),
        ];
        keys.extend(self.max_read.map(|max| ("max_read", max.to_string())));
        keys
    }

    fn flags(&self) -> Vec<&'static str> {
        let other = self.allow_other.then_some("allow_other");
        // We serve whatever the kernel lets through.
        std::iter::once("default_permissions").chain(other).collect()
    }

    /// Mounts by the kernel's calls for it.
    fn mount(&self, at: &Path) -> Result<OwnedFd, MountError> {
        let device = device::open().map_err(MountError::Device)?;
        let fs = match fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC) {
            Err(Errno::NOSYS) => return self.mount_at_once(at, device),
            fs => fs?,
        };
        fsconfig_set_string(fs.as_fd(), "source", self.source.as_str())?;
        fsconfig_set_string(fs.as_fd(), "subtype", self.subtype.as_str())?;
        for (key, value) in self.keys(device.as_fd()) {
            fsconfig_set_string(fs.as_fd(), key, value.as_str())?;
        }
        for flag in self.flags() {
            fsconfig_set_flag(fs.as_fd(), flag)?;
        }
        fsconfig_create(fs.as_fd())?;
        let attributes = self.attributes.iter().map(|attribute| attribute.bits().0).collect();
        let mount = fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(mount.as_fd(), "", CWD, at, flags)?;
        Ok(device)
    }

    /// Mounts by mount(2), where a sandbox knows nothing newer.
    fn mount_at_once(&self, at: &Path, device: OwnedFd) -> Result<OwnedFd, MountError> {
        let mut data: Vec<String> = self.flags().into_iter().map(str::to_owned).collect();
        let keys = self.keys(device.as_fd());
        data.extend(keys.into_iter().map(|(key, value)| format!("{key}={value}")));
        let data = CString::new(data.join(",")).map_err(|_| Errno::INVAL)?;
        let attributes = self.attributes.iter().map(|attribute| attribute.bits().1).collect();
        let fs_type = format!("fuse.{}", self.subtype);
        rustix::mount::mount(&*self.source, at, &*fs_type, attributes, &*data)?;
        Ok(device)
    }

    /// The options as one list, for the helper.
    fn list(&self) -> String {
        let mut list: Vec<String> = self.flags().into_iter().map(str::to_owned).collect();
        list.extend(self.attributes.iter().map(|attribute| attribute.name().to_owned()));
        list.extend(self.max_read.map(|max| format!("max_read={max}")));
        list.push(format!("fsname={}", escape(&self.source)));
        list.push(format!("subtype={}", escape(&self.subtype)));
        list.join(",")
    }
}

/// A value in a list of options: a comma would end it.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_helper_is_told_all_and_nothing_ends_a_value_early() {
        let options = MountOptions {
            source: r"a,b\c".into(),
            subtype: "x".into(),
            allow_other: true,
            max_read: Some(4096),
            auto_unmount: true,
            attributes: vec![Attribute::Ro, Attribute::Noexec],
        };
        assert_eq!(
            options.list(),
            r"default_permissions,allow_other,ro,noexec,max_read=4096,fsname=a\,b\\c,subtype=x"
        );
    }
}
