//! The command line.

#[cfg(any(test, fuzzing))]
#[path = "../../../fuzz/bodies/arguments.rs"]
pub mod arguments;
mod ctl;
mod explain;
mod log_options;
mod names;
mod serve;
mod when;
mod words;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use super::error::StartError;
use super::mount::{self, MountSettings};
pub(super) use ctl::{CtlSettings, Question, ShareChange};
use explain::{explain, explain_bytes};
pub(super) use log_options::{LogFormat, LogOptions};
pub(super) use names::names;
use serve::ServeOptions;
pub(super) use serve::{Settings, SocketSettings};
pub(super) use when::When;

/// Serve a host directory to a virtual machine as a virtio-fs device, over vhost-user.
#[derive(Debug, Parser)]
#[command(name = "ferryfs", version, args_override_self = true, max_term_width = 100)]
#[command(args_conflicts_with_subcommands = true, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    serve: ServeOptions,
}

const AFTER_HELP: &str = "\
Options that take a value take it as --option=VALUE and as --option VALUE. Of repeated options the \
last one counts.

Exit codes: 0 the front-end has disconnected, or a signal ended the daemon; 1 it could not go on; \
2 it could not start, and one line on the standard error output says why.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Mount a host directory on this host, through Linux's FUSE client
    Mount(Box<MountSettings>),
    /// Look into a running daemon, and tell it what to do
    Ctl(CtlSettings),
}

/// What the command line asks for.
#[derive(Debug)]
pub(super) enum Wish {
    Serve(Box<Settings>),
    Mount(Box<MountSettings>),
    Ctl(CtlSettings),
    /// Text for the standard output: help, version or capabilities.
    Print(String),
}

/// The name under which launchers look for us, and the version whose options we have.
const VIRTIOFSD: (&str, &str) =
    ("virtiofsd", concat!("1.14.0 (ferryfs ", env!("CARGO_PKG_VERSION"), ")"));

/// Reads the command line; the first argument is the program's name.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Wish, StartError> {
    let mut args = mount::expand(args)?.into_iter();
    let program = args.next().unwrap_or_default();
    let command = named(&program);
    let words: Vec<_> = std::iter::once(program).chain(words::translate(args)?).collect();
    let read = |words: &[OsString]| {
        let matches = command.clone().try_get_matches_from(words);
        matches.and_then(|matches| Arguments::from_arg_matches(&matches))
    };
    let arguments = read(&words);
    match arguments {
        Ok(Arguments { command: Some(Command::Mount(settings)), .. }) => Ok(Wish::Mount(settings)),
        Ok(Arguments { command: Some(Command::Ctl(settings)), .. }) => Ok(Wish::Ctl(settings)),
        Ok(Arguments { serve, .. }) if serve.print_capabilities => {
            Ok(Wish::Print(format!("{CAPABILITIES}\n")))
        }
        Ok(arguments) => Ok(Wish::Serve(Box::new(arguments.serve.check()?))),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                Ok(Wish::Print(error.render().to_string()))
            }
            ErrorKind::InvalidUtf8 => Err(explain_bytes(&words, |words| {
                read(words).is_err_and(|error| error.kind() == ErrorKind::InvalidUtf8)
            })),
            _ => Err(explain(&error, &command, &words)),
        },
    }
}

/// The definition of the command line, for whoever documents it.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

/// What launchers ask by `--print-capabilities`. A feature is named only when it is there.
const CAPABILITIES: &str = r#"{
  "type": "fs",
  "features": [
    "migrate-precopy",
    "posix-acl-negotiation-mode",
    "security-label-negotiation-mode",
    "separate-options"
  ]
}"#;

/// The command line as it is seen by who calls us by `program`'s name.
fn named(program: &OsStr) -> clap::Command {
    let command = Arguments::command();
    let (name, version) = VIRTIOFSD;
    if Path::new(program).file_name() == Some(OsStr::new(name)) {
        return command.name(name).version(version);
    }
    command
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use log::LevelFilter;

    use super::super::shares::Shared;
    use super::*;
    use crate::vhost::Tag;

    fn parse_words(words: &str) -> Result<Wish, StartError> {
        parse(std::iter::once("ferryfs").chain(words.split_whitespace()).map(OsString::from))
    }

    fn settings(words: &str) -> Settings {
        match parse_words(words) {
            Ok(Wish::Serve(settings)) => *settings,
            other => panic!("{words}: {other:?}"),
        }
    }

    fn shared_dir(settings: &Settings) -> &Path {
        match &settings.shared {
            Shared::One(path) => path,
            Shared::Several(_) => panic!("{:?}", settings.shared),
        }
    }

    fn printed(program: &str, words: &str) -> String {
        let args = std::iter::once(program).chain(words.split_whitespace());
        match parse(args.map(OsString::from)) {
            Ok(Wish::Print(text)) => text,
            other => panic!("{words}: {other:?}"),
        }
    }

    #[test]
    fn the_two_options_of_the_main_job_are_enough() {
        let settings = settings("--shared-dir /srv --socket-path=/run/s");
        assert_eq!(shared_dir(&settings), Path::new("/srv"));
        assert!(matches!(settings.socket, SocketSettings::Path { group: None, .. }));
        assert_eq!(settings.device.request_queues, 1);
        assert_eq!(settings.log.level(), LevelFilter::Info);
    }

    #[test]
    fn the_last_of_repeated_options_wins() {
        let settings = settings(
            "--shared-dir /a --fd 4 --fd=5 --tag x --tag y -d --log-level warn \
             -o no_writeback,writeback",
        );
        assert!(matches!(settings.socket, SocketSettings::Fd(5)));
        assert_eq!(settings.device.tag, Tag::new("y"));
        assert_eq!(settings.log.level(), LevelFilter::Warn);
    }

    #[test]
    fn old_and_new_style_mix_and_the_last_counts() {
        let settings = settings("--fd=3 -o source=/a,log_level=err -f -d --shared-dir=/a");
        assert_eq!(shared_dir(&settings), Path::new("/a"));
        assert_eq!(settings.log.level(), LevelFilter::Debug);
    }

    #[test]
    fn one_share_may_be_named_twice_but_not_two() {
        assert_eq!(
            shared_dir(&settings("--fd 3 --shared-dir /a --shared-dir=/a/")),
            Path::new("/a")
        );
        for words in [
            "--fd 3 --shared-dir /a --shared-dir /b",
            "--fd 3 --shared-dir /a -o source=/",
            "--fd 3 -o source=/a -o source=/b",
            "--fd 3 -o source=/a,source=/b --shared-dir /a",
        ] {
            let line = parse_words(words).unwrap_err().to_string();
            assert!(line.starts_with("--shared-dir: it is given twice"), "{line}");
        }
    }

    #[test]
    fn a_bad_command_line_is_explained_in_one_line() {
        let long = "t".repeat(37);
        let too_long = format!("--shared-dir / --fd 3 --tag {long}");
        for (words, option) in [
            ("", "--shared-dir"),
            ("--shared-dir", "--shared-dir"),
            ("--shared-dir / --fd x", "--fd"),
            ("--shared-dir / --fd 3 --socket-path /s", "--"),
            ("--shared-dir / --fd 3 --num-request-queues 0", "--num-request-queues"),
            ("--shared-dir / --fd 3 --num-request-queues 64", "--num-request-queues"),
            ("--shared-dir / --fd 3 --log-level loud", "--log-level"),
            ("--share a=/ --shared-dir / --fd 3", "--share"),
            ("--share a=/ -o source=/ --fd 3", "--share"),
            ("--share a=/ --fd 3 --dax-window 2M", "--share"),
            ("--share a=/ --share a=/ --fd 3", "--share"),
            ("--share / --fd 3", "--share"),
            ("--share a= --fd 3", "--share"),
            ("--frobnicate", "--frobnicate"),
            ("--shared-dir / --fd 3 --dax-window 3M", "--dax-window"),
            ("--shared-dir / --fd 3 --dax-window 1M", "--dax-window"),
            ("--shared-dir / --fd 3 --dax-policy auto", "--"),
            ("--shared-dir / --fd 3 --dax-window 2M --dax-policy x", "--dax-policy"),
            ("--shared-dir / --fd 3 --tag=", "--tag"),
            ("--shared-dir / --fd 3 -o frobnicate", "-o"),
            ("--shared-dir / --fd 3 -o", "-o"),
            (&too_long, "--tag"),
        ] {
            let line = parse_words(words).unwrap_err().to_string();
            assert!(line.starts_with(option), "{words}: {line}");
            assert!(!line.contains('\n') && line.contains("; "), "{words}: {line}");
        }
    }

    #[test]
    fn words_that_are_wrong_are_named_with_what_to_do() {
        for (words, line) in [
            (
                "--shared-dir /d --socket-path /s extra",
                "extra: it belongs to no option; leave it out, or name the directory to share by \
                 --shared-dir",
            ),
            (
                "/srv --socket-path /s",
                "/srv: it belongs to no option; leave it out, or name the directory to share by \
                 --shared-dir",
            ),
            ("mont /a /b", "mont: it belongs to no option; use mount"),
            (
                "--shared-dir / --posix-acl always",
                "always: it belongs to no option; write --posix-acl=always",
            ),
            (
                "--readonly mount /a /b",
                "mount: it comes after options; write it first, and only its own options",
            ),
            ("mount /a /b extra", "extra: it is one word too many; leave it out"),
            ("mount", "SOURCE: it is missing; add it"),
            ("ctl --control c stats extra", "extra: it is one word too many; leave it out"),
            (
                "ctl --control c frob",
                "frob: ctl knows no such word; use stats, inodes, sessions, metrics, top, share or \
                 log-level",
            ),
            (
                "ctl --control c share",
                "share: it needs a word that says what to do; use add or remove",
            ),
            ("ctl stats", "--control <PATH>: it is missing; add it"),
            ("--share-dirs /", "--share-dirs: there is no such option; use --shared-dir"),
            (
                "--cache x",
                "--cache <POLICY>: invalid value 'x'; use auto, always, metadata or never",
            ),
            ("--xattr=1", "--xattr: it takes no value; leave the equals sign and the value out"),
            (
                "--socket-path /s --fd 3",
                "--socket-path <SOCK>: it cannot be used with --fd <N>; leave one of them out",
            ),
            ("--dax-policy auto", "--dax-window <SIZE>: it is missing; add it"),
        ] {
            assert_eq!(parse_words(words).unwrap_err().to_string(), line, "{words}");
        }
        let error = parse(["ferryfs", "--readonly", ""].map(OsString::from)).unwrap_err();
        assert!(error.to_string().starts_with("\"\": it belongs to no option; "), "{error}");
    }

    #[test]
    fn bytes_that_are_no_text_are_named_by_their_option() {
        let parse_bytes = |words: &[&[u8]]| {
            let words = words.iter().map(|word| OsStr::from_bytes(word).to_owned());
            parse(std::iter::once("ferryfs".into()).chain(words)).unwrap_err().to_string()
        };
        let line = "--tag: \"\u{fffd}\" is not UTF-8; write it in UTF-8";
        // Paths may be anything.
        assert_eq!(parse_bytes(&[b"--shared-dir", b"\xff", b"--tag", b"\xff", b"--fd=3"]), line);
        let line = "--tag: \"--tag=\u{fffd}\" is not UTF-8; write it in UTF-8";
        assert_eq!(parse_bytes(&[b"--socket-path=/\xff", b"--tag=\xff", b"--xattrmap=\xff"]), line);
        let line = "--threads: \"\u{fffd}\" is not UTF-8; write it in UTF-8";
        assert_eq!(parse_bytes(&[b"mount", b"\xff", b"/at", b"--threads", b"\xff"]), line);
    }

    #[test]
    fn help_and_version_need_nothing_else() {
        assert!(printed("ferryfs", "--help").contains("--shared-dir"));
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(printed("/bin/ferryfs", "-V"), format!("ferryfs {version}\n"));
        let there = printed("/usr/libexec/virtiofsd", "--version");
        assert_eq!(there, format!("virtiofsd 1.14.0 (ferryfs {version})\n"));
    }

    #[test]
    fn capabilities_need_nothing_else() {
        let text = printed("ferryfs", "--print-capabilities");
        for part in [r#""type": "fs""#, r#""separate-options""#] {
            assert!(text.contains(part), "{text}");
        }
    }

    /// Every option of virtiofsd 1.14 as its --help has it, with values that it takes.
    const VIRTIOFSD_OPTIONS: &[(&str, &[&str])] = &[
        ("--tag", &["t"]),
        ("--socket-group", &["root"]),
        ("--thread-pool-size", &["0", "1", "64", "100000"]),
        ("--xattr", &[]),
        ("--xattrmap", &[":map::user.virtiofs.:"]),
        ("--sandbox", &["namespace", "chroot", "none"]),
        ("--readonly", &[]),
        ("--seccomp", &["none", "kill", "log", "trap"]),
        ("--announce-submounts", &[]),
        ("--no-announce-submounts", &[]),
        ("--inode-file-handles", &["never", "prefer", "fallback", "mandatory"]),
        ("--cache", &["auto", "always", "never", "metadata"]),
        ("--allow-mmap", &[]),
        ("--no-readdirplus", &[]),
        ("--writeback", &[]),
        ("--allow-direct-io", &[]),
        ("--modcaps", &["+sys_admin:-chown", "-mknod"]),
        ("--log-level", &["error", "warn", "info", "debug", "trace", "off"]),
        ("--syslog", &[]),
        ("--rlimit-nofile", &["0", "4096"]),
        ("-d", &[]),
        ("-f", &[]),
        ("--no-killpriv-v2", &[]),
        ("--killpriv-v2", &[]),
        ("--uid-map", &[":0:100000:65536:"]),
        ("--gid-map", &[":0:100000:65536:"]),
        (
            "--translate-uid",
            &[
                "map:0:100000:65536",
                "guest:0:1:1",
                "host:0:1:1",
                "squash-guest:0:1:9",
                "squash-host:0:1:9",
                "forbid-guest:0:9",
            ],
        ),
        ("--translate-gid", &["map:0:100000:65536"]),
        ("--preserve-noatime", &[]),
        ("--migration-mode", &["find-paths", "file-handles"]),
        ("--migration-on-error", &["abort", "guest-error"]),
        ("--migration-verify-handles", &[]),
        ("--migration-confirm-paths", &[]),
    ];

    #[test]
    fn every_option_of_virtiofsd_is_taken_in_both_spellings() {
        let main = "--shared-dir / --socket-path /s";
        for (option, values) in VIRTIOFSD_OPTIONS {
            if values.is_empty() {
                settings(&format!("{main} {option}"));
            }
            for value in *values {
                settings(&format!("{main} {option}={value}"));
                settings(&format!("{main} {option} {value}"));
            }
        }
        for option in ["--posix-acl", "--security-label"] {
            for value in ["", "=never", "=auto", "=always"] {
                settings(&format!("{main} {option}{value}"));
            }
        }
        settings("--shared-dir=/ --socket=/s");
        settings("--shared-dir=/ --socket /s");
    }

    #[test]
    fn what_is_left_out_is_as_virtiofsd_has_it() {
        let words = "--shared-dir / --socket-path /s";
        let defaults = "--thread-pool-size 0 --posix-acl=never --sandbox namespace --seccomp kill \
                        --announce-submounts --inode-file-handles=prefer --cache auto \
                        --log-level info --security-label=never";
        let shown = |words: &str| format!("{:?}", settings(words));
        assert_eq!(
            shown(words),
            shown(&format!("{words} {defaults}"))
                .replace("announce_submounts: true", "announce_submounts: false",)
        );
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }
}
