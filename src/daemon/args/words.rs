//! The short options of virtiofsd and of the C daemon before it, as the long ones that they mean.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::super::error::StartError;

/// What a word of a `-o` list means.
enum Meaning {
    /// This option; None if it means nothing to us.
    Flag(Option<&'static str>),
    /// The word has a value, for each of these options.
    Value(&'static [&'static str]),
}

use Meaning::{Flag, Value};

const WORDS: &[(&str, Meaning)] = &[
    ("allow_direct_io", Flag(Some("--allow-direct-io"))),
    ("announce_submounts", Flag(Some("--announce-submounts"))),
    ("cache", Value(&["--cache"])),
    ("debug", Flag(Some("--log-level=debug"))),
    ("flock", Flag(Some("--flock"))),
    ("killpriv_v2", Flag(Some("--killpriv-v2"))),
    ("log_level", Value(&["--log-level"])),
    ("loglevel", Value(&["--log-level"])),
    // Its threads come and go by themselves.
    ("max_idle_threads", Value(&[])),
    ("modcaps", Value(&["--modcaps"])),
    ("no_allow_direct_io", Flag(Some("--no-allow-direct-io"))),
    ("no_announce_submounts", Flag(Some("--no-announce-submounts"))),
    ("no_flock", Flag(Some("--no-flock"))),
    ("no_killpriv_v2", Flag(Some("--no-killpriv-v2"))),
    ("no_posix_acl", Flag(Some("--posix-acl=never"))),
    ("no_posix_lock", Flag(Some("--no-posix-lock"))),
    ("no_readdirplus", Flag(Some("--no-readdirplus"))),
    ("no_security_label", Flag(Some("--security-label=never"))),
    ("no_writeback", Flag(Some("--no-writeback"))),
    ("no_xattr", Flag(Some("--no-xattr"))),
    // Trades safety against races for speed, which is not on offer.
    ("norace", Flag(None)),
    ("posix_acl", Flag(Some("--posix-acl=always"))),
    ("posix_lock", Flag(Some("--posix-lock"))),
    ("readdirplus", Flag(Some("--readdirplus"))),
    ("sandbox", Value(&["--sandbox"])),
    ("security_label", Flag(Some("--security-label=always"))),
    ("source", Value(&["--shared-dir"])),
    ("timeout", Value(&["--attr-timeout", "--entry-timeout"])),
    ("writeback", Flag(Some("--writeback"))),
    ("xattr", Flag(Some("--xattr"))),
    ("xattrmap", Value(&["--xattrmap"])),
];

/// Puts long options in the place of `-d`, `-f` and `-o LIST`, which may stand together in one
/// argument. What comes after a subcommand has none of them.
pub(super) fn translate(args: impl Iterator<Item = OsString>) -> Result<Vec<OsString>, StartError> {
    let mut args = args.peekable();
    let mut translated = Vec::new();
    if args.peek().is_some_and(|first| !first.as_bytes().starts_with(b"-")) {
        return Ok(args.collect());
    }
    while let Some(arg) = args.next() {
        let (flags, list) = match cluster(&arg) {
            Some(cluster) => cluster,
            None => {
                translated.push(arg);
                continue;
            }
        };
        for flag in flags {
            match flag {
                b'd' => translated.push("--log-level=debug".into()),
                b'f' => {}
                other => translated.push(format!("-{}", char::from(*other)).into()),
            }
        }
        match list {
            None => {}
            Some([]) => {
                let list = args.next().ok_or_else(|| refuse("it needs a list"))?;
                add_words(list.as_bytes(), &mut translated)?;
            }
            Some(list) => {
                add_words(list.strip_prefix(b"=").unwrap_or(list), &mut translated)?;
            }
        }
    }
    Ok(translated)
}

/// The letters of an argument of short options, and what follows the `o` among them.
fn cluster(arg: &OsStr) -> Option<(&[u8], Option<&[u8]>)> {
    let letters = arg.as_bytes().strip_prefix(b"-")?;
    let flags = letters.iter().take_while(|letter| b"dfhV".contains(letter)).count();
    let (flags, rest) = letters.split_at(flags);
    match rest {
        [] if flags.is_empty() => None,
        [] => Some((flags, None)),
        [b'o', list @ ..] => Some((flags, Some(list))),
        _ => None,
    }
}

fn add_words(list: &[u8], translated: &mut Vec<OsString>) -> Result<(), StartError> {
    for word in split(list) {
        let mut parts = word.splitn(2, |byte| *byte == b'=');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next());
        let shown = String::from_utf8_lossy(name);
        let known = WORDS.iter().find(|(known, _)| known.as_bytes() == name);
        match (known.map(|(_, meaning)| meaning), value) {
            (None, _) => return Err(refuse(format!("there is no word {shown}"))),
            (Some(Flag(option)), None) => translated.extend(option.map(OsString::from)),
            (Some(Flag(_)), Some(_)) => return Err(refuse(format!("{shown} takes no value"))),
            (Some(Value(_)), None) => return Err(refuse(format!("{shown} needs a value"))),
            (Some(Value(options)), Some(value)) => translated.extend(
                options
                    .iter()
                    .map(|option| OsString::from_vec([option.as_bytes(), b"=", value].concat())),
            ),
        }
    }
    Ok(())
}

/// The words between single commas; `,,` is a comma in a word.
fn split(list: &[u8]) -> Vec<Cow<'_, [u8]>> {
    let mut words = Vec::new();
    let (mut word, mut rest) = (Vec::new(), list);
    loop {
        let here = rest.iter().take_while(|byte| **byte != b',').count();
        let (plain, more) = rest.split_at(here);
        word.extend_from_slice(plain);
        match more {
            [b',', b',', more @ ..] => {
                word.push(b',');
                rest = more;
            }
            [b',', more @ ..] => {
                words.push(Cow::from(std::mem::take(&mut word)));
                rest = more;
            }
            _ => break,
        }
    }
    words.push(word.into());
    words.retain(|word| !word.is_empty());
    words
}

fn refuse(problem: impl std::fmt::Display) -> StartError {
    StartError::new("-o", problem, "see the manual page for the words it takes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(words: &str) -> Result<Vec<String>, StartError> {
        let args = translate(words.split_whitespace().map(OsString::from))?;
        Ok(args.into_iter().map(|arg| arg.into_string().unwrap()).collect())
    }

    #[test]
    fn lists_become_options_in_their_place() {
        for (words, options) in [
            ("--tag t -o xattr,cache=none --fd 3", "--tag t --xattr --cache=none --fd 3"),
            ("-oxattr", "--xattr"),
            ("-o=xattr", "--xattr"),
            ("-dfoxattr", "--log-level=debug --xattr"),
            ("-fd", "--log-level=debug"),
            ("-f -o ,xattr,", "--xattr"),
            ("-o timeout=1.5", "--attr-timeout=1.5 --entry-timeout=1.5"),
            ("-o norace,max_idle_threads=3", ""),
            ("-h", "-h"),
            ("-x", "-x"),
            ("mount -o x", "mount -o x"),
        ] {
            assert_eq!(translated(words).unwrap().join(" "), options, "{words}");
        }
    }

    #[test]
    fn paths_may_hold_equals_signs_and_commas() {
        for (list, option) in [
            ("source=/a=b,,c", "--shared-dir=/a=b,c"),
            ("source=/a,,,xattr", "--shared-dir=/a,"),
            ("source=,,,,", "--shared-dir=,,"),
            ("source=", "--shared-dir="),
        ] {
            assert_eq!(translated(&format!("-o {list}")).unwrap()[0], option);
        }
        assert_eq!(translated("-o source=/a,,,xattr").unwrap()[1], "--xattr");
    }

    #[test]
    fn words_that_are_wrong_are_named() {
        for (list, problem) in [
            ("-o xattr,frob", "-o: there is no word frob;"),
            ("-o xattr=1", "-o: xattr takes no value;"),
            ("-o source", "-o: source needs a value;"),
            ("--shared-dir -o", "-o: it needs a list;"),
        ] {
            let line = translated(list).unwrap_err().to_string();
            assert!(line.starts_with(problem), "{line}");
        }
    }
}
