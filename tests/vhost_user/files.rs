//! The content and the attributes of files, seen by the guest and by the host.

use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::time::SystemTime;

use ferryfs::fuse::Errno;
use ferryfs::fuse::abi::{CopyFileRangeIn, SetattrIn};
use ferryfs::fuse::flags::setattr;
use ferryfs_bench::{Caller, ROOT};
use zerocopy::FromZeros;

use super::*;

const RDWR: i32 = libc::O_RDWR;

#[test]
fn a_file_is_created_written_read_and_released() {
    let Machine { mut fs, daemon, .. } = Machine::new();
    let made = fs.create(ROOT, "a", RDWR, 0o640).unwrap();
    let (node, fh) = (made.entry.nodeid, made.open.fh);
    let path = daemon.share().join("a");
    let host = fs::metadata(&path).unwrap();
    assert_eq!((host.mode(), host.ino()), (0o100_640, made.entry.attr.ino));
    assert_eq!((made.entry.attr.mode, made.entry.attr.nlink), (0o100_640, 1));

    let content = pattern(100_000);
    assert_eq!(fs.write(node, fh, 0, &content).unwrap(), 100_000);
    assert_eq!(fs.write(node, fh, 200_000, b"end").unwrap(), 3);
    // Closing reports nothing on a file system of the host, so that guests need not ask.
    assert_eq!(fs.flush(node, fh).unwrap_err(), Errno::ENOSYS);
    fs.fsync(node, fh, false).unwrap();
    fs.fsync(node, fh, true).unwrap();
    let host = fs::read(&path).unwrap();
    assert_eq!(
        (host.len(), &host[..100_000], &host[200_000..]),
        (200_003, &content[..], &b"end"[..])
    );

    assert_eq!(fs.read(node, fh, 99_000, 2000).unwrap(), host[99_000..101_000]);
    assert_eq!(fs.read(node, fh, 200_000, 4096).unwrap(), b"end", "the file ends there");
    assert_eq!(fs.read(node, fh, 200_003, 4096).unwrap(), b"");
    assert_eq!(fs.read(node, fh, 0, 0).unwrap(), b"");
    for by in [None, Some(fh)] {
        assert_eq!(fs.getattr(node, by).unwrap().attr.size, 200_003);
    }
    fs.release(node, fh).unwrap();
    assert_eq!(fs.read(node, fh, 0, 1).unwrap_err(), Errno::EBADF);
    assert_eq!(fs.release(node, fh).unwrap_err(), Errno::EBADF);

    let fh = fs.open(node, libc::O_RDONLY).unwrap().fh;
    assert_eq!(fs.read(node, fh, 1, 5).unwrap(), content[1..6]);
    assert_eq!(fs.write(node, fh, 0, b"x").unwrap_err(), Errno::EBADF);
    let fh = fs.open(node, libc::O_WRONLY | libc::O_TRUNC).unwrap().fh;
    assert_eq!(fs::read(&path).unwrap(), b"");
    assert_eq!(fs.read(node, fh, 0, 1).unwrap_err(), Errno::EBADF);
}

#[test]
fn attributes_change_on_the_host() {
    let mut machine = Machine::new();
    let path = machine.put("a", "0123456789");
    let node = machine.find(ROOT, "a");
    let fs = &mut machine.fs;
    let change = |valid| SetattrIn { valid, ..SetattrIn::new_zeroed() };

    let attr = fs.setattr(node, &SetattrIn { mode: 0o751, ..change(setattr::MODE) }).unwrap().attr;
    assert_eq!((attr.mode, fs::metadata(&path).unwrap().mode()), (0o100_751, 0o100_751));
    let attr = fs.setattr(node, &SetattrIn { size: 4, ..change(setattr::SIZE) }).unwrap().attr;
    assert_eq!((attr.size, fs::read(&path).unwrap()), (4, b"0123".to_vec()));
    let fh = fs.open(node, RDWR).unwrap().fh;
    let sized = SetattrIn { size: 8192, fh, ..change(setattr::SIZE | setattr::FH) };
    assert_eq!(fs.setattr(node, &sized).unwrap().attr.size, 8192);
    assert_eq!(fs::metadata(&path).unwrap().len(), 8192);
    let times = SetattrIn {
        atime: 1_000_000_000,
        atimensec: 5,
        mtime: -3,
        mtimensec: 999_999_999,
        ..change(setattr::ATIME | setattr::MTIME)
    };
    let attr = fs.setattr(node, &times).unwrap().attr;
    let host = fs::metadata(&path).unwrap();
    assert_eq!((attr.atime, attr.atimensec), (1_000_000_000, 5));
    assert_eq!((host.mtime(), host.mtime_nsec()), (-3, 999_999_999));
    let now = change(setattr::MTIME | setattr::MTIME_NOW);
    let attr = fs.setattr(node, &now).unwrap().attr;
    assert!(attr.mtime > 1_700_000_000 && attr.atime == 1_000_000_000);
    if is_root() {
        let ids = SetattrIn { uid: 12, gid: 34, ..change(setattr::UID | setattr::GID) };
        let attr = fs.setattr(node, &ids).unwrap().attr;
        let host = fs::metadata(&path).unwrap();
        assert_eq!((attr.uid, attr.gid, host.uid(), host.gid()), (12, 34, 12, 34));
    }
    assert_eq!(fs.setattr(node, &change(0)).unwrap().attr.size, 8192, "nothing changes");
    let sized = SetattrIn { size: 1, ..change(setattr::SIZE) };
    assert_eq!(fs.setattr(ROOT, &sized).unwrap_err(), Errno::EISDIR);
}

#[test]
fn attributes_are_those_of_the_host() {
    let mut machine = Machine::new();
    let path = machine.put("a", pattern(5000));
    let found = machine.fs.lookup(ROOT, "a").unwrap();
    let host = fs::metadata(&path).unwrap();
    let stat = machine.fs.statx(found.nodeid, None, 0xfff).unwrap().stat;
    for attr in [found.attr, machine.fs.getattr(found.nodeid, None).unwrap().attr] {
        assert_eq!((attr.ino, attr.size, attr.blocks), (host.ino(), 5000, host.blocks()));
        assert_eq!((attr.mode, u64::from(attr.nlink)), (host.mode(), host.nlink()));
        assert_eq!((attr.mtime, i64::from(attr.mtimensec)), (host.mtime(), host.mtime_nsec()));
        assert_eq!((attr.ctime, i64::from(attr.ctimensec)), (host.ctime(), host.ctime_nsec()));
        assert_eq!(u64::from(attr.blksize), host.blksize());
    }
    assert_eq!((stat.ino, stat.size, u32::from(stat.mode)), (host.ino(), 5000, host.mode()));
    assert_eq!(stat.mask & 0x7ff, 0x7ff, "all basic attributes are known");
    if let Ok(birth) = host.created() {
        let birth = birth.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let seconds = i64::try_from(birth.as_secs()).unwrap();
        assert_eq!((stat.btime.tv_sec, stat.btime.tv_nsec), (seconds, birth.subsec_nanos()));
        assert_eq!(stat.mask & 0x800, 0x800);
    }
}

#[test]
fn extended_attributes_are_kept_on_the_host() {
    let mut machine = Machine::new();
    let path = machine.put("a", "");
    let node = machine.find(ROOT, "a");
    let fs = &mut machine.fs;
    let host = |name: &str| {
        let mut value = vec![0; 1 << 16];
        let len = rustix::fs::getxattr(&path, name, &mut value[..]).ok()?;
        Some(value[..len].to_vec())
    };
    fs.setxattr(node, "user.one", b"1", 0).unwrap();
    fs.setxattr(node, "user.two", &[0, 1, 2], libc::XATTR_CREATE.cast_unsigned()).unwrap();
    assert_eq!((host("user.one"), host("user.two")), (Some(vec![b'1']), Some(vec![0, 1, 2])));
    let again = fs.setxattr(node, "user.two", b"", libc::XATTR_CREATE.cast_unsigned());
    assert_eq!(again.unwrap_err(), Errno::EEXIST);
    let absent = fs.setxattr(node, "user.3", b"", libc::XATTR_REPLACE.cast_unsigned());
    assert_eq!(absent.unwrap_err(), Errno::ENODATA);

    assert_eq!(fs.getxattr(node, "user.two", 3).unwrap(), [0, 1, 2]);
    assert_eq!(fs.getxattr(node, "user.two", 100).unwrap(), [0, 1, 2]);
    assert_eq!(fs.getxattr(node, "user.two", 2).unwrap_err(), Errno::ERANGE);
    assert_eq!(fs.getxattr(node, "user.3", 9).unwrap_err(), Errno::ENODATA);
    let list = fs.listxattr(node, 1000).unwrap();
    let mut names: Vec<_> = list.split_inclusive(|byte| *byte == 0).collect();
    names.sort_unstable();
    assert_eq!(names, [b"user.one\0", b"user.two\0"]);
    assert_eq!(fs.listxattr(node, 17).unwrap_err(), Errno::ERANGE);

    fs.removexattr(node, "user.one").unwrap();
    assert_eq!(host("user.one"), None);
    assert_eq!(fs.removexattr(node, "user.one").unwrap_err(), Errno::ENODATA);
    for name in ["", &"x".repeat(256)] {
        assert_eq!(fs.getxattr(node, name, 9).unwrap_err(), Errno::ERANGE);
    }
}

#[test]
fn a_guest_can_ask_how_long_extended_attributes_are() {
    let mut machine = Machine::new();
    machine.put("a", "");
    let node = machine.find(ROOT, "a");
    let fs = &mut machine.fs;
    assert_eq!(fs.listxattr_size(node).unwrap(), 0);
    fs.setxattr(node, "user.one", &[7; 3000], 0).unwrap();
    assert_eq!(fs.getxattr_size(node, "user.one").unwrap(), 3000);
    assert_eq!(fs.listxattr_size(node).unwrap(), 9);
    assert_eq!(fs.getxattr_size(node, "user.two").unwrap_err(), Errno::ENODATA);
}

#[test]
fn an_extended_attribute_of_a_link_is_not_one_of_its_target() {
    if !is_root() {
        return;
    }
    let mut machine = Machine::with(&["--modcaps=+sys_admin"], Setup::default());
    machine.fs.init(LINUX_6_18).unwrap();
    let path = machine.put("a", "");
    let fs = &mut machine.fs;
    let link = fs.symlink(ROOT, "link", "a").unwrap().nodeid;
    fs.setxattr(link, "trusted.t", b"on the link", 0).unwrap();
    assert_eq!(fs.getxattr(link, "trusted.t", 99).unwrap(), b"on the link");
    assert!(rustix::fs::getxattr(&path, "trusted.t", &mut [0; 99]).is_err());
}

#[test]
fn a_file_system_has_the_hosts_figures() {
    let mut machine = Machine::new();
    let host = rustix::fs::statvfs(machine.daemon.share()).unwrap();
    let guest = machine.fs.statfs(ROOT).unwrap();
    assert_eq!((guest.blocks, guest.files), (host.f_blocks, host.f_files));
    assert_eq!((u64::from(guest.bsize), u64::from(guest.frsize)), (host.f_bsize, host.f_frsize));
    assert_eq!(u64::from(guest.namelen), host.f_namemax);
    machine.fs.syncfs(ROOT).unwrap();
}

#[test]
fn a_file_without_a_name_can_get_one() {
    let Machine { mut fs, daemon, .. } = Machine::new();
    let made = fs.tmpfile(ROOT, RDWR, 0o600).unwrap();
    let (node, fh) = (made.entry.nodeid, made.open.fh);
    fs.write(node, fh, 0, b"content").unwrap();
    assert_eq!(fs::read_dir(daemon.share()).unwrap().count(), 0);
    fs.link(node, (ROOT, "named")).unwrap();
    assert_eq!(fs::read(daemon.share().join("named")).unwrap(), b"content");
}

#[test]
fn space_is_allocated_found_and_freed() {
    let mut machine = Machine::new();
    let path = machine.put("a", "");
    let node = machine.find(ROOT, "a");
    let fs = &mut machine.fs;
    let fh = fs.open(node, RDWR).unwrap().fh;
    fs.fallocate(node, fh, (0, 1 << 20), 0).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 1 << 20);
    fs.write(node, fh, 0, &pattern(1 << 20)).unwrap();
    let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    fs.fallocate(node, fh, (64 << 10, 128 << 10), punch).unwrap();
    assert_eq!(fs.read(node, fh, 64 << 10, 128 << 10).unwrap(), vec![0; 128 << 10]);
    assert_eq!(fs.lseek(node, fh, 0, libc::SEEK_HOLE).unwrap(), 64 << 10);
    assert_eq!(fs.lseek(node, fh, 64 << 10, libc::SEEK_DATA).unwrap(), 192 << 10);
    assert_eq!(fs.lseek(node, fh, 1 << 20, libc::SEEK_DATA).unwrap_err(), Errno::ENXIO);
    assert_eq!(fs.fallocate(node, fh, (0, 0), 0).unwrap_err(), Errno::EINVAL);
    assert_eq!(fs.fallocate(node, fh, (0, 1), 1 << 20).unwrap_err(), Errno::EOPNOTSUPP);
}

#[test]
fn ranges_are_copied_between_files() {
    let mut machine = Machine::new();
    machine.put("from", pattern(10_000));
    let path = machine.put("to", "");
    let (from, to) = (machine.find(ROOT, "from"), machine.find(ROOT, "to"));
    let fs = &mut machine.fs;
    let (fh_in, fh_out) = (fs.open(from, RDWR).unwrap().fh, fs.open(to, RDWR).unwrap().fh);
    let nodeid_out = to;
    let mut copy =
        CopyFileRangeIn { fh_in, off_in: 10, nodeid_out, fh_out, off_out: 0, len: 5000, flags: 0 };
    assert_eq!(fs.copy_file_range(from, &copy).unwrap(), 5000);
    assert_eq!(fs::read(&path).unwrap(), pattern(10_000)[10..5010]);
    (copy.off_in, copy.off_out, copy.len) = (9000, 5000, u64::MAX);
    assert_eq!(fs.copy_file_range_64(from, &copy).unwrap(), 1000, "the file ends there");
    assert_eq!(fs::read(&path).unwrap()[5000..], pattern(10_000)[9000..]);
    copy.flags = 1;
    assert_eq!(fs.copy_file_range(from, &copy).unwrap_err(), Errno::EINVAL);
    (copy.flags, copy.fh_out) = (0, fh_in);
    assert_eq!(fs.copy_file_range_64(from, &copy).unwrap_err(), Errno::EBADF);
}

#[test]
fn the_guest_sees_what_the_host_does() {
    let mut machine = Machine::new();
    let path = machine.put("a", "one");
    let node = machine.find(ROOT, "a");
    let fh = machine.fs.open(node, libc::O_RDONLY).unwrap().fh;
    fs::write(&path, "three").unwrap();
    assert_eq!(machine.fs.getattr(node, None).unwrap().attr.size, 5);
    assert_eq!(machine.fs.read(node, fh, 0, 9).unwrap(), b"three");

    fs::remove_file(&path).unwrap();
    let gone = machine.fs.lookup(ROOT, "a").unwrap();
    assert_eq!((gone.nodeid, gone.entry_valid), (0, 1), "a name may be taken not to be there");
    assert_eq!(machine.fs.getattr(node, Some(fh)).unwrap().attr.nlink, 0);
    assert_eq!(machine.fs.read(node, fh, 0, 9).unwrap(), b"three", "it is still open");
    machine.put("a", "another");
    let other = machine.find(ROOT, "a");
    assert_ne!(other, node, "another inode has another nodeid");
    assert_eq!(machine.fs.read(node, fh, 0, 9).unwrap(), b"three");
}

#[test]
fn appending_goes_to_the_end_whoever_else_writes() {
    let mut machine = Machine::new();
    let path = machine.put("a", "");
    let node = machine.find(ROOT, "a");
    let fh = machine.fs.open(node, libc::O_WRONLY | libc::O_APPEND).unwrap().fh;
    let host = fs::File::options().write(true).open(&path).unwrap();
    let flags = (libc::O_WRONLY | libc::O_APPEND, 0);
    machine.fs.write_with(node, fh, 0, b"guest", flags).unwrap();
    host.write_at(b"host", 5).unwrap();
    // The guest does not know of that.
    machine.fs.write_with(node, fh, 5, b"guest", flags).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"guesthostguest");
}

#[test]
fn access_is_decided_by_mode_and_ids() {
    if !is_root() {
        return;
    }
    let mut machine = Machine::new();
    let path = machine.put("a", "");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(&path, Some(1000), Some(2000)).unwrap();
    let node = machine.find(ROOT, "a");
    for (uid, gid, granted) in [(0, 0, 6), (1000, 0, 6), (5, 2000, 4), (5, 5, 0)] {
        machine.fs.caller = Caller { uid, gid, pid: 1 };
        for mask in 0..8 {
            let allowed = machine.fs.access(node, mask).is_ok();
            assert_eq!(allowed, mask & !granted == 0, "{uid} {gid} asks for {mask}");
        }
    }
}
