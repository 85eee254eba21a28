//! Files in a DAX window, with front-ends that map them for real.

mod buffers;
mod life;
mod policy;
mod ranges;

use std::fs::File;
use std::ops::Deref;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use ferryfs::fuse::abi::{InHeader, OutHeader, ReadIn, SetattrIn, SetupmappingIn};
use ferryfs::fuse::flags::{attr, setattr};
use ferryfs::fuse::{Errno, Opcode};
use ferryfs_bench::{DaxWindow, Error, PAGE, Profile, Queue, ROOT, Region, Span};
use vhost::vhost_user::message::VhostUserProtocolFeatures;
use zerocopy::{FromZeros, IntoBytes};

use super::*;

const SIZE: u64 = 32 << 20;
const RANGE: u64 = 2 << 20;
const PROFILES: [Profile; 2] = [Profile::Exact, Profile::Qemu];

/// Minor version and INIT flags of Linux 7.2 with a window.
const LINUX: (u32, u64) = (45, 0x5ff_7fff_fffb);

const READ: u64 = 2;
const WRITE: u64 = 3;

/// A guest with a window.
struct Windowed {
    machine: Machine,
    window: Strict,
}

impl Windowed {
    fn new(profile: Profile, args: &[&str]) -> Self {
        let mut windowed = Self::before_init(profile, args);
        let reply = windowed.machine.fs.init(LINUX).unwrap();
        assert_eq!(reply.map_alignment, 12);
        windowed
    }

    fn before_init(profile: Profile, args: &[&str]) -> Self {
        let protocol = Setup::default().protocol
            | VhostUserProtocolFeatures::SHMEM
            | VhostUserProtocolFeatures::BACKEND_REQ;
        let setup = Setup { protocol, ..Setup::default() };
        let mut machine = Machine::with(&[&["--dax-window=32M"], args].concat(), setup);
        let window = DaxWindow::new(SIZE, profile).unwrap();
        assert_eq!(machine.guest.give_window(&window).unwrap(), [SIZE]);
        Windowed { machine, window: Strict(window) }
    }

    /// Makes a file on the host with content that differs from page to page.
    fn put(&mut self, name: &str, len: u64) -> (u64, File) {
        let path = self.machine.put(name, pattern(usize::try_from(len).unwrap()));
        let file = File::options().read(true).write(true).open(path).unwrap();
        (self.machine.find(ROOT, name), file)
    }

    fn map(&mut self, node: u64, foffset: u64, moffset: u64, flags: u64) -> Result<(), Error> {
        self.machine.fs.setupmapping(node, &setup(foffset, moffset, flags))
    }

    /// All of a range is what the file has, as far as that goes.
    fn is_shown(&self, file: &File, foffset: u64, moffset: u64) {
        let len = file.metadata().unwrap().len().saturating_sub(foffset).min(RANGE);
        let mut bytes = vec![0; usize::try_from(len).unwrap()];
        file.read_exact_at(&mut bytes, foffset).unwrap();
        let shown = self.window.read(moffset, bytes.len());
        assert!(shown.is_some_and(|shown| shown == bytes), "{foffset:#x} at {moffset:#x}");
    }
}

/// A window that is asked for nothing that is against the protocol.
struct Strict(Arc<DaxWindow>);

impl Deref for Strict {
    type Target = DaxWindow;

    fn deref(&self) -> &DaxWindow {
        &self.0
    }
}

impl Drop for Strict {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.crimes(), [""; 0]);
        }
    }
}

fn setup(foffset: u64, moffset: u64, flags: u64) -> SetupmappingIn {
    SetupmappingIn { fh: u64::MAX, foffset, len: RANGE, flags, moffset }
}
