//! One line of clap's several.

use clap::error::{ContextKind, ErrorKind};

use super::super::error::StartError;

pub(super) fn explain(error: &clap::Error) -> StartError {
    let context = |kind| error.get(kind).map(ToString::to_string);
    let option = context(ContextKind::InvalidArg).unwrap_or_else(|| "the command line".into());
    let value = context(ContextKind::InvalidValue);
    let problem = match error.kind() {
        ErrorKind::UnknownArgument => "there is no such option".into(),
        ErrorKind::ArgumentConflict => {
            let other = context(ContextKind::PriorArg).unwrap_or_default();
            format!("it cannot be used with {other}")
        }
        ErrorKind::InvalidValue if value.as_ref().is_none_or(String::is_empty) => {
            "it needs a value".into()
        }
        _ => {
            let text = error.render().to_string();
            let line = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            // The option is named already.
            match line.split_once(&format!(" for '{option}'")) {
                Some((value, why)) => format!("{value}{why}"),
                None => line.to_owned(),
            }
        }
    };
    StartError::new(option, problem, "see --help")
}
