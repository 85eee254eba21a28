//! Directories that the guest has open, whatever the host does to their names, when the descriptors
//! of their inodes are needed elsewhere.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod share;

use std::fs;

use ferryfs::fuse::{Errno, Filesystem, Handle, NewNode, NodeId};
use ferryfs::passthrough::{Config, FileHandles};
use share::{Share, name, user};

/// A share with a directory that has a file and that the guest has open.
fn with_open_dir(file_handles: FileHandles) -> (Share, NodeId, Handle) {
    let share = Share::with(Config { file_handles, descriptors: 24, ..Config::default() });
    fs::create_dir(share.path().join("dir")).unwrap();
    fs::write(share.path().join("dir/file"), "content").unwrap();
    let dir = share.find("dir");
    let handle = share.fs.opendir(dir, 0).unwrap().handle;
    (share, dir, handle)
}

#[test]
fn an_open_directory_that_the_host_removes_is_there_until_it_is_closed() {
    for file_handles in [FileHandles::Prefer, FileHandles::Never] {
        let (share, dir, handle) = with_open_dir(file_handles);
        fs::remove_dir_all(share.path().join("dir")).unwrap();
        for _ in 0..2 {
            share.put_all_away();
            assert_eq!(share.attr(dir).map(|attr| attr.nlink), Ok(0), "{file_handles:?}");
            share.put_all_away();
            let gone = share.fs.lookup(&user(0), dir, &name("file")).map(|entry| entry.node);
            assert!(matches!(gone, Ok(NodeId::NONE) | Err(Errno::ENOENT)), "{gone:?}");
        }
        share.fs.releasedir(dir, handle).unwrap();
        share.put_all_away();
        assert_eq!(share.attr(dir).unwrap_err(), Errno::ESTALE, "{file_handles:?}");
    }
}

#[test]
fn an_open_directory_that_the_host_moves_is_usable_all_the_same() {
    for file_handles in [FileHandles::Prefer, FileHandles::Never] {
        let (share, dir, _) = with_open_dir(file_handles);
        fs::rename(share.path().join("dir"), share.path().join("moved")).unwrap();
        share.put_all_away();
        share.find_in(dir, "file");
        share.put_all_away();
        assert_eq!(share.attr(dir).map(|attr| attr.nlink), Ok(2), "{file_handles:?}");
        share.put_all_away();
        let new = name("new");
        let at = NewNode { parent: dir, name: &new, umask: 0, security: None };
        share.fs.mkdir(&user(0), &at, 0o755).unwrap();
        share.put_all_away();
        assert_eq!(
            share.attr(share.find_in(dir, "file")).map(|attr| attr.size),
            Ok(7),
            "{file_handles:?}"
        );
        share.fs.rename(&user(0), (dir, &name("file")), (dir, &name("other")), 0).unwrap();
        assert!(share.path().join("moved/new").exists());
        assert!(share.path().join("moved/other").exists());
    }
}
