//! POSIX ACLs as extended attributes (`include/uapi/linux/posix_acl_xattr.h`): a version, then
//! entries of tag, permissions and id.

use std::ffi::CStr;

use super::ids::IdMap;
use crate::fuse::{Errno, Result};

const VERSION: u32 = 2;
const HEADER: usize = 4;
const ENTRY: usize = 8;
const USER: u16 = 2;
const GROUP: u16 = 8;

/// True for the two attributes that hold ACLs.
pub(super) fn is_acl(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"system.posix_acl_access" | b"system.posix_acl_default")
}

/// Translates the ids in an ACL in place.
///
/// # Errors
/// `EINVAL` if it is none, and whatever `user` and `group` say.
fn translate(
    acl: &mut [u8],
    user: impl Fn(u32) -> Result<u32>,
    group: impl Fn(u32) -> Result<u32>,
) -> Result<()> {
    let (version, entries) = acl.split_at_mut_checked(HEADER).ok_or(Errno::EINVAL)?;
    if *version != VERSION.to_le_bytes() || !entries.len().is_multiple_of(ENTRY) {
        return Err(Errno::EINVAL);
    }
    for entry in entries.chunks_exact_mut(ENTRY) {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
        let id = match tag {
            USER => user(id)?,
            GROUP => group(id)?,
            _ => continue,
        };
        entry[4..].copy_from_slice(&id.to_le_bytes());
    }
    Ok(())
}

/// From the guest's ids to the host's.
pub(super) fn to_host(acl: &mut [u8], uids: &IdMap, gids: &IdMap) -> Result<()> {
    translate(acl, |uid| uids.to_host(uid), |gid| gids.to_host(gid))
}

/// From the host's ids to the guest's.
pub(super) fn to_guest(acl: &mut [u8], uids: &IdMap, gids: &IdMap) -> Result<()> {
    translate(acl, |uid| Ok(uids.to_guest(uid)), |gid| Ok(gids.to_guest(gid)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(entries: &[(u16, u32)]) -> Vec<u8> {
        let mut acl = VERSION.to_le_bytes().to_vec();
        for (tag, id) in entries {
            acl.extend(tag.to_le_bytes());
            acl.extend(7u16.to_le_bytes());
            acl.extend(id.to_le_bytes());
        }
        acl
    }

    #[test]
    fn only_named_users_and_groups_are_translated() {
        let uids = IdMap::new(&["map:0:1000:100".parse().unwrap()]).unwrap();
        let gids = IdMap::new(&["map:0:2000:100".parse().unwrap()]).unwrap();
        let guest = acl(&[(1, u32::MAX), (2, 5), (4, u32::MAX), (8, 6), (16, u32::MAX), (32, 7)]);
        let host =
            acl(&[(1, u32::MAX), (2, 1005), (4, u32::MAX), (8, 2006), (16, u32::MAX), (32, 7)]);
        let mut both = guest.clone();
        to_host(&mut both, &uids, &gids).unwrap();
        assert_eq!(both, host);
        to_guest(&mut both, &uids, &gids).unwrap();
        assert_eq!(both, guest);
    }

    #[test]
    fn what_is_no_acl_is_refused() {
        let none = IdMap::default();
        for mut bytes in
            [vec![], vec![2, 0, 0], vec![1, 0, 0, 0], [acl(&[(2, 1)]), vec![0]].concat()]
        {
            assert_eq!(to_host(&mut bytes, &none, &none), Err(Errno::EINVAL));
        }
        let forbidden = IdMap::new(&["forbid-guest:5:1".parse().unwrap()]).unwrap();
        assert_eq!(to_host(&mut acl(&[(2, 5)]), &forbidden, &none), Err(Errno::EPERM));
    }
}
