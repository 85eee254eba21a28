//! The vhost-user socket and its pid file.
#![expect(unsafe_code, reason = "looks up a group by its name")]

use std::ffi::{CString, OsStr, OsString};
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::process::umask;

use super::args::SocketSettings;
use super::error::StartError;
use super::inherited;

/// Where front-ends connect. [`Files::remove`] leaves nothing of it behind.
pub(super) struct Socket {
    pub(super) listener: UnixListener,
    pub(super) files: Files,
}

/// What a socket leaves in the file system, while it is there.
#[derive(Default)]
pub(super) struct Files {
    places: Vec<Place>,
    /// Holds its lock while it is open.
    pid_file: Option<File>,
}

impl Files {
    /// What others leave is removed along with it.
    pub(super) fn add(&mut self, others: Files) {
        self.places.extend(others.places);
        self.pid_file = self.pid_file.take().or(others.pid_file);
    }

    /// Removes the socket and the pid file, if we made them.
    pub(super) fn remove(&mut self) {
        for place in self.places.drain(..) {
            if let Err(error) = place.remove() {
                log::warn!("Cannot remove {}: {error}", place.name.display());
            }
        }
    }
}

/// A name in a folder, which stays that folder whatever becomes of its path.
#[derive(Clone)]
struct Place {
    folder: Arc<OwnedFd>,
    name: OsString,
}

impl Place {
    fn find(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?.to_owned();
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(folder.unwrap_or(Path::new(".")), flags, Mode::empty())?;
        Ok(Place { folder: Arc::new(folder), name })
    }

    /// The name with something after it.
    fn with(&self, end: impl AsRef<OsStr>) -> Self {
        let mut place = self.clone();
        place.name.push(end);
        place
    }

    /// A path for a socket's address, which has room for 107 bytes.
    fn address(&self, path: &Path) -> PathBuf {
        if path.as_os_str().len() <= 107 {
            return path.to_owned();
        }
        Path::new(&format!("/proc/self/fd/{}", self.folder.as_raw_fd())).join(&self.name)
    }

    fn remove(&self) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&*self.folder, &*self.name, AtFlags::empty())?)
    }

    /// Makes the pid file, or takes over one that nobody holds any more.
    fn lock_pid_file(&self) -> io::Result<File> {
        use rustix::io::Errno;
        let in_the_way = || io::Error::new(io::ErrorKind::AlreadyExists, "it is no regular file");
        // Opening what is no file at all must neither wait nor do anything to it.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let flags = flags | OFlags::RDWR | OFlags::CREATE;
        let mode = Mode::from_raw_mode(0o644);
        let opened = rustix::fs::openat(&*self.folder, &*self.name, flags, mode);
        let mut file = File::from(opened.map_err(|error| match error {
            Errno::LOOP | Errno::ISDIR | Errno::NXIO => in_the_way(),
            error => error.into(),
        })?);
        if !file.metadata()?.is_file() {
            return Err(in_the_way());
        }
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(file)
    }

    /// Removes a socket that nobody listens on; anything else that is in the way stays.
    fn remove_stale(&self, address: &Path) -> io::Result<()> {
        let in_use = |what: &str| io::Error::new(io::ErrorKind::AddrInUse, what.to_owned());
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        match rustix::fs::statat(&*self.folder, &*self.name, flags) {
            Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(found) if FileType::from_raw_mode(found.st_mode) != FileType::Socket => {
                Err(in_use("a file is in the way"))
            }
            Ok(_) => match UnixStream::connect(address) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => self.remove(),
                _ => Err(in_use("another process listens there")),
            },
        }
    }
}

impl Socket {
    /// A socket that only our user may connect to, without a pid file.
    pub(super) fn private(option: &str, path: &Path) -> Result<Self, StartError> {
        let old = umask(Mode::from_raw_mode(0o177));
        let mut files = Files::default();
        let listener = Place::find(path).and_then(|place| listen(path, place, None, &mut files));
        umask(old);
        match listener {
            Ok(listener) => Ok(Socket { listener, files }),
            Err(error) => {
                files.remove();
                Err(explain(option, path, &error))
            }
        }
    }

    pub(super) fn open(settings: &SocketSettings) -> Result<Self, StartError> {
        match settings {
            SocketSettings::Fd(fd) => Ok(Socket { listener: adopt(*fd)?, files: Files::default() }),
            SocketSettings::Activated => Self::open(&SocketSettings::Fd(inherited::activation()?)),
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
    let unusable = |error| refuse(&error, "check that its folder exists and is writable");
    let place = Place::find(path).map_err(unusable)?;
    let pid_place = place.with(".pid");
    let pid_file = pid_place.lock_pid_file().map_err(|error| {
        let problem = format!("cannot use its pid file {}.pid: {error}", path.display());
        let refuse_it = |remedy| StartError::new("--socket-path", problem, remedy);
        match error.kind() {
            io::ErrorKind::WouldBlock => refuse(&"another daemon serves it", "stop it first"),
            io::ErrorKind::AlreadyExists => refuse_it("remove it, or name another socket"),
            io::ErrorKind::PermissionDenied => {
                refuse_it("give the daemon's user the right to write it, and in its folder")
            }
            _ => refuse_it("name a socket in a folder where files can be made"),
        }
    })?;
    let mut files = Files { places: vec![pid_place], pid_file: Some(pid_file) };
    match listen(path, place, gid, &mut files) {
        Ok(listener) => Ok(Socket { listener, files }),
        Err(error) => {
            files.remove();
            Err(explain("--socket-path", path, &error))
        }
    }
}

/// Makes a socket at a path and lists it among `files`.
fn listen(
    path: &Path,
    place: Place,
    gid: Option<u32>,
    files: &mut Files,
) -> io::Result<UnixListener> {
    let address = place.address(path);
    place.remove_stale(&address)?;
    let listener = UnixListener::bind(&address)?;
    files.places.push(place);
    std::os::unix::fs::chown(&address, None, gid)?;
    Ok(listener)
}

fn explain(option: &str, path: &Path, error: &io::Error) -> StartError {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => "stop who uses it, or name another",
        _ => "check its name and its folder's rights",
    };
    let problem = format!("cannot listen on {}: {error}", path.display());
    StartError::new(option, problem, remedy)
}

/// Takes over a listening socket that the parent process made.
fn adopt(fd: RawFd) -> Result<UnixListener, StartError> {
    let refuse = |problem: &str| {
        let problem = format!("descriptor {fd} is not {problem}");
        StartError::new("--fd", problem, "pass a Unix stream socket that is listening")
    };
    let socket = inherited::take(fd).ok_or_else(|| refuse("open"))?;
    let domain = rustix::net::sockopt::socket_domain(&socket);
    if domain != Ok(rustix::net::AddressFamily::UNIX) {
        return Err(refuse("a Unix socket"));
    }
    if rustix::net::sockopt::socket_acceptconn(&socket) != Ok(true) {
        return Err(refuse("listening"));
    }
    let listener = UnixListener::from(socket);
    listener.set_nonblocking(false).map_err(|_| refuse("usable"))?;
    Ok(listener)
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
    use std::fs;
    use std::os::fd::IntoRawFd;

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
    fn what_is_in_the_way_of_the_pid_file_is_named_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (path, pid) = (dir.path().join("s"), dir.path().join("s.pid"));
        let ways: [&dyn Fn(); 4] = [
            &|| std::os::unix::fs::symlink("elsewhere", &pid).unwrap(),
            &|| fs::create_dir(&pid).unwrap(),
            &|| {
                let kind = FileType::Fifo;
                rustix::fs::mknodat(rustix::fs::CWD, &pid, kind, Mode::RWXU, 0).unwrap();
            },
            &|| drop(UnixListener::bind(&pid).unwrap()),
        ];
        for make in ways {
            make();
            let there = fs::symlink_metadata(&pid).unwrap().file_type();
            let error = Socket::open(&settings(&path)).err().unwrap().to_string();
            let line = format!(
                "--socket-path: cannot use its pid file {}: it is no regular file; remove it, or \
                 name another socket",
                pid.display()
            );
            assert_eq!(error, line);
            assert_eq!(fs::symlink_metadata(&pid).unwrap().file_type(), there);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
            if there.is_dir() {
                fs::remove_dir(&pid).unwrap();
            } else {
                fs::remove_file(&pid).unwrap();
            }
        }
    }

    #[test]
    fn only_listening_unix_sockets_are_adopted() {
        let file = tempfile::tempfile().unwrap().into_raw_fd();
        let one = UnixStream::pair().unwrap().0.into_raw_fd();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap().into_raw_fd();
        for fd in [-1, 9999, file, one, tcp] {
            let error = Socket::open(&SocketSettings::Fd(fd)).err().unwrap().to_string();
            assert!(error.starts_with("--fd: descriptor"), "{error}");
        }
    }

    #[test]
    fn long_paths_have_room() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("d".repeat(200));
        fs::create_dir(&long).unwrap();
        let path = long.join("s");
        let mut socket = Socket::open(&settings(&path)).unwrap();
        let error = Socket::open(&settings(&path)).err().unwrap().to_string();
        assert!(error.contains("another daemon"), "{error}");
        let short = dir.path().join("l");
        std::os::unix::fs::symlink(&long, &short).unwrap();
        UnixStream::connect(short.join("s")).unwrap();
        socket.files.remove();
        assert_eq!(fs::read_dir(&long).unwrap().count(), 0);
    }

    #[test]
    fn groups_are_known_by_name_and_number() {
        assert_eq!(group_id("0"), Ok(0));
        assert_eq!(group_id("root"), Ok(0));
        let error = group_id("no such group").unwrap_err().to_string();
        assert!(error.starts_with("--socket-group"), "{error}");
    }
}
