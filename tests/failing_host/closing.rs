//! Files that are closed in a share with a server below it.

use std::ffi::CStr;

use ferryfs::fuse::flags::init;
use ferryfs::fuse::{Caller, Errno, Filesystem, Handle, Name, Negotiated, NodeId, Patience};
use ferryfs::passthrough::{Config, Passthrough};

use super::faulty::Served;
use super::*;

fn share(place: &Place, agreed: u64) -> Passthrough {
    let config = Config { flock: true, ..Config::default() };
    let fs = Passthrough::new(&place.dir("share"), config).unwrap();
    fs.start(&Negotiated { flags: agreed, minor: 45 }).unwrap();
    fs
}

fn find(fs: &Passthrough, dir: NodeId, name: &CStr) -> NodeId {
    let by = Caller { uid: 0, gid: 0, pid: 1, group: None, patience: Patience::Storage };
    fs.lookup(&by, dir, Name::new(name).unwrap()).unwrap().node
}

fn open(fs: &Passthrough, file: NodeId) -> Handle {
    fs.open(file, libc::O_RDWR.cast_unsigned(), false).unwrap().handle
}

#[test]
fn a_file_is_closed_also_if_its_lock_cannot_be_given_back() {
    if cannot_serve("failing_host::unlocking") {
        return;
    }
    let place = Place::new();
    let server = Served::at(&place.dir("share/remote"));
    let fs = share(&place, init::FLOCK_LOCKS);
    let file = find(&fs, find(&fs, NodeId::ROOT, c"remote"), c"file");
    let before = fs.handles();
    let handle = open(&fs, file);
    server.fail_with(libc::EIO);
    let released = fs.release(file, handle, true);
    server.fail_with(0);
    assert_eq!(released, Err(Errno::EIO));
    assert_eq!(fs.handles(), before);
    assert_eq!(fs.release(file, handle, true), Err(Errno::EBADF));
}

#[test]
fn a_guest_is_not_told_to_close_files_silently_where_a_server_has_its_say() {
    if cannot_serve("failing_host::closing") {
        return;
    }
    let place = Place::new();
    let _server = Served::at(&place.dir("share/remote"));
    fs::write(place.dir("share").join("local"), "here").unwrap();
    let fs = share(&place, 0);
    let local = find(&fs, NodeId::ROOT, c"local");
    let handle = open(&fs, local);
    assert_eq!(fs.flush(local, handle, 0), Err(Errno::ENOSYS));
    find(&fs, NodeId::ROOT, c"remote");
    // ENOSYS would go for all files of the guest.
    assert_eq!(fs.flush(local, handle, 0), Ok(()));
}
