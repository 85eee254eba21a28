//! The serving process, and what it may do.
//!
//! The process that was started never serves. It keeps what the outside knows of the daemon (its
//! process id, the socket, the mount), and a child serves. That is confined in four ways, none of
//! which depends on another: what it sees (`view`), which rights it has (`capabilities`), which
//! files it may open (`landlock`), and which system calls it may make (`seccomp`).

mod capabilities;
mod hygiene;
mod idmap;
mod landlock;
mod options;
mod premises;
mod process;
mod seccomp;
mod syscalls;
mod view;

use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use ::landlock::Ruleset;
use rustix::process::geteuid;

use super::error::StartError;
use crate::passthrough::FileHandles;
use idmap::IdMaps;
use options::Mode;
use process::{Child, Parent, Side};

pub(super) use view::{PLACES, copy_tree};

pub(super) use options::SandboxOptions;
pub(super) use premises::Premises;
pub(super) use process::{Ending, Outside, hold_signals};

/// What the share is used for, as far as it matters for what is allowed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs {
    /// Whether inodes are opened by file handle.
    pub(super) file_handles: FileHandles,
}

/// What the serving process is given.
pub(super) struct Inside {
    /// The roots of the shares, in the order of the [`Premises`].
    pub(super) roots: Vec<OwnedFd>,
    /// `/proc/self/fd`.
    pub(super) proc_fds: OwnedFd,
    /// Files can belong to nobody but the daemon's user, even if that is root here.
    pub(super) has_one_id: bool,
    /// How other shares can come later.
    pub(super) later: Later,
    /// The directory of [`PLACES`], if there is one.
    places: Option<OwnedFd>,
}

/// How a share can come to the serving process while that serves.
pub(super) enum Later {
    /// It is given a descriptor.
    Given,
    /// Somebody who may mounts it at one of [`PLACES`] in these namespaces: of mounts, and of
    /// users. Landlock knows those places.
    Mounted([OwnedFd; 2]),
    /// Landlock keeps it out.
    Never,
}

enum Started {
    Outside(Child),
    Inside(Inside),
}

impl SandboxOptions {
    /// Runs `serve` in a process of its own that is confined to `premises`, and waits for its end,
    /// of which `outside` is told. Returns in both processes.
    pub(super) fn run(
        &self,
        premises: &Premises,
        needs: Needs,
        mut outside: impl Outside,
        serve: impl FnOnce(Inside) -> Result<ExitCode, StartError>,
    ) -> Result<ExitCode, StartError> {
        match self.start(premises, needs) {
            Ok(Started::Inside(inside)) => {
                drop(outside);
                serve(inside)
            }
            Ok(Started::Outside(child)) => {
                drop(serve);
                Ok(child.supervise(outside))
            }
            Err(error) => {
                outside.ended();
                Err(error)
            }
        }
    }

    fn start(&self, share: &Premises, needs: Needs) -> Result<Started, StartError> {
        let (last, better) = self.modes()?;
        for mode in better {
            match self.start_in(*mode, share, needs) {
                Err(error) => log::info!("The sandbox cannot be {}: {error}", mode.name()),
                started => return started,
            }
        }
        self.start_in(last, share, needs)
    }

    fn start_in(&self, mode: Mode, share: &Premises, needs: Needs) -> Result<Started, StartError> {
        let maps = match mode {
            Mode::Namespace => self.id_maps(),
            _ => None,
        };
        let namespaces = mode.namespaces() | if maps.is_some() { libc::CLONE_NEWUSER } else { 0 };
        let side =
            process::split(namespaces).map_err(|error| mode.refuse("its process", &error))?;
        match side {
            Side::Outside(child) => {
                if let Some(maps) = &maps {
                    maps.write(child.pid())?;
                }
                child.let_go().map(Started::Outside)
            }
            Side::Inside(parent) => {
                parent.wait();
                match self.enter(mode, maps.as_ref(), share, needs, &parent) {
                    Ok(inside) => Ok(Started::Inside(inside)),
                    Err(error) => parent.give_up(&error),
                }
            }
        }
    }

    /// Confines this process for ever.
    fn enter(
        &self,
        mode: Mode,
        maps: Option<&IdMaps>,
        premises: &Premises,
        needs: Needs,
        parent: &Parent,
    ) -> Result<Inside, StartError> {
        hygiene::clean().map_err(|error| mode.refuse("a clean process", &error))?;
        let mut inside = view::enter(mode, premises)?;
        inside.has_one_id = maps.map_or(!geteuid().is_root(), IdMaps::is_one_id);
        if let Some(maps) = maps {
            maps.become_root().map_err(|error| mode.refuse("the id maps", &error))?;
        }
        hygiene::drop_groups().map_err(|error| mode.refuse("no supplementary groups", &error))?;
        let allowed: Vec<_> = inside.roots.iter().map(AsFd::as_fd).zip(premises.writes()).collect();
        let (files, domain) = self.confine_files((mode, maps.is_some()), needs)?;
        if let Some(domain) = domain {
            let places =
                inside.places.as_ref().map(|places| (places.as_fd(), premises.writes_later()));
            landlock::confine(domain, allowed.into_iter().chain(places))
                .map_err(|error| mode.refuse("Landlock", &error))?;
            if matches!(inside.later, Later::Given) {
                inside.later = Later::Never;
            }
        }
        hygiene::end_with_parent().map_err(|error| mode.refuse("an end with it", &error))?;
        if parent.is_gone() {
            std::process::exit(1);
        }
        self.filter_calls()?;
        log::info!("Sandbox: {}, {files}, seccomp {}", mode.name(), self.seccomp());
        Ok(inside)
    }

    /// Drops the rights to foreign files, by what this kernel and these options have for that.
    /// Returns what users should know of it, and the Landlock domain that is still to be entered.
    fn confine_files(
        &self,
        (mode, own_user_namespace): (Mode, bool),
        needs: Needs,
    ) -> Result<(&'static str, Option<Ruleset>), StartError> {
        let domain = if self.wants_landlock() { landlock::begin() } else { None };
        let by_handle = match needs.file_handles {
            FileHandles::Never => false,
            FileHandles::Mandatory => true,
            // Where the whole host is in view, Landlock is worth more.
            FileHandles::Prefer => mode != Mode::None || domain.is_none(),
        };
        self.drop_capabilities(own_user_namespace, by_handle)?;
        let by_handle = capabilities::opens_by_handle() && !own_user_namespace;
        if by_handle && !landlock::knows_handles(mode) {
            return Ok(("file handles and no Landlock", None));
        }
        Ok(match domain {
            Some(_) => ("Landlock", domain),
            None if !self.wants_landlock() => ("no Landlock", None),
            None => ("no Landlock (Linux 5.19 and later can have it)", None),
        })
    }
}
