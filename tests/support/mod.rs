//! Requests for the in-memory core, and a file system that shows what it was asked.
#![allow(
    dead_code,
    clippy::allow_attributes,
    clippy::unwrap_used,
    reason = "part of test binaries, each of which uses its own part of this"
)]

pub mod echo;
pub mod requests;

use ferryfs::fuse::abi::OutHeader;
use ferryfs::fuse::{Filesystem, Patience, Scratch, Served, Session};
use ferryfs::mem::{Input, Output, Segment};
use zerocopy::FromBytes;

/// Bytes of a reply: its header and body.
pub const HEADER: usize = size_of::<OutHeader>();

/// Serves `request` with `room` bytes for the reply, cut into runs of the lengths given (the
/// last run takes the rest), and returns the reply.
pub fn serve_cut<F: Filesystem>(
    session: &Session<F>,
    request: &[u8],
    room: usize,
    cuts: (&[usize], &[usize]),
) -> (Served, Vec<u8>) {
    let (mut request, mut reply) = (request.to_vec(), vec![0xee; room]);
    let served = {
        let (readable, writable) = (runs(&mut request, cuts.0), runs(&mut reply, cuts.1));
        session.serve(
            &mut Scratch::new(),
            Input::new(&readable),
            Output::new(&writable),
            Patience::Storage,
        )
    };
    (served, reply)
}

/// Serves `request` in one piece with plenty of room. Panics unless there is one reply of the
/// right length that echoes the request's unique.
pub fn serve<F: Filesystem>(session: &Session<F>, request: &[u8]) -> Result<Vec<u8>, i32> {
    let (served, reply) = serve_cut(session, request, 1 << 17, (&[], &[]));
    let (head, body) = OutHeader::read_from_prefix(&reply).unwrap();
    assert_eq!(served, Served::Reply(head.len));
    assert_eq!(head.unique.to_ne_bytes(), request[8..16]);
    let body = &body[..head.len as usize - HEADER];
    match head.error {
        0 => Ok(body.to_vec()),
        error => {
            assert!(body.is_empty() && (-511..0).contains(&error));
            Err(-error)
        }
    }
}

fn runs<'a>(mut bytes: &'a mut [u8], lengths: &[usize]) -> Vec<Segment<'a>> {
    let mut runs = Vec::new();
    for length in lengths {
        let (run, rest) = bytes.split_at_mut(*length);
        runs.push(Segment::from(run));
        bytes = rest;
    }
    runs.push(Segment::from(bytes));
    runs
}
