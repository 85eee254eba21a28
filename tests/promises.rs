//! docs/SEMANTICS.md and SECURITY.md name tests that exist.
#![expect(clippy::unwrap_used, reason = "a test may")]

use std::fs;
use std::path::Path;

/// What stands between backticks in a document: every other piece.
fn quoted(document: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join(document)).unwrap();
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The source of every file below `dir` that is Rust's, but for what was built there.
fn sources(dir: &Path) -> String {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let sources = paths.map(|path| match path.is_dir() {
        true if path.ends_with("target") => String::new(),
        true => sources(&path),
        false if path.extension().is_some_and(|kind| kind == "rs") => {
            fs::read_to_string(path).unwrap()
        }
        false => String::new(),
    });
    sources.collect()
}

fn all_sources() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    ["tests", "src", "fuzz/bodies", "proofs"].map(|folder| sources(&root.join(folder))).concat()
}

#[test]
fn every_test_that_the_promises_name_is_there() {
    let sources = all_sources();
    let mut names = 0;
    for name in quoted("docs/SEMANTICS.md") {
        let Some((_, test)) = name.rsplit_once("::").filter(|(_, test)| test.contains('_')) else {
            continue;
        };
        assert!(sources.contains(&format!("fn {test}()")), "there is no test {name}");
        names += 1;
    }
    assert!(names > 50, "{names}");
}

#[test]
fn every_test_that_the_security_promises_name_is_there() {
    let sources = all_sources();
    let is_name = |name: &String| {
        name.matches('_').count() > 2
            && name
                .bytes()
                .all(|byte| byte == b'_' || byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let names: Vec<_> = quoted("SECURITY.md").into_iter().filter(is_name).collect();
    for name in &names {
        assert!(sources.contains(&format!("fn {name}()")), "there is no test {name}");
    }
    assert!(names.len() > 40, "{}", names.len());
}
