//! Options of `ferryfs mount`.

use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use clap::Args;
use rustix::process::geteuid;

use super::super::args::{LogOptions, When};
use super::super::error::StartError;
use super::super::sandbox::SandboxOptions;
use super::super::share::ShareOptions;
use crate::dev::{Attribute, MountOptions};
use crate::passthrough::BackingRule;

/// What to mount where, and how.
#[derive(Debug, Args)]
pub(in super::super) struct MountSettings {
    /// Directory to show
    pub(super) source: PathBuf,

    /// Directory to show it at; none with --fd
    mountpoint: Option<PathBuf>,

    /// Use this descriptor, /dev/fuse opened and mounted, instead of mounting; /dev/fd/N as
    /// MOUNTPOINT does the same
    #[arg(long, value_name = "N", conflicts_with = "mountpoint", help_heading = "Mounting")]
    fd: Option<RawFd>,

    /// Options as for mount(8), separated by commas: those of this list without their dashes,
    /// and ro, nosuid, nodev, noexec, noatime, nodiratime
    #[arg(short, value_name = "OPTIONS", help_heading = "Mounting")]
    options: Option<String>,

    /// Return when the mount is usable, and serve it in the background
    #[arg(long, help_heading = "Mounting")]
    pub(super) daemonize: bool,

    /// Unmount when the daemon ends in whatever way
    #[arg(long, help_heading = "Mounting")]
    auto_unmount: bool,

    /// Let other users use the mount [default for root]
    #[arg(long, overrides_with = "no_allow_other", help_heading = "Mounting")]
    allow_other: bool,

    /// Let nobody but the user who mounts use the mount
    #[arg(long, overrides_with = "allow_other", help_heading = "Mounting")]
    no_allow_other: bool,

    /// The kernel checks permissions; always on
    #[arg(long, hide = true)]
    default_permissions: bool,

    /// What mount tables show as the source [default: SOURCE]
    #[arg(long, value_name = "NAME", help_heading = "Mounting")]
    fsname: Option<String>,

    /// What mount tables show as the type, behind "fuse."
    #[arg(long, value_name = "NAME", default_value = "ferryfs", help_heading = "Mounting")]
    subtype: String,

    /// Bytes of the largest READ [default: the kernel's limit]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(4096..),
          help_heading = "Mounting")]
    max_read: Option<u32>,

    /// Bytes that the kernel reads ahead of a program that reads in order [default: 524288 if we
    /// may set it and requests do not come over io_uring, or else the kernel's]
    #[arg(long, value_name = "BYTES", help_heading = "Mounting")]
    pub(super) max_readahead: Option<u32>,

    /// A property of the mount that is not ours
    #[arg(long, value_name = "NAME", value_parser = attribute, hide = true)]
    pub(super) mount_attribute: Vec<Attribute>,

    /// Let the kernel read and write files by itself (FUSE passthrough): auto (where the kernel
    /// can, and the daemon is started with CAP_SYS_ADMIN), on (and say so if it cannot) or off
    #[arg(long, value_name = "WHEN", default_value = "auto", help_heading = "Carrying")]
    pub(super) passthrough: When,

    /// Which files it reads and writes by itself: on or off, and after a colon what has to apply
    /// of read-only, write, min-size=, max-size=, glob=, as "off:write,glob=*.log"; may be
    /// repeated, the first that applies decides [default: with auto, off:read-only,max-size=65536]
    #[arg(long, value_name = "RULE", help_heading = "Carrying")]
    passthrough_rule: Vec<BackingRule>,

    /// Watch SOURCE, so that changes by others are seen at once whatever is cached
    #[arg(long, help_heading = "Caching")]
    pub(super) watch: bool,

    /// Take requests over io_uring: auto (where the kernel offers it), on (and say so if it does
    /// not) or off
    #[arg(long, value_name = "WHEN", default_value = "auto", help_heading = "Carrying")]
    pub(super) io_uring: When,

    #[command(flatten)]
    pub(super) share: ShareOptions,

    #[command(flatten)]
    pub(super) sandbox: SandboxOptions,

    /// Threads that serve requests, besides those that wait for storage [default: one a CPU]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(super) threads: Option<u16>,

    #[command(flatten)]
    pub(super) log: LogOptions,
}

fn attribute(name: &str) -> Result<Attribute, &'static str> {
    let found = Attribute::ALL.into_iter().find(|attribute| attribute.name() == name);
    found.ok_or("there is no such property")
}

/// The folder in which descriptors can be named.
const DESCRIPTORS: &str = "/dev/fd";

impl MountSettings {
    /// The descriptor of a device that is mounted already, if there is one.
    pub(super) fn device(&self) -> Result<Option<RawFd>, StartError> {
        let Some(name) = self.mountpoint.as_ref().and_then(|at| at.strip_prefix(DESCRIPTORS).ok())
        else {
            return Ok(self.fd);
        };
        let number = name.to_str().and_then(|name| name.parse().ok());
        number.map(Some).ok_or_else(|| {
            let problem = format!("{} is not a descriptor", name.display());
            StartError::new("MOUNTPOINT", problem, "name a directory, or /dev/fd/N")
        })
    }

    /// True if the kernel is to read and write files by itself, where it lets us.
    pub(super) fn passes(&self) -> bool {
        let may = match self.passthrough {
            When::On => true,
            When::Auto => self.sandbox.lets_register(),
            When::Off => false,
        };
        may && !self.share.writeback()
    }

    /// Bytes that the kernel is to read ahead, if we have a say. Longer requests cost less a byte;
    /// but those of a ring all wait for one thread, and the caller with them.
    pub(super) fn readahead(&self, has_rings: bool) -> Option<u32> {
        self.max_readahead.or((!has_rings).then_some(512 << 10))
    }

    /// Which files it reads and writes by itself. A small file is read through the daemon before
    /// it is registered, so left to us that does not pay.
    pub(super) fn passthrough_rules(&self) -> Vec<BackingRule> {
        match self.passthrough {
            When::Auto if self.passthrough_rule.is_empty() => vec![BackingRule::off_for_small()],
            _ => self.passthrough_rule.clone(),
        }
    }

    /// Refuses options that do not go together.
    pub(super) fn check(&self) -> Result<(), StartError> {
        if self.watch && self.share.writeback() {
            // The kernel then takes its own sizes and times for the right ones.
            let problem = "with --writeback the kernel does not believe others' changes";
            return Err(StartError::new("--watch", problem, "choose one of the two"));
        }
        if self.passthrough == When::On && self.share.writeback() {
            let problem = "it cannot be used with --writeback";
            return Err(StartError::new("--passthrough", problem, "choose one of the two"));
        }
        if self.passthrough == When::On && self.share.opens_nothing() {
            let problem = "it is decided at each open, and with --no-open there is none";
            return Err(StartError::new("--passthrough", problem, "choose one of the two"));
        }
        Ok(())
    }

    pub(super) fn mountpoint(&self) -> Result<&Path, StartError> {
        self.mountpoint.as_deref().ok_or_else(|| {
            StartError::new("MOUNTPOINT", "it is missing", "name an existing directory")
        })
    }

    pub(super) fn options(&self) -> Result<MountOptions, StartError> {
        let mut attributes = self.mount_attribute.clone();
        if self.share.readonly() && !attributes.contains(&Attribute::Ro) {
            attributes.push(Attribute::Ro);
        }
        let source = self.fsname.clone().unwrap_or_else(|| self.source.display().to_string());
        let is_word = |text: &str| !text.is_empty() && !text.contains(['\0', '\n']);
        for (option, text) in [("--fsname", &source), ("--subtype", &self.subtype)] {
            if !is_word(text) {
                let problem = format!("{text:?} is not a name");
                return Err(StartError::new(option, problem, "give a word"));
            }
        }
        Ok(MountOptions {
            source,
            subtype: self.subtype.clone(),
            allow_other: self.allow_other || geteuid().is_root() && !self.no_allow_other,
            max_read: self.max_read,
            auto_unmount: self.auto_unmount,
            attributes,
        })
    }
}
