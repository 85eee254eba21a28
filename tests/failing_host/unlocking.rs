//! Files whose server fails to give a lock back.

use ferryfs::fuse::flags::init;
use ferryfs::fuse::{Caller, Errno, Filesystem, Name, Negotiated, NodeId, Patience};
use ferryfs::passthrough::{Config, Passthrough};

use super::faulty::Served;
use super::*;

#[test]
fn a_file_is_closed_also_if_its_lock_cannot_be_given_back() {
    if cannot_serve("failing_host::unlocking") {
        return;
    }
    let place = Place::new();
    let share = place.dir("share");
    let server = Served::at(&place.dir("share/remote"));
    let config = Config { flock: true, ..Config::default() };
    let fs = Passthrough::new(&share, config).unwrap();
    fs.start(&Negotiated { flags: init::FLOCK_LOCKS, minor: 45 }).unwrap();
    let by = Caller { uid: 0, gid: 0, pid: 1, group: None, patience: Patience::Storage };
    let find = |dir, name| fs.lookup(&by, dir, Name::new(name).unwrap()).unwrap().node;
    let file = find(find(NodeId::ROOT, c"remote"), c"file");
    let before = fs.handles();
    let handle = fs.open(file, libc::O_RDWR.cast_unsigned(), false).unwrap().handle;
    server.fail_with(libc::EIO);
    let released = fs.release(file, handle, true);
    server.fail_with(0);
    assert_eq!(released, Err(Errno::EIO));
    assert_eq!(fs.handles(), before);
    assert_eq!(fs.release(file, handle, true), Err(Errno::EBADF));
}
