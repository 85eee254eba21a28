//! `ferryfs ctl share`.
//!
//! The daemon is confined to what it shares. So it is us who open what is to be shared, mount it
//! where the daemon can see it, and pass it a descriptor of that.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, fstat};
use serde::de::DeserializeOwned;

use super::super::args::ShareChange;
use super::super::control::{Passage, ShareList};
use super::super::error::StartError;
use super::super::sandbox::copy_tree;
use super::super::shares::NamedShare;
use super::{connect, nobody, place, understood};
use crate::rights;

/// Asks for the change and does our part of it. What is shared then.
pub(super) fn change(at: &Path, change: &ShareChange, json: bool) -> Result<String, StartError> {
    let list = match change {
        ShareChange::Add { share } => add(at, share)?,
        ShareChange::Remove { name } => remove(at, name)?,
    };
    let json = json.then(|| serde_json::to_string_pretty(&list).unwrap_or_default());
    Ok(json.map_or_else(
        || list.shares.iter().map(|share| format!("{share}\n")).collect(),
        |json| json + "\n",
    ))
}

fn add(at: &Path, share: &NamedShare) -> Result<ShareList, StartError> {
    let cannot = |problem: String| {
        StartError::new(
            "share add",
            problem,
            "name a directory or a regular file that you may read",
        )
    };
    let shown = share.path.display();
    let refuse = |error: io::Error| cannot(format!("cannot share {shown}: {error}"));
    let path = std::path::absolute(&share.path).map_err(refuse)?;
    let opened = rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let opened = opened.map_err(|error| refuse(error.into()))?;
    let stat = fstat(&opened).map_err(|error| refuse(error.into()))?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => "dir",
        FileType::RegularFile => "file",
        _ => return Err(cannot(format!("{shown} is neither a directory nor a regular file"))),
    };
    let share = NamedShare { path: path.clone(), ..share.clone() };
    let mut command = format!("share add {kind} ").into_bytes();
    command.extend(share.name.as_bytes());
    command.push(b'=');
    command.extend(path.as_os_str().as_bytes());
    command.extend(if share.readonly { b":ro" } else { b":rw" });
    if command.contains(&b'\n') {
        return Err(cannot(format!("{shown} has a newline in it")));
    }
    let mut talk = Talk::begin(at, &command)?;
    let (Passage { place }, namespaces) = talk.hear("share add")?;
    let root = match &place {
        None => copy_tree(&path).unwrap_or(opened),
        Some(place) => place::mount(&path, place, &namespaces).map_err(|error| {
            let problem = format!("cannot mount {shown} for the daemon: {error}");
            StartError::new("share add", problem, "be root, or the user who has started it")
        })?,
    };
    talk.pass(&root).map_err(|error| nobody(at, &error))?;
    let shared = talk.hear("share add").map(|(list, _)| list);
    if let (Err(_), Some(place)) = (&shared, &place) {
        // It is in nobody's way there, but for the next one at that place.
        let _ = place::unmount(place);
    }
    shared
}

fn remove(at: &Path, name: &str) -> Result<ShareList, StartError> {
    let mut talk = Talk::begin(at, format!("share remove {name}").as_bytes())?;
    let (Passage { place }, namespaces) = talk.hear("share remove")?;
    if let Some(place) = place {
        let left = place::enter(&namespaces).and_then(|()| place::unmount(&place));
        left.map_err(|error| {
            let problem = format!("{name} is not shared any more, but still mounted: {error}");
            StartError::new("share remove", problem, "be root, or the user who has started it")
        })?;
    }
    talk.say(b"\n").map_err(|error| nobody(at, &error))?;
    Ok(talk.hear("share remove")?.0)
}

/// A command that takes more than one answer.
struct Talk<'a> {
    at: &'a Path,
    stream: UnixStream,
}

impl<'a> Talk<'a> {
    fn begin(at: &'a Path, command: &[u8]) -> Result<Self, StartError> {
        let begin = || {
            let mut talk = Talk { at, stream: connect(at)? };
            talk.say(&[command, b"\n"].concat())?;
            Ok(talk)
        };
        begin().map_err(|error| nobody(at, &error))
    }

    fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        io::Write::write_all(&mut self.stream, bytes)
    }

    /// Passes a descriptor.
    fn pass(&self, fd: &OwnedFd) -> io::Result<()> {
        rights::send(&self.stream, b"\n", &[fd.as_fd()])?;
        Ok(())
    }

    /// The next answer to `command`, and what was passed with it.
    fn hear<T: DeserializeOwned>(
        &mut self,
        command: &str,
    ) -> Result<(T, Vec<OwnedFd>), StartError> {
        let (line, fds) = self.line().map_err(|error| nobody(self.at, &error))?;
        let answer = understood((self.at, command), &line, "the daemon goes on as it was")?;
        Ok((answer, fds))
    }

    fn line(&self) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
        let (mut line, mut fds) = (Vec::new(), Vec::new());
        while line.last() != Some(&b'\n') {
            let mut bytes = [0; 4096];
            let came = rights::receive(&self.stream, &mut bytes)?;
            if came.len == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            line.extend(&bytes[..came.len]);
            fds.extend(came.fds);
        }
        Ok((line, fds))
    }
}
