//! `ferryfs ctl share`.
//!
//! The daemon is confined to what it shares. So it is us who open what is to be shared, mount it
//! where the daemon can see it, and pass it a descriptor of that.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, fstat};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;

use super::super::args::ShareChange;
use super::super::control::{Failure, Passage, ShareList};
use super::super::error::StartError;
use super::super::shares::NamedShare;
use super::{PATIENCE, place};

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
        None => place::copy(&path).unwrap_or(opened),
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

fn nobody(at: &Path, error: &io::Error) -> StartError {
    let problem = format!("nobody answers at {}: {error}", at.display());
    StartError::new("--control", problem, "name the path that the daemon was started with")
}

/// A command that takes more than one answer.
struct Talk<'a> {
    at: &'a Path,
    stream: UnixStream,
}

impl<'a> Talk<'a> {
    fn begin(at: &'a Path, command: &[u8]) -> Result<Self, StartError> {
        let begin = || {
            let stream = UnixStream::connect(at)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut talk = Talk { at, stream };
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
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut passed = SendAncillaryBuffer::new(&mut space);
        let fds = [fd.as_fd()];
        passed.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(&self.stream, &[IoSlice::new(b"\n")], &mut passed, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The next answer to `command`, and what was passed with it.
    fn hear<T: DeserializeOwned>(
        &mut self,
        command: &str,
    ) -> Result<(T, Vec<OwnedFd>), StartError> {
        let (line, fds) = self.line().map_err(|error| nobody(self.at, &error))?;
        if let Ok(Failure { error }) = serde_json::from_slice(&line) {
            return Err(StartError::new(command, error, "the daemon goes on as it was"));
        }
        let answer = serde_json::from_slice(&line).map_err(|error| {
            let problem = format!("{} answers what is not understood: {error}", self.at.display());
            StartError::new("--control", problem, "the daemon may be another version")
        })?;
        Ok((answer, fds))
    }

    fn line(&self) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
        let (mut line, mut fds) = (Vec::new(), Vec::new());
        while line.last() != Some(&b'\n') {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
            let mut passed = RecvAncillaryBuffer::new(&mut space);
            let mut bytes = [0; 4096];
            let mut slices = [IoSliceMut::new(&mut bytes)];
            let got = recvmsg(&self.stream, &mut slices, &mut passed, RecvFlags::CMSG_CLOEXEC)?;
            for message in passed.drain() {
                if let RecvAncillaryMessage::ScmRights(more) = message {
                    fds.extend(more);
                }
            }
            if got.bytes == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            line.extend(&bytes[..got.bytes]);
        }
        Ok((line, fds))
    }
}
