//! Why the daemon cannot start or go on, in one line that says what to do.

use std::fmt;

/// A start that failed: nothing was served.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StartError(String);

impl StartError {
    /// `option` is what to look at, `problem` what is wrong with it, `remedy` what to do.
    pub(super) fn new(
        option: impl fmt::Display,
        problem: impl fmt::Display,
        remedy: impl fmt::Display,
    ) -> Self {
        StartError(format!("{option}: {problem}; {remedy}"))
    }

    /// From the line that another process has made of one.
    pub(super) fn from_line(line: String) -> Self {
        StartError(line)
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}
