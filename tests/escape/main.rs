//! Guests that try to leave the share: by every request that takes a name, over the real socket,
//! in every kind of sandbox, and while links and directories change places on the host.
#![cfg(test)]

mod links;
mod mounts;
mod names;
mod races;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ferryfs::fuse::abi::*;
use ferryfs::fuse::{Errno, Opcode};
use ferryfs_bench::{Client, Daemon, Error, Guest, LINUX_6_18, ROOT, Setup};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use support::requests::{arg, request};
use tempfile::TempDir;
use zerocopy::FromBytes;

/// How the daemon is started: every way in which names are resolved and files are opened.
fn ways() -> Vec<&'static [&'static str]> {
    let all: [&[&str]; 6] = [
        &["--sandbox", "none"],
        &["--sandbox", "none", "--inode-file-handles", "never", "--seccomp", "none"],
        &["--sandbox", "namespace"],
        &["--sandbox", "namespace", "--inode-file-handles", "never"],
        &["--sandbox", "chroot"],
        &["--sandbox", "chroot", "--cache", "never", "--no-announce-submounts"],
    ];
    let root = rustix::process::geteuid().is_root();
    all.into_iter().filter(|way| root || way[1] != "chroot").collect()
}

/// What an inode outside of the share is: everything that a guest could have changed.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    ino: u64,
    mode: u32,
    owner: (u32, u32),
    links: u64,
    size: u64,
    mtime: (i64, i64),
    content: Vec<u8>,
}

/// A share, and around it what must not be touched.
struct Premises {
    folder: TempDir,
    daemon: Daemon,
    fs: Client,
    _guest: Guest,
}

impl Premises {
    fn new(way: &[&str]) -> Self {
        Self::with(way, |_| {})
    }

    /// The same, and what `prepare` makes of the folder around the share.
    fn with(way: &[&str], prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for dir in ["share", "share/dir", "share/dir/d", "share/empty", "outside", "outside/dir"] {
            fs::create_dir(at(dir)).unwrap();
        }
        for file in ["outside/victim", "outside/dir/victim", "victim"] {
            fs::write(at(file), "precious").unwrap();
        }
        for file in ["share/file", "share/dir/file", "share/d"] {
            fs::write(at(file), "the guest's").unwrap();
        }
        for (link, target) in [
            ("absolute", at("outside")),
            ("absolute-file", at("outside/victim")),
            ("up", "../outside".into()),
            ("up-file", "../outside/victim".into()),
            ("root", "/".into()),
            ("magic", "/proc/self/root".into()),
            ("magic-cwd", "/proc/self/cwd/..".into()),
            ("dots", "..".into()),
            ("long", "dir/../../outside/dir".into()),
        ] {
            symlink(target, at("share").join(link)).unwrap();
        }
        prepare(folder.path());
        let daemon = Daemon::start_on(env!("CARGO_BIN_EXE_ferryfs").as_ref(), way, &at("share"));
        let daemon = daemon.unwrap();
        let mut guest = Guest::connect(&daemon.socket(), Setup::default()).unwrap();
        let mut fs = guest.client(1).unwrap();
        fs.init(LINUX_6_18).unwrap();
        Premises { folder, daemon, fs, _guest: guest }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// All that is outside of the share.
    fn outside(&self) -> BTreeMap<PathBuf, Found> {
        let mut found = BTreeMap::new();
        let mut left = vec![self.folder.path().to_owned()];
        while let Some(dir) = left.pop() {
            for entry in fs::read_dir(&dir).unwrap() {
                let path = entry.unwrap().path();
                let stat = fs::symlink_metadata(&path).unwrap();
                if path == self.at("share") {
                    continue;
                }
                if stat.is_dir() {
                    left.push(path.clone());
                }
                let content = if stat.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
                found.insert(
                    path,
                    Found {
                        ino: stat.ino(),
                        mode: stat.mode(),
                        owner: (stat.uid(), stat.gid()),
                        links: stat.nlink(),
                        size: stat.size(),
                        mtime: (stat.mtime(), stat.mtime_nsec()),
                        content,
                    },
                );
            }
        }
        found
    }

    /// The inodes outside, which no reply may be about.
    fn foreign(&self) -> Vec<u64> {
        self.outside().values().map(|found| found.ino).collect()
    }

    fn find(&mut self, parent: u64, name: &str) -> u64 {
        self.fs.lookup(parent, name).unwrap().nodeid
    }
}

/// Sends bytes; the reply's body, or its error number.
fn send(fs: &mut Client, bytes: &[u8]) -> Result<Vec<u8>, Errno> {
    let reply = fs.raw(bytes, 4096).unwrap();
    let (head, body) = OutHeader::read_from_prefix(&reply.bytes).unwrap();
    assert_eq!(
        (head.len, head.unique.to_ne_bytes()),
        (reply.used, bytes[8..16].try_into().unwrap())
    );
    match head.error {
        0 => Ok(body.to_vec()),
        error => Err(Errno::from_raw(-error)),
    }
}

fn zero<T: zerocopy::FromZeros>() -> T {
    T::new_zeroed()
}

/// What a guest may be told while names change under it.
fn any<T>(result: Result<T, Error>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(Error::Errno(_)) => None,
        Err(error) => panic!("{error:?}"),
    }
}
