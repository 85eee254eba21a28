//! Bytes that follow from a seed and their place.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use super::failures::attempt;

/// The finalizer of `SplitMix64`: similar numbers in, unlike numbers out.
pub(super) fn mix(seed: u64, at: u64) -> u64 {
    let mut word = seed ^ at.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

/// Puts the bytes from `at` on into a buffer.
pub(super) fn fill(seed: u64, at: u64, buffer: &mut [u8]) {
    let word = |number| mix(seed, number).to_le_bytes();
    let skip = usize::try_from(at % 8).unwrap();
    let (head, words) = buffer.split_at_mut(((8 - skip) % 8).min(buffer.len()));
    head.copy_from_slice(&word(at / 8)[skip..][..head.len()]);
    for (place, chunk) in (at.div_ceil(8)..).zip(words.chunks_mut(8)) {
        chunk.copy_from_slice(&word(place)[..chunk.len()]);
    }
}

/// The first `len` bytes.
pub(super) fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fill(seed, 0, &mut bytes);
    bytes
}

/// How much is written or read by one call: whole and broken pages, one and several requests.
const STEPS: [usize; 6] = [65536, 4096, 1000, 12345, 1 << 20, 131_073];

/// Not more than some steps a file, because each is a round trip.
fn step(seed: u64, size: u64) -> usize {
    let step = STEPS[usize::try_from(mix(seed, 1 << 60) % STEPS.len() as u64).unwrap()];
    step.max(usize::try_from(size / 8).unwrap() + 1)
}

/// Writes `size` bytes.
pub(super) fn write(file: &mut File, seed: u64, size: u64) {
    let mut buffer = vec![0; step(seed, size).min(usize::try_from(size).unwrap())];
    let mut at = 0;
    while at < size {
        let len = buffer.len().min(usize::try_from(size - at).unwrap());
        fill(seed, at, &mut buffer[..len]);
        file.write_all(&buffer[..len]).unwrap();
        at += len as u64;
    }
}

/// Reads to the end and panics unless there are these `size` bytes and no more.
pub(super) fn check(file: &mut File, seed: u64, size: u64) {
    // Not the steps of the writer.
    let len = step(seed + 1, size);
    let (mut expected, mut found) = (vec![0; len], vec![0; len]);
    let mut at = 0;
    loop {
        let len = file.read(&mut found).unwrap();
        if len == 0 {
            break;
        }
        fill(seed, at, &mut expected[..len]);
        assert_same(&found[..len], &expected[..len], at);
        at += len as u64;
    }
    assert_eq!(at, size, "bytes");
}

/// Panics with the place of the first difference.
pub(super) fn assert_same(found: &[u8], expected: &[u8], at: u64) {
    if found == expected {
        return;
    }
    let mut places = 0..found.len().max(expected.len());
    let place = places.find(|&place| found.get(place) != expected.get(place)).unwrap();
    let (found, expected) = (found.get(place), expected.get(place));
    panic!("byte {} is {found:?}, not {expected:?}", at + place as u64);
}

/// Makes a file.
pub(super) fn fill_file(path: &Path, seed: u64, size: u64) {
    attempt(path, || write(&mut File::create(path).unwrap(), seed, size));
}

/// Checks a file.
pub(super) fn check_file(path: &Path, seed: u64, size: u64) {
    attempt(path, || {
        assert_eq!(fs::metadata(path).unwrap().len(), size, "size");
        check(&mut File::open(path).unwrap(), seed, size);
    });
}
