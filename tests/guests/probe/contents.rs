//! Reading and writing.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{IoSlice, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};

use super::cases::{Case, fails, note, noted};
use super::content::{self, assert_same, bytes, mix};
use super::sys::{self, EBADF, ENXIO, Mapping};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Where a mapping is written, ten bytes each: across pages, and at both ends.
const POKED: [usize; 4] = [0, 4090, 70_000, 99_990];

fn read_write() -> OpenOptions {
    OpenOptions::new().read(true).write(true).create(true).to_owned()
}

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a file that shrinks and grows has zeros in the end",
        act: |dir| {
            for (name, by_path) in [("by-path", true), ("by-file", false)] {
                let path = dir.join(name);
                fs::write(&path, bytes(1, 10_000)).unwrap();
                let file = OpenOptions::new().write(true).open(&path).unwrap();
                for size in [5000, 9000] {
                    if by_path {
                        let other = OpenOptions::new().write(true).open(&path).unwrap();
                        other.set_len(size).unwrap();
                    } else {
                        file.set_len(size).unwrap();
                    }
                    assert_eq!(file.metadata().unwrap().size(), size);
                }
            }
        },
        check: |dir| {
            let mut expected = bytes(1, 5000);
            expected.resize(9000, 0);
            for name in ["by-path", "by-file"] {
                assert_same(&fs::read(dir.join(name)).unwrap(), &expected, 0);
            }
        },
    },
    Case {
        name: "a file that is opened to be replaced is emptied",
        act: |dir| {
            let path = dir.join("file");
            fs::write(&path, bytes(2, 100 * KIB)).unwrap();
            let mut old = File::open(&path).unwrap();
            let mut new = OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
            assert_eq!(old.metadata().unwrap().size(), 0);
            assert_eq!(old.read(&mut [0; 10]).unwrap(), 0);
            new.write_all(b"new").unwrap();
            let mut text = String::new();
            old.read_to_string(&mut text).unwrap();
            assert_eq!(text, "new");
        },
        check: |dir| assert_eq!(fs::read(dir.join("file")).unwrap(), b"new"),
    },
    Case {
        name: "appending finds the end wherever it is",
        act: |dir| {
            let open =
                || OpenOptions::new().append(true).create(true).open(dir.join("file")).unwrap();
            let (mut one, mut two) = (open(), open());
            for number in 0..100 {
                writeln!(one, "one {number}").unwrap();
                two.rewind().unwrap();
                writeln!(two, "two {number}").unwrap();
            }
        },
        check: |dir| {
            let mut expected = String::new();
            for number in 0..100 {
                writeln!(expected, "one {number}\ntwo {number}").unwrap();
            }
            assert_eq!(fs::read_to_string(dir.join("file")).unwrap(), expected);
        },
    },
    Case {
        name: "bytes land where they are written",
        act: |dir| {
            let file = read_write().open(dir.join("file")).unwrap();
            let mut expected = Vec::new();
            for number in 0..200 {
                let (at, len) = scatter(number);
                scribble(&mut expected, number);
                file.write_all_at(&bytes(number, len), at as u64).unwrap();
                // Something else than what was written last.
                let at = scatter(number * 7 % (number + 1)).0.min(expected.len());
                let len = len.min(expected.len() - at);
                let mut found = vec![0; len];
                file.read_exact_at(&mut found, at as u64).unwrap();
                assert_same(&found, &expected[at..at + len], at as u64);
            }
        },
        check: |dir| {
            let mut expected = Vec::new();
            (0..200).for_each(|number| scribble(&mut expected, number));
            assert_same(&fs::read(dir.join("file")).unwrap(), &expected, 0);
        },
    },
    Case {
        name: "one call writes and reads megabytes",
        act: |dir| {
            let content = bytes(3, 3 * MIB + 17);
            let mut file = read_write().open(dir.join("whole")).unwrap();
            assert_eq!(file.write(&content).unwrap(), content.len());
            let mut found = vec![0; content.len()];
            assert_eq!(file.read_at(&mut found, 0).unwrap(), content.len());
            assert_same(&found, &content, 0);
            // Many buffers of odd sizes and addresses.
            let parts: Vec<_> = content.chunks(777).map(IoSlice::new).collect();
            let mut file = File::create(dir.join("parts")).unwrap();
            for parts in parts.chunks(1000) {
                let len: usize = parts.iter().map(|part| part.len()).sum();
                assert_eq!(file.write_vectored(parts).unwrap(), len);
            }
        },
        check: |dir| {
            for name in ["whole", "parts"] {
                let mut file = File::open(dir.join(name)).unwrap();
                content::check(&mut file, 3, 3 * MIB as u64 + 17);
            }
        },
    },
    Case {
        name: "writes and reads may pass by the page cache",
        act: |dir| {
            let path = dir.join("file");
            let direct = read_write().custom_flags(sys::O_DIRECT).to_owned().open(&path).unwrap();
            let mut cached = File::open(&path).unwrap();
            // No alignment: that is for block devices.
            let content = bytes(4, MIB + 13);
            for (number, part) in content.chunks(300_001).enumerate() {
                direct.write_all_at(part, number as u64 * 300_001).unwrap();
            }
            content::check(&mut cached, 4, content.len() as u64);
            // What the page cache has must not stay what it was.
            direct.write_all_at(b"changed", 5000).unwrap();
            let mut found = [0; 7];
            cached.read_exact_at(&mut found, 5000).unwrap();
            assert_eq!(&found, b"changed");
            let mut found = vec![0; content.len() - 9001];
            direct.read_exact_at(&mut found, 9001).unwrap();
            assert_same(&found, &content[9001..], 9001);
        },
        check: |dir| {
            let mut expected = bytes(4, MIB + 13);
            expected[5000..5007].copy_from_slice(b"changed");
            assert_same(&fs::read(dir.join("file")).unwrap(), &expected, 0);
        },
    },
    Case {
        name: "a shared mapping is the file",
        act: |dir| {
            let mut file = read_write().open(dir.join("file")).unwrap();
            file.set_len(100_000).unwrap();
            let mapping = Mapping::new(&file, 100_000, true).unwrap();
            for at in POKED {
                mapping.write(at, &bytes(at as u64, 10));
            }
            mapping.sync().unwrap();
            let mut found = [0; 10];
            for at in POKED {
                file.read_exact_at(&mut found, at as u64).unwrap();
                assert_same(&found, &bytes(at as u64, 10), at as u64);
            }
            // The other way round, and what is written last has only the end of the mapping.
            file.seek(SeekFrom::Start(50_000)).unwrap();
            file.write_all(b"by write").unwrap();
            assert_eq!(mapping.read(50_000, 8), b"by write");
            mapping.write(60_000, b"not synced");
        },
        check: |dir| {
            let mut expected = vec![0; 100_000];
            for at in POKED {
                content::fill(at as u64, 0, &mut expected[at..at + 10]);
            }
            expected[50_000..50_008].copy_from_slice(b"by write");
            expected[60_000..60_010].copy_from_slice(b"not synced");
            assert_same(&fs::read(dir.join("file")).unwrap(), &expected, 0);
        },
    },
    Case {
        name: "a file may have holes",
        act: |dir| {
            let file = read_write().open(dir.join("file")).unwrap();
            file.write_all_at(&bytes(5, 64 * KIB), 0).unwrap();
            file.write_all_at(&bytes(6, 64 * KIB), 40 * MIB as u64).unwrap();
            file.set_len(50 * MIB as u64).unwrap();
            let punch = sys::FALLOC_FL_PUNCH_HOLE | sys::FALLOC_FL_KEEP_SIZE;
            sys::allocate(&file, punch, (16 << 10, 16 << 10)).unwrap();
            file.sync_all().unwrap();
            fails(sys::seek(&file, 60 * MIB as i64, sys::SEEK_DATA), &[ENXIO]);
            note(dir, parts(&file));
        },
        check: |dir| {
            let file = File::open(dir.join("file")).unwrap();
            let meta = file.metadata().unwrap();
            assert_eq!(meta.size(), 50 * MIB as u64);
            assert!(meta.blocks() * 512 < MIB as u64, "{} blocks", meta.blocks());
            // A guest that writes late takes all of a file for data.
            let all = format!("data 0 to {}, end", 50 * MIB);
            let noted = noted(dir);
            assert!(noted == parts(&file) || noted == all, "{noted}");
            let mut start = bytes(5, 64 * KIB);
            start[16 * KIB..32 * KIB].fill(0);
            start.resize(128 * KIB, 0);
            let mut found = vec![1; start.len()];
            file.read_exact_at(&mut found, 0).unwrap();
            assert_same(&found, &start, 0);
            let mut found = vec![1; 64 * KIB];
            file.read_exact_at(&mut found, 40 * MIB as u64).unwrap();
            assert_same(&found, &bytes(6, 64 * KIB), 40 * MIB as u64);
        },
    },
    Case {
        name: "room for a file is taken ahead",
        act: |dir| {
            let file = File::create(dir.join("file")).unwrap();
            sys::allocate(&file, sys::FALLOC_FL_KEEP_SIZE, (0, 3 << 20)).unwrap();
            assert_eq!(file.metadata().unwrap().size(), 0);
            sys::allocate(&file, 0, (0, 1 << 20)).unwrap();
            assert_eq!(file.metadata().unwrap().size(), 1 << 20);
        },
        check: |dir| {
            let meta = fs::metadata(dir.join("file")).unwrap();
            assert_eq!(meta.size(), 1 << 20);
            assert!(meta.blocks() * 512 >= 3 << 20, "{} blocks", meta.blocks());
        },
    },
    Case {
        name: "everything can be brought to the disk",
        act: |dir| {
            let mut file = File::create(dir.join("file")).unwrap();
            file.write_all(b"one ").unwrap();
            file.sync_data().unwrap();
            file.write_all(b"two ").unwrap();
            file.sync_all().unwrap();
            File::open(dir).unwrap().sync_all().unwrap();
            sys::syncfs(&file).unwrap();
            drop(file);
            let options = OpenOptions::new().append(true).custom_flags(sys::O_DSYNC).to_owned();
            options.open(dir.join("file")).unwrap().write_all(b"three").unwrap();
        },
        check: |dir| {
            assert_eq!(fs::read_to_string(dir.join("file")).unwrap(), "one two three");
        },
    },
    Case {
        name: "a range is copied from file to file",
        act: |dir| {
            let from = read_write().open(dir.join("from")).unwrap();
            from.write_all_at(&bytes(7, 300_000), 0).unwrap();
            let to = read_write().open(dir.join("to")).unwrap();
            let (mut at, end) = (1000, 301_000);
            while at < end {
                let len = usize::try_from(end - at).unwrap();
                let copied = sys::copy_range((&from, at - 1000), (&to, at), len).unwrap();
                assert_ne!(copied, 0);
                at += i64::try_from(copied).unwrap();
            }
        },
        check: |dir| {
            let mut expected = vec![0; 1000];
            expected.extend(bytes(7, 300_000));
            assert_same(&fs::read(dir.join("to")).unwrap(), &expected, 0);
        },
    },
    Case {
        name: "a file does only what it was opened for",
        act: |dir| {
            fs::write(dir.join("file"), "content").unwrap();
            let mut read_only = File::open(dir.join("file")).unwrap();
            fails(read_only.write(b"x"), &[EBADF]);
            let options = OpenOptions::new().write(true).to_owned();
            fails(options.open(dir.join("file")).unwrap().read(&mut [0]), &[EBADF]);
        },
        check: |dir| assert_eq!(fs::read(dir.join("file")).unwrap(), b"content"),
    },
    Case {
        name: "a program runs from the share",
        act: |dir| {
            let path = dir.join("program");
            fs::copy("/proc/self/exe", &path).unwrap();
            let output = std::process::Command::new(&path).output().unwrap();
            assert_eq!(output.status.code(), Some(2), "it prints how it is used");
            assert!(String::from_utf8(output.stderr).unwrap().starts_with("usage: "));
        },
        check: |dir| {
            let (copy, own) = (fs::read(dir.join("program")), fs::read("/proc/self/exe"));
            assert_same(&copy.unwrap(), &own.unwrap(), 0);
        },
    },
];

/// Where and how much the write with this number is.
fn scatter(number: u64) -> (usize, usize) {
    let at = mix(number, 1) % 200_000;
    let len = 1 + mix(number, 2) % (1 << (mix(number, 3) % 16));
    (usize::try_from(at).unwrap(), usize::try_from(len).unwrap())
}

/// Does the write with this number in memory.
fn scribble(content: &mut Vec<u8>, number: u64) {
    let (at, len) = scatter(number);
    content.resize(content.len().max(at + len), 0);
    content::fill(number, 0, &mut content[at..at + len]);
}

/// Where a file has data and where it has holes.
fn parts(file: &File) -> String {
    let size = i64::try_from(file.metadata().unwrap().size()).unwrap();
    let (mut text, mut at) = (String::new(), 0);
    while at < size {
        let Ok(data) = sys::seek(file, at, sys::SEEK_DATA) else {
            break;
        };
        let data = i64::try_from(data).unwrap();
        at = sys::seek(file, data, sys::SEEK_HOLE).unwrap().try_into().unwrap();
        write!(text, "data {data} to {at}, ").unwrap();
    }
    text + "end"
}
