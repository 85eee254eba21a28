//! What scripts say when a machine lacks what they need.
#![cfg(test)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

use ferryfs_bench::skip;

fn repo() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a command that finds these shell scripts before all other programs.
fn run(mut command: Command, programs: &[(&str, &str)]) -> (Output, String) {
    // What another thread starts may have a script open for writing until it is what it will be,
    // and such a script does not run.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    for (name, script) in programs {
        let path = folder.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", folder.path().display()));
    let output = command.current_dir(repo()).output().unwrap();
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    (output, said)
}

#[test]
fn a_rust_that_is_too_old_is_named_before_anything_is_done() {
    let wanted = env!("CARGO_PKG_RUST_VERSION");
    assert!(include_str!("../README.md").contains(&format!("Rust {wanted} or newer")));
    let old = ("cargo", "[ \"$1\" = --version ] && echo 'cargo 1.63.0'");
    let new = ("cargo", "[ \"$1\" = --version ] && echo 'cargo 1.200.0 (0123abc 2030-01-01)'");
    let without = ("rustc", "exit 127");
    for script in ["demo", "fuzz", "package"] {
        for (programs, found) in
            [(&[old][..], "cargo is 1.63.0"), (&[new, without], "rustc is none")]
        {
            let (output, said) = run(Command::new(repo().join("scripts").join(script)), programs);
            assert_eq!(output.status.code(), Some(1), "{script}: {said}");
            assert_eq!(said.lines().count(), 1, "{script}: {said}");
            assert!(said.contains(&format!("Rust {wanted} or newer is needed")), "{said}");
            assert!(said.contains(found) && said.contains("https://rustup.rs"), "{said}");
        }
    }
}

#[test]
fn what_apt_has_said_is_shown_if_it_cannot_install() {
    if !rustix::process::geteuid().is_root() {
        skip("what_apt_has_said_is_shown_if_it_cannot_install", "it needs root");
        return;
    }
    let programs = [("apt-get", "echo 'E: no such package'; exit 100")];
    let mut command = Command::new("bash");
    let script = "set -euo pipefail; . scripts/lib.sh; log=$(mktemp)
        trap 'rm -f \"$log\"' EXIT; need \"$log\" no-such-command=wanted";
    command.args(["-c", script, "test"]);
    let (output, said) = run(command, &programs);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("  | E: no such package\n"), "{said}");
    assert!(said.ends_with("test: apt cannot install wanted\n"), "{said}");
}
