//! What stays open and mapped while the other side looks.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::content::{self, assert_same, bytes};
use super::failures::attempt;
use super::sys::Mapping;
use super::turn;

const OFFERED: usize = (1 << 20) + 123;
const MAPPED: usize = 200_000;
const WRITTEN: [usize; 4] = [0, 4093, 65_530, MAPPED - 10];
const FILES: usize = 100;

/// Makes what the other side maps.
pub(super) fn offer(dir: &Path) {
    fs::create_dir(dir).unwrap();
    fs::write(dir.join("offered"), bytes(21, OFFERED)).unwrap();
}

/// Opens, maps, writes and syncs, and lets the other side look before anything is closed.
pub(super) fn hold(dir: &Path, turn: &Path) {
    attempt("what the other side made is in memory", || {
        let mapping = Mapping::new(&File::open(dir.join("offered")).unwrap(), OFFERED, false);
        assert_same(&mapping.unwrap().read(0, OFFERED), &bytes(21, OFFERED), 0);
    });
    attempt("what is held stays as it is", || {
        let options = OpenOptions::new().read(true).write(true).create(true).to_owned();
        let file = options.open(dir.join("mapped")).unwrap();
        file.set_len(MAPPED as u64).unwrap();
        let mapping = Mapping::new(&file, MAPPED, true).unwrap();
        for at in WRITTEN {
            mapping.write(at, &bytes(at as u64, 10));
        }
        mapping.sync().unwrap();

        let removed = options.open(dir.join("removed")).unwrap();
        removed.write_all_at(b"still there", 0).unwrap();
        fs::remove_file(dir.join("removed")).unwrap();

        let open = |number| options.open(dir.join(format!("open-{number}"))).unwrap();
        let open: Vec<_> = (0..FILES).map(open).collect();
        let listing = fs::read_dir(dir).unwrap();
        for (number, file) in open.iter().enumerate() {
            file.write_all_at(&bytes(number as u64, 5000), 0).unwrap();
        }

        turn::take(turn);

        assert_same(&mapping.read(4093, 10), &bytes(4093, 10), 4093);
        let mut text = String::new();
        (&removed).read_to_string(&mut text).unwrap();
        assert_eq!(text, "still there");
        assert!(listing.count() >= FILES);
        for (number, mut file) in open.into_iter().enumerate() {
            content::check(&mut file, number as u64, 5000);
        }
    });
}

/// Looks while the other side holds.
pub(super) fn held(dir: &Path) {
    attempt("what was synced from memory is in the file", || {
        let mut expected = vec![0; MAPPED];
        for at in WRITTEN {
            content::fill(at as u64, 0, &mut expected[at..at + 10]);
        }
        assert_same(&fs::read(dir.join("mapped")).unwrap(), &expected, 0);
    });
    attempt("what was written is in the files that are open", || {
        for number in 0..FILES {
            let found = fs::read(dir.join(format!("open-{number}"))).unwrap();
            assert_same(&found, &bytes(number as u64, 5000), 0);
        }
    });
    attempt("what was removed has no name", || assert!(!dir.join("removed").exists()));
}
