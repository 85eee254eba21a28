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
mod process;
mod seccomp;
mod syscalls;
mod view;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;

use rustix::process::geteuid;

use super::error::StartError;
use crate::passthrough::FileHandles;
use idmap::IdMaps;
use options::Mode;
use process::{Child, Parent, Side};

pub(super) use options::SandboxOptions;
pub(super) use process::{Ending, Outside, hold_signals};

/// What the share is used for, as far as it matters for what is allowed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs {
    /// Something may be changed in it.
    pub(super) writes: bool,
    /// Whether inodes are opened by file handle.
    pub(super) file_handles: FileHandles,
}

/// What the serving process is given. The root is its working directory as well.
pub(super) struct Inside {
    /// The share's root.
    pub(super) root: OwnedFd,
    /// `/proc/self/fd`.
    pub(super) proc_fds: OwnedFd,
    /// Files can belong to nobody but the daemon's user, even if that is root here.
    pub(super) has_one_id: bool,
}

enum Started {
    Outside(Child),
    Inside(Inside),
}

impl SandboxOptions {
    /// Runs `serve` in a process of its own that is confined to `share`, which `option` names, and
    /// waits for its end, of which `outside` is told. Returns in both processes.
    pub(super) fn run(
        &self,
        (option, share): (&str, &Path),
        needs: Needs,
        mut outside: impl Outside,
        serve: impl FnOnce(Inside) -> Result<ExitCode, StartError>,
    ) -> Result<ExitCode, StartError> {
        match self.start((option, share), needs) {
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

    fn start(&self, share: (&str, &Path), needs: Needs) -> Result<Started, StartError> {
        let (last, better) = self.modes()?;
        for mode in better {
            match self.start_in(*mode, share, needs) {
                Err(error) => log::info!("The sandbox cannot be {}: {error}", mode.name()),
                started => return started,
            }
        }
        self.start_in(last, share, needs)
    }

    fn start_in(
        &self,
        mode: Mode,
        share: (&str, &Path),
        needs: Needs,
    ) -> Result<Started, StartError> {
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
        (option, share): (&str, &Path),
        needs: Needs,
        parent: &Parent,
    ) -> Result<Inside, StartError> {
        hygiene::clean().map_err(|error| mode.refuse("a clean process", &error))?;
        let mut inside = view::enter(mode, (option, share))?;
        inside.has_one_id = maps.map_or(!geteuid().is_root(), IdMaps::is_one_id);
        if let Some(maps) = maps {
            maps.become_root().map_err(|error| mode.refuse("the id maps", &error))?;
        }
        hygiene::drop_groups().map_err(|error| mode.refuse("no supplementary groups", &error))?;
        let files = self.confine_files(mode, maps.is_some(), inside.root.as_fd(), needs)?;
        hygiene::end_with_parent().map_err(|error| mode.refuse("an end with it", &error))?;
        if parent.is_gone() {
            std::process::exit(1);
        }
        self.filter_calls()?;
        log::info!("Sandbox: {}, {files}, seccomp {}", mode.name(), self.seccomp());
        Ok(inside)
    }

    /// Drops the rights to foreign files, by what this kernel and these options have for that.
    /// Returns what users should know of it.
    fn confine_files(
        &self,
        mode: Mode,
        own_user_namespace: bool,
        root: BorrowedFd<'_>,
        needs: Needs,
    ) -> Result<&'static str, StartError> {
        let domain = landlock::begin();
        let by_handle = match needs.file_handles {
            FileHandles::Never => false,
            FileHandles::Mandatory => true,
            // Where the whole host is in view, Landlock is worth more.
            FileHandles::Prefer => mode != Mode::None || domain.is_none(),
        };
        self.drop_capabilities(own_user_namespace, by_handle)?;
        let by_handle = capabilities::opens_by_handle() && !own_user_namespace;
        if by_handle && !landlock::knows_handles(mode) {
            return Ok("file handles and no Landlock");
        }
        let Some(domain) = domain else {
            return Ok("no Landlock (Linux 5.19 and later can have it)");
        };
        landlock::confine(domain, root, needs.writes)
            .map_err(|error| mode.refuse("Landlock", &error))?;
        Ok("Landlock")
    }
}
