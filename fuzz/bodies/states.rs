//! States of a guest's session that no daemon has written.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use ferryfs::fuse::{Caller, Carrier, Filesystem, Name, NodeId, Patience, Session};
use ferryfs::passthrough::{Config, Migrating, MigrationMode, OnError, Passthrough};
use tempfile::TempDir;

use super::support::requests::init;
use super::support::serve;

static NEVER: AtomicBool = AtomicBool::new(false);

/// What is in the share, and what is beside it.
const INSIDE: [&str; 4] = ["share", "share/dir", "share/dir/file", "share/link"];

/// A share with a secret beside it and a link to that.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("share/dir")).unwrap();
    fs::create_dir(at("secret")).unwrap();
    fs::write(at("secret/file"), "secret").unwrap();
    fs::write(at("share/dir/file"), "content").unwrap();
    std::os::unix::fs::symlink("../secret", at("share/link")).unwrap();
    folder
}

fn session(folder: &Path, how: Migrating) -> Session<Passthrough> {
    let config = Config { descriptors: 64, inodes: 64, ..Config::default() };
    let mut fs = Passthrough::new(&folder.join("share"), config).unwrap();
    fs.migrate_by(how);
    Session::new(fs, Carrier::VIRTIO)
}

/// The first byte says what is done about what cannot be opened, and the rest is the state.
pub fn states(input: &[u8]) {
    thread_local!(static FOLDER: TempDir = folder());
    let Some((options, mut state)) = input.split_first() else { return };
    let on_error = if options & 1 == 0 { OnError::Abort } else { OnError::GuestError };
    FOLDER.with(|folder| {
        let inside =
            INSIDE.map(|path| fs::symlink_metadata(folder.path().join(path)).unwrap().ino());
        let session = session(folder.path(), Migrating { on_error, ..Migrating::default() });
        let loaded = session.load(&mut state, &NEVER);
        assert!(loaded.is_ok() || !session.has_begun());
        let files = session.filesystem();
        assert!(files.inodes() <= 64 && files.descriptors() <= 64);
        for node in 1..16 {
            if let Ok(found) = files.getattr(NodeId(node), None) {
                assert!(inside.contains(&found.attr.ino));
            }
        }
        session.save(&mut Vec::new(), &NEVER).unwrap();
        session.reset();
        let files = session.filesystem();
        assert_eq!((files.inodes(), files.handles(), files.descriptors()), (1, 0, 1));
    });
}

/// What a guest takes along that knows all of the share and has some of it open.
pub fn seeds() -> Vec<Vec<u8>> {
    let by_path = Migrating::default();
    let by_handle = Migrating { mode: MigrationMode::FileHandles, ..by_path };
    let verified = Migrating { verify_handles: true, ..by_path };
    let folder = folder();
    let by = Caller { uid: 0, gid: 0, pid: 1, group: None, patience: Patience::Storage };
    let states = [by_path, by_handle, verified].map(|how| {
        let session = session(folder.path(), how);
        serve(&session, &init()).unwrap();
        let files = session.filesystem();
        let find = |dir, name| files.lookup(&by, dir, Name::new(name).unwrap()).unwrap().node;
        let dir = find(NodeId::ROOT, c"dir");
        let file = find(dir, c"file");
        find(NodeId::ROOT, c"link");
        files.open(file, libc::O_RDWR.cast_unsigned(), false).unwrap();
        files.opendir(dir, 0).unwrap();
        let mut state = Vec::new();
        session.save(&mut state, &NEVER).unwrap();
        state
    });
    let with = |option: u8| states.iter().map(move |state| [&[option], &state[..]].concat());
    with(0).chain(with(1)).collect()
}
