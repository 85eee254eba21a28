//! Requests with buffers in the window.

use super::*;

/// Where the guest has its window.
const BASE: u64 = 1 << 40;

/// Sends a READ or WRITE with its data at an address; the error in the reply.
fn transfer(
    queue: &mut Queue,
    opcode: Opcode,
    (node, fh): (u64, u64),
    (data, len): (u64, u32),
) -> i32 {
    let region = queue.region().clone();
    let (request, reply) = (region.alloc(4096, 4096).unwrap(), region.alloc(4096, 4096).unwrap());
    let arg = ReadIn { fh, offset: 0, size: len, ..ReadIn::new_zeroed() };
    let more = if opcode == Opcode::Write { len } else { 0 };
    let head = InHeader {
        len: 80 + more,
        opcode: opcode as u32,
        unique: 9,
        nodeid: node,
        ..InHeader::new_zeroed()
    };
    region.write(request, head.as_bytes());
    region.write(request + 40, arg.as_bytes());
    let span = |addr, len| Span { addr, len };
    let (mut readable, mut writable) = (vec![span(request, 80)], vec![span(reply, 24)]);
    if opcode == Opcode::Write {
        readable.push(span(data, len));
    } else {
        writable = vec![span(reply, 16), span(data, len)];
    }
    queue.submit(&readable, &writable).unwrap();
    queue.kick().unwrap();
    let used = queue.wait(Instant::now() + LONG).unwrap();
    let head: OutHeader = region.get(reply);
    assert_eq!((head.len, head.unique), (used.len, 9));
    -head.error
}

#[test]
fn buffers_in_the_window_are_the_files_there() {
    let mut guest = Windowed::new(Profile::Qemu, &[]);
    let (node, mapped) = guest.put("mapped", 2 * RANGE);
    let (plain, file) = guest.put("plain", 10_000);
    let fh = guest.machine.fs.open(plain, libc::O_RDWR).unwrap().fh;
    let mut queue = guest.machine.guest.queue(2).unwrap();
    let at = BASE + 3 * RANGE + 8192;
    let read = |queue: &mut Queue, at| transfer(queue, Opcode::Read, (plain, fh), (at, 10_000));
    guest.map(node, RANGE, 3 * RANGE, WRITE).unwrap();
    assert_eq!(read(&mut queue, at), libc::EFAULT, "nobody has told where it is");
    let copy = mapped.try_clone().unwrap().into();
    let len = usize::try_from(RANGE).unwrap();
    let region = Region::of_file(copy, RANGE, BASE + 3 * RANGE, len).unwrap();
    guest.machine.guest.add_to_table(region).unwrap();

    assert_eq!(read(&mut queue, at), 0);
    let mut bytes = vec![0; 10_000];
    mapped.read_exact_at(&mut bytes, RANGE + 8192).unwrap();
    assert_eq!(bytes, pattern(10_000));
    mapped.write_all_at(b"from the window", RANGE + 8192).unwrap();
    let written = transfer(&mut queue, Opcode::Write, (plain, fh), (at, 10_000));
    assert_eq!(written, 0);
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(bytes[..15], *b"from the window");
    assert_eq!(bytes[15..], pattern(10_000)[15..]);

    // Another part of the window, parts that are not mapped, and what is no window at all.
    for nowhere in [BASE, BASE + 4 * RANGE - 100, BASE - 1, BASE + SIZE, 1 << 50, u64::MAX - 10] {
        assert_eq!(read(&mut queue, nowhere), libc::EFAULT, "{nowhere:#x}");
        let written = transfer(&mut queue, Opcode::Write, (plain, fh), (nowhere, 10_000));
        assert_eq!(written, libc::EFAULT, "{nowhere:#x}");
    }
    // A file that has ended is not made longer, and is no reason to die.
    mapped.set_len(RANGE + 8192).unwrap();
    assert_eq!(read(&mut queue, at), libc::EFAULT);
    assert_eq!(transfer(&mut queue, Opcode::Write, (plain, fh), (at, 10_000)), libc::EFAULT);
    assert_eq!(mapped.metadata().unwrap().len(), RANGE + 8192);
    let span = |addr, len| Span { addr, len };
    for (request, reply) in [(at, BASE), (BASE, at), (at, at)] {
        queue.submit(&[span(request, 100)], &[span(reply, 100)]).unwrap();
        queue.kick().unwrap();
        assert_eq!(queue.wait(Instant::now() + LONG).unwrap().len, 0);
    }
    guest.machine.fs.getattr(ROOT, None).unwrap();
    guest.machine.fs.removemapping(node, &[(3 * RANGE, RANGE)]).unwrap();
    assert_eq!(read(&mut queue, BASE + 3 * RANGE), libc::EFAULT);
}

#[test]
fn buffers_in_a_window_that_is_read_only_are_not_written() {
    let mut guest = Windowed::new(Profile::Exact, &["--readonly"]);
    let (node, mapped) = guest.put("mapped", RANGE);
    let (plain, _) = guest.put("plain", 5000);
    let fh = guest.machine.fs.open(plain, libc::O_RDONLY).unwrap().fh;
    let mut queue = guest.machine.guest.queue(2).unwrap();
    guest.map(node, 0, 0, READ).unwrap();
    let copy = mapped.try_clone().unwrap().into();
    let len = usize::try_from(RANGE).unwrap();
    guest.machine.guest.add_to_table(Region::of_file(copy, 0, BASE, len).unwrap()).unwrap();
    let read = transfer(&mut queue, Opcode::Read, (plain, fh), (BASE + PAGE, 5000));
    assert_eq!(read, libc::EFAULT);
    guest.is_shown(&mapped, 0, 0);
    let mut bytes = vec![0; 5000];
    mapped.read_exact_at(&mut bytes, PAGE).unwrap();
    let all = pattern(usize::try_from(RANGE).unwrap());
    assert_eq!(bytes, all[4096..9096]);
}
