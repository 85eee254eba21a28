//! Cache policies, open flags and read-only shares.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod share;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use ferryfs::fuse::flags::{init, opened};
use ferryfs::fuse::{
    AttrChange, CopyRange, Create, Errno, Filesystem, Negotiated, NewNode, NodeId, SetTime,
};
use ferryfs::mem::{Input, Segment};
use ferryfs::passthrough::{Cache, Config};
use share::{Share, name, user};

const POLICIES: [(Cache, u64); 4] =
    [(Cache::Auto, 1), (Cache::Always, 86400), (Cache::Metadata, 86400), (Cache::Never, 0)];

#[test]
fn each_policy_has_its_timeouts_and_flags() {
    for (cache, seconds) in POLICIES {
        let share = Share::with(Config::new(cache));
        fs::write(share.path().join("file"), "x").unwrap();
        let valid = Duration::from_secs(seconds);
        let entry = share.fs.lookup(&user(0), share.root(), &name("file")).unwrap();
        assert_eq!((entry.attr_valid, entry.entry_valid), (valid, valid), "{cache:?}");
        assert_eq!(share.fs.getattr(entry.node, None).unwrap().valid, valid, "{cache:?}");
        let negative = share.fs.lookup(&user(0), share.root(), &name("none"));
        match cache {
            Cache::Never => assert_eq!(negative.unwrap_err(), Errno::ENOENT),
            _ => assert_eq!(negative.unwrap().entry_valid, valid, "{cache:?}"),
        }
        let file = share.fs.open(entry.node, 0, false).unwrap().flags;
        let dir = share.fs.opendir(share.root(), 0).unwrap().flags;
        let create = Create { flags: 2, mode: 0o600, kill_suidgid: false };
        let new = name("new");
        let at = NewNode { parent: share.root(), name: &new, umask: 0, security: None };
        let created = share.fs.create(&user(0), &at, &create).unwrap().1.flags;
        let direct = opened::DIRECT_IO | opened::PARALLEL_DIRECT_WRITES;
        let (files, dirs) = match cache {
            Cache::Auto => (0, 0),
            Cache::Always => (opened::KEEP_CACHE, opened::KEEP_CACHE | opened::CACHE_DIR),
            Cache::Metadata => (direct, opened::KEEP_CACHE | opened::CACHE_DIR),
            Cache::Never => (direct, 0),
        };
        assert_eq!(
            (file, created),
            (files | opened::NOFLUSH, files | opened::NOFLUSH),
            "{cache:?}"
        );
        assert_eq!(dir, dirs, "{cache:?}");
        let wanted = share.fs.wanted();
        assert_eq!(wanted & init::DO_READDIRPLUS != 0, cache != Cache::Never, "{cache:?}");
        let uncached = matches!(cache, Cache::Metadata | Cache::Never);
        assert_eq!(wanted & init::DIRECT_IO_ALLOW_MMAP != 0, uncached, "{cache:?}");
        assert_eq!(wanted & init::WRITEBACK_CACHE, 0, "{cache:?}");
    }
}

#[test]
fn data_stays_in_the_guests_cache_only_while_the_file_is_unchanged() {
    let share = Share::new();
    let path = share.path().join("file");
    fs::write(&path, "old").unwrap();
    let node = share.find("file");
    let keeps = || {
        let opened = share.fs.open(node, 0, false).unwrap();
        share.fs.release(node, opened.handle, false).unwrap();
        opened.flags & opened::KEEP_CACHE != 0
    };
    let settle = || std::thread::sleep(Duration::from_millis(30));
    assert!(!keeps(), "never opened before");
    settle();
    assert!(!keeps(), "the state at the first open was too fresh to be sure of");
    assert!(keeps() && keeps());
    let times = fs::FileTimes::new().set_modified(fs::metadata(&path).unwrap().modified().unwrap());
    fs::write(&path, "new").unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
    settle();
    assert!(!keeps(), "same size, same modification time, other content");
    assert!(keeps());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(!keeps());
}

/// `open(2)` flags of the descriptors that this process has of a file.
fn host_flags(path: &std::path::Path) -> Vec<i32> {
    let mut flags = Vec::new();
    for entry in fs::read_dir("/proc/self/fd").unwrap().flatten() {
        let of_it = fs::read_link(entry.path()).is_ok_and(|target| target == path);
        let info = format!("/proc/self/fdinfo/{}", entry.file_name().to_str().unwrap());
        let Some(info) = of_it.then(|| fs::read_to_string(info).ok()).flatten() else { continue };
        let octal = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
        let found = i32::from_str_radix(octal, 8).unwrap();
        if found & libc::O_PATH == 0 {
            flags.push(found & !(libc::O_CLOEXEC | libc::O_NOFOLLOW | 0o100_000));
        }
    }
    flags
}

#[test]
fn a_host_file_is_opened_alike_whether_it_was_there_or_made() {
    let all = libc::O_RDWR | libc::O_DIRECT | libc::O_NOATIME | libc::O_APPEND | libc::O_NOCTTY;
    let unsafe_ones = libc::O_PATH | libc::O_ASYNC | libc::O_DIRECTORY | libc::O_NONBLOCK;
    let asked = (all | unsafe_ones).cast_unsigned();
    for (allow_direct_io, preserve_noatime) in
        [(false, false), (true, false), (false, true), (true, true)]
    {
        let share = Share::with(Config { allow_direct_io, preserve_noatime, ..Config::default() });
        let new = name("new");
        let at = NewNode { parent: share.root(), name: &new, umask: 0, security: None };
        let how = Create { flags: asked, mode: 0o600, kill_suidgid: false };
        let (entry, opened) = share.fs.create(&user(0), &at, &how).unwrap();
        let created = host_flags(&share.path().join("new"));
        share.fs.release(entry.node, opened.handle, false).unwrap();
        share.fs.open(entry.node, asked, false).unwrap();
        let opened = host_flags(&share.path().join("new"));
        let mut expected = libc::O_RDWR;
        expected |= if allow_direct_io { libc::O_DIRECT } else { 0 };
        expected |= if preserve_noatime { libc::O_NOATIME } else { 0 };
        assert_eq!((created, opened), (vec![expected], vec![expected]));
    }
}

#[test]
fn with_writeback_a_write_only_file_can_be_read_for_the_page_around_a_write() {
    let share = Share::with(Config { writeback: true, ..Config::default() });
    assert_ne!(share.fs.wanted() & init::WRITEBACK_CACHE, 0);
    share.fs.start(&Negotiated { flags: init::WRITEBACK_CACHE, minor: 45 }).unwrap();
    let new = name("new");
    let at = NewNode { parent: share.root(), name: &new, umask: 0, security: None };
    let how = Create { flags: 1, mode: 0o600, kill_suidgid: false };
    let (entry, created) = share.fs.create(&user(0), &at, &how).unwrap();
    fs::write(share.path().join("new"), "content").unwrap();
    assert_eq!(share.read(entry.node, created.handle), b"content");
    let opened = share.fs.open(entry.node, 1, false).unwrap();
    assert_eq!(share.read(entry.node, opened.handle), b"content");
}

#[test]
fn with_writeback_only_the_guest_knows_where_data_is() {
    let share = Share::with(Config { writeback: true, ..Config::default() });
    fs::write(share.path().join("file"), "content").unwrap();
    let node = share.find("file");
    for (agreed, found) in [(0, Ok(7)), (init::WRITEBACK_CACHE, Err(Errno::ENOSYS))] {
        share.fs.start(&Negotiated { flags: agreed, minor: 45 }).unwrap();
        let handle = share.fs.open(node, 0, false).unwrap().handle;
        assert_eq!(share.fs.lseek(node, handle, 0, libc::SEEK_HOLE.cast_unsigned()), found);
    }
}

#[test]
fn an_access_mode_that_does_not_exist_is_refused() {
    let share = Share::new();
    fs::write(share.path().join("file"), "").unwrap();
    assert_eq!(share.fs.open(share.find("file"), 3, false).unwrap_err(), Errno::EINVAL);
}

#[test]
fn nothing_on_a_read_only_share_can_be_changed() {
    let share = Share::with(Config { readonly: true, ..Config::default() });
    fs::write(share.path().join("file"), "content").unwrap();
    fs::create_dir(share.path().join("dir")).unwrap();
    std::os::unix::fs::symlink("file", share.path().join("link")).unwrap();
    let before = state(&share);
    let (fs, by, root) = (&share.fs, user(0), share.root());
    let (file, dir) = (share.find("file"), share.find("dir"));
    let handle = fs.open(file, 0, false).unwrap().handle;
    assert_eq!(share.read(file, handle), b"content");
    let new = name("new");
    let at = NewNode { parent: root, name: &new, umask: 0, security: None };
    let how = |flags| Create { flags, mode: 0o600, kill_suidgid: false };
    let (file_name, dir_name) = (name("file"), name("dir"));
    let mut byte = [7u8];
    let segment = [Segment::from(&mut byte[..])];
    let changes = [
        AttrChange { mode: Some(0), ..AttrChange::default() },
        AttrChange { uid: Some(1), ..AttrChange::default() },
        AttrChange { size: Some(0), ..AttrChange::default() },
        AttrChange { size: Some(0), handle: Some(handle), ..AttrChange::default() },
        AttrChange { mtime: Some(SetTime::At(1, 1)), ..AttrChange::default() },
    ];
    let copy = CopyRange { from: (file, handle, 0), to: (file, handle, 100), len: 5, flags: 0 };
    let mut refused = vec![
        fs.symlink(&by, &at, c"target").err(),
        fs.mknod(&by, &at, libc::S_IFREG | 0o644, 0).err(),
        fs.mkdir(&by, &at, 0o755).err(),
        fs.unlink(&by, root, &file_name).err(),
        fs.rmdir(&by, root, &dir_name).err(),
        fs.rename(&by, (root, &file_name), (dir, &new), 0).err(),
        fs.rename(&by, (root, &file_name), (root, &dir_name), 2).err(),
        fs.link(&by, file, (dir, &new)).err(),
        fs.write(file, handle, 0, (0, 0), &mut Input::new(&segment)).err(),
        fs.setxattr(file, c"user.a", b"", (0, 0)).err(),
        fs.removexattr(file, c"user.a").err(),
        fs.create(&by, &at, &how(0)).err(),
        fs.create(&by, &at, &how(0o102)).err(),
        fs.tmpfile(&by, root, (0, None), &how(2)).err(),
        fs.fallocate(&user(0), file, handle, (0, 100), 0).err(),
        fs.copy_file_range(&user(0), &copy).err(),
        fs.open(file, 1, false).err(),
        fs.open(file, 2, false).err(),
        fs.open(file, libc::O_TRUNC.cast_unsigned(), false).err(),
    ];
    refused.extend(changes.iter().map(|change| fs.setattr(&by, file, change).err()));
    for (at, error) in refused.iter().enumerate() {
        assert_eq!(*error, Some(Errno::EROFS), "operation {at}");
    }
    assert_eq!(state(&share), before);
    assert_eq!((fs.inodes(), fs.handles()), (3, 1), "failures leave nothing behind");
}

/// Everything about the files of a share but the times of access.
fn state(share: &Share) -> Vec<(String, u32, u64, i64, i64, u64)> {
    let mut state: Vec<_> = fs::read_dir(share.path())
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let meta = entry.path().symlink_metadata().unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, meta.mode(), meta.size(), meta.mtime(), meta.ctime_nsec(), meta.nlink())
        })
        .collect();
    state.sort();
    state
}

#[test]
fn negative_entries_do_not_count_as_lookups() {
    let share = Share::new();
    for _ in 0..10 {
        let entry = share.fs.lookup(&user(0), share.root(), &name("none")).unwrap();
        assert_eq!(entry.node, NodeId::NONE);
    }
    assert_eq!(share.fs.inodes(), 1);
}
