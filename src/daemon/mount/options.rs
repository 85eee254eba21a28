//! Option lists as mount(8) has them, and its way to call a helper.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use clap::Args;

use super::super::error::StartError;
use super::settings::MountSettings;
use crate::dev::Attribute;

/// What fstab(5) and mount(8) have for themselves, and what is so anyway.
const NOT_OURS: [&str; 22] = [
    "rw",
    "defaults",
    "auto",
    "noauto",
    "user",
    "nouser",
    "users",
    "owner",
    "group",
    "nofail",
    "_netdev",
    "async",
    "suid",
    "dev",
    "exec",
    "atime",
    "diratime",
    "relatime",
    "norelatime",
    "loud",
    "silent",
    "default_permissions",
];

/// What comes with a value and is not ours either.
const NOT_OURS_WITH: [&str; 4] = ["x-", "X-", "comment=", "user="];

/// The command line with every `-o` replaced by the options in its list, and with what mount(8)
/// passes to a helper, by whose name we are called then, in our own words.
pub(in super::super) fn expand(
    args: impl IntoIterator<Item = OsString>,
) -> Result<Vec<OsString>, StartError> {
    let mut args = args.into_iter();
    let program = args.next().unwrap_or_default();
    let rest: Vec<_> = args.collect();
    let name = Path::new(&program).file_name().unwrap_or_default();
    if name.as_bytes().starts_with(b"mount.") {
        let mut said = vec![program, "mount".into(), "--daemonize".into()];
        said.extend(helper(rest)?);
        return Ok(said);
    }
    let mut said = vec![program];
    if rest.first().is_some_and(|first| first == "mount") {
        said.extend(replace(rest, false)?);
    } else {
        said.extend(rest);
    }
    Ok(said)
}

/// The arguments of `mount.fuse.ferryfs SOURCE MOUNTPOINT [-sfnv] [-N NS] [-o LIST] [-t TYPE]`.
fn helper(args: Vec<OsString>) -> Result<Vec<OsString>, StartError> {
    let mut kept = Vec::new();
    let mut sloppy = false;
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        match arg.as_bytes() {
            b"-n" | b"-v" => {}
            b"-s" => sloppy = true,
            b"-t" => drop(args.next()),
            b"-f" => std::process::exit(0),
            b"-N" => {
                let problem = "mounting in another namespace is not supported";
                return Err(StartError::new("-N", problem, "enter it by nsenter(1)"));
            }
            _ => kept.push(arg),
        }
    }
    replace(kept, sloppy)
}

/// Replaces lists by what is in them.
fn replace(args: Vec<OsString>, sloppy: bool) -> Result<Vec<OsString>, StartError> {
    let mut said = Vec::new();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let list = match arg.as_bytes() {
            b"--" => {
                said.push(arg);
                said.extend(args);
                break;
            }
            b"-o" => args.next().ok_or_else(|| {
                StartError::new("-o", "it needs a value", "give options, separated by commas")
            })?,
            [b'-', b'o', list @ ..] => OsStr::from_bytes(list).to_owned(),
            _ => {
                said.push(arg);
                continue;
            }
        };
        for item in split(list.as_bytes()) {
            match option(&item) {
                Some(Some(option)) => said.push(option),
                Some(None) => {}
                None if sloppy => {}
                None => {
                    let name = format!("-o {}", String::from_utf8_lossy(&item));
                    return Err(StartError::new(name, "there is no such option", "see --help"));
                }
            }
        }
    }
    Ok(said)
}

/// The items of a list; a backslash takes the meaning of what follows it.
fn split(list: &[u8]) -> Vec<Vec<u8>> {
    let mut items = vec![Vec::new()];
    let mut bytes = list.iter().copied();
    while let Some(byte) = bytes.next() {
        match (byte, items.last_mut()) {
            (b',', _) => items.push(Vec::new()),
            (b'\\', Some(item)) => item.extend(bytes.next()),
            (_, Some(item)) => item.push(byte),
            (_, None) => {}
        }
    }
    items.retain(|item| !item.is_empty());
    items
}

/// An item as an argument, or nothing to say if it is not for us. None if it is unknown.
fn option(item: &[u8]) -> Option<Option<OsString>> {
    let at = item.iter().position(|byte| *byte == b'=').unwrap_or(item.len());
    let (name, value) = item.split_at(at);
    let name = std::str::from_utf8(name).ok()?;
    if NOT_OURS.contains(&name) && value.is_empty()
        || NOT_OURS_WITH.iter().any(|start| item.starts_with(start.as_bytes()))
    {
        return Some(None);
    }
    if name == "ro" && value.is_empty() {
        return Some(Some("--readonly".into()));
    }
    if Attribute::ALL.iter().any(|attribute| attribute.name() == name) && value.is_empty() {
        return Some(Some(format!("--mount-attribute={name}").into()));
    }
    let name = name.replace('_', "-");
    let command = MountSettings::augment_args(clap::Command::new("mount"));
    let known = command.get_arguments().any(|arg| arg.get_long() == Some(&name));
    known.then(|| Some(OsString::from_vec([b"--", name.as_bytes(), value].concat())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand_words(words: &str) -> Result<String, String> {
        let said = expand(words.split_whitespace().map(OsString::from));
        let said = said.map_err(|error| error.to_string())?;
        Ok(said.iter().map(|arg| arg.to_str().unwrap()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_list_is_the_same_as_its_options() {
        for (list, options) in [
            ("-o ro", "--readonly"),
            ("-oallow_other,cache=always", "--allow-other --cache=always"),
            ("-o nosuid,nodev", "--mount-attribute=nosuid --mount-attribute=nodev"),
            ("-o rw,defaults,noauto,x-systemd.automount,user=me,_netdev", ""),
            ("-o ,,fsname=a\\,b\\\\c,", "--fsname=a,b\\c"),
            ("-o xattrmap=:map::user.virtiofs.:", "--xattrmap=:map::user.virtiofs.:"),
            ("-o ro -o auto_unmount --threads 3", "--readonly --auto-unmount --threads 3"),
            ("-- -o ro", "-- -o ro"),
        ] {
            let said = expand_words(&format!("ferryfs mount {list} /a /b")).unwrap();
            let expected = format!("ferryfs mount {options} /a /b");
            let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(squeeze(&said), squeeze(&expected));
        }
    }

    #[test]
    fn other_commands_are_left_alone() {
        let words = "ferryfs --shared-dir /a -o ro";
        assert_eq!(expand_words(words).unwrap(), words);
    }

    #[test]
    fn an_unknown_option_is_named_unless_mount_is_to_be_sloppy() {
        for list in ["-o frobnicate", "-o ro,frobnicate=1", "-ofrobnicate", "-o"] {
            let line = expand_words(&format!("ferryfs mount /a /b {list}")).unwrap_err();
            assert!(line.starts_with("-o") && line.contains("; "), "{line}");
        }
        let said = expand_words("mount.fuse.ferryfs /a /b -s -o frobnicate,ro").unwrap();
        assert_eq!(said, "mount.fuse.ferryfs mount --daemonize /a /b --readonly");
    }

    #[test]
    fn mount_calls_us_by_another_name() {
        let said = expand_words("/sbin/mount.fuse.ferryfs /a /b -n -o rw,nosuid -t fuse.ferryfs");
        let expected = "/sbin/mount.fuse.ferryfs mount --daemonize /a /b --mount-attribute=nosuid";
        assert_eq!(said.unwrap(), expected);
        assert!(expand_words("mount.ferryfs /a /b -N /ns").unwrap_err().starts_with("-N: "));
    }
}
