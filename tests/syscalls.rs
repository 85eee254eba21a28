//! What each request costs in system calls, which no other load on the machine changes.
#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use ferryfs::fuse::Errno;
use ferryfs::fuse::abi::SetattrIn;
use ferryfs::fuse::flags::{setattr, write};
use ferryfs_bench::{Caller, Calls, Client, Daemon, Error, Guest, LINUX_6_18, ROOT, Setup, Tracer};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};
use tempfile::TempDir;
use zerocopy::FromZeros;

/// A daemon whose system calls are counted, on a file system that has file handles and keeps
/// nothing back.
struct Counted {
    tracer: Tracer,
    fs: Client,
    hiprio: Client,
    _guest: Guest,
    _daemon: Daemon,
    share: TempDir,
}

/// By name; the figures of all that is counted.
type Costs = BTreeMap<String, u64>;

/// What is done so often that what happens once does not show.
const TIMES: u64 = 40;

/// None, and a line that says why, where it cannot be counted.
fn counted(test: &str) -> Option<Counted> {
    counted_with(test, "--inode-file-handles=mandatory", |_| ())
}

/// The same with another option, on a share that was prepared.
fn counted_with(test: &str, option: &str, prepare: impl FnOnce(&Path)) -> Option<Counted> {
    let skip = |reason: &str| {
        ferryfs_bench::skip(test, reason);
        None
    };
    if !rustix::process::geteuid().is_root() {
        return skip("only root may open file handles");
    }
    let Ok(share) = tempfile::tempdir_in("/dev/shm") else {
        return skip("there is no /dev/shm");
    };
    let binary = Path::new(env!("CARGO_BIN_EXE_ferryfs"));
    prepare(share.path());
    let args = [option, "--poll-us=0"];
    let Ok(daemon) = Daemon::start_on(binary, &args, share.path()) else {
        return skip("/dev/shm has no file handles");
    };
    let mut guest = Guest::connect(&daemon.socket(), Setup::default()).unwrap();
    let (hiprio, mut fs) = (guest.client(0).unwrap(), guest.client(1).unwrap());
    fs.init(LINUX_6_18).unwrap();
    match Tracer::attach(daemon.process()) {
        Ok(tracer) => Some(Counted { tracer, fs, hiprio, _guest: guest, _daemon: daemon, share }),
        Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            skip("ptrace is not allowed")
        }
        Err(error) => panic!("{error}"),
    }
}

/// What waits and wakes; the reads and writes are of events and messages, files have calls of their
/// own. And fcntl, by which the standard library of a debug build looks at a descriptor before it
/// closes it.
const WAKING: [i64; 9] = [
    libc::SYS_fcntl,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_ppoll,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_restart_syscall,
    libc::SYS_futex,
    libc::SYS_sched_yield,
];

/// By which a thread's heap grows: now and then while the tables of inodes fill, not every time.
const GROWING: [i64; 2] = [libc::SYS_mprotect, libc::SYS_brk];

const NAMES: [(i64, &str); 21] = [
    (libc::SYS_statx, "statx"),
    (libc::SYS_openat, "openat"),
    (libc::SYS_close, "close"),
    (libc::SYS_open_by_handle_at, "open_by_handle_at"),
    (libc::SYS_name_to_handle_at, "name_to_handle_at"),
    (libc::SYS_preadv2, "preadv2"),
    (libc::SYS_pwritev2, "pwritev2"),
    (libc::SYS_getdents64, "getdents64"),
    (libc::SYS_lseek, "lseek"),
    (libc::SYS_unlinkat, "unlinkat"),
    (libc::SYS_renameat2, "renameat2"),
    (libc::SYS_mkdirat, "mkdirat"),
    (libc::SYS_fchmodat, "fchmodat"),
    (libc::SYS_getxattr, "getxattr"),
    (libc::SYS_setresuid, "setresuid"),
    (libc::SYS_setresgid, "setresgid"),
    (libc::SYS_capset, "capset"),
    (libc::SYS_fsync, "fsync"),
    (libc::SYS_syncfs, "syncfs"),
    (libc::SYS_statfs, "statfs"),
    (libc::SYS_fstatfs, "fstatfs"),
];

impl Counted {
    /// What doing something costs each time, after it was done once.
    fn cost(&mut self, mut what: impl FnMut(&mut Self)) -> Costs {
        what(self);
        let before = self.tracer.calls();
        (0..TIMES).for_each(|_| what(self));
        let after = self.tracer.calls();
        let made = |number: &i64| {
            let count = |calls: &Calls| calls.get(number).copied().unwrap_or_default();
            count(&after) - count(&before)
        };
        // A request on its own wakes the queue and is signalled: a poll, a read and a write.
        let waking: u64 = WAKING.iter().map(made).sum();
        assert!(waking <= 8 * 4 * TIMES, "{waking} calls to wait and to wake");
        let growing: u64 = GROWING.iter().map(made).sum();
        assert!(growing <= TIMES / 8, "the heap grew {growing} times");
        let other = |number: &&i64| !WAKING.contains(number) && !GROWING.contains(number);
        let work = after.keys().filter(other).filter(|number| made(number) > 0);
        let each = work.map(|number| {
            let name = NAMES.iter().find(|(known, _)| known == number);
            let made = made(number);
            assert!(made.is_multiple_of(TIMES), "{made} times {name:?} ({number})");
            let name = name.map_or(format!("number {number}"), |(_, name)| (*name).into());
            (name, made / TIMES)
        });
        each.collect()
    }

    fn find(&mut self, name: &str) -> u64 {
        self.fs.lookup(ROOT, name).unwrap().nodeid
    }
}

fn costs(expected: &[(&str, u64)]) -> Costs {
    expected.iter().map(|(name, count)| ((*name).into(), *count)).collect()
}

#[test]
fn questions_about_inodes_cost_one_call() {
    let Some(mut this) = counted("questions_about_inodes_cost_one_call") else { return };
    File::create(this.share.path().join("file")).unwrap();
    let node = this.find("file");
    let fh = this.fs.open(node, libc::O_RDWR).unwrap().fh;
    let one = costs(&[("statx", 1)]);
    assert_eq!(this.cost(|this| _ = this.fs.getattr(node, None).unwrap()), one);
    assert_eq!(this.cost(|this| _ = this.fs.getattr(node, Some(fh)).unwrap()), one);
    assert_eq!(this.cost(|this| _ = this.fs.lookup(ROOT, "file").unwrap()), one);
    assert_eq!(this.cost(|this| _ = this.fs.lookup(ROOT, "none").unwrap()), one);
    let met = this.cost(|this| {
        File::create(this.share.path().join("other")).unwrap();
        let other = this.find("other");
        this.hiprio.forget(other, 1).unwrap();
        fs::remove_file(this.share.path().join("other")).unwrap();
    });
    assert_eq!(met, costs(&[("statx", 1), ("name_to_handle_at", 1)]));
}

#[test]
fn data_goes_by_one_call() {
    let Some(mut this) = counted("data_goes_by_one_call") else { return };
    fs::write(this.share.path().join("file"), vec![1; 1 << 20]).unwrap();
    fs::write(this.share.path().join("small"), [1; 3000]).unwrap();
    let (node, small) = (this.find("file"), this.find("small"));
    let fh = this.fs.open(node, libc::O_RDWR).unwrap().fh;
    let end = this.fs.open(small, libc::O_RDONLY).unwrap().fh;
    let read = costs(&[("preadv2", 1)]);
    for size in [4 << 10, 128 << 10, 1 << 20] {
        assert_eq!(this.cost(|this| drop(this.fs.read(node, fh, 0, size).unwrap())), read);
    }
    assert_eq!(this.cost(|this| drop(this.fs.read(small, end, 0, 4096).unwrap())), read);
    assert_eq!(this.cost(|this| drop(this.fs.read(small, end, 4096, 4096).unwrap())), read);
    let data = vec![2; 1 << 20];
    for (len, flags) in [(4 << 10, 0), (1 << 20, 0), (4 << 10, write::KILL_SUIDGID)] {
        let write = |this: &mut Counted| {
            this.fs.write_with(node, fh, 0, &data[..len], (0, flags)).unwrap();
        };
        assert_eq!(this.cost(write), costs(&[("pwritev2", 1)]));
    }
}

#[test]
fn opening_costs_what_a_program_would_pay_and_closing_nothing_twice() {
    let Some(mut this) = counted("opening_costs_what_a_program_would_pay") else { return };
    fs::write(this.share.path().join("file"), "content").unwrap();
    let node = this.find("file");
    let cycle = this.cost(|this| {
        let fh = this.fs.open(node, libc::O_RDONLY).unwrap().fh;
        assert_eq!(this.fs.flush(node, fh).unwrap_err(), Errno::ENOSYS);
        this.fs.release(node, fh).unwrap();
    });
    assert_eq!(cycle, costs(&[("open_by_handle_at", 1), ("statx", 1), ("close", 1)]));
    this.fs.setxattr(node, "user.test", b"value", 0).unwrap();
    let get = |this: &mut Counted| drop(this.fs.getxattr(node, "user.test", 100).unwrap());
    assert_eq!(this.cost(get), costs(&[("getxattr", 1)]));
    let mode = SetattrIn { valid: setattr::MODE, mode: 0o600, ..SetattrIn::new_zeroed() };
    let set = |this: &mut Counted| _ = this.fs.setattr(node, &mode).unwrap();
    assert_eq!(this.cost(set), costs(&[("fchmodat", 1), ("statx", 1)]));
}

#[test]
fn a_directory_costs_one_call_an_entry_once_they_are_known() {
    let Some(mut this) = counted("a_directory_costs_one_call_an_entry") else { return };
    let path = this.share.path().join("dir");
    fs::create_dir(&path).unwrap();
    for at in 0..400 {
        File::create(path.join(format!("a-file-{at:03}"))).unwrap();
    }
    let dir = this.find("dir");
    let list = |this: &mut Counted| {
        let fh = this.fs.opendir(dir).unwrap().fh;
        let (mut offset, mut seen) = (0, 0);
        loop {
            let entries = this.fs.readdirplus(dir, fh, offset, 32 << 10).unwrap();
            let Some(last) = entries.last() else { break };
            (offset, seen) = (last.offset, seen + entries.len());
        }
        assert_eq!(seen, 402);
        this.fs.releasedir(dir, fh).unwrap();
    };
    // All records are read at once; the second time there are no more.
    let known = [("openat", 1), ("getdents64", 2), ("statx", 400), ("close", 1)];
    assert_eq!(this.cost(list), costs(&known));
}

#[test]
fn making_and_removing_cost_little_for_any_user() {
    let Some(mut this) = counted("making_and_removing_cost_little_for_any_user") else { return };
    let made = [("openat", 1), ("statx", 1), ("name_to_handle_at", 1)];
    let removed = [("close", 1), ("unlinkat", 1)];
    for uid in [0, 1000] {
        this.fs.caller = Caller { uid, gid: uid, pid: 1 };
        let cycle = this.cost(|this| {
            let created = this.fs.create(ROOT, "file", libc::O_RDWR, 0o644).unwrap();
            let node = created.entry.nodeid;
            this.fs.release(node, created.open.fh).unwrap();
            this.fs.unlink(ROOT, "file").unwrap();
            this.hiprio.forget(node, 1).unwrap();
        });
        assert_eq!(cycle, costs(&[&made[..], &removed[..]].concat()), "uid {uid}");
    }
    this.fs.create(ROOT, "a", libc::O_RDWR, 0o644).unwrap();
    let there_and_back = this.cost(|this| {
        this.fs.rename((ROOT, "a"), (ROOT, "b")).unwrap();
        this.fs.rename((ROOT, "b"), (ROOT, "a")).unwrap();
    });
    assert_eq!(there_and_back, costs(&[("renameat2", 2)]));
    let dirs = this.cost(|this| {
        let node = this.fs.mkdir(ROOT, "dir", 0o755).unwrap().nodeid;
        this.fs.rmdir(ROOT, "dir").unwrap();
        this.hiprio.forget(node, 1).unwrap();
    });
    let made = [("mkdirat", 1), ("name_to_handle_at", 1)];
    // A directory that is removed is opened, because processes of the guest may still be in it;
    // the two more are to find it, and to see that its handle is its own.
    let removed = [("open_by_handle_at", 1), ("unlinkat", 1), ("statx", 1 + 2), ("close", 1)];
    assert_eq!(dirs, costs(&[&made[..], &removed].concat()));
}

#[test]
fn what_is_mounted_on_a_file_is_made_durable_with_what_is_around_it() {
    let others = tempfile::tempdir().unwrap();
    let prepare = |share: &Path| {
        mount("tmpfs", others.path(), "tmpfs", MountFlags::empty(), None).unwrap();
        for file in [others.path().join("file"), share.join("file")] {
            File::create(file).unwrap();
        }
        mount_bind(others.path().join("file"), share.join("file")).unwrap();
    };
    let test = "what_is_mounted_on_a_file_is_made_durable";
    let this = counted_with(test, "--inode-file-handles=prefer", prepare);
    if let Some(mut this) = this {
        let sync = |this: &mut Counted| this.fs.syncfs(ROOT).unwrap();
        let one = [("openat", 1), ("syncfs", 1), ("close", 1)];
        assert_eq!(this.cost(sync), costs(&one));
        this.find("file");
        assert_eq!(this.cost(sync), costs(&one.map(|(name, _)| (name, 2))));
        unmount(this.share.path().join("file"), UnmountFlags::DETACH).unwrap();
    }
    let _ = unmount(others.path(), UnmountFlags::DETACH);
}
