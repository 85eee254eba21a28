//! Capabilities that the serving process keeps.

use std::io;
use std::str::FromStr;

use rustix::io::Errno;
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities, capabilities_secure_bits,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_capabilities_secure_bits,
};

/// What serving needs: files for and of anybody, and the right to make them as their callers.
pub(super) fn usual(file_handles: bool) -> CapabilitySet {
    let always = CapabilitySet::CHOWN
        | CapabilitySet::DAC_OVERRIDE
        | CapabilitySet::FOWNER
        | CapabilitySet::FSETID
        | CapabilitySet::SETGID
        | CapabilitySet::SETUID
        | CapabilitySet::MKNOD
        | CapabilitySet::SETFCAP;
    if file_handles { always | CapabilitySet::DAC_READ_SEARCH } else { always }
}

/// True if this process has the right to open inodes by file handle.
pub(super) fn opens_by_handle() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::DAC_READ_SEARCH))
}

/// True if this process has the right to register files with the kernel.
pub(super) fn registers() -> bool {
    capabilities(None).is_ok_and(|sets| sets.permitted.contains(CapabilitySet::SYS_ADMIN))
}

/// Drops all capabilities of this thread but `keep`.
pub(super) fn keep_here(keep: CapabilitySet) -> io::Result<()> {
    let kept = capabilities(None)?.permitted & keep;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: none })?;
    Ok(())
}

/// Drops all capabilities but `keep`, for ever.
pub(super) fn drop_all_but(keep: CapabilitySet) -> io::Result<()> {
    let now = capabilities(None)?;
    if now.effective.contains(CapabilitySet::SETPCAP) {
        // Threads act as other users and keep the rights of the daemon.
        let bits = capabilities_secure_bits()? | CapabilitiesSecureBits::NO_SETUID_FIXUP;
        set_capabilities_secure_bits(bits)?;
        for number in 0..u64::BITS {
            let one = CapabilitySet::from_bits_retain(1 << number);
            if keep.contains(one) {
                continue;
            }
            match remove_capability_from_bounding_set(one) {
                // The kernel knows no more.
                Err(Errno::INVAL) => break,
                removed => removed?,
            }
        }
    }
    clear_ambient_capability_set()?;
    keep_here(keep)
}

/// Capabilities to keep and to drop besides the usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Changes {
    keep: CapabilitySet,
    drop: CapabilitySet,
}

impl Changes {
    pub(super) fn apply(self, to: CapabilitySet) -> CapabilitySet {
        (to | self.keep) - self.drop
    }
}

impl FromStr for Changes {
    type Err = String;

    /// `+NAME:-NAME...`; the last word about a capability holds.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut changes = Changes { keep: CapabilitySet::empty(), drop: CapabilitySet::empty() };
        for word in text.split(':').filter(|word| !word.is_empty()) {
            let (keep, name) = match word.split_at_checked(1) {
                Some(("+", name)) => (true, name),
                Some(("-", name)) => (false, name),
                _ => return Err(format!("{word:?} has neither + nor - in front")),
            };
            let upper = name.to_ascii_uppercase();
            let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
            let one = CapabilitySet::from_name(bare)
                .ok_or_else(|| format!("there is no capability {name:?}, see capabilities(7)"))?;
            changes.keep.set(one, keep);
            changes.drop.set(one, !keep);
        }
        Ok(changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_keep_and_drop() {
        let changes: Changes = "+sys_admin:-mknod:-CAP_CHOWN:+chown".parse().unwrap();
        let kept = changes.apply(usual(true));
        assert!(kept.contains(CapabilitySet::SYS_ADMIN | CapabilitySet::CHOWN));
        assert!(!kept.contains(CapabilitySet::MKNOD));
        assert_eq!(":".parse::<Changes>().unwrap().apply(usual(false)), usual(false));
    }

    #[test]
    fn what_is_no_change_is_refused() {
        for text in ["mknod", "+", "-nothing", "+mknod,-chown", "++chown", "+chown:x"] {
            assert!(text.parse::<Changes>().is_err(), "{text}");
        }
    }
}
