//! How a message is written.

use std::fmt::Write;
use std::time::SystemTime;

use log::{Level, Record};
use serde::Serialize;

use super::time::Utc;

/// How a message is written on the standard error output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// With its time and level, for people.
    Text,
    /// With its level as a number in front, as systemd's journal takes it.
    Journal,
    /// A JSON object.
    Json,
}

/// A message that is to be logged.
pub(super) struct Message<'a> {
    pub(super) record: &'a Record<'a>,
    /// So many before it were not.
    pub(super) left_out: u64,
    pub(super) time: SystemTime,
}

#[derive(Serialize)]
struct Json<'a> {
    time: String,
    level: &'a str,
    target: &'a str,
    message: String,
    #[serde(skip_serializing_if = "is_zero")]
    left_out: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Message<'_> {
    /// The line, with its end.
    pub(super) fn line(&self, form: Form) -> Vec<u8> {
        let level = self.record.level();
        let mut line = match form {
            Form::Text => format!("[{} {level:<5}] {}", Utc(self.time), self.text()),
            Form::Journal => format!("<{}>{}", self.severity(), self.text()),
            Form::Json => {
                let json = Json {
                    time: Utc(self.time).to_string(),
                    level: level.as_str(),
                    target: self.record.target(),
                    message: self.record.args().to_string(),
                    left_out: self.left_out,
                };
                serde_json::to_string(&json).unwrap_or_default()
            }
        };
        line.push('\n');
        line.into_bytes()
    }

    /// The message in one line, whatever a guest has made us say.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        if self.record.level() >= Level::Debug {
            text = format!("{}: ", self.record.target());
        }
        for c in self.record.args().to_string().chars() {
            if c.is_control() {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        if self.left_out > 0 {
            // Writing to a string cannot fail.
            let _ = write!(text, " ({} more like this were left out)", self.left_out);
        }
        text
    }

    /// The level as syslog(3) has it.
    pub(super) fn severity(&self) -> i32 {
        match self.record.level() {
            Level::Error => libc::LOG_ERR,
            Level::Warn => libc::LOG_WARNING,
            Level::Info => libc::LOG_INFO,
            Level::Debug | Level::Trace => libc::LOG_DEBUG,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(form: Form, level: Level, left_out: u64) -> String {
        let args = format_args!("\"a\nb\"\u{1b}[31m");
        let record = Record::builder().args(args).level(level).target("ferryfs::x").build();
        let message = Message { record: &record, left_out, time: SystemTime::UNIX_EPOCH };
        String::from_utf8(message.line(form)).unwrap()
    }

    #[test]
    fn a_message_is_one_line_whatever_is_in_it() {
        for (form, level, expected) in [
            (Form::Text, Level::Warn, "[1970-01-01T00:00:00Z WARN ] \"a\\nb\"\\u{1b}[31m\n"),
            (Form::Journal, Level::Info, "<6>\"a\\nb\"\\u{1b}[31m\n"),
            (Form::Journal, Level::Trace, "<7>ferryfs::x: \"a\\nb\"\\u{1b}[31m\n"),
        ] {
            assert_eq!(line(form, level, 0), expected);
        }
        assert!(line(Form::Text, Level::Error, 3).ends_with("(3 more like this were left out)\n"));
    }

    #[test]
    fn json_is_an_object_a_line() {
        let text = line(Form::Json, Level::Error, 0);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert_eq!(value["message"], "\"a\nb\"\u{1b}[31m");
        assert_eq!(value["level"], "ERROR");
        assert_eq!(value["time"], "1970-01-01T00:00:00Z");
        assert!(value.get("left_out").is_none());
    }
}
