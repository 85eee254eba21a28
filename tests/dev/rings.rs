//! Requests that come over io_uring.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use rustix::process::Signal;

use super::*;

const PARAMETER: &str = "/sys/module/fuse/parameters/enable_uring";

/// Lets the kernel offer it, as long as a test needs that; then it is as it was before.
struct Enabled;

/// How many need it, and what it was before.
static NEEDED: Mutex<(usize, String)> = Mutex::new((0, String::new()));

impl Enabled {
    fn new() -> std::io::Result<Self> {
        let mut needed = NEEDED.lock().unwrap_or_else(PoisonError::into_inner);
        if needed.0 == 0 {
            needed.1 = fs::read_to_string(PARAMETER)?;
            fs::write(PARAMETER, "Y")?;
        }
        needed.0 += 1;
        Ok(Enabled)
    }
}

impl Drop for Enabled {
    fn drop(&mut self) {
        let mut needed = NEEDED.lock().unwrap_or_else(PoisonError::into_inner);
        needed.0 -= 1;
        if needed.0 == 0 {
            let _ = fs::write(PARAMETER, &needed.1);
        }
    }
}

/// A mount whose requests come over io_uring, unless that cannot be had here.
pub(super) fn mount(test: &str, args: &[&str]) -> Option<Mounted> {
    if cannot_mount(test) {
        return None;
    }
    let Ok(enabled) = Enabled::new() else {
        skip(test, "this kernel has no io_uring for FUSE");
        return None;
    };
    let mounted = Mounted::new(&[&["--io-uring=on", "--passthrough=off"], args].concat());
    drop(enabled);
    let said = mounted.process.stderr();
    if !said.contains("Requests come over io_uring") {
        skip(test, "io_uring may not be used");
        return None;
    }
    Some(mounted)
}

impl Mounted {
    /// System calls that read, of the daemon.
    fn reads(&self) -> u64 {
        let figures = fs::read_to_string(self.process.proc("io")).unwrap();
        let figure = figures.lines().find_map(|line| line.strip_prefix("syscr: ")).unwrap();
        figure.parse().unwrap()
    }
}

#[test]
fn requests_come_by_rings_and_nothing_is_read_from_the_device() {
    let test = "requests_come_by_rings_and_nothing_is_read_from_the_device";
    let Some(mounted) = mount(test, &["--cache=never"]) else { return };
    fs::write(mounted.host("file"), "x").unwrap();
    fs::metadata(mounted.at("file")).unwrap();
    let before = mounted.reads();
    for _ in 0..500 {
        fs::metadata(mounted.at("file")).unwrap();
    }
    // Only FORGETs, of which there are few, come by read(2).
    assert!(mounted.reads() - before < 100, "{}", mounted.reads() - before);
}

#[test]
fn everything_works_over_rings() {
    let test = "everything_works_over_rings";
    let Some(mut mounted) = mount(test, &[]) else { return };
    let content: Vec<u8> = (0..3_000_000u32).map(|at| (at / 7).to_le_bytes()[0]).collect();
    fs::write(mounted.at("big"), &content).unwrap();
    assert_eq!(fs::read(mounted.host("big")).unwrap(), content);
    assert_eq!(fs::read(mounted.at("big")).unwrap(), content);
    let direct = File::options()
        .read(true)
        .write(true)
        .custom_flags_direct()
        .open(mounted.at("big"))
        .unwrap();
    let mut block = Aligned([0; 8192]);
    direct.read_exact_at(&mut block.0, 4096).unwrap();
    assert_eq!(block.0[..], content[4096..12288]);

    fs::create_dir(mounted.at("dir")).unwrap();
    for name in 0..300 {
        fs::write(mounted.at(&format!("dir/{name:0200}")), "").unwrap();
    }
    assert_eq!(fs::read_dir(mounted.at("dir")).unwrap().count(), 300);
    fs::hard_link(mounted.at("big"), mounted.at("dir/link")).unwrap();
    fs::rename(mounted.at("big"), mounted.at("dir/renamed")).unwrap();
    std::os::unix::fs::symlink("t".repeat(4000), mounted.at("symlink")).unwrap();
    assert_eq!(fs::read_link(mounted.at("symlink")).unwrap().as_os_str().len(), 4000);
    let long = "n".repeat(255);
    fs::write(mounted.at(&long), "x").unwrap();
    assert!(mounted.host(&long).exists());
    let value = vec![7; 4000];
    rustix::fs::setxattr(mounted.at(&long), "user.x", &value, rustix::fs::XattrFlags::empty())
        .unwrap();
    let mut back = vec![0; 5000];
    let len = rustix::fs::getxattr(mounted.at(&long), "user.x", &mut back[..]).unwrap();
    assert_eq!(back[..len], value);
    assert!(fs::metadata(mounted.at("missing")).is_err());
    assert!(fs::remove_dir(mounted.at("dir")).is_err());
    let file = File::open(mounted.at("dir/renamed")).unwrap();
    file.sync_all().unwrap();
    drop((file, direct));
    leave(&mounted.folders.at());
    assert_eq!(mounted.exit_code(), Some(0), "{}", mounted.process.stderr());
    assert!(!mounted.process.stderr().contains("WARN"), "{}", mounted.process.stderr());
}

/// What direct I/O wants.
#[repr(align(4096))]
struct Aligned([u8; 8192]);

trait Direct {
    fn custom_flags_direct(&mut self) -> &mut Self;
}

impl Direct for fs::OpenOptions {
    fn custom_flags_direct(&mut self) -> &mut Self {
        let flags = rustix::fs::OFlags::DIRECT.bits().cast_signed();
        std::os::unix::fs::OpenOptionsExt::custom_flags(self, flags)
    }
}

#[test]
fn many_at_once_get_each_their_own_answers() {
    let Some(mounted) = mount("many_at_once_get_each_their_own_answers", &["--cache=never"]) else {
        return;
    };
    let mounted = &mounted;
    std::thread::scope(|scope| {
        for worker in 0..16u8 {
            scope.spawn(move || {
                let path = mounted.at(&format!("file {worker}"));
                for round in 0..40u8 {
                    let content = vec![worker ^ round; 40_000 + usize::from(worker)];
                    fs::write(&path, &content).unwrap();
                    let mut back = Vec::new();
                    File::open(&path).unwrap().read_to_end(&mut back).unwrap();
                    assert!(back == content, "{worker} {round}");
                    assert!(fs::metadata(mounted.at(&format!("none {worker}"))).is_err());
                    // Waits for storage, elsewhere.
                    File::open(&path).unwrap().sync_data().unwrap();
                }
            });
        }
    });
}

#[test]
fn a_lock_that_is_waited_for_over_a_ring_is_granted_or_interrupted() {
    let test = "a_lock_that_is_waited_for_over_a_ring_is_granted_or_interrupted";
    let Some(mut mounted) = mount(test, &["--flock"]) else { return };
    fs::write(mounted.at("file"), "").unwrap();
    let held = File::open(mounted.at("file")).unwrap();
    held.lock().unwrap();
    let flock = |seconds: &str| {
        let mut command = Command::new("flock");
        command.args(["-w", seconds]).arg(mounted.at("file")).args(["echo", "granted"]);
        Process::start(command).unwrap()
    };
    let mut interrupted = flock("0.3");
    assert_eq!(interrupted.wait(LONG).unwrap().code(), Some(1));
    let mut waits = flock("30");
    // The others are served meanwhile.
    for _ in 0..100 {
        fs::metadata(mounted.at("file")).unwrap();
    }
    held.unlock().unwrap();
    assert_eq!(waits.wait(LONG).unwrap().code(), Some(0));
    drop(held);
    unmount(mounted.folders.at(), UnmountFlags::DETACH).unwrap();
    assert_eq!(mounted.exit_code(), Some(0), "{}", mounted.process.stderr());
}

#[test]
fn however_many_wait_on_one_processor_others_there_are_served() {
    let test = "however_many_wait_on_one_processor_others_there_are_served";
    let Some(mounted) = mount(test, &["--flock", "--cache=never"]) else { return };
    fs::write(mounted.at("file"), "").unwrap();
    let held = File::open(mounted.at("file")).unwrap();
    held.lock().unwrap();
    let on_one = |program: &[&str]| {
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]).args(program).arg(mounted.at("file"));
        command
    };
    let waiting: Vec<_> = (0..80)
        .map(|_| {
            let mut command = on_one(&["flock", "-w", "60"]);
            command.arg("true");
            Process::start(command).unwrap()
        })
        .collect();
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(50));
        let mut asks = Process::start(on_one(&["test", "-e"])).unwrap();
        assert_eq!(asks.wait(LONG).unwrap().code(), Some(0));
    }
    held.unlock().unwrap();
    // So many may wait in all; the others were told that there are no locks.
    let codes = waiting.into_iter().map(|mut waits| waits.wait(LONG).unwrap().code());
    let granted = codes.filter(|code| *code == Some(0)).count();
    assert!((60..80).contains(&granted), "{granted}");
}

#[test]
fn the_daemon_of_rings_may_be_killed_under_load() {
    let Some(mounted) = mount("the_daemon_of_rings_may_be_killed_under_load", &[]) else { return };
    endings::killed_under_load(mounted);
}

#[test]
fn an_aborted_connection_ends_the_rings() {
    let Some(mounted) = mount("an_aborted_connection_ends_the_rings", &["--flock"]) else { return };
    // Somebody waits, so that an entry is not with the kernel.
    fs::write(mounted.at("file"), "").unwrap();
    let held = File::open(mounted.at("file")).unwrap();
    held.lock().unwrap();
    let mut command = Command::new("flock");
    command.arg(mounted.at("file")).arg("true");
    let waits = Process::start(command).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    endings::aborted(mounted);
    drop((held, waits));
}

#[test]
fn where_it_is_switched_off_it_says_what_to_do_and_goes_on() {
    let test = "where_it_is_switched_off_it_says_what_to_do_and_goes_on";
    if cannot_mount(test) {
        return;
    }
    let needed = loop {
        let needed = NEEDED.lock().unwrap_or_else(PoisonError::into_inner);
        if needed.0 == 0 {
            break needed;
        }
        drop(needed);
        std::thread::sleep(Duration::from_millis(5));
    };
    let Ok(before) = fs::read_to_string(PARAMETER) else {
        skip(test, "this kernel has no io_uring for FUSE");
        return;
    };
    fs::write(PARAMETER, "N").unwrap();
    let mounted = Mounted::new(&["--io-uring=on"]);
    fs::write(PARAMETER, before).unwrap();
    drop(needed);
    let said = mounted.process.stderr();
    assert!(said.contains("WARN") && said.contains(PARAMETER), "{said}");
    File::create(mounted.at("file")).unwrap().write_all(b"x").unwrap();
    mounted.process.signal(Signal::TERM).unwrap();
}
