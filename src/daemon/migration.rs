//! Options of migration.

use clap::Args;

use super::args::names;
use crate::passthrough::{Migrating, MigrationMode, OnError, Passthrough};

#[derive(Clone, Debug, Args)]
pub(super) struct MigrationOptions {
    /// How a guest's inodes are described to the daemon that it migrates to: find-paths (by their
    /// names in the share, which may be a copy there) or file-handles (the file system must be the
    /// same, and this one's daemon be trusted by the other, with the same option)
    #[arg(
        long,
        value_name = "MODE",
        default_value = "find-paths",
        hide_possible_values = true,
        help_heading = "Migration"
    )]
    migration_mode: ModeName,

    /// What is done about an inode of a guest that migrates here and cannot be opened: abort (refuse
    /// the guest) or guest-error (the guest gets errors for it)
    #[arg(
        long,
        value_name = "ACTION",
        default_value = "abort",
        hide_possible_values = true,
        help_heading = "Migration"
    )]
    migration_on_error: ActionName,

    /// With find-paths: have the daemon that a guest migrates to check that it finds the same
    /// inodes, for which the file system must be the same
    #[arg(long, help_heading = "Migration")]
    migration_verify_handles: bool,

    // Paths are found and confirmed while the guest stands still, always.
    #[arg(long, hide = true)]
    migration_confirm_paths: bool,
}

names! {
    ModeName(MigrationMode) {
        MigrationMode::FindPaths => "find-paths",
        MigrationMode::FileHandles => "file-handles",
    }
    ActionName(OnError) {
        OnError::Abort => "abort",
        OnError::GuestError => "guest-error",
    }
}

impl MigrationOptions {
    /// Has `share` taken to other daemons, and from them, as these options say.
    pub(super) fn apply(&self, share: &mut Passthrough) {
        share.migrate_by(Migrating {
            mode: self.migration_mode.0,
            on_error: self.migration_on_error.0,
            verify_handles: self.migration_verify_handles,
        });
    }
}
