//! Every request gets one reply, whose length the used element tells; whatever is wrong with it,
//! the next one is served.

use ferryfs::fuse::abi::{
    InHeader, LkIn, OutHeader, RemovemappingIn, SetattrIn, SetupmappingIn, SetxattrIn,
};
use ferryfs::fuse::{Errno, Opcode};
use ferryfs_bench::{Client, ROOT, Reply, Request};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::*;

const HEAD: usize = size_of::<InHeader>();
const ROOM: usize = 4096;

/// A request for the root with a right length.
fn request(opcode: u32, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(HEAD + body.len()).unwrap();
    let head = InHeader { len, opcode, unique: 78, nodeid: ROOT, ..InHeader::new_zeroed() };
    [head.as_bytes(), body].concat()
}

/// The error number of a reply that is as it should be; 0 if it is a good one.
fn outcome(reply: &Reply, unique: u64) -> i32 {
    let head = OutHeader::read_from_prefix(&reply.bytes).expect("a reply has a header").0;
    assert_eq!((head.len, head.unique), (reply.used, unique));
    assert!((-511..=0).contains(&head.error), "{}", head.error);
    assert!(head.error == 0 || head.len == 16, "an error with a body");
    -head.error
}

/// Sends a request and expects that error, or success, and that the session goes on.
fn expect(fs: &mut Client, bytes: &[u8], room: usize, errno: i32, what: &str) {
    let reply = fs.raw(bytes, room).unwrap();
    assert_eq!(outcome(&reply, 78), errno, "{what}");
    fs.getattr(ROOT, None).unwrap();
}

const EINVAL: i32 = libc::EINVAL;

/// The opcodes that are answered and do not end the session.
fn answered() -> impl Iterator<Item = Opcode> {
    let special = |opcode: &Opcode| opcode.is_silent() || *opcode == Opcode::Destroy;
    Opcode::ALL.iter().copied().filter(move |opcode| !special(opcode))
}

#[test]
fn every_opcode_is_answered_with_the_length_that_the_used_element_has() {
    let mut machine = Machine::new();
    let fs = &mut machine.fs;
    for opcode in Opcode::ALL {
        // Zeros are a name that is not one, a handle that is not open, and so on.
        let reply = fs.raw(&request(*opcode as u32, &[0; 200]), ROOM).unwrap();
        if opcode.is_silent() {
            assert_eq!(reply.used, 0, "{opcode:?}");
        } else {
            let errno = outcome(&reply, 78);
            let good = matches!(
                opcode,
                Opcode::Getattr
                    | Opcode::Setattr
                    | Opcode::Statfs
                    | Opcode::Listxattr
                    | Opcode::Opendir
                    | Opcode::Access
                    | Opcode::Destroy
                    | Opcode::Statx
                    | Opcode::Syncfs
            );
            assert_eq!(errno == 0, good, "{opcode:?}: {errno}");
        }
        if *opcode == Opcode::Destroy {
            fs.init(LINUX_6_18).unwrap();
        }
        fs.getattr(ROOT, None).unwrap();
    }
}

#[test]
fn what_is_not_served_is_not_implemented() {
    let mut machine = Machine::new();
    let fs = &mut machine.fs;
    for opcode in [0, 7, 19, 54, 4096, 26 << 24, u32::MAX] {
        expect(fs, &request(opcode, b"what"), ROOM, libc::ENOSYS, &opcode.to_string());
        expect(fs, &request(opcode, b""), 16, libc::ENOSYS, &opcode.to_string());
    }
    let lock = LkIn::new_zeroed();
    assert_eq!(fs.getlk(ROOT, &lock).unwrap_err(), Errno::ENOSYS);
    assert_eq!(fs.setlk(ROOT, &lock, false).unwrap_err(), Errno::ENOSYS);
    assert_eq!(fs.setlk(ROOT, &lock, true).unwrap_err(), Errno::ENOSYS);
    assert_eq!(fs.poll(ROOT, 0, 1).unwrap_err(), Errno::ENOSYS);
    assert_eq!(fs.bmap(ROOT, 0, 512).unwrap_err(), Errno::ENOSYS);
    let mapping = SetupmappingIn::new_zeroed();
    assert_eq!(fs.setupmapping(ROOT, &mapping).unwrap_err(), Errno::ENOSYS);
    assert_eq!(fs.removemapping(ROOT, &[(0, 1 << 21)]).unwrap_err(), Errno::ENOSYS);
    assert_eq!(size_of::<RemovemappingIn>(), 4);
    fs.interrupt(78).unwrap();
    fs.notify_reply(ROOT, b"data").unwrap();
}

#[test]
fn a_request_that_is_too_short_is_invalid() {
    let mut machine = Machine::new();
    let fs = &mut machine.fs;
    for opcode in answered() {
        let fixed = opcode.fixed_len();
        for len in [0, 1, fixed / 2, fixed.saturating_sub(1)] {
            if len < fixed {
                let what = format!("{opcode:?} with {len} bytes");
                expect(fs, &request(opcode as u32, &vec![0; len]), ROOM, EINVAL, &what);
            }
        }
    }
    // Not even a header: nobody knows which request it was.
    for len in 1..HEAD {
        let reply = fs.raw(&request(Opcode::Getattr as u32, &[])[..len], ROOM).unwrap();
        assert_eq!(outcome(&reply, 0), EINVAL, "{len} bytes");
        fs.getattr(ROOT, None).unwrap();
    }
}

#[test]
fn a_length_that_is_not_so_is_invalid() {
    let mut machine = Machine::new();
    let fs = &mut machine.fs;
    for opcode in answered() {
        for len in [0, 1, 39, 40 + 201, 4096, u32::MAX] {
            let mut bytes = request(opcode as u32, &[0; 200]);
            bytes[..4].copy_from_slice(&len.to_ne_bytes());
            expect(fs, &bytes, ROOM, EINVAL, &format!("{opcode:?} of {len} bytes"));
        }
    }
    // Bytes behind the end are none of the request.
    let mut bytes = request(Opcode::Getattr as u32, &[0; 200]);
    bytes[..4].copy_from_slice(&56u32.to_ne_bytes());
    expect(fs, &bytes, ROOM, 0, "more bytes than the request has");
}

#[test]
fn room_that_is_too_small_for_the_reply_is_invalid_before_anything_is_done() {
    let mut machine = Machine::new();
    let fs = &mut machine.fs;
    for opcode in answered() {
        let reply = opcode.reply_len();
        for room in [0, 1, reply / 2, reply.saturating_sub(1)] {
            if room < reply {
                let bytes = request(opcode as u32, &[0; 200]);
                expect(fs, &bytes, 16 + room, EINVAL, &format!("{opcode:?} in {room}"));
            }
        }
    }
    let name = [&[0; 8], &b"dir\0"[..]].concat();
    let mkdir = request(Opcode::Mkdir as u32, &name);
    expect(fs, &mkdir, 16 + 127, EINVAL, "MKDIR");
    for room in 0..16 {
        let reply = fs.raw(&mkdir, room).unwrap();
        assert_eq!(reply.used, 0, "there is no room for a header in {room} bytes");
    }
    assert!(!machine.path("dir").exists());
    let reply = machine.fs.raw(&mkdir, 16 + 128).unwrap();
    assert_eq!(outcome(&reply, 78), 0);
    assert!(machine.path("dir").exists());
}

#[test]
fn names_and_values_that_do_not_fit_their_request_are_invalid() {
    let mut machine = Machine::new();
    let fs = &mut machine.fs;
    let opcode = |opcode: Opcode| opcode as u32;
    let zeros = [0; 16];
    for (name, bytes) in [
        ("LOOKUP without a NUL", request(opcode(Opcode::Lookup), b"name")),
        ("UNLINK without a NUL", request(opcode(Opcode::Unlink), b"name")),
        ("SYMLINK without a target", request(opcode(Opcode::Symlink), b"name\0")),
        ("SYMLINK without a NUL", request(opcode(Opcode::Symlink), b"name\0target")),
        (
            "RENAME without a second name",
            request(opcode(Opcode::Rename), &[&zeros[..8], b"name\0"].concat()),
        ),
        (
            "RENAME2 without a NUL",
            request(opcode(Opcode::Rename2), &[&zeros, &b"name\0name"[..]].concat()),
        ),
        ("CREATE without a name", request(opcode(Opcode::Create), &zeros)),
        ("GETXATTR without a name", request(opcode(Opcode::Getxattr), &zeros[..8])),
    ] {
        expect(fs, &bytes, ROOM, EINVAL, name);
    }
    for (size, actual) in [(5, 4), (1 << 16, 10), (u32::MAX, 0)] {
        let arg = SetxattrIn { size, flags: 0 };
        let value = vec![0; actual];
        let body = [arg.as_bytes(), &zeros[..8], b"user.x\0", &value].concat();
        let bytes = request(opcode(Opcode::Setxattr), &body);
        expect(fs, &bytes, ROOM, EINVAL, &format!("SETXATTR of {actual} bytes, not {size}"));
    }
    // More than any request has, apart from the data of a WRITE.
    let bytes = request(opcode(Opcode::Lookup), &vec![b'a'; 100_000]);
    expect(fs, &bytes, ROOM, libc::E2BIG, "a name of 100000 bytes");
}

#[test]
fn extensions_that_do_not_fit_their_request_are_invalid() {
    let mut machine = Machine::new();
    let fs = &mut machine.fs;
    let mkdir = request(Opcode::Mkdir as u32, &[&[0; 8], &b"dir\0\0\0\0\0"[..]].concat());
    for words in [3u16, 100, u16::MAX] {
        let mut bytes = mkdir.clone();
        bytes[36..38].copy_from_slice(&words.to_ne_bytes());
        expect(fs, &bytes, ROOM, EINVAL, &format!("{words} words of extensions"));
    }
    for bad in [&[8u32, 2][..], &[16, 32, 2, 5], &[12, 99, 0, 0], &[u32::MAX, 32, 1, 5]] {
        fs.extensions = bad.iter().copied().flat_map(u32::to_ne_bytes).collect();
        assert_eq!(fs.mkdir(ROOT, "dir", 0o755).unwrap_err(), Errno::EINVAL, "{bad:?}");
    }
    fs.extensions = [8u32, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
    fs.mkdir(ROOT, "dir", 0o755).unwrap();
}

#[test]
fn reads_and_writes_that_make_no_sense_are_refused() {
    let mut machine = Machine::new();
    machine.put("a", "content");
    let node = machine.find(ROOT, "a");
    let fs = &mut machine.fs;
    let fh = fs.open(node, libc::O_RDWR).unwrap().fh;
    for offset in [1 << 63, u64::MAX - 1, u64::MAX] {
        assert_eq!(fs.read(node, fh, offset, 1).unwrap_err(), Errno::EINVAL, "{offset:#x}");
        assert_eq!(fs.write(node, fh, offset, b"x").unwrap_err(), Errno::EINVAL, "{offset:#x}");
    }
    assert_eq!(fs.read(node, fh, (1 << 63) - 2, 1).unwrap(), b"");
    let far = fs.write(node, fh, i64::MAX.cast_unsigned(), b"x").unwrap_err();
    assert!(far == Errno::EFBIG || far == Errno::EINVAL, "{far}");
    for offset in [1 << 63, u64::MAX] {
        assert!(fs.lseek(node, fh, offset, libc::SEEK_DATA).is_err());
        assert!(fs.fallocate(node, fh, (offset, 1), 0).is_err());
        let change = SetattrIn { valid: 1 << 3, size: offset, ..SetattrIn::new_zeroed() };
        assert!(fs.setattr(node, &change).is_err());
    }
    assert!(fs.readdir(ROOT, fh, 0, 4096).is_err(), "a file is not a directory");
    assert_eq!(fs.read(ROOT, fh, 0, 1).unwrap_err(), Errno::EBADF, "a handle is one inode's");
    assert_eq!(fs.read(node, u64::MAX, 0, 1).unwrap_err(), Errno::EBADF);

    // A READ with less room than it asks for would look like the end of the file.
    let read = |size: u32| {
        let body = [fh.as_bytes(), &[0; 8], size.as_bytes(), &[0; 20]].concat();
        let mut bytes = request(Opcode::Read as u32, &body);
        bytes[16..24].copy_from_slice(node.as_bytes());
        bytes
    };
    expect(fs, &read(100), 16 + 99, EINVAL, "READ");
    expect(fs, &read(u32::MAX), 16 + 99, EINVAL, "READ");
    expect(fs, &read(100), 16 + 100, 0, "READ");
    // A WRITE of more than there is.
    let body = [fh.as_bytes(), &[0; 8], 5u32.as_bytes(), &[0; 20], b"four"].concat();
    let mut bytes = request(Opcode::Write as u32, &body);
    bytes[16..24].copy_from_slice(node.as_bytes());
    expect(fs, &bytes, ROOM, EINVAL, "WRITE");
    assert_eq!(fs::read(machine.path("a")).unwrap(), b"content");
}

#[test]
fn inodes_that_the_guest_was_never_given_are_stale() {
    let mut machine = Machine::new();
    let fs = &mut machine.fs;
    for node in [0, 2, 1 << 26, 1 << 63 | 1, u64::MAX] {
        assert_eq!(fs.getattr(node, None).unwrap_err(), Errno::ESTALE, "{node:#x}");
        assert_eq!(fs.lookup(node, "a").unwrap_err(), Errno::ESTALE, "{node:#x}");
        assert_eq!(fs.open(node, 0).unwrap_err(), Errno::ESTALE, "{node:#x}");
        assert_eq!(fs.opendir(node).unwrap_err(), Errno::ESTALE, "{node:#x}");
        assert_eq!(fs.link(node, (ROOT, "a")).unwrap_err(), Errno::ESTALE, "{node:#x}");
        let renamed = fs.rename((ROOT, "a"), (node, "b"));
        assert_eq!(renamed.unwrap_err(), Errno::ESTALE, "{node:#x}");
    }
}

#[test]
fn requests_that_fail_leave_nothing_open() {
    let mut machine = Machine::new();
    let before = machine.descriptors();
    let lookup = Opcode::Lookup as u32;
    machine.put("a", "");
    for _ in 0..50 {
        // LOOKUP with room for the header only: nothing may stay behind.
        let reply = machine.fs.raw(&request(lookup, b"a\0"), 16).unwrap();
        assert_eq!(outcome(&reply, 78), EINVAL);
        let opened = machine.fs.create(ROOT, "a", libc::O_RDWR | libc::O_EXCL, 0o600);
        assert_eq!(opened.unwrap_err(), Errno::EEXIST);
        let args: &[&[u8]] = &[&[0; 8], b"b\0"];
        let short = Request {
            opcode: Opcode::Mkdir as u32,
            node: ROOT,
            args,
            reply: 127,
            ..Request::default()
        };
        assert_eq!(machine.fs.call(&short).unwrap_err(), Errno::EINVAL);
    }
    assert_eq!(machine.descriptors(), before);
}
