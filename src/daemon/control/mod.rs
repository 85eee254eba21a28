//! The control socket: what operators ask a running daemon.
//!
//! A connection carries one line, a command of words, and one JSON document back.

mod report;
mod shares;
mod watched;

use std::io::{self, BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::Duration;

use log::LevelFilter;
use serde::Serialize;

use super::{ctl, logging};
pub(super) use report::{
    Failure, Inodes, LogLevel, Operation, Passage, Sessions, ShareList, Stats,
};
pub(super) use watched::{SharedAs, Surveyed, Watched};

/// Who connects and then says nothing must not keep others out.
const PATIENCE: Duration = Duration::from_secs(1);

/// The longest command names a path.
const LONGEST: u64 = 8 << 10;

/// Asks the serving process to log what it has served, from another.
pub(super) struct Report(PipeWriter);

impl Report {
    /// Who asks, and what the other process gets to know of it by.
    pub(super) fn new() -> io::Result<(Self, PipeReader)> {
        let (asked, ask) = io::pipe()?;
        // A process that does not answer is not waited for.
        rustix::io::ioctl_fionbio(&ask, true)?;
        Ok((Report(ask), asked))
    }

    pub(super) fn ask(&self) {
        // One that is gone, or has not come to the last thousands yet, need not be asked.
        let _ = (&self.0).write_all(&[1]);
    }
}

impl<F: Surveyed + 'static> Watched<F> {
    /// Answers on threads of its own: a process that asks for a report, and commands.
    pub(super) fn show(
        self: Arc<Self>,
        mut asked: PipeReader,
        commands: Option<UnixListener>,
    ) -> io::Result<()> {
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        let watched = self.clone();
        thread("reporting").spawn(move || {
            while matches!(asked.read(&mut [0]), Ok(1)) {
                watched.report();
            }
        })?;
        if let Some(commands) = commands {
            thread("control").spawn(move || self.obey(&commands))?;
        }
        Ok(())
    }

    fn report(&self) {
        let text = ctl::describe(&self.stats());
        for line in text.lines().filter(|line| !line.is_empty()) {
            log::info!(target: logging::ASKED_FOR, "{line}");
        }
    }

    fn obey(&self, commands: &UnixListener) {
        for stream in commands.incoming() {
            let answered = stream.and_then(|stream| answer(&stream, self));
            if let Err(error) = answered {
                log::debug!("A command on the control socket failed: {error}");
            }
        }
    }
}

fn answer(mut stream: &UnixStream, watched: &Watched<impl Surveyed>) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut command = Vec::new();
    BufReader::new(stream.take(LONGEST)).read_until(b'\n', &mut command)?;
    let answer = match command.strip_suffix(b"\n").unwrap_or(&command).strip_prefix(b"share ") {
        Some(command) => shares::obey(command, watched, stream)?,
        None => {
            let command = String::from_utf8_lossy(&command);
            obey(&command.split_whitespace().collect::<Vec<_>>(), watched)?
        }
    };
    stream.write_all(&line(&answer)?)
}

fn line(answer: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    Ok(line)
}

fn obey(words: &[&str], watched: &Watched<impl Surveyed>) -> io::Result<serde_json::Value> {
    let level = || serde_json::to_value(LogLevel { log_level: log::max_level().to_string() });
    let answer = match words {
        ["stats"] => serde_json::to_value(watched.stats()),
        ["inodes"] => serde_json::to_value(watched.inodes()),
        ["sessions"] => serde_json::to_value(watched.sessions()),
        ["log-level"] => level(),
        ["log-level", wish] => match wish.parse::<LevelFilter>() {
            Ok(wish) => {
                logging::set_level(wish);
                level()
            }
            Err(_) => serde_json::to_value(Failure { error: format!("{wish} is no log level") }),
        },
        _ => serde_json::to_value(Failure { error: "there is no such command".to_owned() }),
    };
    Ok(answer?)
}
