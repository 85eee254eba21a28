//! Everything that a file system can do, once.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

use super::failures::attempt;
use super::{attributes, contents, names};

/// One side acts, in a directory made for it, and both check what came of it.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) act: fn(&Path),
    pub(super) check: fn(&Path),
}

fn all() -> impl Iterator<Item = &'static Case> {
    [names::CASES, contents::CASES, attributes::CASES].into_iter().flatten()
}

/// Does everything below `root`.
pub(super) fn act(root: &Path) {
    for case in all() {
        let dir = root.join(case.name.replace(' ', "-"));
        attempt(case.name, || {
            fs::create_dir_all(&dir).unwrap();
            (case.act)(&dir);
        });
    }
}

/// Checks what [`act`] did, from either side.
pub(super) fn check(root: &Path) {
    for case in all() {
        attempt(case.name, || (case.check)(&root.join(case.name.replace(' ', "-"))));
    }
}

/// Where the acting side writes down what the other has to see as well.
fn note_of(dir: &Path) -> PathBuf {
    dir.with_extension("note")
}

/// Writes down what is seen from here.
pub(super) fn note(dir: &Path, seen: impl Display) {
    fs::write(note_of(dir), seen.to_string()).unwrap();
}

/// What the acting side saw.
pub(super) fn noted(dir: &Path) -> String {
    fs::read_to_string(note_of(dir)).unwrap()
}

/// The names in a directory, sorted.
pub(super) fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// Panics unless it failed in one of these ways.
pub(super) fn fails<T>(result: std::io::Result<T>, expected: &[i32]) {
    match result {
        Ok(_) => panic!("it worked, and should fail with one of {expected:?}"),
        Err(error) => {
            let found = error.raw_os_error().unwrap_or_default();
            assert!(expected.contains(&found), "{error}, not one of {expected:?}");
        }
    }
}
