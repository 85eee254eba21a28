//! A file to which several have appended.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use super::failures::{attempt, report};

/// Checks that each of `words` has its `count` lines, in order, and that there is no other.
pub(super) fn check(path: &Path, count: u64, words: &[&str]) {
    attempt(path, || {
        let text = fs::read_to_string(path).unwrap();
        let mut next: HashMap<_, u64> = words.iter().map(|word| (*word, 0)).collect();
        for line in text.lines() {
            let (word, number) = line.split_once(' ').unwrap_or((line, ""));
            match next.get_mut(word) {
                Some(next) if number == next.to_string() => *next += 1,
                next => report(path, format!("{line:?} where {next:?} is next")),
            }
        }
        assert!(next.values().all(|lines| *lines == count), "{next:?} lines, not {count} each");
    });
}
