//! Acting as the caller, so that what it creates is its own.

use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitiesSecureBits, capabilities_secure_bits, set_capabilities_secure_bits,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use crate::fuse::{Caller, Errno, Result};

/// Runs `make` with the caller's ids on this thread; afterwards they are the daemon's again.
///
/// Capabilities stay: the guest has checked permissions, and knows of group memberships that we
/// do not. A daemon that is not root makes everything as itself.
pub(super) fn as_caller<T>(by: &Caller, make: impl FnOnce() -> Result<T>) -> Result<T> {
    if !rustix::process::geteuid().is_root() || (by.uid, by.gid, by.group) == (0, 0, None) {
        return make();
    }
    let _there = Switched::to(by)?;
    make()
}

/// Ids that are not the daemon's, until it is dropped.
struct Switched;

impl Switched {
    fn to(by: &Caller) -> Result<Self> {
        let (uid, gid) = (id(by.uid).map(Uid::from_raw)?, id(by.gid).map(Gid::from_raw)?);
        keep_capabilities()?;
        // From here on whatever was changed is changed back, also if something else fails.
        let switched = Switched;
        if let Some(group) = by.group {
            set_thread_groups(&[Gid::from_raw(id(group)?)])?;
        }
        set_thread_res_gid(None, gid, None)?;
        set_thread_res_uid(None, uid, None)?;
        Ok(switched)
    }
}

impl Drop for Switched {
    fn drop(&mut self) {
        let back = set_thread_res_uid(None, Uid::ROOT, None)
            .and_then(|()| set_thread_res_gid(None, Gid::ROOT, None))
            .and_then(|()| set_thread_groups(&[]));
        if let Err(error) = back {
            // Going on with somebody else's ids would make files that belong to the wrong user.
            log::error!("Cannot take the daemon's own ids back: {error}");
            std::process::abort();
        }
    }
}

/// -1 means "no change" to the kernel.
fn id(id: u32) -> Result<u32> {
    if id == u32::MAX { Err(Errno::EINVAL) } else { Ok(id) }
}

/// Lets this thread change its user id without losing effective capabilities.
fn keep_capabilities() -> Result<()> {
    let bits = capabilities_secure_bits()?;
    if !bits.contains(CapabilitiesSecureBits::NO_SETUID_FIXUP) {
        set_capabilities_secure_bits(bits | CapabilitiesSecureBits::NO_SETUID_FIXUP)?;
    }
    Ok(())
}
