//! Names of directory entries.

use std::ffi::CStr;
use std::fmt;

use super::errno::{Errno, Result};

/// A checked path component: one to 255 bytes of any encoding, neither `.` nor `..`, without
/// `/`. Resolving one below a held directory cannot leave that directory except through a
/// symbolic link, which no operation here follows.
#[derive(PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Name(CStr);

/// `NAME_MAX`.
const LONGEST: usize = 255;

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    /// `ENAMETOOLONG` above 255 bytes, `EINVAL` for whatever else is not a component.
    #[expect(unsafe_code, reason = "a transparent newtype of an unsized type")]
    pub fn new(name: &CStr) -> Result<&Self> {
        let bytes = name.to_bytes();
        if bytes.len() > LONGEST {
            return Err(Errno::ENAMETOOLONG);
        }
        if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') {
            return Err(Errno::EINVAL);
        }
        // SAFETY: Name is a transparent CStr.
        Ok(unsafe { &*(std::ptr::from_ref(name) as *const Name) })
    }

    /// The name as system calls want it.
    #[must_use]
    pub fn as_c_str(&self) -> &CStr {
        &self.0
    }

    /// The bytes without the final NUL.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.to_bytes()
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl rustix::path::Arg for &Name {
    fn as_str(&self) -> rustix::io::Result<&str> {
        self.0.to_str().map_err(|_| rustix::io::Errno::INVAL)
    }

    fn to_string_lossy(&self) -> std::borrow::Cow<'_, str> {
        self.0.to_string_lossy()
    }

    fn as_cow_c_str(&self) -> rustix::io::Result<std::borrow::Cow<'_, CStr>> {
        Ok((&self.0).into())
    }

    fn into_c_str<'b>(self) -> rustix::io::Result<std::borrow::Cow<'b, CStr>>
    where
        Self: 'b,
    {
        Ok((&self.0).into())
    }

    fn into_with_c_str<T, F>(self, with: F) -> rustix::io::Result<T>
    where
        F: FnOnce(&CStr) -> rustix::io::Result<T>,
    {
        with(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(bytes: &[u8]) -> Result<()> {
        let mut bytes = bytes.to_vec();
        bytes.push(0);
        Name::new(CStr::from_bytes_with_nul(&bytes).unwrap()).map(|_| ())
    }

    #[test]
    fn only_path_components_are_names() {
        for bad in ["", ".", "..", "/", "a/b", "/etc/passwd", "../victim", "d/../d", "a/"] {
            assert_eq!(name(bad.as_bytes()), Err(Errno::EINVAL), "{bad}");
        }
        for good in ["a", "...", ".a", "..a", "a b", "\n", "\u{e9}"] {
            assert_eq!(name(good.as_bytes()), Ok(()), "{good}");
        }
        assert_eq!(name(&[0xff; 255]), Ok(()));
        assert_eq!(name(&[b'a'; 256]), Err(Errno::ENAMETOOLONG));
    }
}
