//! Labels that the host refuses. Needs to be root.

mod share;

use std::fs;
use std::mem::MaybeUninit;

use ferryfs::fuse::{Errno, Filesystem, NewNode, SecurityContext};
use ferryfs_bench::skip;
use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use share::{Share, name, user};

#[test]
fn what_has_a_label_that_the_host_refuses_is_never_there_by_its_name() {
    if !rustix::process::geteuid().is_root() {
        skip("labels::refused", "only root may set one that is refused for what it is");
        return;
    }
    let share = Share::new();
    let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&watch, share.path(), WatchFlags::ALL_EVENTS).unwrap();
    // Capabilities have a form, which this is not.
    let label = SecurityContext { name: c"security.capability", value: b"none" };
    let made = name("made");
    let at = NewNode { parent: share.root(), name: &made, umask: 0, security: Some(label) };
    assert_eq!(share.fs.mkdir(&user(0), &at, 0o755).unwrap_err(), Errno::EINVAL);
    assert_eq!(share.fs.mknod(&user(0), &at, 0o644, 0).unwrap_err(), Errno::EINVAL);
    assert_eq!(fs::read_dir(share.path()).unwrap().count(), 0);
    let mut room = [MaybeUninit::uninit(); 4096];
    let mut events = Reader::new(&watch, &mut room);
    let mut seen = 0;
    while let Ok(event) = events.next() {
        assert_ne!(event.file_name(), Some(c"made"), "{:?}", event.events());
        seen += 1;
    }
    assert!(seen >= 4, "{seen}");
}
