//! A file system that fails when it is told to: one directory with one file, over /dev/fuse.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use ferryfs::dev::{self, Carriage, Mount, MountOptions};
use ferryfs::fuse::abi::{Attr, Kstatfs};
use ferryfs::fuse::flags::{init, opened};
use ferryfs::fuse::*;
use ferryfs::mem::{Input, Output};
use zerocopy::FromZeros;

use super::*;

/// What the file holds.
pub(crate) const CONTENT: &[u8] = b"what the file holds";
const FILE: NodeId = NodeId(2);

/// Instead of an error number: no answer at all.
pub(crate) const SILENCE: i32 = -1;

/// The error number of all requests; 0 for none.
#[derive(Clone, Default)]
struct Faulty(Arc<AtomicI32>);

impl Faulty {
    fn check(&self) -> Result<()> {
        while self.0.load(Ordering::SeqCst) == SILENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
        match self.0.load(Ordering::SeqCst) {
            0 => Ok(()),
            error => Err(Errno::from_raw(error)),
        }
    }
}

fn attr(node: NodeId) -> Attr {
    let (mode, nlink) = match node {
        FILE => (libc::S_IFREG | 0o644, 1),
        _ => (libc::S_IFDIR | 0o755, 2),
    };
    Attr { ino: node.0, mode, nlink, size: CONTENT.len() as u64, ..Attr::new_zeroed() }
}

const NOW: Duration = Duration::ZERO;
const OPENED: Opened = Opened { handle: Handle(1), flags: opened::DIRECT_IO, backing: None };

impl Filesystem for Faulty {
    fn wanted(&self) -> u64 {
        init::FLOCK_LOCKS
    }

    fn lookup(&self, _: &Caller, _: NodeId, name: &Name) -> Result<Entry> {
        self.check()?;
        match name.as_c_str().to_bytes() {
            b"file" => {
                Ok(Entry { node: FILE, attr: attr(FILE), attr_valid: NOW, entry_valid: NOW })
            }
            _ => Err(Errno::ENOENT),
        }
    }

    fn getattr(&self, node: NodeId, _: Option<Handle>) -> Result<Attributes> {
        self.check().map(|()| Attributes { attr: attr(node), valid: NOW })
    }

    fn setattr(&self, _: &Caller, node: NodeId, _: &AttrChange) -> Result<Attributes> {
        self.getattr(node, None)
    }

    fn open(&self, _: NodeId, _: u32, _: bool) -> Result<Opened> {
        self.check().map(|()| OPENED)
    }

    fn opendir(&self, _: NodeId, _: u32) -> Result<Opened> {
        self.check().map(|()| Opened { flags: 0, ..OPENED })
    }

    fn read(
        &self,
        _: NodeId,
        _: Handle,
        _: u64,
        _: Patience,
        out: &mut Output<'_>,
    ) -> Result<usize> {
        self.check()?;
        out.put_bytes(CONTENT)?;
        Ok(CONTENT.len())
    }

    fn write(
        &self,
        _: NodeId,
        _: Handle,
        _: u64,
        _: (u32, u32),
        data: &mut Input<'_>,
    ) -> Result<usize> {
        self.check().map(|()| data.len())
    }

    fn readdir(
        &self,
        _: &Caller,
        _: NodeId,
        _: Handle,
        offset: u64,
        sink: &mut DirSink<'_, '_>,
    ) -> Result<()> {
        self.check()?;
        if offset == 0 {
            sink.add(&Record { ino: FILE.0, offset: 1, kind: 8, name: b"file" }, None)?;
        }
        Ok(())
    }

    fn statfs(&self, _: NodeId) -> Result<Kstatfs> {
        self.check().map(|()| Kstatfs::new_zeroed())
    }

    fn fsync(&self, _: NodeId, _: Handle, _: bool) -> Result<()> {
        self.check()
    }

    fn mkdir(&self, _: &Caller, _: &NewNode<'_>, _: u32) -> Result<Entry> {
        self.check()?;
        Err(Errno::EEXIST)
    }

    fn unlink(&self, _: &Caller, _: NodeId, _: &Name) -> Result<()> {
        self.check()
    }

    fn flush(&self, _: NodeId, _: Handle, _: u64) -> Result<()> {
        self.check()
    }

    fn release(&self, _: NodeId, _: Handle, _: bool) -> Result<()> {
        Ok(())
    }

    fn releasedir(&self, _: NodeId, _: Handle) -> Result<()> {
        Ok(())
    }

    fn setlk(&self, _: NodeId, _: Handle, _: &Lock) -> Result<()> {
        self.check()
    }

    fn getxattr(&self, _: NodeId, _: &std::ffi::CStr, _: &mut [u8]) -> Result<usize> {
        self.check()?;
        Err(Errno::ENODATA)
    }
}

/// The file system, mounted and served.
pub(crate) struct Served {
    fault: Faulty,
    mount: Arc<Mount>,
    server: Option<JoinHandle<()>>,
}

impl Served {
    pub(crate) fn at(place: &Path) -> Self {
        let options = MountOptions {
            source: "faulty".into(),
            subtype: "faulty".into(),
            allow_other: true,
            max_read: None,
            auto_unmount: false,
            attributes: Vec::new(),
        };
        let mount = Arc::new(Mount::new(place, &options).unwrap());
        let fault = Faulty::default();
        let session = Arc::new(Session::new(fault.clone(), Carrier::DEV));
        let carriage = Carriage { devices: mount.devices(2).unwrap(), rings: None };
        let (ready, is_ready) = channel();
        let server = std::thread::spawn(move || {
            dev::serve(&session, carriage, || ready.send(()).unwrap()).unwrap();
        });
        is_ready.recv_timeout(LONG).unwrap();
        Served { fault, mount, server: Some(server) }
    }

    /// Makes all requests fail with this error number from now on; 0 for none.
    pub(crate) fn fail_with(&self, error: i32) {
        self.fault.0.store(error, Ordering::SeqCst);
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.fail_with(0);
        // It ends when nobody uses the mount any more, which others may still do.
        let _ = self.mount.detach();
        drop(self.server.take());
    }
}
