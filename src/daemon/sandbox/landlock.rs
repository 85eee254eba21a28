//! Landlock: whatever else this process can reach, it opens nothing beyond the share.
//!
//! File handles are a trouble to it. A file that is opened by one and that nobody has looked up by
//! name lately has no path in the kernel. Older kernels take it for a foreign one, newer ones for
//! one at the root of its mount, which is the share only in a mount namespace of our own. (So
//! there it does not confine file handles; nothing can but to have no right to open them.)

use std::os::fd::BorrowedFd;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Erratum, PathBeneath, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, Scope,
};

use super::options::Mode;

/// The beginning of a domain, if the kernel has Landlock. The first version will not do: in it all
/// renames and links between directories fail.
pub(super) fn begin() -> Option<Ruleset> {
    let hard = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    hard.handle_access(AccessFs::Refer).ok()
}

/// True if files that are opened by file handle are known to be the share's.
pub(super) fn knows_handles(mode: Mode) -> bool {
    let fixed = Erratum::current().contains(Erratum::DisconnectedDirectoryHandling);
    mode == Mode::Namespace && fixed
}

/// Confines the calling thread, and those that it will start, to what is in these directories and
/// files, and to reading where it is not to write.
pub(super) fn confine<'a>(
    domain: Ruleset,
    roots: impl Iterator<Item = (BorrowedFd<'a>, bool)>,
) -> Result<(), RulesetError> {
    let all = AccessFs::from_all(ABI::V9);
    let allowed = |writes| match writes {
        true => all & !(AccessFs::Execute | AccessFs::ResolveUnix),
        false => AccessFs::ReadFile | AccessFs::ReadDir,
    };
    // Of a file only what files have is allowed: the crate sees to it.
    let rule = |(root, writes)| Ok::<_, RulesetError>(PathBeneath::new(root, allowed(writes)));
    domain
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .handle_access(AccessNet::from_all(ABI::V4))?
        .scope(Scope::from_all(ABI::V6))?
        .create()?
        .add_rules(roots.map(rule))?
        .restrict_self()?;
    Ok(())
}
