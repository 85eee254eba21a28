//! File systems below the share that are served by others, and ask who asks.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;

use rustix::mount::mount_bind;

use super::users::{User, acting};
use super::*;

/// A share with a file system at `sub` that serves nobody but root, and has a file.
struct Served {
    share: TempDir,
    server: Mounted,
}

impl Served {
    fn new() -> Self {
        let server = Mounted::new(&["--no-allow-other"]);
        fs::write(server.on_host("file"), "content").unwrap();
        let share = tempfile::tempdir().unwrap();
        fs::set_permissions(share.path(), Permissions::from_mode(0o777)).unwrap();
        let sub = share.path().join("sub");
        fs::create_dir(&sub).unwrap();
        mount_bind(server.root(), &sub).unwrap();
        Served { share, server }
    }

    fn finish(self) {
        unmount(self.share.path().join("sub"), UnmountFlags::empty()).unwrap();
        self.server.finish();
    }
}

#[test]
fn a_server_below_the_share_is_asked_by_the_daemon_and_not_by_who_made_a_file_before() {
    if !can_mount() {
        return;
    }
    for io_uring in ["--io-uring=off", "--io-uring=auto"] {
        let served = Served::new();
        let mount = Mounted::on(served.share.path(), &[io_uring, "--cache=never"]);
        fs::set_permissions(mount.folder.path(), Permissions::from_mode(0o755)).unwrap();
        for round in 0..20 {
            acting(User(1000, &[1000]), 0, || File::create_new(mount.at(&format!("{round}"))))
                .unwrap();
            // By name, by its inode, and by the way there: each may be another thread's.
            let found = mount.at("sub/file").metadata();
            assert!(found.is_ok(), "{io_uring}, {round}: {found:?}");
            assert_eq!(fs::read(mount.at("sub/file")).unwrap(), b"content");
            assert_eq!(fs::read_dir(mount.at("sub")).unwrap().count(), 1);
        }
        mount.finish();
        served.finish();
    }
}
