//! The options of the sandbox.

use std::fmt::Display;
use std::io;

use clap::{Args, ValueEnum};
use rustix::process::geteuid;
use rustix::thread::CapabilitySet;

use super::capabilities::Changes;
use super::idmap::{IdMaps, IdRange};
use super::seccomp::{self, Action};
use super::{capabilities, hygiene};
use crate::daemon::error::StartError;

/// How the serving process is confined.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Sandbox")]
pub(in crate::daemon) struct SandboxOptions {
    /// What the daemon sees of the host: namespace (nothing but the share, in namespaces of its
    /// own), chroot (nothing but the share; for root only), none (what its user sees) or auto (the
    /// first of these that can be had)
    #[arg(long, value_name = "MODE", default_value = "namespace", ignore_case = true)]
    sandbox: Mode,

    /// What happens if the daemon makes a system call that it has no use for: kill, trap, log, or
    /// none to allow all
    #[arg(long, value_name = "ACTION", default_value = "kill", ignore_case = true)]
    seccomp: Action,

    /// Do without Landlock, which has the kernel look again at whatever is opened or made
    #[arg(long)]
    no_landlock: bool,

    /// Capabilities of root to keep or to drop besides the usual, as "+sys_admin:-mknod"
    #[arg(long, value_name = "CHANGES", allow_hyphen_values = true)]
    modcaps: Option<Changes>,

    /// User ids of the namespace, as ":INSIDE:HOST:COUNT:"; may be repeated [default: the daemon's
    /// own, for other users than root]
    #[arg(long, value_name = "RANGE")]
    uid_map: Vec<IdRange>,

    /// Group ids of the namespace, as --uid-map
    #[arg(long, value_name = "RANGE")]
    gid_map: Vec<IdRange>,
}

/// What the serving process sees of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Mode {
    Namespace,
    Chroot,
    None,
    Auto,
}

impl Mode {
    pub(super) fn name(self) -> &'static str {
        match self {
            Mode::Namespace => "namespace",
            Mode::Chroot => "chroot",
            Mode::None => "none",
            Mode::Auto => "auto",
        }
    }

    /// Namespaces that the serving process has to itself, as flags of clone(2).
    pub(super) fn namespaces(self) -> libc::c_int {
        match self {
            Mode::Namespace => {
                libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWIPC
            }
            Mode::Chroot | Mode::None | Mode::Auto => 0,
        }
    }

    /// What to say when the sandbox cannot be set up for want of `what`.
    pub(super) fn refuse(self, what: &str, error: &dyn Display) -> StartError {
        let problem = format!("{} cannot be had, for want of {what}: {error}", self.name());
        let remedy = match self {
            Mode::Namespace if geteuid().is_root() => {
                "give the daemon CAP_SYS_ADMIN, or use chroot or none"
            }
            Mode::Namespace => "allow user namespaces on this host, or use none",
            Mode::Chroot => "start the daemon as root, or use namespace",
            Mode::None | Mode::Auto => "see --seccomp",
        };
        StartError::new("--sandbox", problem, remedy)
    }
}

impl SandboxOptions {
    /// What may be taken, and what is better and to be tried first.
    pub(super) fn modes(&self) -> Result<(Mode, &'static [Mode]), StartError> {
        for (option, ranges) in [("--uid-map", &self.uid_map), ("--gid-map", &self.gid_map)] {
            if !ranges.is_empty() && !matches!(self.sandbox, Mode::Namespace | Mode::Auto) {
                let problem = format!("it has no meaning with --sandbox {}", self.sandbox.name());
                return Err(StartError::new(option, problem, "use --sandbox namespace"));
            }
        }
        Ok(match self.sandbox {
            Mode::Auto if self.maps_ids() => (Mode::Namespace, &[]),
            Mode::Auto => (Mode::None, &[Mode::Namespace, Mode::Chroot]),
            mode => (mode, &[]),
        })
    }

    /// The ids of the user namespace, if there is to be one.
    pub(super) fn id_maps(&self) -> Option<IdMaps> {
        let wanted = self.maps_ids() || !geteuid().is_root();
        wanted.then(|| IdMaps::new(&self.uid_map, &self.gid_map))
    }

    fn maps_ids(&self) -> bool {
        !self.uid_map.is_empty() || !self.gid_map.is_empty()
    }

    /// Drops what is not needed, if there is anything to be dropped.
    pub(super) fn drop_capabilities(
        &self,
        own_user_namespace: bool,
        by_handle: bool,
    ) -> Result<(), StartError> {
        if !own_user_namespace && !geteuid().is_root() {
            if self.modcaps.is_some() {
                log::warn!("--modcaps: only root has capabilities to keep or to drop");
            }
            return Ok(());
        }
        capabilities::drop_all_but(self.kept(by_handle)).map_err(|error| {
            let problem = format!("capabilities cannot be dropped: {error}");
            StartError::new("--modcaps", problem, "start the daemon as another user")
        })
    }

    fn kept(&self, by_handle: bool) -> CapabilitySet {
        let usual = capabilities::usual(by_handle);
        self.modcaps.map_or(usual, |changes| changes.apply(usual))
    }

    /// True if the kernel's Landlock is to be used, where it has it.
    pub(super) fn wants_landlock(&self) -> bool {
        !self.no_landlock
    }

    /// True if files can be registered with the kernel for the serving process.
    pub(in crate::daemon) fn lets_register(&self) -> bool {
        // The kernel asks for rights over the whole host, which that process is not to have in
        // disguise if it is given ids of its own.
        !self.maps_ids() && capabilities::registers()
    }

    /// Leaves this thread, of a process that does not serve, the rights with which the kernel is
    /// to use registered files: those of the serving process, and that of registering them.
    pub(in crate::daemon) fn become_registrar(&self) -> io::Result<()> {
        // What is done later with these rights, for whoever writes, takes set-user-id away.
        let mut kept = self.kept(false) - CapabilitySet::FSETID;
        kept.set(CapabilitySet::SYS_ADMIN, self.lets_register());
        hygiene::drop_groups()?;
        capabilities::keep_here(kept)
    }

    pub(super) fn filter_calls(&self) -> Result<(), StartError> {
        seccomp::filter(self.seccomp).map_err(|error| {
            let problem = format!("system calls cannot be filtered: {error}");
            StartError::new("--seccomp", problem, "use a kernel that can, or --seccomp none")
        })
    }

    /// What the filter does.
    pub(super) fn seccomp(&self) -> &'static str {
        self.seccomp.name()
    }
}
