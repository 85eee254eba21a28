//! How a directory is to be served.

use std::time::Duration;

use super::ids::IdMap;
use super::xattrmap::XattrMap;
use crate::fuse::flags::init;

/// Whether inodes are kept by file handle, which needs `CAP_DAC_READ_SEARCH` and a host file
/// system that has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileHandles {
    /// No: by descriptor, and by name when there are too many.
    Never,
    /// Where it works.
    #[default]
    Prefer,
    /// Nothing else is shared.
    Mandatory,
}

/// Whether a guest takes part in something that it must offer to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Support {
    /// No.
    #[default]
    Never,
    /// If it offers to.
    Auto,
    /// It must; another guest is not served.
    Always,
}

/// How extended attributes are served.
#[derive(Clone, Debug, Default)]
pub struct Xattrs {
    /// How their names are translated; none of them if there is no map.
    pub map: Option<XattrMap>,
}

/// How much a guest may remember without asking again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cache {
    /// Names and attributes for a second, data as long as the file does not change.
    #[default]
    Auto,
    /// Everything: nobody else changes the share.
    Always,
    /// Names and attributes, but no data.
    Metadata,
    /// Nothing.
    Never,
}

/// Settings of a [`Passthrough`](super::Passthrough).
#[derive(Clone, Debug)]
pub struct Config {
    /// How many descriptors may be held for the guest.
    pub descriptors: usize,
    /// How many inodes the guest may know at a time; it gets `ENFILE` for more.
    pub inodes: usize,
    /// How inodes are kept.
    pub file_handles: FileHandles,
    /// How user ids are translated.
    pub uids: IdMap,
    /// How group ids are translated.
    pub gids: IdMap,
    /// Extended attributes, unless there are none for the guest.
    pub xattrs: Option<Xattrs>,
    /// POSIX ACLs; they need extended attributes.
    pub posix_acl: Support,
    /// Labels given with new inodes; they need extended attributes.
    pub security_label: Support,
    /// The guest says when set-user-id is to be cleared, instead of asking before it writes.
    pub killpriv_v2: bool,
    /// Tell guests that can see it where other file systems are mounted in the share. Others, and
    /// all without this, get inode numbers that are unique in the whole share.
    pub announce_submounts: bool,
    /// fcntl(2) locks of the guest hold on the host as well.
    pub posix_lock: bool,
    /// flock(2) locks of the guest hold on the host as well.
    pub flock: bool,
    /// What a guest may remember.
    pub cache: Cache,
    /// How long a guest may use attributes without asking again.
    pub attr_valid: Duration,
    /// How long a guest may use a name without asking again.
    pub entry_valid: Duration,
    /// How long a guest may take a name not to exist without asking again.
    pub negative_valid: Duration,
    /// Directories may be read with their entries' attributes.
    pub readdirplus: bool,
    /// The guest may write later what its programs have written.
    pub writeback: bool,
    /// The guest's O_DIRECT is passed on to the host.
    pub allow_direct_io: bool,
    /// Files without cached data may be mapped nevertheless, where the guest can do that.
    pub allow_mmap: bool,
    /// The guest's O_NOATIME is passed on to the host.
    pub preserve_noatime: bool,
    /// Nothing may be changed.
    pub readonly: bool,
    /// The guest uses files and directories without opening them. Only with `readonly`: nobody
    /// tells then how a file is opened, nor when it is closed.
    pub no_open: bool,
}

impl Config {
    /// The settings that go with a cache policy; the others are as usual.
    #[must_use]
    pub fn new(cache: Cache) -> Self {
        let valid = Duration::from_secs(match cache {
            Cache::Auto => 1,
            Cache::Always | Cache::Metadata => 86400,
            Cache::Never => 0,
        });
        Config {
            descriptors: 4096,
            inodes: 1 << 26,
            file_handles: FileHandles::Prefer,
            uids: IdMap::default(),
            gids: IdMap::default(),
            xattrs: Some(Xattrs::default()),
            posix_acl: Support::Never,
            security_label: Support::Never,
            killpriv_v2: true,
            announce_submounts: true,
            posix_lock: false,
            flock: false,
            cache,
            attr_valid: valid,
            entry_valid: valid,
            negative_valid: valid,
            readdirplus: cache != Cache::Never,
            writeback: false,
            allow_direct_io: false,
            allow_mmap: matches!(cache, Cache::Metadata | Cache::Never),
            preserve_noatime: false,
            readonly: false,
            no_open: false,
        }
    }
}

impl Default for Config {
    /// A share that others change as well.
    fn default() -> Self {
        Config::new(Cache::Auto)
    }
}

impl Config {
    /// INIT flags that these settings want if the guest offers them.
    pub(super) fn optional(&self) -> u64 {
        self.flags(|support| support != Support::Never)
    }

    /// INIT flags without which these settings cannot be kept.
    pub(super) fn required(&self) -> u64 {
        self.flags(|support| support == Support::Always)
    }

    /// INIT flags that settings of ours alone call for.
    pub(super) fn own(&self) -> u64 {
        let set = |on, flags| if on { flags } else { 0 };
        let unopened = self.no_open && self.readonly;
        set(self.readdirplus, init::DO_READDIRPLUS | init::READDIRPLUS_AUTO)
            | set(self.killpriv_v2, init::HANDLE_KILLPRIV | init::HANDLE_KILLPRIV_V2)
            | set(self.writeback, init::WRITEBACK_CACHE)
            | set(self.posix_lock, init::POSIX_LOCKS)
            | set(self.flock, init::FLOCK_LOCKS)
            | set(self.allow_mmap, init::DIRECT_IO_ALLOW_MMAP)
            // A guest that does not open would not tell of a truncation by opening either.
            | set(!unopened, init::ATOMIC_O_TRUNC)
            | set(unopened, init::NO_OPEN_SUPPORT)
            // A guest keeps the listings of directories that it does not open.
            | set(unopened || self.keeps_listings(), init::NO_OPENDIR_SUPPORT)
    }

    /// True if the guest lists a directory from what it remembers, until it changes something
    /// there itself.
    pub(super) fn keeps_listings(&self) -> bool {
        // A listing that is remembered costs one request per entry once attributes have expired,
        // where READDIRPLUS brings them all.
        matches!(self.cache, Cache::Always | Cache::Metadata)
    }

    fn flags(&self, wanted: impl Fn(Support) -> bool) -> u64 {
        if self.xattrs.is_none() {
            return 0;
        }
        let acl = if wanted(self.posix_acl) { init::POSIX_ACL } else { 0 };
        let label = if wanted(self.security_label) { init::SECURITY_CTX } else { 0 };
        acl | label
    }
}
