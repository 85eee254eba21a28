//! Mounting for those who may not: `fusermount3`, which is set-user-id root.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::io::{FdFlags, fcntl_setfd};

use super::error::MountError;
use crate::rights;

const HELPER: &str = "fusermount3";

/// Where the helper finds the socket by which it hands over the device.
const SOCKET: &str = "_FUSE_COMMFD";

/// How it is called to unmount.
pub(super) const UNMOUNT: [&str; 5] = [HELPER, "-u", "-z", "-q", "--"];

/// Mounts on `at` with these options, which are in the form of mount(8).
pub(super) fn mount(at: &Path, options: &str) -> Result<OwnedFd, MountError> {
    let (ours, theirs) = UnixStream::pair().map_err(MountError::NoHelper)?;
    // The child has to inherit it.
    fcntl_setfd(&theirs, FdFlags::empty()).map_err(|error| MountError::NoHelper(error.into()))?;
    let mut child = Command::new(HELPER)
        .args(["-o", options, "--"])
        .arg(at)
        .env(SOCKET, theirs.as_raw_fd().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(MountError::NoHelper)?;
    drop(theirs);
    let came = rights::receive(&ours, &mut [0]);
    let came = came.map_err(|error| MountError::NoHelper(error.into()))?;
    let Some(device) = came.fds.into_iter().next() else {
        return Err(MountError::Helper(complaint(&mut child)));
    };
    let _ = child.wait();
    Ok(device)
}

/// Takes a mount out of the tree.
pub(super) fn unmount(at: &Path) -> io::Result<()> {
    let mut child = Command::new(HELPER)
        .args(&UNMOUNT[1..])
        .arg(at)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    match child.wait()?.success() {
        true => Ok(()),
        false => Err(io::Error::other("fusermount3 does not unmount it")),
    }
}

/// The last line of what a helper said that did not mount.
fn complaint(child: &mut Child) -> String {
    let mut said = String::new();
    if let Some(errors) = child.stderr.take() {
        let _ = File::from(OwnedFd::from(errors)).take(4096).read_to_string(&mut said);
    }
    let _ = child.wait();
    match said.lines().rfind(|line| !line.trim().is_empty()) {
        Some(line) => line.trim().to_owned(),
        None => "fusermount3 does not mount it".into(),
    }
}
