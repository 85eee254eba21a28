//! What a tree looks like from one side.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::failures::{attempt, report};

/// Everything about everything below `dir`, a line each. Not the access time, which looking
/// changes, and not the blocks, which the host's file system takes when it likes.
fn survey(dir: &Path) -> String {
    let mut text = String::new();
    let mut below = vec![dir.to_owned()];
    while let Some(path) = below.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(dir).unwrap().as_os_str().as_bytes().escape_ascii();
        let target = fs::read_link(&path).unwrap_or_default();
        let target = target.as_os_str().as_bytes().escape_ascii();
        writeln!(
            text,
            "\"{name}\" inode {} mode {:o} links {} owner {}:{} size {} device {:x} modified \
             {}.{:09} changed {}.{:09} target \"{target}\"",
            meta.ino(),
            meta.mode(),
            meta.nlink(),
            meta.uid(),
            meta.gid(),
            meta.size(),
            meta.rdev(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec(),
        )
        .unwrap();
        if meta.is_dir() {
            let entries = fs::read_dir(&path).unwrap();
            let mut children: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
            children.sort();
            below.append(&mut children);
        }
    }
    text
}

/// Writes a survey of `dir` down.
pub(super) fn write(dir: &Path, file: &Path) {
    attempt(dir, || fs::write(file, survey(dir)).unwrap());
}

/// Compares what was written down with what is seen from here.
pub(super) fn compare(dir: &Path, file: &Path) {
    attempt(dir, || {
        let (there, here) = (fs::read_to_string(file).unwrap(), survey(dir));
        let [there, here] = [&there, &here].map(|text| text.lines().collect::<BTreeSet<_>>());
        there.difference(&here).for_each(|line| report("only the other side sees", line));
        here.difference(&there).for_each(|line| report("only this side sees", line));
    });
}
