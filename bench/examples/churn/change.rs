//! The host's side.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{LIFE, LIST, OLD, STAYING, TOGETHER, byte, listing, now, text};

pub fn change(dir: &Path, time: Duration) {
    for folder in ["list", "there", "here"] {
        fs::create_dir(dir.join(folder)).unwrap();
    }
    for name in 0..STAYING {
        fs::write(dir.join(format!("list/stays-{name}")), "").unwrap();
    }
    fs::write(dir.join("here/moves"), text(1)).unwrap();
    let going: [fn(&Path, u64) -> Option<u64>; 6] =
        [replace_file, replace_directory, grow_and_shrink, blink, come_and_go, move_about];
    let end = Instant::now() + time;
    let old = Mutex::new(String::new());
    std::thread::scope(|scope| {
        for change in going {
            let old = &old;
            scope.spawn(move || {
                let mut last = None;
                for round in (0..).take_while(|_| Instant::now() < end) {
                    let made = change(dir, round);
                    let now = now();
                    if let Some(last) = last
                        && Duration::from_micros(now - last) > LIFE
                    {
                        writeln!(old.lock().unwrap(), "{last} {now}").unwrap();
                    }
                    last = made;
                    // A directory that is never still cannot be listed by those who wait.
                    std::thread::sleep(Duration::from_millis(3));
                }
                if let Some(last) = last {
                    writeln!(old.lock().unwrap(), "{last} {}", u64::MAX).unwrap();
                }
            });
        }
    });
    fs::write(dir.join(OLD), old.into_inner().unwrap()).unwrap();
    let list: Vec<u8> = listing(dir).unwrap().into_bytes();
    fs::write(dir.join("churn.new"), list).unwrap();
    fs::rename(dir.join("churn.new"), dir.join(LIST)).unwrap();
}

// Each of these makes a change, and returns the version that it has put in the place of another.

fn replace_file(dir: &Path, _: u64) -> Option<u64> {
    let version = now();
    fs::write(dir.join("replaced.new"), text(version)).unwrap();
    fs::rename(dir.join("replaced.new"), dir.join("replaced")).unwrap();
    Some(version)
}

/// Puts another directory, with other files of the same names, in the place of one.
fn replace_directory(dir: &Path, round: u64) -> Option<u64> {
    let new = dir.join(format!("folder.{round}"));
    fs::create_dir(&new).unwrap();
    let version = now();
    for name in 0..TOGETHER {
        fs::write(new.join(name.to_string()), text(version)).unwrap();
    }
    let place = dir.join("folder");
    if round == 0 {
        fs::rename(new, place).unwrap();
    } else {
        renameat_with(CWD, &new, CWD, &place, RenameFlags::EXCHANGE).unwrap();
        fs::remove_dir_all(new).unwrap();
    }
    Some(version)
}

fn grow_and_shrink(dir: &Path, round: u64) -> Option<u64> {
    let path = dir.join("grows");
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    let len = usize::try_from(file.metadata().unwrap().len()).unwrap();
    if round % 23 == 22 {
        file.set_len(round * 37 % 5000).unwrap();
    } else {
        let more: Vec<u8> = (len..len + 1234).map(byte).collect();
        file.write_all(&more).unwrap();
    }
    None
}

/// A name that is a file, a directory, a symbolic link, and nothing.
fn blink(dir: &Path, round: u64) -> Option<u64> {
    let path = dir.join("blinks");
    match round % 6 {
        0 => fs::write(path, "file").unwrap(),
        2 => fs::create_dir(path).unwrap(),
        3 => fs::remove_dir(path).unwrap(),
        4 => symlink("target", path).unwrap(),
        _ => fs::remove_file(path).unwrap(),
    }
    None
}

fn come_and_go(dir: &Path, round: u64) -> Option<u64> {
    for at in 0..20 {
        let name = round * 7 + at;
        let path = dir.join(format!("list/goes-{}", name % 500));
        match name % 3 {
            0 => drop(fs::remove_file(&path)),
            _ => fs::write(&path, "").unwrap(),
        }
    }
    None
}

fn move_about(dir: &Path, round: u64) -> Option<u64> {
    let places = [dir.join("here/moves"), dir.join("there/moved"), dir.join("moving")];
    let place = |round| &places[usize::try_from(round % 3).unwrap()];
    fs::rename(place(round), place(round + 1)).unwrap();
    fs::hard_link(place(round + 1), dir.join("link")).unwrap();
    fs::remove_file(dir.join("link")).unwrap();
    None
}
