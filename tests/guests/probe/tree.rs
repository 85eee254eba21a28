//! A tree of every kind of inode and name that follows from a seed.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, Permissions};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::content::{self, mix};
use super::failures::{attempt, report};
use super::sys;

enum What {
    Dir,
    File {
        seed: u64,
        size: u64,
    },
    Symlink(OsString),
    /// One more name of the file with this number.
    Link(usize),
    Fifo,
}

/// Something in the tree; its path is below the tree's root.
struct Item {
    path: PathBuf,
    what: What,
    mode: u32,
    mtime: i64,
    links: u64,
}

/// Numbers that follow from a seed.
struct Dice {
    seed: u64,
    thrown: u64,
}

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.thrown += 1;
        mix(self.seed, self.thrown) % limit
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())]
    }

    fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap()
    }
}

const FILE_MODES: [u32; 7] = [0o644, 0o600, 0o755, 0o444, 0, 0o4755, 0o2711];
const DIR_MODES: [u32; 5] = [0o755, 0o700, 0o711, 0o1777, 0o2755];
const DEPTH: usize = 6;
const MAX_NAME: usize = 255;
const MAX_FILE: u64 = 200 << 10;
/// What XFS allows, other file systems more.
const MAX_TARGET: usize = 1023;

/// The items of a tree, parents before children.
fn plan(seed: u64, files: u64) -> Vec<Item> {
    let mut dice = Dice { seed, thrown: 0 };
    let mut items: Vec<Item> = Vec::new();
    // The first is big, so that it takes several requests to list it.
    let mut dirs = vec![PathBuf::from("big")];
    let mut regular: Vec<usize> = Vec::new();
    items.push(item("big".into(), What::Dir, 0o755, &mut dice));
    while (regular.len() as u64) < files {
        let parent = match dice.below(3) {
            0 => dirs[0].clone(),
            _ => dirs[dice.index(dirs.len())].clone(),
        };
        let path = parent.join(name(&mut dice, items.len()));
        let number = items.len();
        let item = match dice.below(100) {
            0..10 => {
                if path.components().count() < DEPTH {
                    dirs.push(path.clone());
                }
                let mode = dice.pick(&DIR_MODES);
                item(path, What::Dir, mode, &mut dice)
            }
            10..17 => item(path, What::Symlink(target(&mut dice)), 0o777, &mut dice),
            17..22 if !regular.is_empty() => {
                let to = regular[dice.index(regular.len())];
                items[to].links += 1;
                let (mode, mtime) = (items[to].mode, items[to].mtime);
                Item { path, what: What::Link(to), mode, mtime, links: 0 }
            }
            22..23 => item(path, What::Fifo, 0o640, &mut dice),
            _ => {
                regular.push(number);
                let what = What::File { seed: mix(seed, number as u64), size: size(&mut dice) };
                let mode = dice.pick(&FILE_MODES);
                item(path, what, mode, &mut dice)
            }
        };
        items.push(item);
    }
    items
}

fn item(path: PathBuf, what: What, mode: u32, dice: &mut Dice) -> Item {
    // Whole seconds, because that is all that busybox's cp keeps.
    let mtime = i64::try_from(dice.below(1 << 30)).unwrap() + 500_000_000;
    Item { path, what, mode, mtime, links: 1 }
}

/// Mostly small, and around the limits of pages.
fn size(dice: &mut Dice) -> u64 {
    match dice.below(32) {
        0 => dice.pick(&[0, 1, 4095, 4096, 4097, 131_072, MAX_FILE]),
        1 => dice.below(MAX_FILE),
        _ => {
            let most = 2 << dice.below(14);
            dice.below(most)
        }
    }
}

/// A name that is unlike others because `number` is in it.
fn name(dice: &mut Dice, number: usize) -> OsString {
    let mut name: Vec<u8> = match dice.below(16) {
        0 => b" two  spaces and one at the end ".to_vec(),
        1 => b"two\nlines\n".to_vec(),
        2 => b"not UTF-8 \xff\xfe\x80\xc0".to_vec(),
        3 => b"\xe2\x9b\xb4 UTF-8 \xc3\xa4".to_vec(),
        4 => b"-rf *?[]{}$`\\'\"|&;<>#~".to_vec(),
        5 => (1..=31).chain([127]).collect(),
        6 => b"...".to_vec(),
        7 => vec![b'x'; MAX_NAME - number.to_string().len()],
        8 => b"CON: nul. ".to_vec(),
        _ => b"plain".to_vec(),
    };
    name.extend(number.to_string().bytes());
    OsString::from_vec(name)
}

fn target(dice: &mut Dice) -> OsString {
    OsString::from_vec(match dice.below(5) {
        0 => b"nowhere".to_vec(),
        1 => b"../big/../big".to_vec(),
        2 => b"/an/absolute/path".to_vec(),
        3 => b"odd \n\xff bytes/".to_vec(),
        _ => vec![b't'; MAX_TARGET],
    })
}

/// Makes the tree.
pub(super) fn make(root: &Path, seed: u64, files: u64) {
    let items = plan(seed, files);
    fs::create_dir_all(root).unwrap();
    let is_dir = |item: &&Item| matches!(item.what, What::Dir);
    for item in &items {
        attempt(&item.path, || {
            make_item(root, item, &items);
            if !is_dir(&item) {
                finish_item(root, item);
            }
        });
    }
    // From below, because making something in a directory changes its time.
    for item in items.iter().rev().filter(is_dir) {
        attempt(&item.path, || finish_item(root, item));
    }
}

fn make_item(root: &Path, item: &Item, items: &[Item]) {
    let path = root.join(&item.path);
    match &item.what {
        What::Dir => fs::create_dir(path).unwrap(),
        What::File { seed, size } => {
            content::write(&mut File::create_new(path).unwrap(), *seed, *size);
        }
        What::Symlink(target) => symlink(target, path).unwrap(),
        What::Link(to) => fs::hard_link(root.join(&items[*to].path), path).unwrap(),
        What::Fifo => sys::mknod(&path, sys::S_IFIFO | 0o600, 0).unwrap(),
    }
}

fn finish_item(root: &Path, item: &Item) {
    let path = root.join(&item.path);
    // A link has the mode of its file, which is there already.
    if !matches!(item.what, What::Symlink(_) | What::Link(_)) {
        fs::set_permissions(&path, Permissions::from_mode(item.mode)).unwrap();
    }
    let mtime = sys::Timespec { seconds: item.mtime, nanoseconds: 0 };
    sys::utimensat(&path, [mtime, mtime]).unwrap();
}

/// Checks that the tree is there, whole, and alone. Of one that busybox has copied only the times
/// of files are expected to be the same.
pub(super) fn verify(root: &Path, (seed, files): (u64, u64), copied: bool) {
    let items = plan(seed, files);
    let mut children: BTreeMap<&Path, Vec<&Item>> = BTreeMap::new();
    for item in &items {
        children.entry(item.path.parent().unwrap()).or_default().push(item);
        if matches!(item.what, What::Dir) {
            children.entry(&item.path).or_default();
        }
    }
    for (dir, children) in children {
        let mut listed = BTreeMap::new();
        attempt(dir, || list(&root.join(dir), &mut listed));
        for item in children {
            attempt(&item.path, || {
                let kind = listed.remove(item.path.file_name().unwrap());
                let meta = fs::symlink_metadata(root.join(&item.path)).unwrap();
                assert_eq!(kind, Some(meta.mode() & sys::S_IFMT), "type in the listing");
                check_item(root, item, (&meta, copied), &items);
            });
        }
        for name in listed.keys() {
            report(dir.join(name), "it is listed and should not be");
        }
    }
}

/// The names in a directory and the types that the listing says they have.
fn list(dir: &Path, found: &mut BTreeMap<OsString, u32>) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let kind = sys::kind(entry.file_type().unwrap());
        assert_eq!(found.insert(entry.file_name(), kind), None, "{:?} twice", entry.file_name());
    }
}

fn check_item(root: &Path, item: &Item, (meta, copied): (&Metadata, bool), items: &[Item]) {
    let path = root.join(&item.path);
    let (kind, links) = match &item.what {
        What::Dir => (sys::S_IFDIR, None),
        What::File { .. } => (sys::S_IFREG, Some(item.links)),
        What::Symlink(_) => (sys::S_IFLNK, Some(1)),
        What::Link(to) => (sys::S_IFREG, Some(items[*to].links)),
        What::Fifo => (sys::S_IFIFO, Some(1)),
    };
    assert_eq!(format!("{:o}", meta.mode()), format!("{:o}", kind | item.mode), "mode");
    assert_eq!(links.unwrap_or(meta.nlink()), meta.nlink(), "links");
    assert_eq!((meta.uid(), meta.gid()), (0, 0), "owner");
    if kind == sys::S_IFREG || !copied {
        assert_eq!((meta.mtime(), meta.mtime_nsec()), (item.mtime, 0), "time");
    }
    match &item.what {
        What::File { seed, size } => {
            assert_eq!(meta.size(), *size, "size");
            content::check(&mut File::open(path).unwrap(), *seed, *size);
        }
        What::Symlink(target) => {
            assert_eq!(fs::read_link(path).unwrap().as_os_str(), OsStr::new(target), "target");
            assert_eq!(meta.size(), target.len() as u64, "size");
        }
        What::Link(to) => {
            let first = fs::symlink_metadata(root.join(&items[*to].path)).unwrap();
            assert_eq!((meta.dev(), meta.ino()), (first.dev(), first.ino()), "inode");
        }
        What::Dir | What::Fifo => {}
    }
}
