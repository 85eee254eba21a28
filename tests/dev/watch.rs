//! What others change in the source is seen in the mount.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

use ferryfs::fuse::{Caller, Filesystem, Name, NodeId, Patience};
use ferryfs::passthrough::{Config, Passthrough, WatchGroup};

use super::*;

/// Within this, as promised; a busy machine gets more, and the promise is measured by
/// `scripts/bench-fuse`.
const SOON: Duration = Duration::from_secs(5);

fn mount(test: &str, args: &[&str]) -> Option<Mounted> {
    if cannot_mount(test) {
        return None;
    }
    let common = ["--cache=always", "--watch", "--passthrough=off"];
    Some(Mounted::new(&[&common, args].concat()))
}

/// Waits until something is so, and says how long that took.
fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < SOON, "{what}: not seen within {SOON:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

#[test]
fn every_kind_of_change_is_seen_at_any_depth() {
    let test = "every_kind_of_change_is_seen_at_any_depth";
    for args in [&[][..], &["--inode-file-handles=never"], &["--passthrough=on"]] {
        let Some(mounted) = mount(test, args) else { return };
        let deep = "a/b/c/d/e";
        fs::create_dir_all(mounted.host(deep)).unwrap();
        for folder in ["", deep] {
            let host = |name: &str| mounted.host(folder).join(name);
            let at = |name: &str| mounted.at(folder).join(name);
            assert!(fs::metadata(at("file")).is_err());
            assert_eq!(
                fs::read_dir(mounted.at(folder))
                    .unwrap()
                    .filter(|entry| { entry.as_ref().unwrap().file_name() == "file" })
                    .count(),
                0
            );

            fs::write(host("file"), "first").unwrap();
            soon("a new file", || read(&at("file")).as_deref() == Some("first"));
            soon("a new file in the list", || {
                fs::read_dir(mounted.at(folder))
                    .unwrap()
                    .any(|entry| entry.unwrap().file_name() == "file")
            });
            fs::write(host("file"), "second, which is longer").unwrap();
            soon("new content", || read(&at("file")).as_deref() == Some("second, which is longer"));
            let mut same = File::options().write(true).open(host("file")).unwrap();
            same.write_all(b"SECOND").unwrap();
            soon("content of the same length", || {
                read(&at("file")).is_some_and(|text| text.starts_with("SECOND"))
            });
            same.set_len(3).unwrap();
            soon("the end cut off", || read(&at("file")).as_deref() == Some("SEC"));

            let mut open = File::open(at("file")).unwrap();
            fs::rename(host("file"), host("renamed")).unwrap();
            soon("another name", || fs::metadata(at("file")).is_err());
            assert_eq!(read(&at("renamed")).as_deref(), Some("SEC"));
            fs::write(host("other"), "other").unwrap();
            soon("other", || at("other").exists());
            fs::rename(host("other"), host("renamed")).unwrap();
            soon("replaced", || read(&at("renamed")).as_deref() == Some("other"));
            let mut text = String::new();
            open.seek(SeekFrom::Start(0)).unwrap();
            open.read_to_string(&mut text).unwrap();
            assert_eq!(text, "SEC", "what is open is what it was");

            let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
            fs::set_permissions(host("renamed"), mode(0o600)).unwrap();
            let permissions = || fs::metadata(at("renamed")).unwrap().permissions();
            soon("permissions", || permissions() != mode(0o100_644));
            fs::remove_file(host("renamed")).unwrap();
            soon("removed", || fs::metadata(at("renamed")).is_err());

            fs::create_dir(host("dir")).unwrap();
            soon("a directory", || at("dir").is_dir());
            fs::write(host("dir/inside"), "x").unwrap();
            soon("in a directory that is new", || at("dir/inside").exists());
            fs::remove_dir_all(host("dir")).unwrap();
            soon("removed with all in it", || !at("dir").exists());
        }
    }
}

#[test]
fn what_is_done_by_the_mount_itself_stays_cached() {
    let test = "what_is_done_by_the_mount_itself_stays_cached";
    let Some(mounted) = mount(test, &[]) else { return };
    fs::write(mounted.at("file"), vec![1; 200_000]).unwrap();
    fs::read(mounted.at("file")).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let moved = || {
        let figures = fs::read_to_string(mounted.process.proc("io")).unwrap();
        let figure = figures.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap();
        figure.parse::<u64>().unwrap()
    };
    let before = moved();
    assert_eq!(fs::read(mounted.at("file")).unwrap().len(), 200_000);
    assert!(moved() - before < 100_000, "read again");
}

#[test]
fn what_is_mounted_on_a_directory_stays_there_if_that_is_the_same_in_the_end() {
    let test = "what_is_mounted_on_a_directory_stays_there_if_that_is_the_same_in_the_end";
    let Some(mounted) = mount(test, &[]) else { return };
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    if numbers.next() < Some(6) || release.starts_with("6.") && numbers.next() < Some(2) {
        skip(test, "this kernel cannot let a name expire");
        return;
    }
    fs::create_dir(mounted.host("dir")).unwrap();
    soon("the directory", || mounted.at("dir").is_dir());
    let none = rustix::mount::MountFlags::empty();
    rustix::mount::mount("none", mounted.at("dir"), "tmpfs", none, None).unwrap();
    fs::rename(mounted.host("dir"), mounted.host("other")).unwrap();
    fs::rename(mounted.host("other"), mounted.host("dir")).unwrap();
    // Told of in order.
    fs::write(mounted.host("later"), "x").unwrap();
    soon("all told", || mounted.at("later").exists());
    std::thread::sleep(Duration::from_millis(200));
    assert!(is_mounted(&mounted.at("dir")));
    // But not if it is gone.
    fs::rename(mounted.host("dir"), mounted.host("other")).unwrap();
    soon("gone", || !is_mounted(&mounted.at("dir")));
    assert!(mounted.at("other").is_dir());
}

#[test]
fn a_file_that_others_remove_or_replace_is_forgotten() {
    let test = "a_file_that_others_remove_or_replace_is_forgotten";
    let Some(mounted) = mount(test, &["--inode-file-handles=never"]) else { return };
    let before = mounted.process.descriptors().unwrap();
    for name in 0..200 {
        fs::write(mounted.host(&format!("file {name}")), "x").unwrap();
        fs::write(mounted.host(&format!("new {name}")), "x").unwrap();
    }
    soon("known", || {
        (0..200).all(|name| mounted.at(&format!("file {name}")).exists())
            && mounted.process.descriptors().unwrap() >= before + 200
    });
    // Else what they take on the host stays taken.
    for name in 0..100 {
        fs::remove_file(mounted.host(&format!("file {name}"))).unwrap();
    }
    for name in 100..200 {
        let new = mounted.host(&format!("new {name}"));
        fs::rename(new, mounted.host(&format!("file {name}"))).unwrap();
    }
    soon("forgotten", || mounted.process.descriptors().unwrap() <= before + 10);
}

#[test]
fn a_million_changes_end_in_what_is_there() {
    let Some(mounted) = mount("a_million_changes_end_in_what_is_there", &[]) else { return };
    // More than the kernel keeps for us, so that some are lost.
    for folder in 0..4 {
        fs::create_dir(mounted.host(&format!("{folder}"))).unwrap();
        assert_eq!(fs::read_dir(mounted.at(&format!("{folder}"))).unwrap().count(), 0);
    }
    for name in 0..12_000 {
        fs::write(mounted.host(&format!("{}/{name}", name % 4)), "x").unwrap();
    }
    for name in (0..12_000).filter(|name| name % 3 != 0) {
        fs::remove_file(mounted.host(&format!("{}/{name}", name % 4))).unwrap();
    }
    for folder in 0..4 {
        soon("all that is left", || {
            fs::read_dir(mounted.at(&format!("{folder}"))).unwrap().count() == 1000
        });
    }
    soon("known again", || {
        (0..12_000)
            .all(|name| mounted.at(&format!("{}/{name}", name % 4)).exists() == (name % 3 == 0))
    });
}

#[test]
fn watches_of_forgotten_directories_are_given_up() {
    let Some(mounted) = mount("watches_of_forgotten_directories_are_given_up", &[]) else { return };
    let marks = || {
        let folder = mounted.process.proc("fdinfo");
        let infos = fs::read_dir(folder)
            .unwrap()
            .filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok());
        infos.map(|info| info.matches("fanotify ino:").count()).sum::<usize>()
    };
    assert_eq!(marks(), 1, "the root");
    for name in 0..200 {
        fs::create_dir(mounted.at(&format!("dir {name}"))).unwrap();
    }
    assert_eq!(marks(), 201);
    for name in 0..100 {
        fs::remove_dir(mounted.at(&format!("dir {name}"))).unwrap();
    }
    soon("gone", || marks() == 101);
    // Out of the share and back again, where nobody has made them new.
    let away = |name: usize| mounted.folders.path(&format!("away {name}"));
    for name in 100..200 {
        fs::rename(mounted.host(&format!("dir {name}")), away(name)).unwrap();
    }
    soon("forgotten", || marks() == 1);
    for name in 100..200 {
        fs::rename(away(name), mounted.host(&format!("dir {name}"))).unwrap();
    }
    // Met at once they may be forgotten again, when their return is told of.
    soon("met again", || {
        (100..200).all(|name| mounted.at(&format!("dir {name}")).is_dir()) && marks() == 101
    });
    fs::write(mounted.host("dir 150/new"), "x").unwrap();
    soon("watched again", || mounted.at("dir 150/new").exists());
}

#[test]
fn a_directory_that_is_gone_when_it_is_forgotten_leaves_nothing() {
    let source = tempfile::tempdir().unwrap();
    // Few are still open when they are removed.
    let config = Config { descriptors: 24, ..Config::default() };
    let mut share = Passthrough::new(source.path(), config).unwrap();
    let Ok(group) = WatchGroup::new() else {
        skip("a_directory_that_is_gone_when_it_is_forgotten_leaves_nothing", "no fanotify");
        return;
    };
    share.watch(group);
    let by = Caller { uid: 0, gid: 0, pid: 1, group: None, patience: Patience::Storage };
    let nodes: Vec<_> = (0..200)
        .map(|number| {
            let name = CString::new(number.to_string()).unwrap();
            fs::create_dir(source.path().join(number.to_string())).unwrap();
            share.lookup(&by, NodeId::ROOT, Name::new(&name).unwrap()).unwrap().node
        })
        .collect();
    assert_eq!(share.watches(), 200);
    for number in 0..200 {
        fs::remove_dir(source.path().join(number.to_string())).unwrap();
    }
    for node in nodes {
        share.forget(node, 1);
    }
    assert_eq!(share.watches(), 0);
}

#[test]
fn where_not_all_can_be_watched_it_says_so_and_changes_are_seen_after_a_second() {
    let test = "where_not_all_can_be_watched_it_says_so_and_changes_are_seen_after_a_second";
    if cannot_mount(test) {
        return;
    }
    let folders = Folders::new();
    for name in 0..10 {
        fs::create_dir(folders.source().join(format!("dir {name}"))).unwrap();
    }
    // A user who may have only few, which is a limit of a user namespace of its own.
    let script = r#"
        echo 5 >/proc/sys/user/max_fanotify_marks || exit 77
        exec "$@"
    "#;
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--keep-caps", "sh", "-c", script, "sh", FERRYFS]);
    command.arg("mount").args(["--cache=always", "--watch"]);
    // The mount is ours, so that the daemon needs no right but to serve.
    use std::os::fd::AsRawFd;
    let device = File::options().read(true).write(true).open("/dev/fuse").unwrap();
    let data = format!(
        "fd={},rootmode=40000,user_id=0,group_id=0,default_permissions",
        device.as_raw_fd()
    );
    let none = rustix::mount::MountFlags::empty();
    let data = CString::new(data).unwrap();
    rustix::mount::mount("x", folders.at(), "fuse.x", none, &*data).unwrap();
    rustix::io::fcntl_setfd(&device, rustix::io::FdFlags::empty()).unwrap();
    command.arg(folders.source()).arg(format!("/dev/fd/{}", device.as_raw_fd()));
    let mut process = Process::start(command).unwrap();
    drop(device);
    if process.wait_for_line("Mounted", LONG).is_err() {
        assert_eq!(process.wait(LONG).unwrap().code(), Some(77), "{}", process.stderr());
        skip(test, "the limit of watches cannot be set here");
        return;
    }
    for name in 0..10 {
        let at = folders.at().join(format!("dir {name}"));
        assert_eq!(fs::read_dir(at).unwrap().count(), 0);
    }
    process.wait_for_line("fs.fanotify.max_user_marks", LONG).unwrap();
    assert_eq!(process.stderr().matches("WARN").count(), 1, "{}", process.stderr());
    for name in 0..10 {
        assert!(!folders.at().join(format!("dir {name}/new")).exists());
        fs::write(folders.source().join(format!("dir {name}/new")), "x").unwrap();
        soon("after a second", || folders.at().join(format!("dir {name}/new")).exists());
    }
    leave(&folders.at());
}
