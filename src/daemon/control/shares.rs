//! Shares that come and go.
//!
//! This process can neither see nor mount what is outside. Who asks does that, with their own
//! rights, and passes a descriptor; where it is to be mounted, in the namespaces that this process
//! passes first.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use super::line;
use super::report::{Failure, Passage, ShareList};
use super::watched::{SharedAs, Surveyed, Watched};
use crate::daemon::shares::{Keeper, NamedShare, Way, share_name};
use crate::rights;
use crate::shares::Shares;

/// Mounting takes no longer, unless it never will be done.
const PATIENCE: Duration = Duration::from_secs(10);

/// Obeys `add dir|file NAME=PATH[:ro]` and `remove NAME`.
pub(super) fn obey(
    command: &[u8],
    watched: &Watched<impl Surveyed>,
    stream: &UnixStream,
) -> io::Result<Value> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let done = match (&watched.shared, watched.session.filesystem().shares()) {
        (SharedAs::Several(keeper), Some(shares)) => {
            let mut words = command.splitn(2, |byte| *byte == b' ');
            match (words.next(), words.next()) {
                (Some(b"add"), Some(rest)) => add(rest, (keeper, shares), stream),
                (Some(b"remove"), Some(name)) => remove(name, (keeper, shares), stream),
                _ => Err("there is no such command".to_owned()),
            }
        }
        _ => Err("the daemon was started with --shared-dir and not with --share".to_owned()),
    };
    Ok(match done {
        Ok(list) => serde_json::to_value(list)?,
        Err(error) => serde_json::to_value(Failure { error })?,
    })
}

fn add(
    rest: &[u8],
    (keeper, shares): (&Keeper, &Shares),
    stream: &UnixStream,
) -> Result<ShareList, String> {
    let (is_dir, share) = match (rest.strip_prefix(b"dir "), rest.strip_prefix(b"file ")) {
        (Some(share), _) => (true, share),
        (None, Some(share)) => (false, share),
        (None, None) => return Err("there is no such command".to_owned()),
    };
    let share = NamedShare::parse(OsStr::from_bytes(share))?;
    let way = keeper.way(&share.name, is_dir)?;
    let asked = pass(stream, &way).and_then(|()| receive(stream));
    let root = asked.map_err(|error| format!("no descriptor of it came: {error}"))?;
    let place = match way {
        Way::Given => None,
        Way::Mounted(place, _) => Some(place),
    };
    keeper.add(shares, share, &root, place).map_err(|error| error.to_string())?;
    Ok(ShareList { shares: keeper.list() })
}

fn remove(
    name: &[u8],
    (keeper, shares): (&Keeper, &Shares),
    stream: &UnixStream,
) -> Result<ShareList, String> {
    let name = share_name(name)?;
    let way = keeper.remove(shares, &name);
    let way = way.ok_or_else(|| format!("there is no share {}", name.to_string_lossy()))?;
    let asked =
        pass(stream, &way).and_then(|()| rustix::io::read(stream, &mut [0]).map_err(Into::into));
    if let (Way::Mounted(place, _), Ok(1)) = (&way, asked) {
        keeper.unmounted(place);
    }
    Ok(ShareList { shares: keeper.list() })
}

/// Says where something is to be done, and passes what is needed for that.
fn pass(stream: &UnixStream, way: &Way<'_>) -> io::Result<()> {
    let (place, namespaces): (_, &[OwnedFd]) = match way {
        Way::Given => (None, &[]),
        Way::Mounted(place, namespaces) => (Some(place.clone()), &namespaces[..]),
    };
    let fds: Vec<BorrowedFd<'_>> = namespaces.iter().map(AsFd::as_fd).collect();
    let line = line(&Passage { place })?;
    let sent = rights::send(stream, &line, &fds)?;
    if sent == line.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// A byte, and a descriptor with it.
fn receive(stream: &UnixStream) -> io::Result<OwnedFd> {
    let came = rights::receive(stream, &mut [0])?;
    came.fds.into_iter().next().ok_or(io::ErrorKind::UnexpectedEof.into())
}
