//! `ferryfs ctl`.

mod metrics;
mod place;
mod shares;
mod text;
mod top;

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::args::{CtlSettings, Question};
use super::control::{Failure, Inodes, LogLevel, Sessions, Stats};
use super::error::StartError;
use super::run::{EXIT_SERVE, refuse};
pub(super) use text::stats as describe;

/// A daemon that runs answers at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks, prints the answer, and returns.
pub(super) fn main(settings: &CtlSettings) -> ExitCode {
    let asked = ask(settings);
    let printed = asked.and_then(|text| {
        let printed = io::stdout().write_all(text.as_bytes());
        printed.map_err(|error| StartError::new("standard output", error, "check who reads it"))
    });
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            refuse(&error);
            ExitCode::from(EXIT_SERVE)
        }
    }
}

fn ask(settings: &CtlSettings) -> Result<String, StartError> {
    let at = &settings.control;
    let command = match &settings.question {
        Question::Top { interval, count } => return top::watch(at, *interval, *count),
        Question::Share(change) => return shares::change(at, change, settings.json),
        Question::Metrics => return Ok(metrics::metrics(&get(at, "stats")?)),
        Question::Stats => "stats".to_owned(),
        Question::Inodes => "inodes".to_owned(),
        Question::Sessions => "sessions".to_owned(),
        Question::LogLevel { level: None } => "log-level".to_owned(),
        Question::LogLevel { level: Some(level) } => format!("log-level {level}"),
    };
    if settings.json {
        let answer: serde_json::Value = get(at, &command)?;
        return Ok(format!("{answer:#}\n"));
    }
    Ok(match &settings.question {
        Question::Inodes => text::inodes(&get::<Inodes>(at, &command)?),
        Question::Sessions => text::sessions(&get::<Sessions>(at, &command)?),
        Question::LogLevel { .. } => format!("{}\n", get::<LogLevel>(at, &command)?.log_level),
        _ => text::stats(&get::<Stats>(at, &command)?),
    })
}

/// What the daemon answers to a command.
fn get<T: DeserializeOwned>(at: &Path, command: &str) -> Result<T, StartError> {
    let answer = send(at, command).map_err(|error| nobody(at, &error))?;
    understood((at, command), &answer, "the daemon may be another version")
}

fn send(at: &Path, command: &str) -> io::Result<Vec<u8>> {
    let mut stream = connect(at)?;
    stream.write_all(format!("{command}\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

fn connect(at: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(at)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn nobody(at: &Path, error: &io::Error) -> StartError {
    let problem = format!("nobody answers at {}: {error}", at.display());
    StartError::new("--control", problem, "name the path that the daemon was started with")
}

/// What an answer to a command says; `remedy` is for who is told that it failed.
fn understood<T: DeserializeOwned>(
    (at, command): (&Path, &str),
    answer: &[u8],
    remedy: &'static str,
) -> Result<T, StartError> {
    if let Ok(Failure { error }) = serde_json::from_slice(answer) {
        return Err(StartError::new(command, error, remedy));
    }
    serde_json::from_slice(answer).map_err(|error| {
        let problem = format!("{} answers what is not understood: {error}", at.display());
        StartError::new("--control", problem, "the daemon may be another version")
    })
}
