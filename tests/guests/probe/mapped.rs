//! Files in memory, and how long it takes to use them.

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use super::content::{assert_same, fill, mix};
use super::failures::attempt;
use super::sys::{Mapping, O_DIRECT};
use super::turn;

const STEP: usize = 64 << 10;
const PAGE: usize = 4096;

fn writable(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

/// Calls `with` for all of `size` bytes, step by step: with the place and the bytes that belong
/// there.
fn steps(seed: u64, size: usize, mut with: impl FnMut(usize, &[u8])) {
    let mut expected = vec![0; STEP];
    for at in (0..size).step_by(STEP) {
        let len = STEP.min(size - at);
        fill(seed, at as u64, &mut expected[..len]);
        with(at, &expected[..len]);
    }
}

/// Checks a file through memory.
pub(super) fn check(path: &Path, seed: u64, size: u64) {
    let size = usize::try_from(size).unwrap();
    attempt(path, || {
        let mapping = Mapping::new(&File::open(path).unwrap(), size, false).unwrap();
        steps(seed, size, |at, bytes| {
            assert_same(&mapping.read(at, bytes.len()), bytes, at as u64);
        });
    });
}

/// Fills a file that is there through memory, and leaves it to the kernel to write that.
pub(super) fn store(path: &Path, seed: u64, size: u64) {
    let size = usize::try_from(size).unwrap();
    attempt(path, || {
        let mapping = Mapping::new(&writable(path), size, true).unwrap();
        steps(seed, size, |at, bytes| mapping.write(at, bytes));
    });
}

/// Checks a file through memory, again and again while whoever serves it is killed.
pub(super) fn orphan(path: &Path, seed: u64, size: u64) {
    let size = usize::try_from(size).unwrap();
    attempt(path, || {
        let mapping = Mapping::new(&File::open(path).unwrap(), size, false).unwrap();
        let check = || {
            steps(seed, size, |at, bytes| {
                assert_same(&mapping.read(at, bytes.len()), bytes, at as u64);
            });
        };
        check();
        eprintln!("turn: orphaned");
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            check();
        }
        // Closing it would wait for ever.
        eprintln!("turn: survived");
    });
}

/// Stores something, and sees what the other side writes meanwhile, both without a system call.
pub(super) fn share(path: &Path, turn: &Path) {
    attempt(path, || {
        let mapping = Mapping::new(&writable(path), 2 * PAGE, true).unwrap();
        mapping.write(10, b"stored by the guest");
        turn::take(turn);
        assert_eq!(mapping.read(PAGE + 10, 19), b"written by the host");
        assert_eq!(mapping.read(10, 19), b"stored by the guest");
    });
}

/// The other side of [`share`].
pub(super) fn shared(path: &Path) {
    attempt(path, || {
        let file = writable(path);
        let mut read = [0; 19];
        file.read_exact_at(&mut read, 10).unwrap();
        assert_eq!(&read, b"stored by the guest");
        file.write_all_at(b"written by the host", PAGE as u64 + 10).unwrap();
    });
}

/// Reads a file past the cache into another one that is in memory, and writes from there into a
/// third one.
pub(super) fn direct(from: &Path, mapped: &Path, to: &Path) {
    attempt(mapped, || {
        let len = usize::try_from(from.metadata().unwrap().len()).unwrap();
        let open = |path, new| {
            let mut options = OpenOptions::new();
            options.read(true).write(new).create(new).custom_flags(O_DIRECT).open(path).unwrap()
        };
        let mapping = Mapping::new(&writable(mapped), len, true).unwrap();
        mapping.fill_from(&open(from, false), len);
        mapping.drain_to(&open(to, true), len);
    });
}

/// Makes a file longer and shorter while it is in memory, and looks at all of it each time. What
/// cannot be shown may be refused; nothing else may come in its place.
pub(super) fn resize(path: &Path, seed: u64, size: u64) {
    attempt(path, || {
        let file = writable(path);
        let len = usize::try_from(size).unwrap();
        let mapping = Mapping::new(&file, len, true).unwrap();
        steps(seed, len, |at, bytes| assert_same(&mapping.read(at, bytes.len()), bytes, at as u64));
        let other = OpenOptions::new().append(true).open(path).unwrap();
        for change in [1, 4095, 5000, 1 << 20, 77] {
            let old = file.metadata().unwrap().len();
            let mut more = vec![0; usize::try_from(change).unwrap()];
            fill(seed, old, &mut more);
            std::io::Write::write_all(&mut &other, &more).unwrap();
            look(&file, seed, old + change);
        }
        for smaller in [size + 1, size - 1, size - 5000, size / 2 + 1, 4096, 1] {
            file.set_len(smaller).unwrap();
            look(&file, seed, smaller);
            let seen = usize::try_from(smaller).unwrap().min(len);
            let mut expected = vec![0; seen];
            fill(seed, 0, &mut expected);
            assert_same(&mapping.read(0, seen), &expected, 0);
        }
    });
}

fn look(file: &File, seed: u64, size: u64) {
    assert_eq!(file.metadata().unwrap().len(), size);
    steps(seed, usize::try_from(size).unwrap(), |at, expected| {
        let mut bytes = vec![0; expected.len()];
        match file.read_at(&mut bytes, at as u64) {
            Ok(len) => assert_same(&bytes[..len], &expected[..len], at as u64),
            Err(error) => assert_eq!(error.raw_os_error(), Some(5), "at {at} of {size}"),
        }
    });
}

/// Uses a file in one way, and prints how long that takes: nanoseconds a page.
pub(super) fn time(path: &Path, how: &str, count: u64) {
    let file = if how == "touch" { writable(path) } else { File::open(path).unwrap() };
    let len = usize::try_from(file.metadata().unwrap().len()).unwrap();
    let pages = (len / PAGE) as u64;
    let mut buffer = vec![0; PAGE];
    let random = |number| usize::try_from(mix(3, number) % pages).unwrap() * PAGE;
    let begun = Instant::now();
    match how {
        "pread" => {
            for number in 0..count {
                file.read_exact_at(&mut buffer, random(number) as u64).unwrap();
            }
        }
        "mmap" => {
            let mapping = Mapping::new(&file, len, false).unwrap();
            for number in 0..count {
                mapping.read_into(random(number), black_box(&mut buffer));
            }
        }
        "scan" | "copy" => {
            let mapping = Mapping::new(&file, len, false).unwrap();
            for number in 0..count {
                let at = usize::try_from(number % pages).unwrap() * PAGE;
                match how {
                    "scan" => {
                        black_box(mapping.sum_of_lines(at, PAGE));
                    }
                    _ => mapping.read_into(at, black_box(&mut buffer)),
                }
            }
        }
        "touch" => {
            let mapping = Mapping::new(&file, len, true).unwrap();
            for number in 0..count {
                mapping.write(usize::try_from(number % pages).unwrap() * PAGE, b"touched");
            }
            mapping.sync().unwrap();
        }
        "read" => {
            let mut buffer = vec![0; 1 << 20];
            for number in 0..count / 256 {
                file.read_exact_at(&mut buffer, (number % (pages / 256)) << 20).unwrap();
            }
        }
        _ => panic!("pread, mmap, scan, copy, touch or read"),
    }
    let nanoseconds = begun.elapsed().as_nanos() / u128::from(count.max(1));
    black_box(&buffer);
    eprintln!("{how} {nanoseconds}");
}
