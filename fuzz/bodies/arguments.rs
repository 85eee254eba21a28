//! What stands on the command line: options, `-o` lists, and the rules that they hold.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::str::FromStr;

use super::parse;
use crate::passthrough::{BackingRule, IdMap, IdRule, XattrMap};
use crate::vhost::Tag;

/// The first byte says what the rest is.
///
/// # Panics
/// Something is refused in more or fewer lines than one.
pub fn arguments(input: &[u8]) {
    let Some((kind, rest)) = input.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    let refused = match kind % 6 {
        0 => XattrMap::from_str(&text).err().map(|error| error.to_string()),
        1 => {
            let rules = text.split(' ').map(IdRule::from_str).collect::<Result<Vec<_>, _>>();
            let map = rules.and_then(|rules| IdMap::new(&rules));
            if let Ok(map) = &map {
                for id in [0, 1, 1000, 65_534, u32::MAX - 1, u32::MAX] {
                    let _ = (map.to_host(id), map.to_guest(id));
                }
            }
            map.err().map(|error| error.to_string())
        }
        2 => BackingRule::from_str(&text).err().map(|error| error.to_string()),
        3 => {
            let _ = Tag::new(&text);
            None
        }
        4 => refused([b"-o", rest].into_iter()),
        _ => refused(rest.split(|byte| *byte == 0)),
    };
    if let Some(line) = refused {
        assert!(!line.trim().is_empty() && !line.contains('\n'), "{line:?}");
    }
}

fn refused<'a>(words: impl Iterator<Item = &'a [u8]>) -> Option<String> {
    let words = words.map(|word| OsString::from_vec(word.to_vec()));
    parse(std::iter::once("ferryfs".into()).chain(words)).err().map(|error| error.to_string())
}

/// As users write them.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let inputs: [(u8, &str); 16] = [
        (0, ":prefix:all::user.virtiofs.::bad:all:::"),
        (0, ":map:trusted.:user.virtiofs.:"),
        (0, "/prefix/client/security./user.x./ /unsupported/all/// /ok/server//x/"),
        (1, "map:0:100000:65536 squash-guest:0:1000:4294967295"),
        (1, "guest:1000:2000:1 host:5:6:7 forbid-guest:0:1 squash-host:1:2:3"),
        (2, "on:size<4096,name=*.so"),
        (2, "off"),
        (3, "mytag"),
        (4, "source=/srv,cache=always,xattr,xattrmap=:map::user.:,timeout=1.5,no_flock"),
        (4, "sandbox=chroot,modcaps=+sys_admin:-chown,posix_acl,log_level=debug"),
        (5, "--shared-dir\0/srv\0--socket-path=/run/s\0--tag\0t\0--num-request-queues=4"),
        (5, "--fd=3\0--shared-dir=/\0--uid-map=:0:100000:65536:\0--gid-map\0:0:1:1:"),
        (5, "-d\0-o\0source=/a,,b\0--fd\x003\0--translate-uid=squash-guest:0:5:9"),
        (5, "mount\0-o\0ro,allow_other\0/a\0/b"),
        (5, "ctl\0--control\0/run/c\0stats\0--json"),
        (5, "--help"),
    ];
    inputs.iter().map(|(kind, text)| [&[*kind], text.as_bytes()].concat()).collect()
}

#[test]
fn arguments_that_are_anything_are_taken_or_refused_in_one_line() {
    crate::mutate::run(&seeds(), 1500, arguments);
}
