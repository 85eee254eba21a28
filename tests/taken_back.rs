//! What a reply handed out that could not be delivered is taken back.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod support;

use std::fs;
use std::path::Path;

use ferryfs::fuse::abi::{
    CreateIn, EntryOut, ForgetIn, LinkIn, MkdirIn, MknodIn, OpenIn, OutHeader, ReadIn,
};
use ferryfs::fuse::{Carrier, Opcode, Served, Session};
use ferryfs::passthrough::{Config, Passthrough};
use rustix::process::{getegid, geteuid};
use support::requests::{arg, init, request};
use support::{serve, serve_cut};
use zerocopy::FromBytes;

const ROOT: u64 = 1;

fn session(share: &Path) -> Session<Passthrough> {
    let share = Passthrough::new(share, Config::default()).unwrap();
    let session = Session::new(share, Carrier::DEV);
    serve(&session, &init()).unwrap();
    session
}

/// A request of the user who runs this.
fn ask(opcode: Opcode, node: u64, parts: &[&[u8]]) -> Vec<u8> {
    let mut request = request(opcode, node, parts);
    request[24..28].copy_from_slice(&geteuid().as_raw().to_ne_bytes());
    request[28..32].copy_from_slice(&getegid().as_raw().to_ne_bytes());
    request
}

/// Serves a request whose reply nobody takes.
fn lose(session: &Session<Passthrough>, request: &[u8]) {
    let (served, reply) = serve_cut(session, request, 1 << 17, (&[], &[]));
    let Served::Reply(len) = served else { panic!("{served:?}") };
    session.take_back(request, &reply[..len as usize]);
}

fn lookup(session: &Session<Passthrough>, name: &[u8]) -> u64 {
    let body = serve(session, &ask(Opcode::Lookup, ROOT, &[name])).unwrap();
    EntryOut::read_from_prefix(&body).unwrap().0.nodeid
}

/// Inodes that are known, and what is open.
fn held(session: &Session<Passthrough>) -> (usize, usize) {
    (session.filesystem().inodes(), session.filesystem().handles())
}

fn forget(session: &Session<Passthrough>, node: u64, lookups: u64) {
    let lookups = arg::<ForgetIn>(|forget| forget.nlookup = lookups);
    let (served, _) = serve_cut(session, &ask(Opcode::Forget, node, &[&lookups]), 100, (&[], &[]));
    assert_eq!(served, Served::Silent);
}

#[test]
fn lookups_and_handles_are_as_before() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "x").unwrap();
    fs::write(folder.path().join("other"), "x").unwrap();
    fs::create_dir(folder.path().join("dir")).unwrap();
    let session = session(folder.path());
    let (file, dir) = (lookup(&session, b"file\0"), lookup(&session, b"dir\0"));
    let opened = serve(&session, &ask(Opcode::Opendir, ROOT, &[&arg::<OpenIn>(|_| ())])).unwrap();
    let listing = u64::from_ne_bytes(opened[..8].try_into().unwrap());
    let before = held(&session);

    let open = arg::<OpenIn>(|_| ());
    let mkdir = arg::<MkdirIn>(|mkdir| mkdir.mode = 0o700);
    let mknod = arg::<MknodIn>(|mknod| mknod.mode = 0o100_600);
    let link = arg::<LinkIn>(|link| link.oldnodeid = file);
    let create = arg::<CreateIn>(|create| {
        (create.flags, create.mode) = (libc::O_RDWR.cast_unsigned(), 0o100_600);
    });
    let list = arg::<ReadIn>(|read| (read.fh, read.size) = (listing, 4096));
    let (inode, handle, both) = ((1, 0), (0, 1), (1, 1));
    for (opcode, node, parts, given) in [
        (Opcode::Lookup, ROOT, &[&b"other\0"[..]][..], inode),
        (Opcode::Lookup, ROOT, &[b"file\0"], (0, 0)),
        (Opcode::Lookup, ROOT, &[b"missing\0"], (0, 0)),
        (Opcode::Mkdir, ROOT, &[&mkdir, b"new dir\0"], inode),
        (Opcode::Mknod, ROOT, &[&mknod, b"node\0"], inode),
        (Opcode::Symlink, ROOT, &[b"link\0", b"target\0"], inode),
        (Opcode::Link, ROOT, &[&link, b"hard\0"], (0, 0)),
        (Opcode::Create, ROOT, &[&create, b"created\0"], both),
        (Opcode::Tmpfile, ROOT, &[&create, b"/\0"], both),
        (Opcode::Open, file, &[&open], handle),
        (Opcode::Opendir, dir, &[&open], handle),
    ] {
        let request = ask(opcode, node, parts);
        let (served, reply) = serve_cut(&session, &request, 1 << 17, (&[], &[]));
        let Served::Reply(len) = served else { panic!("{opcode:?}: {served:?}") };
        let now = held(&session);
        assert_eq!((now.0 - before.0, now.1 - before.1), given, "{opcode:?}");
        session.take_back(&request, &reply[..len as usize]);
        assert_eq!(held(&session), before, "{opcode:?}");
    }
    // All that the directory has, of which two are known.
    lose(&session, &ask(Opcode::Readdirplus, ROOT, &[&list]));
    assert_eq!(held(&session), before);

    // One lookup of each is left, and was neither taken twice nor left over.
    for node in [file, dir] {
        serve(&session, &ask(Opcode::Access, node, &[&[0; 8]])).unwrap();
        forget(&session, node, 1);
        serve(&session, &ask(Opcode::Access, node, &[&[0; 8]])).unwrap_err();
    }
    assert_eq!(held(&session), (before.0 - 2, before.1));
}

#[test]
fn an_error_takes_nothing_back() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "x").unwrap();
    let session = session(folder.path());
    let file = lookup(&session, b"file\0");
    let before = held(&session);
    let mkdir = arg::<MkdirIn>(|mkdir| mkdir.mode = 0o700);
    let request = ask(Opcode::Mkdir, ROOT, &[&mkdir, b"file\0"]);
    // What is behind the header of an error is not a reply, whatever is there.
    let mut reply = vec![0; 1000];
    let entry = arg::<EntryOut>(|entry| entry.nodeid = file);
    let head = arg::<OutHeader>(|head| head.error = -libc::EEXIST);
    reply[..head.len()].copy_from_slice(&head);
    reply[head.len()..][..entry.len()].copy_from_slice(&entry);
    session.take_back(&request, &reply);
    lose(&session, &request);
    assert_eq!(held(&session), before);
}
