//! Rules that say which opens the kernel serves by itself.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// What rules look at.
pub(super) struct Open<'a> {
    pub(super) writable: bool,
    pub(super) size: u64,
    /// In the share; none if that is not known.
    pub(super) path: Option<&'a str>,
}

/// A rule that says which opens the kernel serves by itself; the first that applies decides, and
/// where none does, it serves them.
#[derive(Clone, Debug)]
pub struct BackingRule {
    pub(super) passes: bool,
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug)]
enum Condition {
    ReadOnly,
    Writable,
    AtLeast(u64),
    AtMost(u64),
    Glob(glob::Pattern),
}

/// Why something is not a rule.
#[derive(Debug, PartialEq, Eq)]
pub struct BadBackingRule(&'static str);

impl fmt::Display for BadBackingRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadBackingRule {}

impl FromStr for BackingRule {
    type Err = BadBackingRule;

    /// `on` or `off`, and after a colon what has to apply, separated by commas.
    fn from_str(text: &str) -> Result<Self, BadBackingRule> {
        let (verdict, conditions) = text.split_once(':').unwrap_or((text, ""));
        let passes = match verdict {
            "on" => true,
            "off" => false,
            _ => return Err(BadBackingRule("it does not begin with on or off")),
        };
        let conditions = conditions.split(',').filter(|condition| !condition.is_empty());
        let conditions = conditions.map(Condition::parse).collect::<Result<_, BadBackingRule>>()?;
        Ok(BackingRule { passes, conditions })
    }
}

impl BackingRule {
    /// Files that are read before they are registered stay here, unless they are to be written.
    #[must_use]
    pub fn off_for_small() -> Self {
        let conditions = vec![Condition::ReadOnly, Condition::AtMost(64 << 10)];
        BackingRule { passes: false, conditions }
    }

    pub(super) fn has_glob(&self) -> bool {
        self.conditions.iter().any(|condition| matches!(condition, Condition::Glob(_)))
    }

    /// A name that is not known is one that keeps the file here, if any does.
    pub(super) fn applies(&self, open: &Open<'_>) -> bool {
        self.conditions.iter().all(|condition| match condition {
            Condition::ReadOnly => !open.writable,
            Condition::Writable => open.writable,
            Condition::AtLeast(least) => open.size >= *least,
            Condition::AtMost(most) => open.size <= *most,
            Condition::Glob(pattern) => {
                open.path.map_or(!self.passes, |path| matches(pattern, path))
            }
        })
    }
}

impl Condition {
    fn parse(text: &str) -> Result<Self, BadBackingRule> {
        Ok(match text.split_once('=') {
            None if text == "read-only" => Condition::ReadOnly,
            None if text == "write" => Condition::Writable,
            Some(("min-size", size)) => Condition::AtLeast(bytes(size)?),
            Some(("max-size", size)) => Condition::AtMost(bytes(size)?),
            Some(("glob", pattern)) => {
                let pattern = glob::Pattern::new(pattern);
                Condition::Glob(pattern.map_err(|_| BadBackingRule("a glob in it has no end"))?)
            }
            _ => {
                return Err(BadBackingRule(
                    "it has a condition other than read-only, write, min-size=, max-size=, glob=",
                ));
            }
        })
    }
}

fn bytes(text: &str) -> Result<u64, BadBackingRule> {
    let bad = BadBackingRule("a size in it is not a number of bytes, K, M or G");
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    number.ok_or(bad)
}

/// A pattern with a slash is of the whole path, one without of the last name.
fn matches(pattern: &glob::Pattern, path: &str) -> bool {
    let options = glob::MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: false,
    };
    if pattern.as_str().contains('/') {
        return pattern.matches_with(path, options);
    }
    let name = Path::new(path).file_name().and_then(OsStr::to_str).unwrap_or_default();
    pattern.matches_with(name, options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_a_verdict_and_its_conditions() {
        let rule: BackingRule = "off:read-only,min-size=64K,glob=*.log".parse().unwrap();
        assert!(!rule.passes);
        assert_eq!(rule.conditions.len(), 3);
        assert!(matches!(rule.conditions[1], Condition::AtLeast(65536)));
        assert!("on".parse::<BackingRule>().unwrap().conditions.is_empty());
        for bad in ["", "yes", "on:big", "off:min-size=", "off:max-size=1T", "on:glob=[", "on:size"]
        {
            assert!(bad.parse::<BackingRule>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pattern_is_of_the_name_or_of_the_path() {
        for (pattern, path, is_it) in [
            ("*.log", "a/b/c.log", true),
            ("*.log", "a.log/b", false),
            ("a/*.log", "a/c.log", true),
            ("a/*.log", "a/b/c.log", false),
            ("a/**/*.log", "a/b/c.log", true),
        ] {
            assert_eq!(matches(&glob::Pattern::new(pattern).unwrap(), path), is_it, "{pattern}");
        }
    }
}
