//! The modules are floors: each uses only those below it.
#![expect(clippy::unwrap_used, reason = "a test may")]

use std::fs;
use std::panic::catch_unwind;
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

/// The sources below a folder, but for what was built there.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
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

/// A file without its comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

fn is_part(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// What is before and after a word, wherever it stands by itself.
fn around<'a>(word: &'a str, code: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    code.match_indices(word).filter_map(move |(at, _)| {
        let (before, rest) = (&code[..at], &code[at + word.len()..]);
        (!before.ends_with(is_part) && !rest.starts_with(is_part)).then_some((before, rest))
    })
}

/// The name that a path begins with.
fn name(path: &str) -> &str {
    path.split(|character| !is_part(character)).next().unwrap()
}

/// Whether a module that has its text in the file is open where this ends.
fn is_in_inner_module(before: &str) -> bool {
    let open = before.rfind("\n}\n").unwrap_or(0);
    before[open..].lines().any(|line| line.starts_with("mod ") && line.ends_with('{'))
}

/// The modules right below the crate that a file names. Each has to be named where it is used, by
/// `crate::NAME`: other ways to get there would not be seen.
fn modules<'a>(path: &Path, code: &'a str) -> Vec<&'a str> {
    // mod.rs is its folder's module, another file one of its own.
    let inside = path.strip_prefix(src()).unwrap().with_extension("");
    let depth = inside.components().count() - usize::from(inside.ends_with("mod"));
    for (before, rest) in around("super", code) {
        let depth = depth + usize::from(is_in_inner_module(before));
        let path_ends = |character| !is_part(character) && character != ':';
        let steps = rest.split(path_ends).next().unwrap().split("::").skip(1);
        assert!(
            1 + steps.filter(|step| *step == "super").count() < depth,
            "{}: super{rest:.20} leads out of the floor",
            path.display()
        );
        let mut next = rest.chars().filter(|character| !character.is_whitespace());
        assert!(
            !"::{super".chars().all(|wanted| next.next() == Some(wanted)),
            "{}: super::{{super",
            path.display()
        );
    }
    let mut found = Vec::new();
    for (_, rest) in around("crate", code) {
        if !rest.starts_with(')') {
            let module = rest.strip_prefix("::").map(name).unwrap_or_default();
            assert!(!module.is_empty(), "{}: crate{rest:.20} names no floor", path.display());
            found.push(module);
        }
    }
    found
}

#[test]
fn no_floor_uses_one_above_it() {
    let mut checked = 0;
    for (floor, level) in FLOORS {
        for path in sources(&src().join(floor)) {
            let code = code(&path);
            for module in modules(&path, &code) {
                let other = FLOORS.into_iter().find(|(other, _)| *other == module);
                let may = match other {
                    Some((other, above)) => above < level || other == floor,
                    // What is below all of them.
                    None => ["mutate", "sync"].contains(&module),
                };
                assert!(may, "{} uses {module}", path.display());
                checked += 1;
            }
        }
    }
    assert!(checked > 100, "{checked}");
}

#[test]
fn other_ways_to_a_module_are_seen() {
    let path = src().join("fuse/reading.rs");
    assert_eq!(modules(&path, "use crate::vhost as v; pub(crate) fn x(_: super::A) {}"), ["vhost"]);
    for hidden in [
        "use crate::{vhost, dev};",
        "use crate as all;",
        "use super::super::dev;",
        "use super::super::super::dev;",
        "use super::{super::dev, A};",
    ] {
        assert!(catch_unwind(|| modules(&path, hidden).len()).is_err(), "{hidden}");
    }
    assert!(catch_unwind(|| modules(&src().join("fuse/mod.rs"), "super::dev").len()).is_err());
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
fn every_floor_is_described_with_what_it_does_not_know() {
    let text = include_str!("../ARCHITECTURE.md");
    assert!(text.lines().count() <= 80);
    for (floor, _) in FLOORS {
        let (_, section) = text.split_once(&format!("\n## src/{floor}\n")).unwrap();
        let section = section.split("\n## ").next().unwrap();
        let says = section.contains(" know") && section.contains(" not ");
        assert!(says, "ARCHITECTURE.md does not say what {floor} does not know");
    }
}

#[test]
fn carriers_and_file_systems_do_not_know_each_other() {
    for path in ["vhost", "dev"].iter().flat_map(|carrier| sources(&src().join(carrier))) {
        for module in modules(&path, &code(&path)) {
            let knows = ["passthrough", "shares"].contains(&module);
            assert!(!knows, "{} knows the file system", path.display());
        }
    }
}

#[test]
fn no_source_file_is_longer_than_500_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["src", "tests", "bench", "fuzz", "proofs"];
    for path in folders.iter().flat_map(|folder| sources(&root.join(folder))) {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 500, "{} has {lines} lines", path.display());
    }
}
