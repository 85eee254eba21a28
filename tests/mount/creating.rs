//! What is there by the time at which the guest, which remembers that it was not, makes it.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt, chown, symlink};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::users::{ROOT, User, acting};
use super::*;

const USER: User = User(1000, &[1000]);

/// Opens a file, or makes one, as a user; it is cut if `cut`.
fn open_or_make(user: User, path: &Path, cut: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(cut);
    acting(user, 0, || options.custom_flags(libc::O_NONBLOCK).open(path))
}

fn content(file: io::Result<File>) -> String {
    let mut content = String::new();
    file.unwrap().read_to_string(&mut content).unwrap();
    content
}

#[test]
fn who_would_make_what_the_host_has_just_made_opens_it_as_anybody_does() {
    if !can_mount() {
        return;
    }
    for args in [&["--cache=always"][..], &["--cache=auto"], &["--cache=never", HANDLES[1]]] {
        let mount = Mounted::new(args);
        fs::set_permissions(mount.folder.path(), Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(mount.on_host(""), Permissions::from_mode(0o777)).unwrap();
        let names = ["link", "fifo", "dir", "secret", "open", "own", "dangling"];
        for name in names {
            assert_eq!(errno(mount.at(name).metadata()), libc::ENOENT);
        }
        fs::write(mount.on_host("target"), "content").unwrap();
        symlink("target", mount.on_host("link")).unwrap();
        symlink("nothing", mount.on_host("dangling")).unwrap();
        mknodat(CWD, mount.on_host("fifo"), FileType::Fifo, Mode::from(0o600), 0).unwrap();
        fs::create_dir(mount.on_host("dir")).unwrap();
        for (name, mode, owner) in [("secret", 0o600, 0), ("open", 0o666, 0), ("own", 0o600, 1000)]
        {
            fs::write(mount.on_host(name), name).unwrap();
            chown(mount.on_host(name), Some(owner), Some(owner)).unwrap();
            fs::set_permissions(mount.on_host(name), Permissions::from_mode(mode)).unwrap();
        }
        assert_eq!(content(open_or_make(ROOT, &mount.at("link"), false)), "content", "{args:?}");
        open_or_make(ROOT, &mount.at("dangling"), false).unwrap();
        assert!(mount.on_host("nothing").exists());
        let fifo = open_or_make(ROOT, &mount.at("fifo"), false).unwrap();
        assert!(fifo.metadata().unwrap().file_type().is_fifo());
        assert_eq!(errno(open_or_make(ROOT, &mount.at("dir"), false)), libc::EISDIR);
        // What a user may do with a file is for the guest's kernel to say.
        assert_eq!(errno(open_or_make(USER, &mount.at("secret"), true)), libc::EACCES, "{args:?}");
        assert_eq!(fs::read(mount.on_host("secret")).unwrap(), b"secret");
        assert_eq!(content(open_or_make(USER, &mount.at("open"), false)), "open");
        assert_eq!(content(open_or_make(USER, &mount.at("own"), false)), "own");
        drop(fifo);
        mount.finish();
    }
}
