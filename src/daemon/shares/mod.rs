//! What is shared: one directory, or several shares by their names.

mod keeper;

use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};

use super::error::StartError;
use super::sandbox::Premises;
use crate::fuse::Name;

pub(super) use keeper::{Keeper, Way};

/// What is shared.
#[derive(Clone, Debug)]
pub(super) enum Shared {
    /// A directory, which is the root of the mount.
    One(PathBuf),
    /// Directories and files, which are in the root of the mount.
    Several(Vec<NamedShare>),
}

/// A directory or file, and what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedShare {
    pub(super) name: CString,
    pub(super) path: PathBuf,
    pub(super) readonly: bool,
}

impl NamedShare {
    /// Reads NAME=PATH, NAME=PATH:ro or NAME=PATH:rw.
    pub(super) fn parse(text: &OsStr) -> Result<Self, &'static str> {
        let mut parts = text.as_bytes().splitn(2, |byte| *byte == b'=');
        let (name, path) = (parts.next().unwrap_or_default(), parts.next());
        let path = path.ok_or("it is not NAME=PATH")?;
        let (path, readonly) = match path.strip_suffix(b":ro") {
            Some(path) => (path, true),
            None => (path.strip_suffix(b":rw").unwrap_or(path), false),
        };
        if path.is_empty() {
            return Err("its path is empty");
        }
        let path = PathBuf::from(OsString::from_vec(path.to_vec()));
        Ok(NamedShare { name: share_name(name)?, path, readonly })
    }

    pub(super) fn parser() -> impl TypedValueParser<Value = NamedShare> {
        OsStringValueParser::new().try_map(|text| NamedShare::parse(&text))
    }
}

/// A name that can be shown, and looked up by a guest.
pub(super) fn share_name(name: &[u8]) -> Result<CString, &'static str> {
    let odd = "its name is not one of 1 to 255 bytes without a slash or control characters";
    let owned = CString::new(name).map_err(|_| odd)?;
    if Name::new(&owned).is_err() || name.iter().any(u8::is_ascii_control) {
        return Err(odd);
    }
    Ok(owned)
}

impl fmt::Display for NamedShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.readonly { ":ro" } else { "" };
        write!(f, "{}={}{end}", self.name.to_string_lossy(), self.path.display())
    }
}

impl Shared {
    /// Several shares, which must have different names.
    pub(super) fn several(shares: Vec<NamedShare>) -> Result<Self, StartError> {
        for (at, share) in shares.iter().enumerate() {
            if shares[..at].iter().any(|other| other.name == share.name) {
                let problem = format!("{} is given twice", share.name.to_string_lossy());
                return Err(StartError::new("--share", problem, "give each a name of its own"));
            }
        }
        Ok(Shared::Several(shares))
    }

    /// The option that names it.
    pub(super) fn option(&self) -> &'static str {
        match self {
            Shared::One(_) => "--shared-dir",
            Shared::Several(_) => "--share",
        }
    }

    /// Does not depend on the working directory any more.
    pub(super) fn make_absolute(&mut self) -> io::Result<()> {
        let make = |path: &mut PathBuf| {
            *path = std::path::absolute(&*path)?;
            Ok(())
        };
        match self {
            Shared::One(path) => make(path),
            Shared::Several(shares) => shares.iter_mut().try_for_each(|one| make(&mut one.path)),
        }
    }

    /// What the sandbox has to know of it; `readonly` refuses all changes, and others may come
    /// later if the daemon can be `told`.
    pub(super) fn premises(&self, readonly: bool, told: bool) -> Premises {
        match self {
            Shared::One(path) => Premises::one(self.option(), path, !readonly),
            Shared::Several(shares) => {
                let writes = |share: &NamedShare| !readonly && !share.readonly;
                let shares = shares.iter().map(|one| (one.path.clone(), writes(one))).collect();
                Premises::several(self.option(), shares, told.then_some(!readonly))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(String, String, bool), &'static str> {
        let share = NamedShare::parse(OsStr::new(text))?;
        let name = share.name.into_string().unwrap();
        Ok((name, share.path.into_os_string().into_string().unwrap(), share.readonly))
    }

    #[test]
    fn shares_have_a_name_and_a_path() {
        for (text, name, path, readonly) in [
            ("a=/srv/a", "a", "/srv/a", false),
            ("a=/srv/a:ro", "a", "/srv/a", true),
            ("a=/srv/a:rw", "a", "/srv/a", false),
            ("a=/odd:ro:rw", "a", "/odd:ro", false),
            ("with space=x=y", "with space", "x=y", false),
            ("...=.", "...", ".", false),
        ] {
            let expected = (name.to_owned(), path.to_owned(), readonly);
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        let long = format!("{}=/", "n".repeat(256));
        for text in ["", "a", "=/", "/=/", "a/b=/", ".=/", "..=/", "a=", "a=:ro", "a\n=/", &long] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn two_shares_have_two_names() {
        let share = |text| NamedShare::parse(OsStr::new(text)).unwrap();
        assert!(Shared::several(vec![share("a=/x"), share("b=/x")]).is_ok());
        let twice = Shared::several(vec![share("a=/x"), share("a=/y")]).unwrap_err();
        assert!(twice.to_string().starts_with("--share: a is given twice; "), "{twice}");
    }
}
