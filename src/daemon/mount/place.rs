//! Where to mount.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};

use super::super::error::StartError;
use super::super::sandbox::Premises;

/// The full path of a directory on which `source` can be mounted.
pub(super) fn check(source: &Path, at: &Path) -> Result<PathBuf, StartError> {
    let refuse = |problem: &str, remedy: &str| {
        let problem = format!("{}: {problem}", at.display());
        Err(StartError::new("MOUNTPOINT", problem, remedy))
    };
    let (full, attributes) = match look(at) {
        Ok(found) => found,
        Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => {
            return refuse("the daemon of a mount there is dead", "unmount it by fusermount3 -u");
        }
        Err(error) => return refuse(&error.to_string(), "name an existing directory"),
    };
    if attributes.contains(StatxAttributes::MOUNT_ROOT) {
        return refuse("something is mounted there already", "unmount it, or name another");
    }
    // The daemon would have to wait for itself.
    match is_inside(&full, source) {
        Ok(false) => Ok(full),
        Ok(true) => refuse("it is inside SOURCE", "name a directory outside, or SOURCE itself"),
        Err(error) => refuse(&error.to_string(), "name directories that you may read"),
    }
}

/// Makes the source the working directory. What is at `premises` is found there from then on, even
/// in a mount namespace of one's own: that is made in the same directory, under whatever is mounted
/// over it meanwhile.
pub(super) fn enter(source: &Path, premises: Premises) -> Result<Premises, StartError> {
    rustix::process::chdir(source).map_err(|error| {
        let problem = format!("cannot share {}: {error}", source.display());
        StartError::new(premises.option, problem, "name a directory that you may use")
    })?;
    Ok(premises.here())
}

/// How many file systems lie on top of one another when ours is on that of the working directory;
/// at most what the kernel allows.
pub(super) fn stack_depth() -> u32 {
    /// `OVERLAYFS_SUPER_MAGIC`, `ECRYPTFS_SUPER_MAGIC`, `FUSE_SUPER_MAGIC`.
    const STACKED: [i64; 3] = [0x794c_7630, 0xf15f, 0x6573_5546];
    let kind = rustix::fs::statfs(".").map(|figures| figures.f_type);
    if kind.is_ok_and(|kind| STACKED.contains(&kind)) { 2 } else { 1 }
}

fn look(at: &Path) -> io::Result<(PathBuf, StatxAttributes)> {
    // Not from a cache: that outlives the daemon of a mount.
    let stat = statx(CWD, at, AtFlags::STATX_FORCE_SYNC, StatxFlags::BASIC_STATS)?;
    if u32::from(stat.stx_mode) & libc::S_IFMT != libc::S_IFDIR {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok((at.canonicalize()?, stat.stx_attributes))
}

/// True if `outer` is above `inner`, by whatever name.
fn is_inside(inner: &Path, outer: &Path) -> io::Result<bool> {
    let outer = std::fs::metadata(outer)?;
    for above in inner.ancestors().skip(1) {
        let above = std::fs::metadata(above)?;
        if (above.dev(), above.ino()) == (outer.dev(), outer.ino()) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_to_be_a_free_directory_outside_the_source() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(path("source/inner/most")).unwrap();
        std::fs::create_dir(path("at")).unwrap();
        std::fs::write(path("file"), "").unwrap();
        std::os::unix::fs::symlink("source/inner", path("way")).unwrap();
        for (at, wrong) in [
            ("missing", "No such file"),
            ("file", "not a directory"),
            ("source/inner", "inside SOURCE"),
            ("source/inner/most", "inside SOURCE"),
            ("way", "inside SOURCE"),
            ("way/most", "inside SOURCE"),
        ] {
            let line = check(&path("source"), &path(at)).unwrap_err().to_string();
            assert!(line.starts_with("MOUNTPOINT: ") && line.contains(wrong), "{line}");
        }
        let line = check(&path("source"), Path::new("/proc")).unwrap_err().to_string();
        assert!(line.contains("mounted there already"), "{line}");
        for at in ["at", "source"] {
            let full = path(at).canonicalize().unwrap();
            assert_eq!(check(&path("source"), &path(at)).unwrap(), full);
        }
    }
}
