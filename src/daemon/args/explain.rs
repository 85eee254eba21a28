//! One line of clap's several.

use std::ffi::OsString;
use std::fmt::Display;
use std::os::unix::ffi::OsStrExt;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::super::error::StartError;

/// What is wrong with `words`, which `command` did not understand.
pub(super) fn explain(
    error: &clap::Error,
    command: &clap::Command,
    words: &[OsString],
) -> StartError {
    let context = |kind| error.get(kind).map(ToString::to_string);
    let option = context(ContextKind::InvalidArg).unwrap_or_else(|| "the command line".into());
    let option = option.trim_start_matches(['<', '[']);
    let option = if option.starts_with('-') { option } else { option.trim_end_matches(['>', ']']) };
    let value = context(ContextKind::InvalidValue);
    let refuse =
        |problem: &dyn Display, remedy: &dyn Display| StartError::new(option, problem, remedy);
    let remedy = remedy(error);
    match error.kind() {
        ErrorKind::UnknownArgument if !option.starts_with('-') => {
            StartError::new(quoted(option), "it is one word too many", "leave it out")
        }
        ErrorKind::UnknownArgument => refuse(&"there is no such option", &remedy),
        ErrorKind::InvalidSubcommand | ErrorKind::ArgumentConflict
            if let Some(word) = context(ContextKind::InvalidSubcommand) =>
        {
            stray(&word, &remedy, command, words)
        }
        ErrorKind::ArgumentConflict => {
            let other = context(ContextKind::PriorArg).unwrap_or_default();
            refuse(&format!("it cannot be used with {other}"), &"leave one of them out")
        }
        ErrorKind::MissingRequiredArgument => refuse(&"it is missing", &"add it"),
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let command = innermost(command, words);
            let problem = "it needs a word that says what to do";
            StartError::new(command.get_name(), problem, use_one_of(&names_of(command)))
        }
        ErrorKind::TooManyValues => {
            refuse(&"it takes no value", &"leave the equals sign and the value out")
        }
        ErrorKind::InvalidValue if value.as_ref().is_none_or(String::is_empty) => {
            refuse(&"it needs a value", &remedy)
        }
        _ => {
            let text = error.render().to_string();
            let line = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            // The option is named already.
            let named = context(ContextKind::InvalidArg).unwrap_or_default();
            match line.split_once(&format!(" for '{named}'")) {
                Some((value, why)) => refuse(&format!("{value}{why}"), &remedy),
                None => refuse(&line, &remedy),
            }
        }
    }
}

/// Which of `words` has to be text and is not: the first that is refused for that when it is the
/// last one. (clap does not tell.)
pub(super) fn explain_bytes(
    words: &[OsString],
    is_refused: impl Fn(&[OsString]) -> bool,
) -> StartError {
    let odd = |at: &usize| words[*at].to_str().is_none() && is_refused(&words[..=*at]);
    let at = (0..words.len()).find(odd).unwrap_or_default();
    let word = words[at].to_string_lossy();
    let option = match word.split_once('=') {
        Some((option, _)) if option.starts_with('-') => option.to_owned(),
        _ if at > 0 && words[at - 1].as_bytes().starts_with(b"-") => {
            words[at - 1].to_string_lossy().into_owned()
        }
        _ => word.clone().into_owned(),
    };
    StartError::new(option, format!("{word:?} is not UTF-8"), "write it in UTF-8")
}

/// What clap knows of what could have been meant.
fn remedy(error: &clap::Error) -> String {
    let known = |kind| match error.get(kind) {
        Some(ContextValue::String(one)) => vec![one.clone()],
        Some(ContextValue::Strings(all)) => all.clone(),
        _ => Vec::new(),
    };
    let kinds =
        [ContextKind::ValidValue, ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand];
    match kinds.into_iter().map(known).find(|names| !names.is_empty()) {
        Some(names) => use_one_of(&names),
        None => "see --help".to_owned(),
    }
}

/// A word that is no option, nor the value of one.
fn stray(word: &str, remedy: &str, command: &clap::Command, words: &[OsString]) -> StartError {
    let inner = innermost(command, words);
    let is_first = inner.get_name() == command.get_name();
    if !is_first || command.find_subcommand(word).is_some() {
        return match command.find_subcommand(word) {
            Some(_) => {
                let remedy = "write it first, and only its own options";
                StartError::new(word, "it comes after options", remedy)
            }
            None => {
                let names = names_of(inner);
                let problem = format!("{} knows no such word", inner.get_name());
                StartError::new(quoted(word), problem, use_one_of(&names))
            }
        };
    }
    let at = words.iter().rposition(|one| one.to_string_lossy() == word).unwrap_or_default();
    let before = words[..at].last().map(|before| before.to_string_lossy());
    let takes_equals = |long: &str| {
        let mut options = command.get_arguments().filter(|one| one.is_require_equals_set());
        options.any(|one| long.strip_prefix("--") == one.get_long())
    };
    let remedy = match before {
        Some(before) if takes_equals(&before) => format!("write {before}={word}"),
        _ if remedy.starts_with("use ") => remedy.to_owned(),
        _ => "leave it out, or name the directory to share by --shared-dir".to_owned(),
    };
    StartError::new(quoted(word), "it belongs to no option", remedy)
}

/// The command that the words lead to.
fn innermost<'a>(command: &'a clap::Command, words: &[OsString]) -> &'a clap::Command {
    let first = words.get(1).is_some_and(|first| command.find_subcommand(first).is_some());
    let words = if first { &words[1..] } else { &[] };
    words.iter().fold(command, |at, word| at.find_subcommand(word).unwrap_or(at))
}

fn names_of(command: &clap::Command) -> Vec<String> {
    command.get_subcommands().map(|one| one.get_name().to_owned()).collect()
}

fn use_one_of(names: &[String]) -> String {
    match names {
        [] => "see --help".to_owned(),
        [one] => format!("use {one}"),
        [most @ .., last] => format!("use {} or {last}", most.join(", ")),
    }
}

/// An empty word can be seen as well.
fn quoted(word: &str) -> String {
    if word.is_empty() { "\"\"".to_owned() } else { word.to_owned() }
}
