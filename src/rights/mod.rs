//! Descriptors that are passed over sockets (`SCM_RIGHTS`, unix(7)). Floor 0: it knows neither who
//! passes them nor what for.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, Result};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Descriptors that come with one message, at most; the kernel closes what is more.
const MOST: usize = 2;

/// Sends bytes, and up to two descriptors with them. Returns how many bytes were taken.
///
/// # Errors
/// Those of sendmsg(2).
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::INVAL);
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
}

/// What has come.
pub struct Received {
    /// Bytes, at the beginning of the buffer; none at the end of a stream.
    pub len: usize,
    /// The message had more of them than there was room for.
    pub is_cut: bool,
    /// Descriptors that came with them, to be closed by an exec.
    pub fds: Vec<OwnedFd>,
}

/// Waits for bytes, and takes the descriptors that come with them.
///
/// # Errors
/// Those of recvmsg(2), but EINTR.
pub fn receive(socket: impl AsFd, bytes: &mut [u8]) -> Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let parts = &mut [IoSliceMut::new(bytes)];
        match recvmsg(socket.as_fd(), parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            received => break received?,
        }
    };
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = message {
            fds.extend(more);
        }
    }
    let is_cut = received.flags.contains(ReturnFlags::TRUNC);
    Ok(Received { len: received.bytes, is_cut, fds })
}
