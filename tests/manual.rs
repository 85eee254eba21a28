//! The manual pages and the completions of shells are what the program's options say.
//! `RENEW=1 cargo test --test manual` writes them anew.
#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap_complete::Shell;

/// What the manual page says beyond the options.
const MORE: &str = include_str!("../packaging/man/more.roff");

fn generate(folder: &Path) {
    let command = || ferryfs::daemon::command().version("");
    let man = folder.join("man");
    fs::create_dir_all(&man).unwrap();
    clap_mangen::generate_to(command(), &man).unwrap();
    let page = man.join("ferryfs.1");
    let mut text = fs::read_to_string(&page).unwrap();
    // The version would make every release renew the page.
    text = text.replace(" \"ferryfs \"", "");
    let (before, _) = text.split_once(".SH EXTRA").unwrap();
    fs::write(&page, format!("{before}{MORE}")).unwrap();
    let completions = folder.join("completions");
    fs::create_dir_all(&completions).unwrap();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command(), "ferryfs", &completions).unwrap();
    }
}

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging")
}

/// The files below a folder, by their names there.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = ["man", "completions"]
        .iter()
        .flat_map(|part| fs::read_dir(folder.join(part)).unwrap())
        .map(|entry| entry.unwrap().path().strip_prefix(folder).unwrap().to_owned())
        .filter(|path| !path.ends_with("more.roff"))
        .collect();
    files.sort();
    files
}

#[test]
fn pages_and_completions_are_up_to_date() {
    if std::env::var_os("RENEW").is_some() {
        generate(&packaging());
    }
    let new = tempfile::tempdir().unwrap();
    generate(new.path());
    assert_eq!(files(new.path()), files(&packaging()));
    for path in files(new.path()) {
        let (new, kept) = (new.path().join(&path), packaging().join(&path));
        let same = fs::read_to_string(new).unwrap() == fs::read_to_string(kept).unwrap();
        assert!(same, "{} is outdated: RENEW=1 cargo test --test manual", path.display());
    }
}

#[test]
fn the_manual_page_has_every_option_of_the_help() {
    let help = Command::new(env!("CARGO_BIN_EXE_ferryfs")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let new = tempfile::tempdir().unwrap();
    generate(new.path());
    let page = fs::read_to_string(new.path().join("man/ferryfs.1")).unwrap().replace("\\-", "-");
    let words = help.lines().flat_map(|line| line.trim_start().split([' ', '[', ',']).next());
    let options: Vec<_> = words.filter(|word| word.starts_with('-')).collect();
    assert!(options.len() > 40, "{options:?}");
    for option in options {
        assert!(page.contains(option), "{option} is not in the manual page");
    }
}
