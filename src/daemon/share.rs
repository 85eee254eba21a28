//! Options that say how a directory is shared, by whatever carrier.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use clap::Args;
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, accessat};
use rustix::io::Errno;
use rustix::path::DecInt;
use rustix::process::{getegid, geteuid};

use super::args::names;
use super::error::StartError;
use super::limits;
use super::sandbox::{Inside, Needs, Premises};
use crate::passthrough::{
    Cache, Config, FileHandles, IdMap, IdRule, Passthrough, Support, XattrMap, Xattrs,
};

#[derive(Clone, Debug, Args)]
pub(super) struct ShareOptions {
    /// Refuse all changes
    #[arg(long, help_heading = "Sharing")]
    readonly: bool,

    /// With --readonly: let the guest use files and directories without opening them, which saves
    /// it two requests each
    #[arg(long, help_heading = "Caching",
          conflicts_with_all = ["posix_lock", "flock", "allow_direct_io"])]
    no_open: bool,

    /// What a guest may keep in its cache: auto (a second, data while the file is unchanged),
    /// always, metadata (no data) or never
    #[arg(
        long,
        value_name = "POLICY",
        default_value = "auto",
        ignore_case = true,
        help_heading = "Caching"
    )]
    cache: CacheName,

    /// Seconds for which attributes may be kept [default: by the policy]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, help_heading = "Caching")]
    attr_timeout: Option<Duration>,

    /// Seconds for which names may be kept [default: by the policy]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, help_heading = "Caching")]
    entry_timeout: Option<Duration>,

    /// Seconds for which a name may be taken not to exist [default: by the policy]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, help_heading = "Caching")]
    negative_timeout: Option<Duration>,

    /// Do not send attributes along when a directory is read
    #[arg(long, overrides_with = "readdirplus", help_heading = "Caching")]
    no_readdirplus: bool,

    // Hidden options take another one back, for the lists of `-o`.
    #[arg(long, overrides_with = "no_readdirplus", hide = true)]
    readdirplus: bool,

    /// Let the guest write later what its programs have written
    #[arg(long, overrides_with = "no_writeback", help_heading = "Caching")]
    writeback: bool,

    #[arg(long, overrides_with = "writeback", hide = true)]
    no_writeback: bool,

    /// Pass O_DIRECT on to the host
    #[arg(long, overrides_with = "no_allow_direct_io", help_heading = "Caching")]
    allow_direct_io: bool,

    #[arg(long, overrides_with = "allow_direct_io", hide = true)]
    no_allow_direct_io: bool,

    /// Let files without cached data be mapped [default for metadata and never]
    #[arg(long, help_heading = "Caching")]
    allow_mmap: bool,

    /// Pass O_NOATIME on to the host
    #[arg(long, help_heading = "Caching")]
    preserve_noatime: bool,

    /// Serve extended attributes [default: if the directory has them]
    #[arg(long, overrides_with = "no_xattr", help_heading = "Attributes")]
    xattr: bool,

    /// Do not serve extended attributes
    #[arg(long, overrides_with = "xattr", help_heading = "Attributes")]
    no_xattr: bool,

    /// Rename extended attributes by these rules, as ":map::user.virtiofs.:"
    #[arg(
        long,
        value_name = "RULES",
        conflicts_with = "xattr_preset",
        help_heading = "Attributes"
    )]
    xattrmap: Option<XattrMap>,

    /// Rename extended attributes for a purpose: overlay (an overlayfs upper layer and file
    /// capabilities in the guest, without rights on the host)
    #[arg(long, value_name = "PRESET", help_heading = "Attributes")]
    xattr_preset: Option<PresetName>,

    /// Serve POSIX ACLs: never, auto (if the guest can) or always (refuse other guests)
    #[arg(long, value_name = "WHEN", default_value = "never", num_args = 0..=1,
          require_equals = true, default_missing_value = "always", help_heading = "Attributes")]
    posix_acl: SupportName,

    /// Give new files their security label: never, auto (if the guest can) or always
    #[arg(long, value_name = "WHEN", default_value = "never", num_args = 0..=1,
          require_equals = true, default_missing_value = "always", help_heading = "Attributes")]
    security_label: SupportName,

    /// Clear set-user-id as the guest asks for it [default]
    #[arg(long, overrides_with = "no_killpriv_v2", help_heading = "Attributes")]
    killpriv_v2: bool,

    /// Leave it to the guest to clear set-user-id, at the cost of a request per write
    #[arg(long, overrides_with = "killpriv_v2", help_heading = "Attributes")]
    no_killpriv_v2: bool,

    /// Translate user ids: map|guest|host|squash-guest|squash-host:FIRST:TARGET:COUNT or
    /// forbid-guest:FIRST:COUNT; may be repeated
    #[arg(long, value_name = "RULE", help_heading = "Ids")]
    translate_uid: Vec<IdRule>,

    /// Translate group ids, as --translate-uid
    #[arg(long, value_name = "RULE", help_heading = "Ids")]
    translate_gid: Vec<IdRule>,

    /// Everything belongs to this user and group in the guest, and to the daemon's on the host
    #[arg(long, value_name = "UID:GID", value_parser = owner, help_heading = "Ids",
          conflicts_with_all = ["translate_uid", "translate_gid"])]
    map_owner: Option<(u32, u32)>,

    /// Keep inodes by file handle: never, prefer (where it works) or mandatory
    #[arg(long, value_name = "WHEN", default_value = "prefer", help_heading = "Sharing")]
    inode_file_handles: HandlesName,

    /// Tell the guest where other file systems are mounted [default]
    #[arg(long, overrides_with = "no_announce_submounts", help_heading = "Sharing")]
    announce_submounts: bool,

    /// Show the guest one file system, with inode numbers that are unique in all of it
    #[arg(long, overrides_with = "announce_submounts", help_heading = "Sharing")]
    no_announce_submounts: bool,

    /// Make fcntl(2) locks of the guest hold on the host as well
    #[arg(long, overrides_with = "no_posix_lock", help_heading = "Sharing")]
    posix_lock: bool,

    #[arg(long, overrides_with = "posix_lock", hide = true)]
    no_posix_lock: bool,

    /// Make flock(2) locks of the guest hold on the host as well
    #[arg(long, overrides_with = "no_flock", help_heading = "Sharing")]
    flock: bool,

    #[arg(long, overrides_with = "flock", hide = true)]
    no_flock: bool,

    /// Inodes that the guest may know at a time [default: as many as need an eighth of the host's
    /// memory at most]
    #[arg(long, value_name = "N", help_heading = "Process")]
    inode_limit: Option<usize>,

    /// Limit of open files to set [default: the hard limit, at most 1000000]; 0 leaves it alone
    #[arg(long, value_name = "N", help_heading = "Process")]
    rlimit_nofile: Option<u64>,
}

names! {
    CacheName(Cache) {
        Cache::Auto => "auto",
        Cache::Always => "always",
        Cache::Metadata => "metadata",
        Cache::Never => "never" | "none",
    }
    SupportName(Support) {
        Support::Never => "never",
        Support::Auto => "auto",
        Support::Always => "always",
    }
    HandlesName(FileHandles) {
        FileHandles::Never => "never",
        FileHandles::Prefer => "prefer" | "fallback",
        FileHandles::Mandatory => "mandatory",
    }
    PresetName(Preset) {
        Preset::Overlay => "overlay",
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Preset {
    Overlay,
}

/// True if there may be extended attributes.
fn has_xattrs(root: &OwnedFd, inside: &Inside) -> bool {
    let probe = || -> Result<usize, Errno> {
        let here = rustix::fs::openat(CWD, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        rustix::process::fchdir(&inside.proc_fds)?;
        let found = rustix::fs::getxattr_query(DecInt::from_fd(root), c"user.ferryfs");
        rustix::process::fchdir(here)?;
        found
    };
    probe() != Err(Errno::OPNOTSUPP)
}

/// Why `option` cannot have this path.
pub(super) fn refuse(option: &str, path: &Path, error: &io::Error) -> StartError {
    let problem = format!("cannot share {}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            let user = geteuid().as_raw();
            let remedy = format!(
                "let user {user} read and search it and search what is above it, or start the \
                 daemon as another user"
            );
            StartError::new(option, problem, remedy)
        }
        _ => StartError::new(option, problem, "name a directory that you may read"),
    }
}

/// # Errors
/// `EACCES` if this process may not look up names in the directory: nothing could be served. It is
/// asked for before there is a sandbox, none of which would help.
fn may_search(path: &Path) -> io::Result<()> {
    match accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS) {
        Err(Errno::ACCESS) => Err(Errno::ACCESS.into()),
        // Kernels and containers that do not know this call leave it to be seen later.
        _ => Ok(()),
    }
}

/// Why what was prepared cannot be shared after all.
pub(super) fn cannot_open((option, path): (&str, &Path), error: &io::Error) -> StartError {
    match error.raw_os_error() {
        Some(libc::EOPNOTSUPP) => StartError::new(
            "--inode-file-handles",
            format!("{} has no file handles that we may open", path.display()),
            "use prefer, or start the daemon with CAP_DAC_READ_SEARCH",
        ),
        _ => refuse(option, path, error),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| "it is negative, or too large".to_owned())
}

fn owner(text: &str) -> Result<(u32, u32), &'static str> {
    let (uid, gid) = text.split_once(':').ok_or("it is not UID:GID")?;
    let id = |id: &str| match id.parse() {
        Ok(u32::MAX) | Err(_) => Err("an id in it is not a number, or too large"),
        Ok(id) => Ok(id),
    };
    Ok((id(uid)?, id(gid)?))
}

impl ShareOptions {
    /// What the sandbox has to leave to the share.
    pub(super) fn needs(&self) -> Needs {
        Needs { file_handles: self.inode_file_handles.0 }
    }

    /// Checks that `premises` can be shared, and raises the limits of this process for them. How
    /// many descriptors may be held for the guest.
    pub(super) fn prepare(&self, premises: &Premises) -> Result<usize, StartError> {
        for path in premises.paths() {
            let found = std::fs::metadata(path).and_then(|found| match found.file_type() {
                kind if kind.is_dir() => may_search(path),
                kind if kind.is_file() && premises.are_several => Ok(()),
                _ => Err(io::ErrorKind::NotADirectory.into()),
            });
            found.map_err(|error| refuse(premises.option, path, &error))?;
        }
        Ok(limits::for_the_guest(limits::set_open_files(self.rlimit_nofile)))
    }

    /// Opens `directory`, which `option` names, to share it as these options say.
    pub(super) fn open(
        &self,
        (option, directory): (&str, &Path),
        descriptors: usize,
        mut inside: Inside,
    ) -> Result<Passthrough, StartError> {
        let config = self.config(descriptors, &inside)?;
        let opened = match inside.roots.pop() {
            Some(root) => Passthrough::at(root.as_fd(), inside.proc_fds, config),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        opened.map_err(|error| cannot_open((option, directory), &error))
    }

    /// Logs what users have to know about a share that is served now.
    pub(super) fn describe(&self) {
        let kinds = match (self.posix_lock, self.flock) {
            (true, true) => "fcntl and flock locks of the guest hold",
            (true, false) => "fcntl locks of the guest hold, and its flock locks do not hold,",
            (false, true) => "flock locks of the guest hold, and its fcntl locks do not hold,",
            (false, false) => "Locks of the guest do not hold",
        };
        log::info!("{kinds} on the host (see --posix-lock and --flock)");
    }

    /// True if some locks of the guest hold on the host.
    pub(super) fn has_locks(&self) -> bool {
        self.posix_lock || self.flock
    }

    /// True if the guest writes later what its programs have written.
    pub(super) fn writeback(&self) -> bool {
        self.writeback
    }

    /// True if the guest does not open what it uses.
    pub(super) fn opens_nothing(&self) -> bool {
        self.no_open
    }

    /// True if nothing may be changed.
    pub(super) fn readonly(&self) -> bool {
        self.readonly
    }

    /// How what is `inside` is served.
    pub(super) fn config(&self, descriptors: usize, inside: &Inside) -> Result<Config, StartError> {
        let usual = Config::new(self.cache.0);
        let (uids, gids) = self.ids(inside.has_one_id)?;
        Ok(Config {
            descriptors,
            inodes: self.inode_limit.unwrap_or_else(limits::inodes),
            file_handles: self.inode_file_handles.0,
            uids,
            gids,
            xattrs: self.has_xattrs(inside).then(|| Xattrs {
                map: match self.xattr_preset {
                    Some(PresetName(Preset::Overlay)) => Some(XattrMap::overlay()),
                    None => self.xattrmap.clone(),
                },
            }),
            posix_acl: self.posix_acl.0,
            security_label: self.security_label.0,
            killpriv_v2: !self.no_killpriv_v2,
            announce_submounts: !self.no_announce_submounts,
            posix_lock: self.posix_lock,
            flock: self.flock,
            attr_valid: self.attr_timeout.unwrap_or(usual.attr_valid),
            entry_valid: self.entry_timeout.unwrap_or(usual.entry_valid),
            negative_valid: self.negative_timeout.unwrap_or(usual.negative_valid),
            readdirplus: usual.readdirplus && !self.no_readdirplus,
            writeback: self.writeback,
            allow_direct_io: self.allow_direct_io,
            allow_mmap: usual.allow_mmap || self.allow_mmap,
            preserve_noatime: self.preserve_noatime,
            readonly: self.readonly,
            no_open: self.no_open()?,
            ..usual
        })
    }

    fn no_open(&self) -> Result<bool, StartError> {
        let refuse = |problem, remedy| Err(StartError::new("--no-open", problem, remedy));
        match self.cache.0 {
            _ if !self.no_open => Ok(false),
            _ if !self.readonly => refuse("the share can be written", "add --readonly"),
            Cache::Metadata | Cache::Never => {
                let problem = "a guest that does not open files keeps their data";
                refuse(problem, "use --cache auto or always")
            }
            Cache::Auto | Cache::Always => Ok(true),
        }
    }

    /// Asked for in any way, or not refused and there to be had in some share.
    fn has_xattrs(&self, inside: &Inside) -> bool {
        let asked = self.xattr
            || self.xattrmap.is_some()
            || self.xattr_preset.is_some()
            || self.posix_acl.0 != Support::Never
            || self.security_label.0 != Support::Never;
        asked || (!self.no_xattr && inside.roots.iter().any(|root| has_xattrs(root, inside)))
    }

    fn ids(&self, has_one_id: bool) -> Result<(IdMap, IdMap), StartError> {
        let map = |option, rules: &[IdRule]| {
            IdMap::new(rules)
                .map_err(|error| StartError::new(option, error, "give each id to one rule only"))
        };
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        if let Some((guest_uid, guest_gid)) = self.map_owner {
            return Ok((IdMap::one_owner(guest_uid, uid), IdMap::one_owner(guest_gid, gid)));
        }
        // A daemon that may not make files for others makes them its own.
        if has_one_id && self.translate_uid.is_empty() && self.translate_gid.is_empty() {
            log::info!(
                "Whatever the guest makes or gives away belongs to the daemon's {uid}:{gid}: it \
                 may not make files for others (see --map-owner and --uid-map)"
            );
            return Ok((IdMap::squash(uid), IdMap::squash(gid)));
        }
        let uids = map("--translate-uid", &self.translate_uid)?;
        Ok((uids, map("--translate-gid", &self.translate_gid)?))
    }
}
