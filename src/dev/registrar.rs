//! Registering files for a process that has no right to.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, OFlags, StatxFlags, fcntl_getfl, statx};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use super::backing::{BackingFiles, OPEN};
use super::device::{self, BackingMap};
use super::mount::Mount;
use crate::rights;

/// Registers files with the kernel for whoever holds the other end of its socket. That process is
/// not trusted: it gets registered only what it could open itself, and gives up only what it was
/// given.
pub struct Registrar {
    socket: OwnedFd,
    device: OwnedFd,
    /// The mount that is served: a file on it is closed only after an answer of whoever asks us.
    own: Option<(u32, u32)>,
    /// Registered files, at most.
    most: usize,
    ids: HashSet<i32>,
}

impl Registrar {
    /// One for this mount that registers up to `most` files at a time, and who asks it.
    ///
    /// # Errors
    /// Too many files are open.
    pub fn new(mount: &Mount, most: usize) -> io::Result<(Self, BackingFiles)> {
        let (asks, socket) = BackingFiles::pair()?;
        let device = mount.device().try_clone_to_owned()?;
        let (own, ids) = (mount.file_system(), HashSet::new());
        Ok((Registrar { socket, device, own, most, ids }, asks))
    }

    /// Registers files until nobody asks any more, and gives up what was not given up by then.
    pub fn serve(mut self) {
        while let Ok(Some((word, file))) = receive(self.socket.as_fd()) {
            match (word, file) {
                (OPEN, Some(file)) => {
                    let answer = match self.open(file.as_fd()) {
                        Ok(id) => id,
                        Err(error) => -error.raw_os_error(),
                    };
                    // Who does not wait for the answer is gone, which is seen next.
                    let _ = send(&self.socket, &answer.to_ne_bytes(), SendFlags::NOSIGNAL);
                }
                (id, None) if self.ids.remove(&id) => self.close(id),
                _ => log::warn!("The serving process asks for what it should have no use for"),
            }
        }
        for id in std::mem::take(&mut self.ids) {
            self.close(id);
        }
    }

    fn open(&mut self, file: BorrowedFd<'_>) -> Result<i32, Errno> {
        if self.ids.len() >= self.most {
            return Err(Errno::NFILE);
        }
        // To have named a file is not to have been let in.
        if fcntl_getfl(file)?.contains(OFlags::PATH) {
            return Err(Errno::BADF);
        }
        // Nobody is asked who might serve it.
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let stat = statx(file, "", flags, StatxFlags::TYPE)?;
        let is_file = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::RegularFile;
        if !is_file || self.own == Some((stat.stx_dev_major, stat.stx_dev_minor)) {
            return Err(Errno::INVAL);
        }
        let map = BackingMap { fd: file.as_raw_fd(), flags: 0, padding: 0 };
        let id = device::control(&self.device, device::BACKING_OPEN, &map)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        self.ids.insert(id);
        Ok(id)
    }

    fn close(&self, id: i32) {
        // It fails only if the whole connection is gone.
        let _ = device::control(&self.device, device::BACKING_CLOSE, &id);
    }
}

/// The next question, and the file that came with it; none if the other end is closed.
fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<(i32, Option<OwnedFd>)>> {
    let mut word = [0; 4];
    let rights::Received { len, is_cut, fds } = rights::receive(socket, &mut word)?;
    if len == 0 {
        return Ok(None);
    }
    let whole = len == word.len() && !is_cut;
    // What else came is closed.
    Ok(Some((if whole { i32::from_ne_bytes(word) } else { -1 }, fds.into_iter().next())))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::IoSlice;
    use std::mem::MaybeUninit;

    use rustix::fs::{CWD, Mode, openat};
    use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, recv, sendmsg};

    use super::*;
    use crate::fuse::Backing;

    /// One without a mount, who asks it, and who asks it without sense.
    fn registrar(own: Option<(u32, u32)>, most: usize) -> (Registrar, BackingFiles, OwnedFd) {
        let (asks, socket) = BackingFiles::pair().unwrap();
        let device = File::open("/dev/null").unwrap().into();
        let raw = asks.socket_for_tests();
        (Registrar { socket, device, own, most, ids: HashSet::new() }, asks, raw)
    }

    /// Serves while `ask` asks.
    fn serve(registrar: Registrar, asks: BackingFiles, ask: impl FnOnce(&BackingFiles)) {
        let serves = std::thread::spawn(|| registrar.serve());
        ask(&asks);
        drop(asks);
        serves.join().unwrap();
    }

    fn error(asks: &BackingFiles, file: impl AsFd) -> Option<i32> {
        asks.open(file.as_fd()).unwrap_err().raw_os_error()
    }

    #[test]
    fn only_open_regular_files_of_others_reach_the_kernel() {
        let file = tempfile::tempfile().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "").unwrap();
        let named = openat(CWD, &path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let (registrar, asks, raw) = registrar(None, 10);
        drop(raw);
        serve(registrar, asks, |asks| {
            assert_eq!(error(asks, &named), Some(libc::EBADF));
            assert_eq!(error(asks, File::open(folder.path()).unwrap()), Some(libc::EINVAL));
            assert_eq!(error(asks, File::open("/dev/null").unwrap()), Some(libc::EINVAL));
            // What is no /dev/fuse does not know what it is asked.
            assert_eq!(error(asks, &file), Some(libc::ENOTTY));
        });
    }

    #[test]
    fn files_of_the_mount_itself_and_too_many_are_refused() {
        let file = tempfile::tempfile().unwrap();
        let stat = statx(&file, "", AtFlags::EMPTY_PATH, StatxFlags::TYPE).unwrap();
        let own = (stat.stx_dev_major, stat.stx_dev_minor);
        for (own, most, wrong) in [(Some(own), 1, libc::EINVAL), (None, 0, libc::ENFILE)] {
            let (registrar, asks, raw) = registrar(own, most);
            drop(raw);
            serve(registrar, asks, |asks| assert_eq!(error(asks, &file), Some(wrong)));
        }
    }

    #[test]
    fn questions_without_sense_are_survived() {
        let file = tempfile::tempfile().unwrap();
        let (registrar, asks, raw) = registrar(None, 10);
        let send = |raw: &OwnedFd, word: &[u8], files: &[BorrowedFd<'_>]| {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !files.is_empty() {
                assert!(control.push(SendAncillaryMessage::ScmRights(files)));
            }
            let parts = [IoSlice::new(word)];
            sendmsg(raw, &parts, &mut control, SendFlags::empty()).unwrap();
        };
        let one = file.as_fd();
        for word in [&b"1"[..], b"123", &1i32.to_ne_bytes(), &(-1i32).to_ne_bytes(), &[9; 5000]] {
            send(&raw, word, &[]);
            send(&raw, word, &[one]);
        }
        send(&raw, &OPEN.to_ne_bytes(), &[]);
        serve(registrar, asks, |asks| {
            // More files than one is a question nevertheless, and is answered once.
            send(&raw, &OPEN.to_ne_bytes(), &[one, one, one]);
            let mut answer = [0; 4];
            recv(&raw, &mut answer, RecvFlags::empty()).unwrap();
            assert_eq!(i32::from_ne_bytes(answer), -libc::ENOTTY);
            assert_eq!(error(asks, &file), Some(libc::ENOTTY));
            drop(raw);
        });
    }

    #[test]
    fn a_registrar_that_is_gone_is_an_error_and_no_wait() {
        let file = tempfile::tempfile().unwrap();
        let (registrar, asks, _raw) = registrar(None, 10);
        drop(registrar);
        assert_eq!(error(&asks, &file), Some(libc::EPIPE));
        assert_eq!(error(&asks, &file), Some(libc::EPIPE));
        asks.close(crate::fuse::BackingId(1));
    }
}
