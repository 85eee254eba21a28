//! The program that works and checks, in guests and here.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use ferryfs_bench::Process;

use super::{STEP, repo};

/// Where it is; built if need be. It has no library beside it in a guest, so it is static. Cargo
/// would build it with those of its targets that are not, so the compiler is asked.
pub(super) fn path() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("probe");
        let folder = repo().join("tests/guests/probe");
        if modified(&path).unwrap_or(SystemTime::UNIX_EPOCH) < newest(&folder) {
            build(&folder.join("main.rs"), &path);
        }
        path
    })
}

fn modified(path: &Path) -> io::Result<SystemTime> {
    fs::metadata(path)?.modified()
}

fn newest(folder: &Path) -> SystemTime {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| modified(&entry.unwrap().path()).unwrap()).max().unwrap()
}

/// Builds under another name, because somebody may use the old one or build as well.
fn build(source: &Path, path: &Path) {
    let made = path.with_extension(std::process::id().to_string());
    let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.args(["--edition=2024", "-O", "-Cstrip=symbols", "-Ctarget-feature=+crt-static", "-o"]);
    command.arg(&made).arg(source);
    run("the build of the probe", command);
    fs::rename(made, path).unwrap();
}

/// Runs it in a directory, with words that have no spaces; panics with what it finds wrong.
pub(super) fn probe(dir: &Path, words: &str) {
    let mut command = Command::new(path());
    command.current_dir(dir).args(words.split(' '));
    run(&format!("probe {words}"), command);
}

fn run(what: &str, command: Command) {
    let mut process = Process::start(command).unwrap();
    let status = process.wait(STEP).unwrap();
    assert!(status.success(), "{what}: {status}\n{}", process.stderr());
}
