//! The vhost-user socket and its pid file.
#![expect(unsafe_code, reason = "takes over a descriptor that it is given by number")]

use std::ffi::CString;
use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{BorrowedFd, FromRawFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode};
use rustix::process::umask;

use super::args::SocketSettings;
use super::error::StartError;

/// Where front-ends connect. [`Files::remove`] leaves nothing of it behind.
pub(super) struct Socket {
    pub(super) listener: UnixListener,
    pub(super) files: Files,
}

/// What a socket leaves in the file system, while it is there.
#[derive(Default)]
pub(super) struct Files {
    paths: Vec<PathBuf>,
    /// Holds the lock of the pid file.
    _pid_file: Option<File>,
}

impl Files {
    /// Removes the socket and the pid file, if we made them.
    pub(super) fn remove(&mut self) {
        for path in self.paths.drain(..) {
            if let Err(error) = fs::remove_file(&path) {
                log::warn!("Cannot remove {}: {error}", path.display());
            }
        }
    }
}

impl Socket {
    pub(super) fn open(settings: &SocketSettings) -> Result<Self, StartError> {
        match settings {
            SocketSettings::Fd(fd) => Ok(Socket { listener: adopt(*fd)?, files: Files::default() }),
            SocketSettings::Path { path, group } => {
                let gid = group.as_deref().map(group_id).transpose()?;
                let mask = if gid.is_some() { 0o007 } else { 0o077 };
                let old = umask(Mode::from_raw_mode(mask));
                let socket = bind(path, gid);
                umask(old);
                socket
            }
        }
    }
}

fn bind(path: &Path, gid: Option<u32>) -> Result<Socket, StartError> {
    let refuse = |problem: &dyn Display, remedy| {
        let problem = format!("cannot listen on {}: {problem}", path.display());
        StartError::new("--socket-path", problem, remedy)
    };
    let mut pid_path = path.as_os_str().to_owned();
    pid_path.push(".pid");
    let pid_path = PathBuf::from(pid_path);
    let pid_file = lock_pid_file(&pid_path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => refuse(&"another daemon serves it", "stop it first"),
        _ => refuse(&error, "check that its folder exists and is writable"),
    })?;
    let mut files = Files { paths: vec![pid_path], _pid_file: Some(pid_file) };
    let listener =
        remove_stale(path).and_then(|()| UnixListener::bind(path)).and_then(|listener| {
            files.paths.push(path.to_owned());
            std::os::unix::fs::chown(path, None, gid)?;
            Ok(listener)
        });
    match listener {
        Ok(listener) => Ok(Socket { listener, files }),
        Err(error) => {
            files.remove();
            Err(match error.kind() {
                io::ErrorKind::AddrInUse => refuse(&error, "stop who uses it, or name another"),
                _ => refuse(&error, "check its name and its folder's rights"),
            })
        }
    }
}

/// Makes the pid file, or takes over one that nobody holds any more.
fn lock_pid_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).create(true).truncate(false).open(path)?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())?;
    Ok(file)
}

/// Removes a socket that nobody listens on; anything else that is in the way stays.
fn remove_stale(path: &Path) -> io::Result<()> {
    let in_use = |what: &str| io::Error::new(io::ErrorKind::AddrInUse, what.to_owned());
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if !found.file_type().is_socket() => Err(in_use("a file is in the way")),
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
            _ => Err(in_use("another process listens there")),
        },
    }
}

/// Takes over a listening socket that the parent process made.
fn adopt(fd: RawFd) -> Result<UnixListener, StartError> {
    let refuse = |problem: &str| {
        let problem = format!("descriptor {fd} is not {problem}");
        StartError::new("--fd", problem, "pass a Unix stream socket that is listening")
    };
    if fd < 0 || rustix::io::fcntl_getfd(borrow(fd)).is_err() {
        return Err(refuse("open"));
    }
    let domain = rustix::net::sockopt::socket_domain(borrow(fd));
    if domain != Ok(rustix::net::AddressFamily::UNIX) {
        return Err(refuse("a Unix socket"));
    }
    if rustix::net::sockopt::socket_acceptconn(borrow(fd)) != Ok(true) {
        return Err(refuse("listening"));
    }
    // SAFETY: it is open (checked), and the option says that it is ours; nothing else in this
    // process knows of it.
    let listener = unsafe { UnixListener::from_raw_fd(fd) };
    let close_on_exec = rustix::io::FdFlags::CLOEXEC;
    rustix::io::fcntl_setfd(&listener, close_on_exec).map_err(|_| refuse("usable"))?;
    listener.set_nonblocking(false).map_err(|_| refuse("usable"))?;
    Ok(listener)
}

fn borrow(fd: RawFd) -> BorrowedFd<'static> {
    // SAFETY: the number is not -1 (checked first), and only asked about: if it is not open, the
    // kernel says so.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// The number of a group that is given by name or number.
fn group_id(group: &str) -> Result<u32, StartError> {
    if let Ok(gid) = group.parse() {
        return Ok(gid);
    }
    let unknown = || {
        StartError::new(
            "--socket-group",
            format!("there is no group {group:?}"),
            "see getent group",
        )
    };
    let name = CString::new(group).map_err(|_| unknown())?;
    // SAFETY: the name is NUL-terminated; no other thread is running yet that could call getgr*.
    let entry = unsafe { libc::getgrnam(name.as_ptr()) };
    if entry.is_null() {
        return Err(unknown());
    }
    // SAFETY: not null, so it points to an entry that stays until the next getgr* call.
    Ok(unsafe { (*entry).gr_gid })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(path: &Path) -> SocketSettings {
        SocketSettings::Path { path: path.to_owned(), group: None }
    }

    #[test]
    fn a_stale_socket_and_pid_file_are_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let pid = dir.path().join("s.pid");
        drop(UnixListener::bind(&path).unwrap());
        fs::write(&pid, "a very long line that was left behind\nand one more\n").unwrap();
        let mut socket = Socket::open(&settings(&path)).unwrap();
        assert_eq!(fs::read_to_string(&pid).unwrap(), format!("{}\n", std::process::id()));
        UnixStream::connect(&path).unwrap();
        socket.files.remove();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_socket_in_use_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let _there = UnixListener::bind(&path).unwrap();
        let error = Socket::open(&settings(&path)).err().unwrap().to_string();
        assert!(error.starts_with("--socket-path") && error.contains("listens"), "{error}");
        UnixStream::connect(&path).unwrap();
        assert!(!dir.path().join("s.pid").exists());
    }

    #[test]
    fn two_daemons_cannot_share_a_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let _first = Socket::open(&settings(&path)).unwrap();
        let error = Socket::open(&settings(&path)).err().unwrap().to_string();
        assert!(error.contains("another daemon"), "{error}");
        assert!(dir.path().join("s.pid").exists());
    }

    #[test]
    fn a_path_that_cannot_be_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "precious").unwrap();
        for path in [dir.path().join("no/s"), file.join("s"), file.clone()] {
            let error = Socket::open(&settings(&path)).err().unwrap().to_string();
            assert!(error.starts_with("--socket-path: cannot listen"), "{error}");
        }
        assert_eq!(fs::read_to_string(file).unwrap(), "precious");
    }

    #[test]
    fn only_listening_unix_sockets_are_adopted() {
        use std::os::fd::AsRawFd;
        let file = tempfile::tempfile().unwrap();
        let (one, _other) = UnixStream::pair().unwrap();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        for fd in [-1, 9999, file.as_raw_fd(), one.as_raw_fd(), tcp.as_raw_fd()] {
            let error = Socket::open(&SocketSettings::Fd(fd)).err().unwrap().to_string();
            assert!(error.starts_with("--fd: descriptor"), "{error}");
        }
    }

    #[test]
    fn groups_are_known_by_name_and_number() {
        assert_eq!(group_id("0"), Ok(0));
        assert_eq!(group_id("root"), Ok(0));
        let error = group_id("no such group").unwrap_err().to_string();
        assert!(error.starts_with("--socket-group"), "{error}");
    }
}
