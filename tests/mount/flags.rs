//! Inode flags, which chattr(1) sets.

use std::fs::File;

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use super::*;

#[test]
fn root_makes_files_immutable_where_the_daemon_was_given_the_right() {
    if !can_mount() {
        return;
    }
    for (args, may) in [(&[][..], false), (&["--modcaps=+linux_immutable"], true)] {
        let mount = Mounted::new(args);
        fs::write(mount.on_host("file"), "content").unwrap();
        let on_host = File::open(mount.on_host("file")).unwrap();
        let before = match ioctl_getflags(&on_host) {
            Ok(flags) if ioctl_setflags(&on_host, flags | IFlags::IMMUTABLE).is_ok() => flags,
            _ => {
                skip("mount::flags", "this file system has no immutable files");
                return mount.finish();
            }
        };
        ioctl_setflags(&on_host, before).unwrap();
        let in_guest = File::open(mount.at("file")).unwrap();
        let flags = ioctl_getflags(&in_guest).unwrap();
        let set = ioctl_setflags(&in_guest, flags | IFlags::IMMUTABLE);
        let now = ioctl_getflags(&on_host).unwrap();
        let refused = mount.at("file").metadata().map(drop).and(fs::write(mount.at("file"), ""));
        ioctl_setflags(&on_host, before).unwrap();
        let expected = if may { Ok(()) } else { Err(rustix::io::Errno::PERM) };
        assert_eq!(set, expected, "{args:?}");
        assert_eq!(now.contains(IFlags::IMMUTABLE), may, "{args:?}");
        assert_eq!(refused.is_err(), may, "{args:?}");
        drop(in_guest);
        mount.finish();
    }
}
