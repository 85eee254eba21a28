//! What the calling thread is at the moment: whose ids, umask and rights it has.
//!
//! All of these belong to threads, not to the process. They are changed when a request needs
//! others than the thread has, and then stay, so that a guest whose requests come from one user
//! pays for them once. Everything else that is done on a thread must not depend on them: the
//! daemon's capabilities are effective whatever the ids are. Servers of other file systems see
//! nothing but the ids, and are asked [by the daemon](be_the_daemon).

use std::cell::RefCell;
use std::os::fd::AsFd;

use rustix::fs::Mode;
use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, capabilities, capabilities_secure_bits,
    set_capabilities, set_capabilities_secure_bits, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use super::sys::unshare_fs;
use crate::fuse::{Errno, Result};

/// Ids on the host that a new inode shall get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// The only supplementary group.
    pub(super) group: Option<u32>,
}

impl Ids {
    const ROOT: Ids = Ids { uid: 0, gid: 0, group: None };
}

/// What the process may do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Powers {
    /// Make inodes on behalf of others.
    set_ids: bool,
    /// Keep set-user-id and set-group-id where others would lose them.
    fsetid: bool,
}

impl Powers {
    /// Those of the calling thread, which workers will inherit.
    pub(super) fn find() -> Result<Self> {
        let has = capabilities(None)?.effective;
        let set_ids = CapabilitySet::SETUID | CapabilitySet::SETGID;
        // Else other ids would come without our capabilities.
        let keeps = has.contains(CapabilitySet::SETPCAP)
            || capabilities_secure_bits()?.contains(CapabilitiesSecureBits::NO_SETUID_FIXUP);
        Ok(Powers {
            set_ids: has.contains(set_ids) && keeps && rustix::process::geteuid().is_root(),
            fsetid: has.contains(CapabilitySet::FSETID),
        })
    }

    /// True if inodes can be made on behalf of others.
    pub(super) fn set_ids(self) -> bool {
        self.set_ids
    }

    /// Runs `make` with these ids and this umask. Unless `lasting`, for file systems that ask
    /// for ids at every step, the thread is the daemon itself again afterwards.
    pub(super) fn create_as<T>(
        self,
        ids: Ids,
        umask: u32,
        lasting: bool,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        if self.set_ids {
            // One that is neither the one nor the other is not left behind.
            with_worker(|worker| worker.become_(ids)).inspect_err(|_| _ = be_the_daemon())?;
        }
        let made = with_worker(|worker| worker.set_umask(umask)).and_then(|()| make());
        if !lasting {
            be_the_daemon()?;
        }
        made
    }

    /// Runs `call` with or without the right to keep set-user-id and set-group-id.
    pub(super) fn with_fsetid<T>(self, keep: bool, call: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.fsetid {
            with_worker(|worker| worker.set_fsetid(keep))?;
        }
        call()
    }
}

/// Gives the thread the daemon's own ids, if it has others.
pub(super) fn be_the_daemon() -> Result<()> {
    match WORKER.with_borrow(|worker| worker.ids == Some(Ids::ROOT)) {
        true => Ok(()),
        false => with_worker(|worker| worker.become_(Ids::ROOT)),
    }
}

/// Makes `/proc/self/fd`, which `proc_fds` is, the thread's working directory: descriptor numbers
/// are paths there.
pub(super) fn work_in(proc_fds: impl AsFd) -> Result<()> {
    with_worker(|worker| {
        if !worker.in_proc_fds {
            rustix::process::fchdir(proc_fds)?;
            worker.in_proc_fds = true;
        }
        Ok(())
    })
}

/// The state of a thread; `None` is not known, because changing it failed half-way.
struct Worker {
    has_own_fs: bool,
    /// Effective capabilities do not depend on the user id.
    keeps_capabilities: bool,
    ids: Option<Ids>,
    umask: Option<u32>,
    fsetid: Option<bool>,
    in_proc_fds: bool,
}

thread_local! {
    static WORKER: RefCell<Worker> = const {
        RefCell::new(Worker {
            has_own_fs: false,
            keeps_capabilities: false,
            ids: Some(Ids::ROOT),
            umask: None,
            fsetid: Some(true),
            in_proc_fds: false,
        })
    };
}

fn with_worker(change: impl FnOnce(&mut Worker) -> Result<()>) -> Result<()> {
    WORKER.with_borrow_mut(|worker| {
        if !worker.has_own_fs {
            unshare_fs()?;
            worker.has_own_fs = true;
        }
        change(worker)
    })
}

impl Worker {
    fn become_(&mut self, ids: Ids) -> Result<()> {
        if self.ids == Some(ids) {
            return Ok(());
        }
        let (uid, gid) = (id(ids.uid)?, id(ids.gid)?);
        let group = ids.group.map(id).transpose()?;
        let before = self.ids.take();
        if !self.keeps_capabilities {
            let (bits, keep) =
                (capabilities_secure_bits()?, CapabilitiesSecureBits::NO_SETUID_FIXUP);
            if !bits.contains(keep) {
                set_capabilities_secure_bits(bits | keep)?;
            }
            self.keeps_capabilities = true;
        }
        if before.is_none_or(|before| before.group != ids.group) {
            let group = group.map(Gid::from_raw);
            set_thread_groups(group.as_slice())?;
        }
        if before.is_none_or(|before| before.gid != ids.gid) {
            set_thread_res_gid(None, Gid::from_raw(gid), None)?;
        }
        if before.is_none_or(|before| before.uid != ids.uid) {
            set_thread_res_uid(None, Uid::from_raw(uid), None)?;
        }
        self.ids = Some(ids);
        Ok(())
    }

    fn set_umask(&mut self, umask: u32) -> Result<()> {
        let umask = umask & 0o777;
        if self.umask != Some(umask) {
            rustix::process::umask(Mode::from_raw_mode(umask));
            self.umask = Some(umask);
        }
        Ok(())
    }

    fn set_fsetid(&mut self, keep: bool) -> Result<()> {
        if self.fsetid != Some(keep) {
            self.fsetid = None;
            let mut sets = capabilities(None)?;
            sets.effective.set(CapabilitySet::FSETID, keep);
            set_capabilities(None, sets)?;
            self.fsetid = Some(keep);
        }
        Ok(())
    }
}

/// -1 means "no change" to the kernel.
fn id(id: u32) -> Result<u32> {
    if id == u32::MAX { Err(Errno::EINVAL) } else { Ok(id) }
}
