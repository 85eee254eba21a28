//! What the daemon's user has no right to.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;

use ferryfs_bench::Process;
use tempfile::TempDir;

use super::*;

/// A user with no rights but those that all have.
const OTHER: u32 = 65534;

/// A folder with a copy of the program, which that user may start, and of what it may and may not
/// use; none if we are not root.
fn folder(test: &str) -> Option<TempDir> {
    if !is_root() {
        skip(test, "it needs root");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    // By another process: one that is forked meanwhile would keep it open for writing.
    let copied = Command::new("cp").arg(ferryfs()).arg(folder.path()).status().unwrap();
    assert!(copied.success());
    let mode = |name: &str, mode| {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(folder.path().join(name), mode).unwrap();
    };
    mode("", 0o755);
    for name in ["secret", "secret/inside", "own", "sockets"] {
        fs::create_dir(folder.path().join(name)).unwrap();
        mode(name, if name == "secret" { 0o700 } else { 0o755 });
    }
    fs::create_dir(folder.path().join("readable")).unwrap();
    mode("readable", 0o744);
    for name in ["own", "sockets"] {
        chown(folder.path().join(name), Some(OTHER), Some(OTHER)).unwrap();
    }
    Some(folder)
}

/// What the program says when that user starts it, and it does not start.
fn refused(folder: &TempDir, args: &[&str]) -> String {
    let mut command = Command::new(folder.path().join("ferryfs"));
    command.uid(OTHER).gid(OTHER).args(args).current_dir(folder.path());
    let mut process = Process::start(command).unwrap();
    assert_eq!(process.wait(LONG).unwrap().code(), Some(2), "{args:?}: {}", process.stderr());
    let said = process.stderr();
    assert_eq!(said.lines().count(), 1, "{args:?}: {said}");
    said.strip_prefix("ferryfs: ").unwrap_or_default().trim_end().to_owned()
}

#[test]
fn a_share_that_may_not_be_searched_is_told_by_its_option() {
    let Some(folder) = folder("denied::a_share_that_may_not_be_searched_is_told_by_its_option")
    else {
        return;
    };
    let remedy = "let user 65534 read and search it and search what is above it, or start the \
                  daemon as another user";
    for dir in ["secret", "secret/inside", "readable"] {
        let problem = format!("cannot share {dir}: Permission denied (os error 13); {remedy}");
        for sandbox in ["namespace", "chroot", "none", "auto"] {
            let args = ["--socket-path", "sockets/s", "--sandbox", sandbox];
            let said = refused(&folder, &[&args[..], &["--shared-dir", dir]].concat());
            assert_eq!(said, format!("--shared-dir: {problem}"), "{sandbox}");
            let share = format!("a={dir}");
            let said = refused(&folder, &[&args[..], &["--share", &share]].concat());
            assert_eq!(said, format!("--share: {problem}"), "{sandbox}");
        }
        let said = refused(&folder, &["mount", dir, "own"]);
        let full = folder.path().join(dir);
        assert_eq!(said, format!("SOURCE: {}", problem.replace(dir, full.to_str().unwrap())));
    }
    assert_eq!(fs::read_dir(folder.path().join("sockets")).unwrap().count(), 0);
}

#[test]
fn a_folder_of_the_socket_without_rights_is_told_by_its_option() {
    let Some(folder) =
        folder("denied::a_folder_of_the_socket_without_rights_is_told_by_its_option")
    else {
        return;
    };
    for (socket, said) in [
        // Neither may names be looked up in it nor made.
        ("secret/s", "--socket-path: cannot use its pid file secret/s.pid: Permission denied"),
        ("secret/inside/s", "--socket-path: cannot listen on secret/inside/s: Permission denied"),
        // Nothing may be made in it.
        ("./s", "--socket-path: cannot use its pid file ./s.pid: Permission denied"),
    ] {
        let line = refused(&folder, &["--shared-dir", "own", "--socket-path", socket]);
        assert!(line.starts_with(said) && line.contains("; "), "{line}");
    }
    let control = ["--shared-dir", "own", "--socket-path", "sockets/s", "--control", "secret/c"];
    let line = refused(&folder, &control);
    assert!(line.starts_with("--control: cannot listen on secret/c: Permission denied"), "{line}");
    assert_eq!(fs::read_dir(folder.path().join("sockets")).unwrap().count(), 0);
}
