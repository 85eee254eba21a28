//! What a guest is told when something cannot be done.

use std::{fmt, io};

use crate::mem::Short;

/// A Linux error number in 1..512, the range that the kernel accepts in a reply.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(i32);

/// The outcome of an operation as the guest sees it.
pub type Result<T> = std::result::Result<T, Errno>;

macro_rules! errnos {
    ($($name:ident)*) => {
        #[expect(missing_docs, reason = "the names are errno(3)'s")]
        impl Errno { $(pub const $name: Errno = Errno(libc::$name);)* }

        impl Errno {
            /// Its name, if it is one of those above.
            #[must_use]
            pub fn name(self) -> Option<&'static str> {
                $(if self == Errno::$name {
                    return Some(stringify!($name));
                })*
                None
            }
        }
    };
}

errnos! {
    E2BIG EACCES EAGAIN EBADF EEXIST EFAULT EFBIG EINTR EINVAL EIO EISDIR ELOOP EMFILE ENAMETOOLONG ENFILE
    ENODATA ENODEV ENOENT ENOLCK ENOMEM ENOSYS ENOTCONN ENOTDIR ENOTEMPTY ENOTTY ENXIO EOPNOTSUPP EOVERFLOW EPERM EPROTO
    ERANGE EROFS ESTALE ETXTBSY EXDEV
}

impl Errno {
    /// Not an answer: the request would wait for storage, and nothing of it was done. For file
    /// systems that were asked not to wait.
    pub const WAITS: Errno = Errno(0x1000);
    /// The same, for what a server has to answer: it may never do so.
    pub const WAITS_FOR_SERVER: Errno = Errno(0x1002);
    /// Not an answer: what the request waits for has not happened; it is to be tried again.
    pub const NOT_YET: Errno = Errno(0x1001);

    /// The number, positive.
    #[must_use]
    pub fn raw(self) -> i32 {
        self.0
    }

    /// The error with this number; one that no guest may see becomes `EIO`.
    #[must_use]
    pub fn from_raw(number: i32) -> Self {
        if (1..512).contains(&number) { Errno(number) } else { Errno::EIO }
    }

    /// The calling thread's last error.
    #[must_use]
    pub fn last() -> Self {
        io::Error::last_os_error().into()
    }
}

impl From<io::Error> for Errno {
    fn from(error: io::Error) -> Self {
        Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

impl From<rustix::io::Errno> for Errno {
    fn from(error: rustix::io::Errno) -> Self {
        Errno::from_raw(error.raw_os_error())
    }
}

impl From<Short> for Errno {
    fn from(_: Short) -> Self {
        Errno::EINVAL
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Errno::WAITS => f.write_str("WAITS"),
            Errno::WAITS_FOR_SERVER => f.write_str("WAITS_FOR_SERVER"),
            Errno::NOT_YET => f.write_str("NOT_YET"),
            Errno(number) => rustix::io::Errno::from_raw_os_error(number).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_the_kernel_would_not_accept_become_eio() {
        for number in [0, -1, 512, 524, i32::MIN, i32::MAX] {
            assert_eq!(Errno::from_raw(number), Errno::EIO);
        }
        assert_eq!(Errno::from_raw(511).raw(), 511);
        assert_eq!(Errno::from(io::Error::other("no number")), Errno::EIO);
    }
}
