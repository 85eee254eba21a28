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

/// Settings of a [`Passthrough`](super::Passthrough).
#[derive(Clone, Debug)]
pub struct Config {
    /// How many descriptors may be held for the guest.
    pub descriptors: usize,
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
    /// How long a guest may use attributes without asking again.
    pub attr_valid: Duration,
    /// How long a guest may use a name without asking again.
    pub entry_valid: Duration,
    /// How long a guest may take a name not to exist without asking again.
    pub negative_valid: Duration,
}

impl Default for Config {
    /// A share that others change as well: everything is asked for again after a second.
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Config {
            descriptors: 4096,
            file_handles: FileHandles::Prefer,
            uids: IdMap::default(),
            gids: IdMap::default(),
            xattrs: Some(Xattrs::default()),
            posix_acl: Support::Never,
            security_label: Support::Never,
            attr_valid: second,
            entry_valid: second,
            negative_valid: second,
        }
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

    fn flags(&self, wanted: impl Fn(Support) -> bool) -> u64 {
        if self.xattrs.is_none() {
            return 0;
        }
        let acl = if wanted(self.posix_acl) { init::POSIX_ACL } else { 0 };
        let label = if wanted(self.security_label) { init::SECURITY_CTX } else { 0 };
        acl | label
    }
}
