//! Every command line with which a launcher is known to start virtiofsd starts this daemon, which
//! then serves a guest.
#![cfg(test)]

#[path = "user/mod.rs"]
mod user;

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ferryfs_bench::{Guest, LINUX_6_18, LONG, Process, ROOT, Setup};
use tempfile::TempDir;
use user::User;

/// Who starts it, and how. SOCK, DIR and GROUP stand for what the launcher has made; the socket of
/// `--fd` is passed under that number.
const LINES: &[(&str, &str)] = &[
    ("QEMU 7.2, its documentation", "--socket-path=SOCK -o source=DIR"),
    (
        "QEMU 7.2, threads and group",
        "--socket-path=SOCK --socket-group=GROUP --thread-pool-size=64 -o source=DIR -f --cache=none",
    ),
    (
        "QEMU 7.2, every word",
        "-f --syslog --socket-path=SOCK -o debug,flock,log_level=info,norace,posix_lock,no_readdirplus,source=DIR,timeout=1.5,writeback,xattr,cache=auto,allow_direct_io,announce_submounts,killpriv_v2,security_label,posix_acl,xattrmap=:map::user.virtiofs.:",
    ),
    (
        "QEMU 7.2, every word taken back",
        "-d --socket-path=SOCK -o source=DIR -o no_flock,no_posix_lock,readdirplus,no_writeback,no_xattr,no_allow_direct_io,no_announce_submounts,no_killpriv_v2,no_security_label,no_posix_acl,loglevel=debug,sandbox=none",
    ),
    ("QEMU 7.2, sandbox", "--socket-path=SOCK -o source=DIR,sandbox=chroot"),
    ("virtiofsd, deprecated names", "--socket SOCK --shared-dir DIR -d -f"),
    ("libvirt 11", "--fd=29 --shared-dir DIR"),
    (
        "libvirt 11, all options",
        "--fd=29 --shared-dir DIR --cache always --xattr --thread-pool-size=16 --rlimit-nofile=65536 --log-level debug",
    ),
    ("libvirt 11, sandbox", "--fd=29 --shared-dir DIR --sandbox chroot"),
    ("libvirt 11, unprivileged", "--fd=29 --shared-dir DIR --uid-map=:0:0:1: --gid-map=:0:0:1:"),
    ("libvirt 10", "--fd=31 -o source=DIR,cache=none"),
    (
        "libvirt 10, all options",
        "--fd=31 -o source=DIR,cache=always,xattr,flock,posix_lock --thread-pool-size=16 --rlimit-nofile=65536 -d",
    ),
    ("libvirt 10, none of them", "--fd=31 -o source=DIR,no_xattr,no_flock,no_posix_lock -d"),
    ("libvirt 10, sandbox", "--fd=31 -o source=DIR,sandbox=namespace"),
    (
        "Kata, Go",
        "--syslog --cache=auto --shared-dir=DIR --fd=3 --thread-pool-size=1 --announce-submounts",
    ),
    (
        "Kata, Go, file handles",
        "--syslog --cache=never --shared-dir=DIR --fd=3 --inode-file-handles=prefer --thread-pool-size=1 --announce-submounts",
    ),
    (
        "Kata, Go, old",
        "--syslog --cache=metadata --shared-dir=DIR --fd=3 --thread-pool-size=1 -o announce_submounts",
    ),
    (
        "Kata, Go, annotations",
        "--syslog --cache=auto --shared-dir=DIR --fd=3 --xattr --xattrmap=:map::user.virtiofs.: -o allow_direct_io --posix-acl",
    ),
    ("Kata 1.x", "--fd=3 -o source=DIR -o cache=auto --syslog -o no_posix_lock -f"),
    (
        "Kata, Rust",
        "--socket-path SOCK --shared-dir DIR --cache auto --sandbox none --seccomp none --inode-file-handles prefer --thread-pool-size=1 --xattr",
    ),
    (
        "Kata, Rust, 3.31",
        "--socket-path SOCK --shared-dir DIR --cache auto --inode-file-handles prefer --thread-pool-size=1 -o announce_submounts",
    ),
    (
        "cloud-hypervisor",
        "--log-level debug --socket-path=SOCK --shared-dir=DIR --cache=never --thread-pool-size=4",
    ),
    ("cloud-hypervisor, root", "--socket-path=SOCK --shared-dir=DIR --cache=never"),
    ("cloud-hypervisor, old", "-d --socket-path=SOCK -o source=DIR -o cache=none"),
    (
        "systemd-vmspawn 259",
        "--shared-dir DIR --xattr --fd 3 --no-announce-submounts --translate-uid map:0:100000:65536 --translate-gid map:0:100000:65536",
    ),
    (
        "systemd-vmspawn 261",
        "--shared-dir DIR --xattr --fd 11 --no-announce-submounts --log-level=error --modcaps=-mknod",
    ),
    (
        "mkosi",
        "--shared-dir DIR --xattr --no-announce-submounts --sandbox=chroot --inode-file-handles=prefer --fd 3",
    ),
    (
        "mkosi, labels",
        "--shared-dir DIR --xattr --no-announce-submounts --sandbox=chroot --inode-file-handles=never --security-label --fd 3",
    ),
    (
        "mkosi, old",
        "--shared-dir DIR --xattr --no-announce-submounts --uid-map :0:0:1: --gid-map :0:0:1: --fd 3",
    ),
    (
        "virtme-ng",
        "--syslog --no-announce-submounts --socket-path SOCK --shared-dir DIR --sandbox none",
    ),
    (
        "virtme-ng, cache",
        "--syslog --no-announce-submounts --socket-path SOCK --shared-dir DIR --sandbox none -o cache=always",
    ),
    (
        "virtme-ng 1.42",
        "--syslog --no-announce-submounts --posix-acl --readonly --socket-path SOCK --shared-dir DIR --sandbox none --cache always",
    ),
    ("Incus", "--fd=3 --cache=metadata --shared-dir=DIR --posix-acl=auto"),
    (
        "Incus, ids",
        "--fd=3 --cache=never --shared-dir=DIR --translate-uid=map:0:1000000:1000000000 --translate-uid=forbid-guest:1000000000:3294967295 --translate-gid=map:0:1000000:1000000000 --translate-gid=forbid-guest:1000000000:3294967295",
    ),
    ("LXD", "--fd=3 -o source=DIR"),
    ("Proxmox", "--fd=7 --shared-dir=DIR --announce-submounts --syslog"),
    (
        "Proxmox, all options",
        "--fd=7 --shared-dir=DIR --xattr --posix-acl --announce-submounts --allow-direct-io --cache=metadata --writeback --syslog",
    ),
    (
        "microvm.nix",
        "--socket-path=SOCK --socket-group=GROUP --shared-dir=DIR --rlimit-nofile 16384 --thread-pool-size 8 --posix-acl --xattr --cache=auto --inode-file-handles=prefer --tag=store --readonly",
    ),
    ("KubeVirt", "--socket-path=SOCK --shared-dir=DIR --sandbox=none --cache=auto"),
    (
        "KubeVirt, dispatcher",
        "--socket-path SOCK --shared-dir DIR --cache auto --sandbox chroot --modcaps=+dac_read_search:-mknod --inode-file-handles=prefer --migration-mode=file-handles --migration-on-error=guest-error --translate-uid=squash-guest:0:107:4294967295 --translate-gid=squash-guest:0:107:4294967295 --xattr",
    ),
    ("lima", "--socket-path SOCK --shared-dir DIR"),
    ("bcvk", "--socket-path SOCK --shared-dir DIR --cache never --allow-mmap --sandbox none"),
    ("coreos-assembler", "--sandbox none --seccomp none --socket-path SOCK --shared-dir ."),
    (
        "coreos-assembler, modcaps",
        "--sandbox none --seccomp none --socket-path SOCK --shared-dir . --modcaps=-mknod",
    ),
    (
        "Talos",
        "--shared-dir DIR --socket-path SOCK --announce-submounts --inode-file-handles mandatory --xattrmap :prefix:all:security.:user.virtiofs.::ok:all:::",
    ),
    ("Docker Desktop", "--shared-dir=DIR --cache=auto --socket-path=SOCK"),
    (
        "Tangram",
        "--shared-dir DIR --fd 5 --sandbox none --cache always --inode-file-handles=never --xattr --log-level warn --no-announce-submounts --preserve-noatime",
    ),
    (
        "AI sandboxes, ids",
        "--socket-path SOCK --shared-dir DIR --sandbox none --translate-uid=map:0:1000:1 --translate-gid=map:0:1000:1",
    ),
    ("AI sandboxes, read-only", "--socket-path SOCK --shared-dir DIR --readonly --cache=always"),
    (
        "AI sandboxes, squash",
        "--socket-path SOCK --shared-dir DIR --translate-uid=squash-guest:0:1000:4294967295 --translate-uid=host:1000:0:1",
    ),
];

/// The daemon under the name by which launchers call it.
struct Installed {
    folder: TempDir,
    /// Who starts it, and by what, if that is not root by itself.
    user: Option<(User, &'static [&'static str])>,
}

impl Installed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ferryfs = Path::new(env!("CARGO_BIN_EXE_ferryfs"));
        std::os::unix::fs::symlink(ferryfs, folder.path().join("virtiofsd")).unwrap();
        fs::create_dir(folder.path().join("share")).unwrap();
        Installed { folder, user: None }
    }

    /// For an ordinary user, who starts it by another program.
    fn of(user: User, by: &'static [&'static str]) -> Self {
        std::os::unix::fs::symlink("ferryfs", user.path("virtiofsd")).unwrap();
        Installed { folder: tempfile::tempdir().unwrap(), user: Some((user, by)) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.user
            .as_ref()
            .map_or_else(|| self.folder.path().join(name), |(user, _)| user.path(name))
    }

    fn words(&self, line: &str) -> Vec<String> {
        let own = rustix::process::getegid().as_raw();
        let gid = self.user.as_ref().map_or(own, |(user, _)| user.gid).to_string();
        let place = |name| self.path(name).into_os_string().into_string().unwrap();
        let fill = |word: &str| {
            word.replace("SOCK", &place("sock"))
                .replace("DIR", &place("share"))
                .replace("GROUP", &gid)
        };
        line.split_whitespace().map(fill).collect()
    }

    /// Starts it; a front-end's connection to it, if it gets that far.
    fn start(&self, line: &str) -> (Process, Option<UnixStream>) {
        let words = self.words(line);
        let fd = words.iter().enumerate().find_map(|(at, word)| match word.as_str() {
            "--fd" => words.get(at + 1).cloned(),
            word => word.strip_prefix("--fd=").map(str::to_owned),
        });
        let by = self.user.as_ref().map_or(&[][..], |(_, by)| by);
        let program = self.path("virtiofsd");
        let whole: Vec<_> = by.iter().map(Path::new).chain([&*program]).collect();
        let mut command = match &fd {
            None => {
                let mut command = Command::new(whole[0]);
                command.args(&whole[1..]);
                command
            }
            Some(fd) => {
                // As a launcher leaves it: with others of its own, and without a standard input.
                let mut shell = Command::new("bash");
                let listener = UnixListener::bind(self.path("sock")).unwrap();
                shell.arg("-c").arg(format!("exec {fd}<&0 42</dev/null 0<&-; exec \"$0\" \"$@\""));
                shell.args(&whole).stdin(OwnedFd::from(listener));
                shell
            }
        };
        command.args(&words).current_dir(self.path("share")).env_clear();
        if let Ok(path) = std::env::var("PATH") {
            command.env("PATH", path);
        }
        if let Some((user, _)) = &self.user {
            command.uid(user.uid).gid(user.gid);
        }
        let process = Process::start(command).unwrap();
        let stream = self.connect(&process);
        (process, stream)
    }

    /// Connects as soon as that works; None if the daemon ends before.
    fn connect(&self, process: &Process) -> Option<UnixStream> {
        let deadline = Instant::now() + LONG;
        loop {
            if let Ok(stream) = UnixStream::connect(self.path("sock")) {
                return Some(stream);
            }
            if process.has_ended().unwrap_or(true) || Instant::now() > deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn every_launcher_can_start_it_and_gets_what_it_expects() {
    for (launcher, line) in LINES {
        let installed = Installed::new();
        let (mut process, stream) = installed.start(line);
        let stream = stream.unwrap_or_else(|| panic!("{launcher}: {}", process.stderr()));
        let mut guest = Guest::over(stream, Setup::default())
            .unwrap_or_else(|error| panic!("{launcher}: {error:?}: {}", process.stderr()));
        let mut fs = guest.client(1).unwrap();
        fs.init(LINUX_6_18).unwrap_or_else(|error| panic!("{launcher}: {error:?}"));
        let made = fs.mkdir(ROOT, "made", 0o755);
        let readonly = line.contains("--readonly");
        assert_eq!(made.is_ok(), !readonly, "{launcher}: {made:?}: {}", process.stderr());
        assert_eq!(installed.path("share/made").exists(), !readonly, "{launcher}");
        drop((fs, guest));
        assert_eq!(process.wait(LONG).unwrap().code(), Some(0), "{launcher}: {}", process.stderr());
        let said = process.stderr();
        let complaints =
            said.lines().filter(|line| line.contains("WARN") || line.contains("ERROR"));
        // This machine may not allow so many files.
        let complaints: Vec<_> =
            complaints.filter(|line| !line.contains("--rlimit-nofile")).collect();
        assert!(complaints.is_empty(), "{launcher}: {said}");
        let quiet = ["error", "warn"].iter().any(|level| said_level(line) == Some(level));
        let ready = said.contains("Waiting for vhost-user socket connection");
        assert!(ready || quiet || line.contains("--syslog"), "{launcher}: {said}");
    }
}

/// A line as it is for an ordinary user, to whom libvirt gives all ids that are theirs.
fn for_user(line: &str, user: &User) -> String {
    let (first, count) = user.subuids;
    let ids = [("uid", user.uid), ("gid", user.gid)];
    ids.iter().fold(line.to_owned(), |line, (kind, own)| {
        let all = format!("--{kind}-map=:0:{own}:1: --{kind}-map=:1:{first}:{count}:");
        line.replace(&format!("--{kind}-map=:0:0:1:"), &all)
            .replace(&format!("--{kind}-map :0:0:1:"), &all)
    })
}

/// What an ordinary user cannot have, by the option that says so: file handles, and a chroot
/// unless it is made in a namespace where the user is root.
fn refused_without_rights(line: &str, alone: bool) -> Option<&'static str> {
    let has = |words: &str| line.contains(words) || line.contains(&words.replace(' ', "="));
    match () {
        () if has("inode-file-handles mandatory") => Some("--inode-file-handles"),
        () if has("sandbox chroot") && alone => Some("--sandbox"),
        () => None,
    }
}

#[test]
fn every_launcher_can_start_it_as_an_ordinary_user() {
    let test = "every_launcher_can_start_it_as_an_ordinary_user";
    // As libvirt and virtme-ng do, and as Podman without root: in a namespace that is there.
    let ways: [&[&str]; 2] = [&[], &["unshare", "--user", "--map-root-user", "--map-auto"]];
    for by in ways {
        for (launcher, line) in LINES {
            let Some(user) = User::find(test) else { return };
            let line = match by.is_empty() {
                true => for_user(line, &user),
                false => (*line).to_owned(),
            };
            let installed = Installed::of(user, by);
            let (mut process, stream) = installed.start(&line);
            if let Some(option) = refused_without_rights(&line, by.is_empty()) {
                assert_eq!(process.wait(LONG).unwrap().code(), Some(2), "{launcher}");
                let said = process.stderr();
                let why = said.lines().last().unwrap_or_default();
                assert!(why.starts_with(&format!("ferryfs: {option}: ")), "{launcher}: {said}");
                continue;
            }
            let told = || format!("{launcher}, by {by:?}: {}", process.stderr());
            let stream = stream.unwrap_or_else(|| panic!("{}", told()));
            let guest = Guest::over(stream, Setup::default());
            let mut guest = guest.unwrap_or_else(|error| panic!("{error:?}: {}", told()));
            let mut fs = guest.client(1).unwrap();
            fs.init(LINUX_6_18).unwrap_or_else(|error| panic!("{error:?}: {}", told()));
            let made = fs.mkdir(ROOT, "made", 0o755);
            // In a namespace that is there, ids of the host are others, or none.
            let is_mapped = !by.is_empty() && line.contains("--translate-uid");
            let expected = !line.contains("--readonly");
            assert!(made.is_ok() == expected || is_mapped, "{made:?}: {}", told());
            drop((fs, guest));
            assert_eq!(process.wait(LONG).unwrap().code(), Some(0), "{launcher}");
        }
    }
}

fn said_level(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("--log-level")?;
    rest.trim_start_matches(['=', ' ']).split(' ').next()
}

#[test]
fn a_second_share_that_is_slipped_in_is_refused() {
    for more in ["--shared-dir /", "--shared-dir=/", "-o source=/", "-o cache=auto,source=/"] {
        let installed = Installed::new();
        let line = format!("--syslog --cache=auto --shared-dir=DIR --fd=3 {more}");
        let (mut process, _) = installed.start(&line);
        assert_eq!(process.wait(LONG).unwrap().code(), Some(2), "{more}");
        let said = process.stderr();
        assert!(said.starts_with("ferryfs: --shared-dir: it is given twice"), "{more}: {said}");
    }
}

#[test]
fn what_launchers_ask_about_the_program_they_are_told() {
    let installed = Installed::new();
    let ask = |option: &str| {
        let mut command = Command::new(installed.path("virtiofsd"));
        let output = command.arg(option).env_clear().output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{option}");
        assert_eq!(output.stderr, b"", "{option}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(ask("--version").starts_with("virtiofsd 1.14.0"));
    let help = ask("--help");
    for option in [
        "--shared-dir",
        "--tag",
        "--socket",
        "--socket-path",
        "--socket-group",
        "--fd",
        "--thread-pool-size",
        "--xattr",
        "--posix-acl",
        "--xattrmap",
        "--readonly",
        "--announce-submounts",
        "--no-announce-submounts",
        "--inode-file-handles",
        "--cache",
        "--allow-mmap",
        "--no-readdirplus",
        "--writeback",
        "--allow-direct-io",
        "--print-capabilities",
        "--log-level",
        "--syslog",
        "--rlimit-nofile",
        "-o",
        "-d",
        "-f",
        "--no-killpriv-v2",
        "--killpriv-v2",
        "--security-label",
        "--translate-uid",
        "--translate-gid",
        "--sandbox",
        "--seccomp",
        "--modcaps",
        "--uid-map",
        "--gid-map",
        "--preserve-noatime",
    ] {
        let spelled = |end: char| help.contains(&format!("{option}{end}"));
        assert!([' ', '[', '\n'].into_iter().any(spelled) || option == "--socket", "{option}");
    }
    let capabilities: serde_json::Value =
        serde_json::from_str(&ask("--print-capabilities")).unwrap();
    assert_eq!(capabilities["type"], "fs");
    let features = capabilities["features"].as_array().unwrap();
    assert!(features.contains(&"separate-options".into()), "libvirt looks for it");
    assert!(features.contains(&"posix-acl-negotiation-mode".into()), "Incus looks for it");
    assert!(features.contains(&"migrate-precopy".into()), "libvirt and Incus look for it");
}
