//! Opens shares at the beginning, and has them come and go while they are served.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FileType, Mode, OFlags, fstat};

use super::super::error::StartError;
use super::super::sandbox::{Inside, Later, PLACES};
use super::super::share::{ShareOptions, cannot_open};
use super::NamedShare;
use crate::fuse::{Errno, Name};
use crate::passthrough::{Common, Config, FileHandles, Passthrough};
use crate::shares::Shares;

/// Knows what is shared under which name, and how to share more.
pub(in super::super) struct Keeper {
    common: Common,
    config: Config,
    proc_fds: OwnedFd,
    later: Later,
    kept: Mutex<Vec<Kept>>,
}

struct Kept {
    /// None if it was taken away, but is still mounted.
    share: Option<NamedShare>,
    /// Where it is mounted for the serving process, if somebody has to unmount it.
    place: Option<PathBuf>,
}

impl Kept {
    fn is(&self, name: &CStr) -> bool {
        self.share.as_ref().is_some_and(|share| *share.name == *name)
    }
}

/// How a share is to come.
pub(in super::super) enum Way<'a> {
    /// By a descriptor.
    Given,
    /// By a descriptor, when it is mounted here.
    Mounted(PathBuf, &'a [OwnedFd; 2]),
}

impl Keeper {
    /// Opens `named` shares, whose roots are `inside`, as `options` say.
    pub(in super::super) fn open(
        options: &ShareOptions,
        named: &[NamedShare],
        descriptors: usize,
        mut inside: Inside,
    ) -> Result<(Shares, Self), StartError> {
        let config = options.config(descriptors, &inside)?;
        let common = Common::new(descriptors);
        let shares = Shares::new(config.inodes, common.clone(), config.entry_valid);
        let roots = std::mem::take(&mut inside.roots);
        let Inside { proc_fds, later, .. } = inside;
        let keeper = Keeper { common, config, proc_fds, later, kept: Mutex::default() };
        for (number, (share, root)) in named.iter().zip(roots).enumerate() {
            let at = ("--share", &*share.path);
            let place = matches!(keeper.later, Later::Mounted(_)).then(|| format!("/{number}"));
            let opened = keeper.add(&shares, share.clone(), &root, place.map(PathBuf::from));
            opened.map_err(|error| cannot_open(at, &error))?;
        }
        Ok((shares, keeper))
    }

    /// How a share that is a directory, or else a file, can come.
    ///
    /// # Errors
    /// Why it cannot.
    pub(in super::super) fn way(&self, name: &CStr, is_dir: bool) -> Result<Way<'_>, String> {
        let kept = self.kept();
        if kept.iter().any(|one| one.is(name)) {
            return Err(format!("{} is shared already", name.to_string_lossy()));
        }
        match &self.later {
            Later::Given => Ok(Way::Given),
            Later::Never => {
                Err("Landlock confines the daemon to what it was started with, unless \
                                 that is with --sandbox namespace"
                    .to_owned())
            }
            Later::Mounted(namespaces) => {
                let (folder, count) = PLACES;
                let kind = if is_dir { 'd' } else { 'f' };
                let mut places =
                    (0..count).map(|number| PathBuf::from(format!("{folder}/{kind}{number}")));
                let taken =
                    |place: &PathBuf| kept.iter().any(|one| one.place == Some(place.clone()));
                let free = places.find(|place| !taken(place));
                let place = free.ok_or("too many shares were added; remove some of them")?;
                Ok(Way::Mounted(place, namespaces))
            }
        }
    }

    /// Shares what `root` is of from now on.
    pub(in super::super) fn add(
        &self,
        shares: &Shares,
        share: NamedShare,
        root: &OwnedFd,
        place: Option<PathBuf>,
    ) -> io::Result<()> {
        let mut config = self.config.clone();
        config.readonly |= share.readonly;
        if FileType::from_raw_mode(fstat(root)?.st_mode) != FileType::Directory {
            // It has no mount of its own in the guest, nor a directory to open handles by.
            config.announce_submounts = false;
            config.file_handles = FileHandles::Never;
        }
        let proc_fds = rustix::fs::openat(
            &self.proc_fds,
            ".",
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let files = Passthrough::beside(&self.common, root.as_fd(), proc_fds, config)?;
        let name = Name::new(&share.name).map_err(to_io)?;
        shares.add(name, files).map_err(to_io)?;
        log::info!("Sharing {share}");
        self.kept().push(Kept { share: Some(share), place });
        Ok(())
    }

    /// Ends a share. Returns where it is mounted, if it is, and by which namespaces to get there;
    /// that is not used again before it [was unmounted](Self::unmounted). None if there is no such
    /// share.
    pub(in super::super) fn remove(&self, shares: &Shares, name: &CStr) -> Option<Way<'_>> {
        if !shares.remove(name) {
            return None;
        }
        let mut kept = self.kept();
        let at = kept.iter().position(|one| one.is(name))?;
        if let Some(share) = kept[at].share.take() {
            log::info!("No longer sharing {share}");
        }
        match (&self.later, &kept[at].place) {
            (Later::Mounted(namespaces), Some(place)) => {
                Some(Way::Mounted(place.clone(), namespaces))
            }
            _ => {
                kept.remove(at);
                Some(Way::Given)
            }
        }
    }

    /// Nothing is mounted there any more.
    pub(in super::super) fn unmounted(&self, place: &Path) {
        self.kept().retain(|one| one.place.as_deref() != Some(place));
    }

    /// What is shared.
    pub(in super::super) fn list(&self) -> Vec<String> {
        let kept = self.kept();
        kept.iter().filter_map(|one| one.share.as_ref()).map(NamedShare::to_string).collect()
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn to_io(error: Errno) -> io::Error {
    io::Error::from_raw_os_error(error.raw())
}
