//! What is mapped where.

use super::*;

#[test]
fn what_is_mapped_is_the_file_for_both_sides() {
    for profile in PROFILES {
        let mut guest = Windowed::new(profile, &[]);
        let (node, file) = guest.put("file", 4 * RANGE);
        for range in 0..4 {
            guest.map(node, range * RANGE, (7 - range) * RANGE, READ).unwrap();
            guest.is_shown(&file, range * RANGE, (7 - range) * RANGE);
        }
        file.write_all_at(b"from the host", RANGE + 5).unwrap();
        guest.is_shown(&file, RANGE, 6 * RANGE);
        let requests = guest.window.requests();
        guest.map(node, RANGE, 6 * RANGE, WRITE).unwrap();
        assert_eq!(guest.window.requests(), requests, "it is writable from the beginning");
        assert!(guest.window.write(6 * RANGE + 77, b"from the guest"));
        let mut read = [0; 14];
        file.read_exact_at(&mut read, RANGE + 77).unwrap();
        assert_eq!(&read, b"from the guest");
    }
}

#[test]
fn a_range_is_mapped_wholly_or_not_at_all() {
    for len in [0, 1, PAGE, RANGE - PAGE, RANGE - 1, RANGE + 1, RANGE + PAGE, 3 * RANGE - 1] {
        let mut guest = Windowed::new(Profile::Qemu, &[]);
        let (node, file) = guest.put("file", len);
        for range in 0..4 {
            let at = range * RANGE;
            if at + RANGE <= len {
                guest.map(node, at, at, READ).unwrap();
                guest.is_shown(&file, at, at);
            } else {
                assert_eq!(guest.map(node, at, at, READ).unwrap_err(), Errno::EIO, "{len}");
            }
        }
        assert_eq!(guest.window.mapped().len() as u64, len / RANGE);
        assert_eq!(file.metadata().unwrap().len(), len);
    }
}

#[test]
fn what_is_mapped_stays_exact_when_a_file_grows_and_shrinks() {
    let mut guest = Windowed::new(Profile::Exact, &[]);
    let (node, file) = guest.put("file", 5);
    guest.map(node, 0, 0, READ).unwrap();
    guest.map(node, RANGE, RANGE, READ).unwrap();
    for len in [100, PAGE + 1, RANGE - 1, 2 * RANGE, RANGE + 7, 9, RANGE + 3] {
        file.set_len(len).unwrap();
        file.write_all_at(b"the end", len - 7).unwrap();
        guest.is_shown(&file, 0, 0);
        if len > RANGE {
            guest.is_shown(&file, RANGE, RANGE);
        }
    }
    let mut guest = Windowed::new(Profile::Qemu, &[]);
    let (node, file) = guest.put("file", 2 * RANGE);
    guest.map(node, 0, 0, READ).unwrap();
    guest.map(node, RANGE, RANGE, READ).unwrap();
    for len in [RANGE + 5, RANGE + PAGE, 3 * RANGE, 9, 2 * RANGE - 1] {
        file.set_len(len).unwrap();
        file.write_all_at(b"the end", len - 7).unwrap();
        guest.is_shown(&file, 0, 0);
        guest.is_shown(&file, RANGE, RANGE);
    }
}

#[test]
fn a_range_that_is_mapped_again_is_replaced() {
    for profile in PROFILES {
        let mut guest = Windowed::new(profile, &[]);
        let (one, first) = guest.put("one", 2 * RANGE);
        let (two, second) = guest.put("two", 2 * RANGE);
        guest.map(one, 0, 0, READ).unwrap();
        guest.map(two, RANGE, 0, READ).unwrap();
        guest.is_shown(&second, RANGE, 0);
        // Half of a mapping: the other half stays what it was.
        let half = SetupmappingIn { len: RANGE / 2, ..setup(0, RANGE / 2, READ) };
        guest.machine.fs.setupmapping(one, &half).unwrap();
        let shown = guest.window.read(RANGE / 2, 4096).unwrap();
        let mut expected = vec![0; 4096];
        first.read_exact_at(&mut expected, 0).unwrap();
        assert_eq!(shown, expected);
        second.read_exact_at(&mut expected, RANGE).unwrap();
        assert_eq!(guest.window.read(0, 4096).unwrap(), expected);
    }
}

#[test]
fn removed_ranges_show_nothing() {
    for profile in PROFILES {
        let mut guest = Windowed::new(profile, &[]);
        let (node, file) = guest.put("file", 4 * RANGE);
        for at in [0, RANGE, 2 * RANGE, 3 * RANGE] {
            guest.map(node, at, at, READ).unwrap();
        }
        guest.machine.fs.removemapping(node, &[(0, RANGE), (2 * RANGE, RANGE)]).unwrap();
        assert_eq!(guest.window.mapped(), [(RANGE, RANGE), (3 * RANGE, RANGE)]);
        assert_eq!(guest.window.read(0, 1), None);
        // Parts, and what is not mapped.
        guest.machine.fs.removemapping(node, &[(RANGE, PAGE), (0, RANGE)]).unwrap();
        assert_eq!(guest.window.read(RANGE, 1), None);
        let mut page = [0; 1];
        file.read_exact_at(&mut page, RANGE + PAGE).unwrap();
        assert_eq!(guest.window.read(RANGE + PAGE, 1).unwrap(), page);
        guest.machine.fs.removemapping(node, &[(0, u64::MAX)]).unwrap();
        assert_eq!(guest.window.mapped(), []);
    }
}

#[test]
fn hostile_ranges_change_nothing() {
    let mut guest = Windowed::new(Profile::Exact, &[]);
    let (node, file) = guest.put("file", 2 * RANGE);
    guest.machine.put("other", "");
    let dir = guest.machine.fs.mkdir(ROOT, "dir", 0o755).unwrap().nodeid;
    let link = guest.machine.fs.symlink(ROOT, "link", "file").unwrap().nodeid;
    let fifo = guest.machine.fs.mknod(ROOT, "fifo", libc::S_IFIFO | 0o644, 0).unwrap().nodeid;
    guest.map(node, 0, RANGE, WRITE).unwrap();
    let (before, requests) = (guest.window.mapped(), guest.window.requests());
    let good = setup(0, RANGE, READ);
    let max = u64::MAX;
    for bad in [
        SetupmappingIn { len: 0, ..good },
        SetupmappingIn { len: 1, ..good },
        SetupmappingIn { len: max, ..good },
        SetupmappingIn { len: max - PAGE + 1, ..good },
        SetupmappingIn { len: SIZE, ..good },
        SetupmappingIn { len: SIZE + PAGE, moffset: 0, ..good },
        SetupmappingIn { moffset: SIZE, ..good },
        SetupmappingIn { moffset: SIZE - RANGE + PAGE, ..good },
        SetupmappingIn { moffset: RANGE + 1, ..good },
        SetupmappingIn { moffset: max - RANGE + 1, ..good },
        SetupmappingIn { moffset: max - PAGE + 1, ..good },
        SetupmappingIn { foffset: 1, ..good },
        SetupmappingIn { foffset: max - RANGE + 1, ..good },
        SetupmappingIn { foffset: max - PAGE + 1, ..good },
        SetupmappingIn { foffset: 1 << 63, ..good },
        SetupmappingIn { flags: 0, ..good },
        SetupmappingIn { flags: 4, ..good },
        SetupmappingIn { flags: max, ..good },
    ] {
        let refused = guest.machine.fs.setupmapping(node, &bad);
        assert_eq!(refused.unwrap_err(), Errno::EINVAL, "{bad:x?}");
    }
    for node in [0, 77, max, dir, link, fifo, ROOT] {
        assert!(matches!(guest.map(node, 0, 0, READ), Err(Error::Errno(_))), "{node}");
    }
    for bad in
        [(0, 0), (1, PAGE), (0, 1), (0, SIZE + PAGE), (SIZE, PAGE), (max, PAGE), (PAGE, max - 4095)]
    {
        let refused = guest.machine.fs.removemapping(node, &[bad]);
        assert_eq!(refused.unwrap_err(), Errno::EINVAL, "{bad:x?}");
    }
    assert_eq!((guest.window.mapped(), guest.window.requests()), (before, requests));
    guest.is_shown(&file, 0, RANGE);
    // One bad range keeps no other from going.
    let refused = guest.machine.fs.removemapping(node, &[(1, 1), (RANGE, RANGE)]);
    assert_eq!(refused.unwrap_err(), Errno::EINVAL);
    assert_eq!(guest.window.mapped(), []);
}

#[test]
fn there_is_a_bound_to_what_a_guest_can_have_mapped() {
    let mut guest = Windowed::new(Profile::Exact, &[]);
    let (node, _) = guest.put("file", RANGE);
    let mut mapped = 0;
    for page in 0..SIZE / PAGE {
        // Every page another one of the file than its neighbours', so that none can be joined.
        let one = SetupmappingIn { len: PAGE, ..setup((page * 7 % 512) * PAGE, page * PAGE, READ) };
        match guest.machine.fs.setupmapping(node, &one) {
            Ok(()) => mapped += 1,
            Err(error) => {
                assert_eq!(error, Errno::ENOMEM);
                break;
            }
        }
    }
    assert_eq!(mapped, 64, "of a window of 16 ranges");
    guest.machine.fs.removemapping(node, &[(0, RANGE)]).unwrap();
    guest.map(node, 0, 0, READ).unwrap();
}
