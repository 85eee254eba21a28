//! The mount's side.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::{LIFE, LIST, OLD, STAYING, TOGETHER, byte, listing, micros, now, text, version};

type Checked = Result<(), Box<dyn Error>>;
type Check = fn(&Mount<'_>, u64) -> Checked;

/// How late a mount may be between the host's answer and giving it.
const SLACK: Duration = Duration::from_millis(500);

/// The mount, and what is known of it.
struct Mount<'a> {
    dir: &'a Path,
    stale: Option<Duration>,
    over: AtomicBool,
    /// Versions that were seen when they may have been gone for too long, and when.
    late: Mutex<Vec<(u64, u64)>>,
}

/// `stale` is how long the mount may remember what is not so any more, or else for how long it is
/// to be checked.
pub fn check(dir: &Path, stale: Result<Duration, Duration>) {
    if stale.is_ok() {
        let there = ["replaced", "folder/9", "grows"];
        let begun = wait_for(|| there.iter().all(|name| dir.join(name).exists()));
        assert!(begun, "the host's side does not begin");
    }
    let mount =
        &Mount { dir, stale: stale.ok(), over: AtomicBool::new(false), late: Mutex::default() };
    let checks: [(&str, Check); 8] = [
        ("a-replaced-file-is-whole", replaced_file),
        ("an-open-file-stays-that-file", open_file),
        ("a-replaced-directory-is-one", replaced_directory),
        ("no-byte-that-never-was-there", grows),
        ("a-name-is-one-type-at-a-time", blinks),
        ("what-stays-is-listed-once", list),
        ("a-moved-file-is-found-or-not", moves),
        ("our-own-files-are-ours", ours),
    ];
    std::thread::scope(|scope| {
        for (name, check) in checks {
            scope.spawn(move || {
                let mut rounds = 0;
                while !mount.over.load(Ordering::Relaxed) {
                    if let Err(error) = check(mount, rounds) {
                        return println!("{name}\tFAILED\tround {rounds}: {error}");
                    }
                    rounds += 1;
                }
                match rounds {
                    0..10 => println!("{name}\tFAILED\tonly {rounds} rounds"),
                    _ => println!("{name}\tok\t{rounds} rounds"),
                }
            });
        }
        let ended = match stale {
            Ok(_) => wait_for(|| dir.join(LIST).exists()),
            Err(time) => {
                std::thread::sleep(time);
                true
            }
        };
        mount.over.store(true, Ordering::Relaxed);
        assert!(ended, "the host's side does not end");
    });
    let Ok(stale) = stale else { return };
    std::thread::sleep(stale + SLACK);
    for (name, found) in [
        ("nothing-is-stale-for-too-long", mount.judge(stale)),
        ("in-the-end-all-is-as-on-the-host", compare(dir)),
    ] {
        match found {
            Ok(()) => println!("{name}\tok\t"),
            Err(error) => println!("{name}\tFAILED\t{error}"),
        }
    }
}

fn compare(dir: &Path) -> Checked {
    let expected = fs::read_to_string(dir.join(LIST))?;
    let found = listing(dir)?;
    if found == expected {
        return Ok(());
    }
    let lines: Vec<_> = expected.lines().collect();
    let other = found.lines().find(|line| !lines.contains(line));
    Err(other.unwrap_or("something is missing").into())
}

fn wait_for(condition: impl Fn() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(60);
    while !condition() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    condition()
}

impl Mount<'_> {
    fn at(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A name led to this version when the time was `asked`.
    fn seen(&self, version: u64, asked: u64) {
        let Some(stale) = self.stale else { return };
        let mut late = self.late.lock().unwrap();
        if asked > version + micros(LIFE + stale + SLACK) && late.len() < 100_000 {
            late.push((version, asked));
        }
    }

    /// Judges what was late, when the host's side has told how long versions lived.
    fn judge(&self, stale: Duration) -> Checked {
        let old = fs::read_to_string(self.at(OLD))?;
        let mut replaced = HashMap::new();
        for line in old.lines() {
            let (version, at) = line.split_once(' ').ok_or("no time")?;
            replaced.insert(version.parse::<u64>()?, at.parse::<u64>()?);
        }
        for (version, asked) in self.late.lock().unwrap().iter() {
            let gone = replaced.get(version).copied().unwrap_or(version + micros(LIFE));
            if asked.saturating_sub(gone) > micros(stale + SLACK) {
                let late = Duration::from_micros(asked - gone);
                return Err(format!("{version} was seen {late:?} after it was replaced").into());
            }
        }
        Ok(())
    }
}

fn read(mut file: &File) -> io::Result<String> {
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// Linux looks a name up again once if its file is gone before it is opened. Where the host replaces
/// it every few milliseconds and the guest is slow, that is not always enough.
fn patiently<T>(mut open: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let stale = |error: &io::Error| error.kind() == ErrorKind::StaleNetworkFileHandle;
    for _ in 0..10 {
        match open() {
            Err(error) if stale(&error) => {}
            opened => return opened,
        }
    }
    open()
}

fn replaced_file(mount: &Mount<'_>, _: u64) -> Checked {
    let asked = now();
    let file = patiently(|| File::open(mount.at("replaced")))?;
    mount.seen(version(&read(&file)?)?, asked);
    Ok(())
}

fn open_file(mount: &Mount<'_>, _: u64) -> Checked {
    let file = patiently(|| File::open(mount.at("replaced")))?;
    let before = version(&read(&file)?)?;
    let ino = file.metadata()?.ino();
    std::thread::sleep(Duration::from_millis(20));
    let mut text = vec![0; 40_000];
    let len = file.read_at(&mut text, 0)?;
    text.truncate(len);
    let after = version(std::str::from_utf8(&text)?)?;
    if before != after || file.metadata()?.ino() != ino {
        return Err(format!("version {before} of an open file became {after}").into());
    }
    Ok(())
}

fn replaced_directory(mount: &Mount<'_>, _: u64) -> Checked {
    let asked = now();
    let flags = OFlags::DIRECTORY | OFlags::RDONLY;
    let open = || Ok(openat(CWD, mount.at("folder"), flags, Mode::empty())?);
    let folder = patiently(open)?;
    let mut versions = Vec::new();
    for name in 0..TOGETHER {
        match openat(folder.as_fd(), name.to_string(), OFlags::RDONLY, Mode::empty()) {
            Ok(file) => versions.push(version(&read(&File::from(file))?)?),
            // The directory was removed meanwhile.
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::STALE) => {}
            Err(error) => return Err(format!("file {name}: {error}").into()),
        }
    }
    versions.dedup();
    match versions[..] {
        [] => Ok(()),
        [version] => {
            mount.seen(version, asked);
            Ok(())
        }
        _ => Err(format!("files of several directories: {versions:?}").into()),
    }
}

fn grows(mount: &Mount<'_>, _: u64) -> Checked {
    let mut bytes = Vec::new();
    File::open(mount.at("grows"))?.read_to_end(&mut bytes)?;
    // A size that is news may come before the bytes that go with it.
    match bytes.iter().enumerate().find(|(at, found)| **found != byte(*at) && **found != 0) {
        Some((at, found)) => Err(format!("byte {at} is {found:#x}").into()),
        None => Ok(()),
    }
}

fn blinks(mount: &Mount<'_>, _: u64) -> Checked {
    let path = mount.at("blinks");
    let gone = |error: &io::Error| error.kind() == ErrorKind::NotFound;
    match patiently(|| fs::symlink_metadata(&path)) {
        Err(error) if gone(&error) => return Ok(()),
        Err(error) => return Err(format!("lstat: {error}").into()),
        Ok(meta) if meta.is_file() => match patiently(|| fs::read_to_string(&path)) {
            Ok(text) if text == "file" || text.is_empty() => {}
            Ok(text) => return Err(format!("a file with {text:?}").into()),
            Err(error) if gone(&error) || error.kind() == ErrorKind::IsADirectory => {}
            Err(error) => return Err(format!("open: {error}").into()),
        },
        Ok(meta) if meta.is_dir() => match patiently(|| fs::read_dir(&path)) {
            Ok(mut entries) => {
                if let Some(entry) = entries.next() {
                    return Err(format!("an entry: {entry:?}").into());
                }
            }
            Err(error) if gone(&error) || error.kind() == ErrorKind::NotADirectory => {}
            Err(error) => return Err(format!("opendir: {error}").into()),
        },
        Ok(_) => match patiently(|| fs::read_link(&path)) {
            Ok(target) if target == Path::new("target") => {}
            Ok(target) => return Err(format!("a link to {target:?}").into()),
            Err(error) if gone(&error) || error.kind() == ErrorKind::InvalidInput => {}
            Err(error) => return Err(format!("readlink: {error}").into()),
        },
    }
    Ok(())
}

fn list(mount: &Mount<'_>, round: u64) -> Checked {
    let mut times: HashMap<String, usize> = HashMap::new();
    for entry in fs::read_dir(mount.at("list"))? {
        let name = entry?.file_name().into_string().unwrap();
        if name.starts_with("stays-") {
            *times.entry(name).or_default() += 1;
        }
        if round.is_multiple_of(7) {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    for name in 0..STAYING {
        let name = format!("stays-{name}");
        let found = times.get(&name).copied().unwrap_or(0);
        if found != 1 {
            return Err(format!("{name} is listed {found} times").into());
        }
    }
    Ok(())
}

fn moves(mount: &Mount<'_>, _: u64) -> Checked {
    for place in ["here/moves", "there/moved", "moving"] {
        match patiently(|| File::open(mount.at(place))) {
            Ok(file) => {
                if version(&read(&file)?)? != 1 {
                    return Err(format!("{place} is another file").into());
                }
                if file.metadata()?.nlink() > 2 {
                    return Err(format!("{place} has {} links", file.metadata()?.nlink()).into());
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{place}: {error}").into()),
        }
    }
    Ok(())
}

/// Files that nobody but us touches, made, changed, moved and removed next to all that.
fn ours(mount: &Mount<'_>, round: u64) -> Checked {
    let folder = mount.at("ours");
    if round == 0 {
        fs::create_dir(&folder)?;
    }
    let (name, moved) = (folder.join(format!("{round}")), folder.join(format!("{round}.moved")));
    fs::write(&name, text(round))?;
    fs::rename(&name, &moved)?;
    OpenOptions::new().append(true).open(&moved)?.write_all(b"more")?;
    let expected = text(round) + "more";
    if fs::read_to_string(&moved)? != expected {
        return Err(format!("file {round} is not what was written").into());
    }
    if fs::metadata(&moved)?.len() != expected.len() as u64 || name.exists() {
        return Err(format!("file {round} has another size, or its old name").into());
    }
    let listed: BTreeMap<_, _> = fs::read_dir(&folder)?
        .map(|entry| entry.map(|e| (e.file_name(), ())))
        .collect::<Result<_, _>>()?;
    if listed.len() != usize::try_from(round.min(50)).unwrap() + 1 {
        return Err(format!("{} files in round {round}", listed.len()).into());
    }
    if round >= 50 {
        fs::remove_file(folder.join(format!("{}.moved", round - 50)))?;
    }
    Ok(())
}
