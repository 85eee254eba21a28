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
        let mut line = String::new();
        // What users wrote is quoted in it, line ends and all.
        for letter in format!("{option}: {problem}; {remedy}").chars() {
            match letter.is_control() {
                true => line.extend(letter.escape_default()),
                false => line.push(letter),
            }
        }
        StartError(line)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_quoted_an_error_is_one_line() {
        let error = StartError::new("--a\nb", "\x1b[1m is no name", "give \u{e9}t\u{e9}");
        assert_eq!(error.to_string(), "--a\\nb: \\u{1b}[1m is no name; give \u{e9}t\u{e9}");
    }
}
