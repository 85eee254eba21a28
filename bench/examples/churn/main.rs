//! Changes a directory on the host while a mount of it is in use, and checks through the mount
//! that what is seen is what the file system promises:
//!
//! ```text
//! churn change DIR SECONDS          on the host: change DIR, then leave a list of all of it
//! churn check DIR --stale MS        through the mount: until that list appears
//! churn check DIR --for SECONDS     where that may never be seen
//! ```
//!
//! The promises: a file that was opened stays that file, whatever happens to its name. What is
//! read of it is what it has now or had a moment ago, never anything else. A name leads to what it
//! names now, or named less than `--stale` ago; without that option the mount may remember names
//! and attributes for ever, as with `--cache always`. No error shows that was not there on the host.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

mod change;
mod check;

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Entries of `list` that are never touched.
const STAYING: usize = 300;
/// Files in the directory that is replaced as a whole.
const TOGETHER: usize = 10;
/// The list that ends it all, and by its existence says that nothing changes any more.
const LIST: &str = "churn.list";
/// Versions that lived longer than [`LIFE`], and when they were replaced: this machine may be busy.
const OLD: &str = "churn.old";
/// How long a version lives at most, if it is not in that list.
const LIFE: Duration = Duration::from_millis(200);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["change", dir, seconds] => {
            change::change(Path::new(dir), Duration::from_secs(seconds.parse().unwrap()));
        }
        ["check", dir, "--for", seconds] => {
            check::check(Path::new(dir), Err(Duration::from_secs(seconds.parse().unwrap())));
        }
        ["check", dir, "--stale", stale] => {
            check::check(Path::new(dir), Ok(Duration::from_millis(stale.parse().unwrap())));
        }
        _ => panic!("usage: churn change DIR SECONDS | churn check DIR --stale MS|--for SECONDS"),
    }
}

/// Microseconds since 1970: when a version was made.
fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap()
}

/// A version's text: its time, again and again; longer or shorter by the time.
fn text(version: u64) -> String {
    let line = format!("{version:020}\n");
    line.repeat(1 + usize::try_from(version % 977).unwrap())
}

/// The version whose whole text this is.
fn version(found: &str) -> Result<u64, Box<dyn Error>> {
    let line = found.get(..20).ok_or_else(|| format!("only {} bytes", found.len()))?;
    let version = line.parse()?;
    if found == text(version) {
        return Ok(version);
    }
    let same = found.bytes().zip(text(version).bytes()).take_while(|(a, b)| a == b).count();
    let (len, whole) = (found.len(), text(version).len());
    Err(format!("version {version}: other bytes from {same} on, {len} of {whole}").into())
}

/// The only byte that belongs at this place of a file that grows and shrinks.
fn byte(at: usize) -> u8 {
    b'a' + u8::try_from(at / 7 % 26).unwrap()
}

/// Every path below `dir` with its type and, of files, size and content. What the mount's side
/// makes is left out, and so is what tells of the end.
fn listing(dir: &Path) -> io::Result<String> {
    let mut lines = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(dir.join(&folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if path.starts_with("ours") || path.to_string_lossy().starts_with("churn.") {
                continue;
            }
            let kind = fs::symlink_metadata(entry.path())?.file_type();
            let shown = path.display();
            if kind.is_dir() {
                lines.push(format!("{shown} directory"));
                folders.push(path);
            } else if kind.is_symlink() {
                lines.push(format!("{shown} -> {}", fs::read_link(entry.path())?.display()));
            } else {
                let content = fs::read(entry.path())?;
                let len = fs::metadata(entry.path())?.len();
                lines.push(format!("{shown} {len} {:016x}", hash(&content)));
            }
        }
    }
    lines.sort();
    lines.push(String::new());
    Ok(lines.join("\n"))
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}
