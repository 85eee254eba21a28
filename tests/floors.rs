//! The modules are floors: each uses only those below it.
#![expect(clippy::unwrap_used, reason = "a test may")]

use std::fs;
use std::path::{Path, PathBuf};

/// From the lowest up; a line of floors that do not use one another shares a number.
const FLOORS: [(&str, u32); 11] = [
    ("mem", 0),
    ("rights", 0),
    ("tally", 0),
    ("work", 0),
    ("fuse", 1),
    ("passthrough", 2),
    ("dax", 2),
    ("shares", 3),
    ("vhost", 3),
    ("dev", 3),
    ("daemon", 4),
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

#[test]
fn no_floor_uses_one_above_it() {
    let mut checked = 0;
    for (floor, level) in FLOORS {
        for path in sources(&src().join(floor)) {
            let text = fs::read_to_string(&path).unwrap();
            for (other, above) in FLOORS {
                let uses = text.contains(&format!("crate::{other}::"))
                    || text.contains(&format!("crate::{other};"));
                let may = above < level || other == floor;
                assert!(may || !uses, "{} uses {other}", path.display());
                checked += 1;
            }
        }
    }
    assert!(checked > 100);
}

#[test]
fn every_folder_is_a_floor() {
    let mut folders: Vec<_> = fs::read_dir(src())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    folders.sort();
    let mut floors = FLOORS.map(|(floor, _)| floor);
    floors.sort_unstable();
    assert_eq!(folders, floors);
}

#[test]
fn carriers_and_file_systems_do_not_know_each_other() {
    for path in ["vhost", "dev"].iter().flat_map(|carrier| sources(&src().join(carrier))) {
        let text = fs::read_to_string(&path).unwrap();
        for file_system in ["crate::passthrough", "crate::shares"] {
            assert!(!text.contains(file_system), "{} knows the file system", path.display());
        }
    }
}

#[test]
fn no_source_file_is_longer_than_500_lines() {
    for path in sources(&src()) {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 500, "{} has {lines} lines", path.display());
    }
}
