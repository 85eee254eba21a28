//! Ways to a mount that are not the usual one.
#![expect(unsafe_code, reason = "runs one call between fork and exec")]

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;

use rustix::mount::{MountFlags, mount, mount_bind};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use super::*;

/// A program that does not know a system call, as on an older kernel or in some sandboxes.
fn without(call: i64, mut command: Command) -> Command {
    let unknown = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let rules = BTreeMap::from([(call, Vec::new())]);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, unknown, arch).unwrap();
    let filter: BpfProgram = filter.try_into().unwrap();
    let apply = move || seccompiler::apply_filter(&filter).map_err(io::Error::other);
    // SAFETY: what runs between fork and exec are two system calls, without a lock, and with the
    // heap only if they fail.
    unsafe { command.pre_exec(apply) };
    command
}

/// What mount tables say of a place.
fn entry(at: &Path) -> Option<String> {
    let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let place = format!(" {} ", at.display());
    table.lines().find(|line| line.contains(&place)).map(str::to_owned)
}

/// A directory with one file in it, and one to mount it on.
fn folders() -> (TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (source, at) = (folder.path().join("source"), folder.path().join("at"));
    fs::create_dir(&source).unwrap();
    fs::create_dir(&at).unwrap();
    fs::write(source.join("file"), "content").unwrap();
    (folder, source, at)
}

#[test]
fn a_kernel_without_fuse_is_named_with_what_to_do() {
    if !can_mount() {
        return;
    }
    let (_folder, source, at) = folders();
    let mut command = ferryfs();
    command.arg("mount").arg(&source).arg(&at);
    // Seen by this thread, and what it starts, alone.
    mount("none", "/dev", "tmpfs", MountFlags::empty(), None).unwrap();
    command.stdin(std::process::Stdio::piped());
    let mut process = Process::start(command).unwrap();
    assert_eq!(process.wait(LONG).unwrap().code(), Some(2));
    let said = process.stderr();
    assert!(said.starts_with("ferryfs: MOUNTPOINT: cannot open /dev/fuse: "), "{said}");
    assert!(said.contains("; load the module fuse"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(entry(&at), None);
}

#[test]
fn where_only_mount_is_known_it_is_used_with_the_same_options() {
    if !can_mount() {
        return;
    }
    let (_folder, source, at) = folders();
    let mut command = ferryfs();
    // The namespace is set up by the call that is missing.
    command.args(["mount", "--sandbox=none", "-o", "ro,nosuid,noexec,subtype=x,max_read=65536"]);
    command.arg(&source).arg(&at);
    let mut process = Process::start(without(libc::SYS_fsopen, command)).unwrap();
    let mounted = process.wait_for_line("Mounted", LONG);
    assert!(mounted.is_ok(), "{}", process.stderr());
    let entry = entry(&at).unwrap();
    let (of_mount, of_fs) = entry.split_once(" - ").unwrap();
    for option in ["ro", "nosuid", "noexec"] {
        assert!(of_mount.split([' ', ',']).any(|word| word == option), "{option}: {entry}");
    }
    assert!(of_fs.starts_with(&format!("fuse.x {} ", source.display())), "{entry}");
    for option in ["default_permissions", "allow_other", "max_read=65536"] {
        assert!(of_fs.split([' ', ',']).any(|word| word == option), "{option}: {entry}");
    }
    assert_eq!(fs::read(at.join("file")).unwrap(), b"content");
    assert_eq!(errno(fs::write(at.join("file"), "other")), libc::EROFS);
    wait_until("it is free", || unmount(&at, UnmountFlags::empty()).is_ok());
    assert_eq!(process.wait(LONG).unwrap().code(), Some(0));
}

/// Ends what serves a place, which is nobody's child.
struct Ended(PathBuf);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

#[test]
fn mount_and_fstab_know_it_by_its_type() {
    if !can_mount() {
        return;
    }
    let (folder, source, at) = folders();
    let (helpers, table) = (folder.path().join("helpers"), folder.path().join("fstab"));
    fs::create_dir(&helpers).unwrap();
    symlink(ferryfs().get_program(), helpers.join("mount.fuse.ferryfs")).unwrap();
    let line =
        format!("{} {} fuse.ferryfs noauto,ro,threads=2 0 0\n", source.display(), at.display());
    fs::write(&table, line).unwrap();
    // Where mount(8) looks for helpers and at the table; seen by what this thread starts alone.
    mount_bind(&helpers, fs::canonicalize("/sbin").unwrap()).unwrap();
    if mount_bind(&table, "/etc/fstab").is_err() {
        skip("mount_and_fstab_know_it_by_its_type", "there is no /etc/fstab");
        return;
    }
    let by_hand: [&std::ffi::OsStr; 5] =
        ["-t".as_ref(), "fuse.ferryfs".as_ref(), "-oro".as_ref(), source.as_ref(), at.as_ref()];
    let _ended = Ended(at.clone());
    for args in [&by_hand[..], &[at.as_ref()]] {
        let mut command = Command::new("/usr/bin/mount");
        command.args(args);
        let mut process = Process::start(command).unwrap();
        let status = process.wait(LONG).unwrap();
        assert!(status.success(), "{args:?}: {}", process.stderr());
        let entry = entry(&at).unwrap();
        assert!(entry.contains(" - fuse.ferryfs "), "{args:?}: {entry}");
        assert_eq!(fs::read(at.join("file")).unwrap(), b"content", "{args:?}");
        assert_eq!(errno(fs::write(at.join("file"), "other")), libc::EROFS, "{args:?}");
        wait_until("it is free", || {
            Command::new("/usr/bin/umount").arg(&at).status().unwrap().success()
        });
    }
}
