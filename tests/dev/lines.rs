//! The command line of `ferryfs mount`, and what it says of mistakes in it.

use std::os::unix::fs::symlink;

use super::*;

#[test]
fn a_mistake_is_one_line_with_exit_code_2_and_leaves_nothing_mounted() {
    let folders = Folders::new();
    let (source, at) = (folders.source(), folders.at());
    fs::write(source.join("file"), "").unwrap();
    fs::create_dir(source.join("inside")).unwrap();
    symlink(source.join("inside"), folders.path("way")).unwrap();
    let (file, inside, way) = (source.join("file"), source.join("inside"), folders.path("way"));
    let missing = folders.path("missing");
    let os = OsStr::new;
    let cases: Vec<(Vec<&OsStr>, &str)> = vec![
        (vec![os("/nowhere/at/all"), at.as_os_str()], "SOURCE: "),
        (vec![source.as_os_str()], "MOUNTPOINT: it is missing"),
        (vec![source.as_os_str(), missing.as_os_str()], "MOUNTPOINT: "),
        (vec![source.as_os_str(), file.as_os_str()], "MOUNTPOINT: "),
        (vec![source.as_os_str(), inside.as_os_str()], "MOUNTPOINT: "),
        (vec![source.as_os_str(), way.as_os_str()], "MOUNTPOINT: "),
        (vec![source.as_os_str(), os("/proc")], "MOUNTPOINT: "),
        (vec![source.as_os_str(), os("/dev/fd/none")], "MOUNTPOINT: "),
        (vec![source.as_os_str(), os("--fd"), os("1000000")], "--fd: "),
        (vec![source.as_os_str(), os("--fd"), os("1")], "--fd: "),
        (vec![source.as_os_str(), at.as_os_str(), os("--frobnicate")], "--frobnicate: "),
        (vec![source.as_os_str(), at.as_os_str(), os("-o"), os("ro,frob=1")], "-o frob=1: "),
        (vec![source.as_os_str(), at.as_os_str(), os("-o"), os("max_read=1")], "--max-read"),
        (vec![source.as_os_str(), at.as_os_str(), os("--fsname=")], "--fsname"),
        (vec![source.as_os_str(), at.as_os_str(), os("--threads=0")], "--threads"),
        (vec![source.as_os_str(), at.as_os_str(), os("--watch"), os("--writeback")], "--watch: "),
        (
            vec![source.as_os_str(), at.as_os_str(), os("--writeback"), os("--passthrough=on")],
            "--passthrough: ",
        ),
        (
            vec![source.as_os_str(), at.as_os_str(), os("--passthrough-rule=on:big")],
            "--passthrough-rule",
        ),
        (vec![source.as_os_str(), at.as_os_str(), os("--io-uring=perhaps")], "--io-uring"),
    ];
    for daemonize in [&[][..], &[os("--daemonize")]] {
        for (args, said) in &cases {
            let (code, stderr) = run(&[&[os("mount")], &args[..], daemonize].concat());
            let line = stderr.strip_prefix("ferryfs: ").unwrap_or_default();
            assert_eq!(code, Some(2), "{args:?}: {stderr}");
            assert!(line.starts_with(said), "{args:?}: {stderr}");
            assert!(line.contains("; ") && line.lines().count() == 1, "{args:?}: {stderr}");
            assert!(!is_mounted(&at), "{args:?}");
        }
    }
}

#[test]
fn what_has_no_helper_says_so() {
    if cannot_mount("what_has_no_helper_says_so") {
        return;
    }
    let folders = Folders::new();
    fs::set_permissions(folders.folder.path(), unix_mode(0o755)).unwrap();
    let copy = folders.path("ferryfs");
    // By another process: one that is forked meanwhile would keep it open for writing.
    assert!(
        Command::new("cp").args([FERRYFS.as_ref(), copy.as_os_str()]).status().unwrap().success()
    );
    std::os::unix::fs::chown(folders.at(), Some(65534), Some(65534)).unwrap();
    let mut command = Command::new(copy);
    std::os::unix::process::CommandExt::uid(&mut command, 65534).env("PATH", "/nowhere");
    command.arg("mount").arg(folders.source()).arg(folders.at());
    let mut process = Process::start(command).unwrap();
    assert_eq!(process.wait(LONG).unwrap().code(), Some(2));
    let stderr = process.stderr();
    assert!(stderr.starts_with("ferryfs: MOUNTPOINT: cannot run fusermount3: "), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(!is_mounted(&folders.at()));
}

#[test]
fn a_list_of_options_says_what_mount_tables_show_and_what_is_refused() {
    if cannot_mount("a_list_of_options_says_what_mount_tables_show_and_what_is_refused") {
        return;
    }
    let options = "ro,nosuid,noexec,fsname=a\\,b,subtype=other,max_read=8192,noauto,cache=never";
    let mounted = Mounted::new(&["-o", options]);
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let at = mounted.folders.at();
    let line = mounts.lines().find(|line| line.split(' ').nth(1) == at.to_str()).unwrap();
    let [source, _, kind, options, ..] = line.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{line}")
    };
    assert_eq!((source, kind), ("a,b", "fuse.other"));
    for option in ["ro", "nosuid", "noexec", "max_read=8192", "allow_other", "default_permissions"]
    {
        assert!(options.split(',').any(|one| one == option), "{option}: {line}");
    }
    let error = fs::write(mounted.at("new"), "").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc_erofs()));
}

#[test]
fn the_helper_of_mount_8_returns_when_the_mount_is_usable_and_lives_on() {
    if cannot_mount("the_helper_of_mount_8_returns_when_the_mount_is_usable_and_lives_on") {
        return;
    }
    let folders = Folders::new();
    fs::write(folders.source().join("file"), "here").unwrap();
    let helper = folders.path("mount.fuse.ferryfs");
    symlink(FERRYFS, &helper).unwrap();
    for round in 0..3 {
        let mut command = Command::new(&helper);
        command.arg(folders.source()).arg(folders.at());
        command.args(["-n", "-o", "rw,noauto,nodev", "-t", "fuse.ferryfs"]);
        let mut process = Process::start(command).unwrap();
        assert_eq!(process.wait(LONG).unwrap().code(), Some(0), "{}", process.stderr());
        // No waiting: it is usable.
        assert_eq!(fs::read_to_string(folders.at().join("file")).unwrap(), "here", "{round}");
        leave(&folders.at());
    }
}

#[test]
fn a_device_that_somebody_else_mounted_is_served() {
    if cannot_mount("a_device_that_somebody_else_mounted_is_served") {
        return;
    }
    use std::os::fd::AsRawFd;
    let folders = Folders::new();
    fs::write(folders.source().join("file"), "here").unwrap();
    let device = fs::File::options().read(true).write(true).open("/dev/fuse").unwrap();
    let number = device.as_raw_fd();
    let data = format!("fd={number},rootmode=40000,user_id=0,group_id=0,default_permissions");
    let data = std::ffi::CString::new(data).unwrap();
    let none = rustix::mount::MountFlags::empty();
    rustix::mount::mount("x", folders.at(), "fuse.x", none, &*data).unwrap();
    // Only the child keeps it: the mount ends with that.
    rustix::io::fcntl_setfd(&device, rustix::io::FdFlags::empty()).unwrap();
    let mut command = Command::new(FERRYFS);
    command.arg("mount").arg(folders.source()).arg(format!("/dev/fd/{number}"));
    let mut process = Process::start(command).unwrap();
    drop(device);
    process.wait_for_line("Mounted", LONG).unwrap();
    assert_eq!(fs::read_to_string(folders.at().join("file")).unwrap(), "here");
    leave(&folders.at());
    assert_eq!(process.wait(LONG).unwrap().code(), Some(0), "{}", process.stderr());
}

fn unix_mode(mode: u32) -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(mode)
}

fn libc_erofs() -> i32 {
    rustix::io::Errno::ROFS.raw_os_error()
}
