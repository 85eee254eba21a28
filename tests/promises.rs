//! docs/SEMANTICS.md names tests that exist.
#![expect(clippy::unwrap_used, reason = "a test may")]

use std::fs;
use std::path::Path;

/// The source of every file below `dir`.
fn sources(dir: &Path) -> String {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let sources = paths.map(|path| match path.is_dir() {
        true => sources(&path),
        false => fs::read_to_string(path).unwrap(),
    });
    sources.collect()
}

#[test]
fn every_test_that_the_promises_name_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let promises = fs::read_to_string(root.join("docs/SEMANTICS.md")).unwrap();
    let sources = sources(&root.join("tests"));
    let mut names = 0;
    // What stands between backticks is every other piece.
    for name in promises.split('`').skip(1).step_by(2) {
        let Some((_, test)) = name.rsplit_once("::").filter(|(_, test)| test.contains('_')) else {
            continue;
        };
        assert!(sources.contains(&format!("fn {test}()")), "there is no test {name}");
        names += 1;
    }
    assert!(names > 50, "{names}");
}
