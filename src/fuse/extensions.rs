//! What may follow the arguments of a request that makes an inode (since 7.36 and 7.38).

use std::ffi::CStr;

use super::abi::{ExtHeader, Secctx};
use super::args::Args;
use super::errno::{Errno, Result};

/// A label that the new inode shall have from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecurityContext<'a> {
    /// Name of the extended attribute, as `security.selinux`.
    pub name: &'a CStr,
    /// Its value.
    pub value: &'a [u8],
}

/// The extensions that Linux knows; whatever else a guest adds is skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extensions<'a> {
    /// The parent directory's group, if the caller is a member of it.
    pub(super) group: Option<u32>,
    pub(super) security: Option<SecurityContext<'a>>,
}

/// `FUSE_MAX_NR_SECCTX`: smaller record types are a number of security contexts.
const MAX_CONTEXTS: u32 = 31;
/// `FUSE_EXT_GROUPS`.
const GROUPS: u32 = 32;

impl<'a> Extensions<'a> {
    /// Reads the records in `bytes`.
    ///
    /// # Errors
    /// `EINVAL` for a record that does not fit, or more labels or groups than Linux sends (one).
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut found = Extensions::default();
        let mut records = Args::new(bytes);
        while !records.is_empty() {
            let head: ExtHeader = records.fixed()?;
            let len = (head.size as usize).checked_sub(size_of::<ExtHeader>());
            let mut record = Args::new(records.bytes(len.ok_or(Errno::EINVAL)?)?);
            match head.kind {
                0 => {}
                1 if found.security.is_none() => found.security = Some(context(&mut record)?),
                GROUPS if found.group.is_none() => found.group = group(&mut record)?,
                0..=MAX_CONTEXTS | GROUPS => return Err(Errno::EINVAL),
                _ => {}
            }
        }
        Ok(found)
    }
}

fn context<'a>(record: &mut Args<'a>) -> Result<SecurityContext<'a>> {
    let size = record.fixed::<Secctx>()?.size as usize;
    let name = record.text()?;
    if name.is_empty() || name.count_bytes() > 255 {
        return Err(Errno::EINVAL);
    }
    Ok(SecurityContext { name, value: record.bytes(size)? })
}

fn group(record: &mut Args<'_>) -> Result<Option<u32>> {
    match record.fixed::<u32>()? {
        0 => Ok(None),
        1 => Ok(Some(record.fixed()?)),
        _ => Err(Errno::EINVAL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn a_label_and_a_group_are_found_in_any_order() {
        let group = words(&[16, 32, 1, 1000]);
        let label = [&words(&[40, 1, 3, 0])[..], b"security.selinux\0a:b\0\0\0\0"].concat();
        let expected = Extensions {
            group: Some(1000),
            security: Some(SecurityContext { name: c"security.selinux", value: b"a:b" }),
        };
        for bytes in [[&group[..], &label].concat(), [&label[..], &group].concat()] {
            assert_eq!(Extensions::parse(&bytes), Ok(expected));
        }
    }

    #[test]
    fn no_label_and_unknown_records_are_nothing() {
        for bytes in [vec![], words(&[8, 0]), words(&[16, 99, 7, 7]), words(&[16, 32, 0, 0])] {
            assert_eq!(Extensions::parse(&bytes), Ok(Extensions::default()));
        }
    }

    #[test]
    fn records_that_do_not_fit_are_refused() {
        let two_groups = words(&[16, 32, 1, 5, 16, 32, 1, 6]);
        for bytes in [
            words(&[8]),
            words(&[7, 0]),
            words(&[16, 0]),
            words(&[u32::MAX, 0]),
            words(&[16, 32, 2, 5]),
            words(&[16, 1, 0, 0]),
            words(&[8, 2]),
            two_groups,
        ] {
            assert_eq!(Extensions::parse(&bytes), Err(Errno::EINVAL), "{bytes:?}");
        }
    }
}
