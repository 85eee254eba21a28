//! Files that the kernel reads and writes by itself.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

use rustix::fs::{Mode, OFlags};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::*;

/// A mount whose kernel passes files through, unless that cannot be had here.
pub(super) fn mount(test: &str, args: &[&str]) -> Option<Mounted> {
    if cannot_mount(test) {
        return None;
    }
    let mounted = Mounted::new(args);
    fs::write(mounted.host("probe"), vec![1; 100_000]).unwrap();
    if args.contains(&"--passthrough=on") && !mounted.passes(&mounted.at("probe")) {
        skip(test, "this kernel passes no files through");
        return None;
    }
    Some(mounted)
}

impl Mounted {
    /// Bytes that the daemon has read and written by system calls.
    fn moved(&self) -> u64 {
        let figures = fs::read_to_string(self.process.proc("io")).unwrap();
        let value = |name| figures.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        ["rchar: ", "wchar: "].iter().map(|name| value(name).parse::<u64>().unwrap()).sum()
    }

    /// True if a file of 100000 bytes is read without the daemon.
    pub(super) fn passes(&self, path: &Path) -> bool {
        let before = self.moved();
        assert_eq!(fs::read(path).unwrap().len(), 100_000);
        self.moved() - before < 50_000
    }
}

/// Shared memory over the beginning of a file.
struct Map(*mut u8);

impl Map {
    const LEN: usize = 4096;

    #[expect(unsafe_code, reason = "maps memory")]
    fn new(file: &File) -> Self {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, which nobody else has.
        let at =
            unsafe { mmap(std::ptr::null_mut(), Self::LEN, protection, MapFlags::SHARED, file, 0) };
        Map(at.unwrap().cast())
    }

    #[expect(unsafe_code, reason = "reads shared memory")]
    fn byte(&self, at: usize) -> u8 {
        assert!(at < Self::LEN);
        // SAFETY: in the mapping; others may change it, hence volatile.
        unsafe { self.0.add(at).read_volatile() }
    }

    #[expect(unsafe_code, reason = "writes shared memory")]
    fn set(&self, at: usize, byte: u8) {
        assert!(at < Self::LEN);
        // SAFETY: as in byte.
        unsafe { self.0.add(at).write_volatile(byte) }
    }
}

impl Drop for Map {
    #[expect(unsafe_code, reason = "unmaps memory")]
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nobody uses any more.
        unsafe { munmap(self.0.cast(), Self::LEN).unwrap() }
    }
}

fn open(path: &Path) -> File {
    File::options().read(true).write(true).open(path).unwrap()
}

#[test]
fn reads_and_writes_do_not_reach_the_daemon() {
    let Some(mounted) = mount("reads_and_writes_do_not_reach_the_daemon", &["--passthrough=on"])
    else {
        return;
    };
    let before = mounted.moved();
    fs::write(mounted.at("new"), vec![3; 1_000_000]).unwrap();
    assert_eq!(fs::read(mounted.at("new")).unwrap(), vec![3; 1_000_000]);
    assert_eq!(fs::metadata(mounted.at("new")).unwrap().len(), 1_000_000);
    assert_eq!(fs::read(mounted.host("new")).unwrap(), vec![3; 1_000_000]);
    assert!(mounted.moved() - before < 100_000, "{}", mounted.moved() - before);
}

#[test]
fn by_default_a_small_file_is_read_through_the_daemon_unless_rules_say_else() {
    let test = "by_default_a_small_file_is_read_through_the_daemon_unless_rules_say_else";
    if mount(test, &["--passthrough=on"]).is_none() {
        return;
    }
    for (args, comes) in [
        (&[][..], true),
        (&["--passthrough=on"][..], false),
        (&["--passthrough-rule=off:glob=*.log"][..], false),
    ] {
        let Some(mounted) = mount(test, args) else { return };
        fs::write(mounted.host("file"), vec![1; 65536]).unwrap();
        let before = mounted.moved();
        fs::read(mounted.at("file")).unwrap();
        assert_eq!(mounted.moved() - before > 60_000, comes, "{args:?}");
        // One that is written passes, whatever its size.
        let before = mounted.moved();
        fs::write(mounted.at("new"), vec![1; 65536]).unwrap();
        assert!(mounted.moved() - before < 60_000, "{args:?}");
    }
}

#[test]
fn switched_off_all_goes_through_the_daemon() {
    let test = "switched_off_all_goes_through_the_daemon";
    for args in [["--passthrough=off"], ["--writeback"]] {
        let Some(mounted) = mount(test, &args) else { return };
        assert!(!mounted.passes(&mounted.at("probe")), "{args:?}");
        assert!(!mounted.process.stderr().contains("WARN"), "{}", mounted.process.stderr());
    }
}

#[test]
fn all_opens_of_a_file_see_the_same_whatever_way_they_go() {
    let test = "all_opens_of_a_file_see_the_same_whatever_way_they_go";
    // The one who opens first decides how the file is cached, so both orders are tried.
    for (rule, first_writes) in
        [("off:read-only", true), ("off:read-only", false), ("off:write", true)]
    {
        let rule = format!("--passthrough-rule={rule}");
        let Some(mounted) =
            mount(test, &["--passthrough=on", "--passthrough-rule=on:glob=probe", &rule])
        else {
            return;
        };
        let path = mounted.at("file");
        fs::write(mounted.host("file"), vec![b'.'; 10_000]).unwrap();
        let (writer, mut reader);
        if first_writes {
            writer = open(&path);
            reader = File::open(&path).unwrap();
        } else {
            reader = File::open(&path).unwrap();
            writer = open(&path);
        }
        let mut byte = [0];
        let mut see = |at: u64| {
            reader.read_exact_at(&mut byte, at).unwrap();
            byte[0]
        };
        assert_eq!(see(5), b'.');
        writer.write_all_at(b"w", 5).unwrap();
        assert_eq!(see(5), b'w', "written");

        let map = Map::new(&writer);
        assert_eq!(map.byte(5), b'w');
        map.set(6, b'm');
        assert_eq!(see(6), b'm', "stored");
        writer.write_all_at(b"x", 7).unwrap();
        assert_eq!(map.byte(7), b'x', "written under a mapping");

        File::options().append(true).open(&path).unwrap().write_all(b"the end").unwrap();
        assert_eq!(writer.metadata().unwrap().len(), 10_007);
        assert_eq!(see(10_006), b'd', "appended");

        writer.set_len(100).unwrap();
        assert_eq!(reader.metadata().unwrap().len(), 100);
        reader.seek(SeekFrom::Start(0)).unwrap();
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), 100, "cut");
        assert_eq!(&all[4..9], b".wmx.");

        fs::rename(&path, mounted.at("renamed")).unwrap();
        writer.write_all_at(b"r", 1).unwrap();
        assert_eq!(fs::read(mounted.host("renamed")).unwrap()[1], b'r');
        fs::remove_file(mounted.at("renamed")).unwrap();
        writer.write_all_at(b"u", 2).unwrap();
        let mut byte = [0];
        reader.read_exact_at(&mut byte, 2).unwrap();
        assert_eq!(byte[0], b'u', "without a name");
        assert_eq!(writer.metadata().unwrap().nlink(), 0);
        drop(map);
        writer.sync_all().unwrap();
    }
}

#[test]
fn a_file_may_be_opened_any_way_after_any_other() {
    let test = "a_file_may_be_opened_any_way_after_any_other";
    let args = [
        "--passthrough=on",
        "--passthrough-rule=on:glob=probe",
        "--passthrough-rule=off:read-only",
    ];
    let Some(mounted) = mount(test, &args) else { return };
    let path = mounted.at("file");
    fs::write(&path, "0").unwrap();
    // All ways to hold up to four opens of the two kinds, opened and closed in turn.
    let mut held: Vec<File> = Vec::new();
    let mut state = 1u32;
    for round in 0..2000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let choice = state >> 24;
        if held.len() == 4 || choice & 1 == 0 && !held.is_empty() {
            held.swap_remove(choice as usize / 2 % held.len());
        } else if choice & 2 == 0 {
            held.push(File::open(&path).unwrap());
        } else {
            let mut file = open(&path);
            file.write_all(round.to_string().as_bytes()).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.starts_with(&round.to_string()), "{round}: {text}");
            for other in &held {
                let mut start = vec![0; round.to_string().len()];
                other.read_exact_at(&mut start, 0).unwrap();
                assert_eq!(start, round.to_string().as_bytes());
            }
            held.push(file);
        }
    }
}

#[test]
fn rules_tell_the_kernels_files_from_the_daemons() {
    let test = "rules_tell_the_kernels_files_from_the_daemons";
    let args = [
        "--passthrough=on",
        "--passthrough-rule=on:glob=probe",
        "--passthrough-rule=off:glob=*.log",
        "--passthrough-rule=off:glob=secret/**",
        "--passthrough-rule=off:max-size=99999",
    ];
    let Some(mounted) = mount(test, &args) else { return };
    fs::create_dir_all(mounted.host("secret/deep")).unwrap();
    for (name, passes) in [("a.log", false), ("a.txt", true), ("secret/deep/a.txt", false)] {
        fs::write(mounted.host(name), vec![1; 100_000]).unwrap();
        assert_eq!(mounted.passes(&mounted.at(name)), passes, "{name}");
    }
    fs::write(mounted.host("small"), vec![1; 99_999]).unwrap();
    let before = mounted.moved();
    fs::read(mounted.at("small")).unwrap();
    assert!(mounted.moved() - before > 99_000);
}

#[test]
fn a_file_whose_name_is_not_known_is_not_passed_by_rules_that_name_files() {
    let test = "a_file_whose_name_is_not_known_is_not_passed_by_rules_that_name_files";
    let hold = |path: PathBuf| {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).unwrap()
    };
    let again = |held: &OwnedFd| PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()));
    for (rules, passes) in [
        (&["off:glob=*.log"][..], false),
        (&["off:max-size=5,glob=*.log"], true),
        (&["on:glob=*.log"], true),
        (&["on:glob=*.log", "off"], false),
    ] {
        let mut args = vec!["--passthrough=on".into(), "--passthrough-rule=on:glob=probe".into()];
        args.extend(rules.iter().map(|rule| format!("--passthrough-rule={rule}")));
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let Some(mounted) = mount(test, &args) else { return };
        for name in ["gone.log", "away.log"] {
            fs::write(mounted.host(name), vec![1; 100_000]).unwrap();
        }
        // Opened again they are not looked up again.
        let (gone, away) = (hold(mounted.at("gone.log")), hold(mounted.at("away.log")));
        let _there = File::open(mounted.host("gone.log")).unwrap();
        fs::remove_file(mounted.host("gone.log")).unwrap();
        fs::rename(mounted.host("away.log"), mounted.folders.path("away.txt")).unwrap();
        for (what, held) in [("removed", gone), ("moved away", away)] {
            assert_eq!(mounted.passes(&again(&held)), passes, "{what}: {rules:?}");
        }
    }
}

#[test]
fn set_user_id_goes_when_somebody_else_writes() {
    let Some(mounted) = mount("set_user_id_goes_when_somebody_else_writes", &["--passthrough=on"])
    else {
        return;
    };
    fs::set_permissions(mounted.folders.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = mounted.at("file");
    fs::write(&path, "x").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o6777)).unwrap();
    let mut command = Command::new("sh");
    std::os::unix::process::CommandExt::uid(&mut command, 65534);
    let status = command.args(["-c", r#"echo more >>"$1""#, "sh"]).arg(&path).status().unwrap();
    assert!(status.success());
    assert_eq!(fs::metadata(mounted.host("file")).unwrap().mode() & 0o7000, 0);
    assert_eq!(fs::read(mounted.host("file")).unwrap(), b"xmore\n");
}

#[test]
fn registrations_end_with_the_last_open() {
    let Some(mounted) = mount("registrations_end_with_the_last_open", &["--passthrough=on"]) else {
        return;
    };
    let work = |rounds| {
        for round in 0..rounds {
            let path = mounted.at(&format!("file {}", round % 50));
            let files = [File::create(&path).unwrap(), File::open(&path).unwrap(), open(&path)];
            drop(files);
        }
        // RELEASE is not waited for.
        std::thread::sleep(Duration::from_millis(300));
    };
    // The files themselves stay known.
    work(200);
    let before = mounted.process.descriptors().unwrap();
    work(2000);
    wait_until("all closed", || mounted.process.descriptors().unwrap() <= before);
    assert!(!mounted.process.stderr().contains("WARN"), "{}", mounted.process.stderr());
}

#[test]
fn files_on_an_overlay_pass_through_as_well() {
    let test = "files_on_an_overlay_pass_through_as_well";
    if cannot_mount(test) {
        return;
    }
    let folders = Folders::new();
    for name in ["lower", "upper", "work"] {
        fs::create_dir(folders.path(name)).unwrap();
    }
    fs::write(folders.path("lower/file"), vec![1; 100_000]).unwrap();
    let path = |name| folders.path(name).display().to_string();
    let data =
        format!("lowerdir={},upperdir={},workdir={}", path("lower"), path("upper"), path("work"));
    let data = std::ffi::CString::new(data).unwrap();
    let none = rustix::mount::MountFlags::empty();
    if rustix::mount::mount("x", folders.source(), "overlay", none, &*data).is_err() {
        skip(test, "no overlay can be mounted here");
        return;
    }
    let source = folders.source();
    let mounted = folders.mount(&["--passthrough=on"]);
    let passes = mounted.passes(&mounted.at("file"));
    drop(mounted);
    unmount(source, UnmountFlags::DETACH).unwrap();
    assert!(passes);
}
