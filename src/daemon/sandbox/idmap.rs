//! The ids of a user namespace.

use std::fmt::Display;
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::{fs, io};

use rustix::process::{Gid, Pid, Uid, getegid, geteuid};
use rustix::thread::{CapabilitySet, capabilities, set_thread_res_gid, set_thread_res_uid};

use crate::daemon::error::StartError;

/// Ids that follow one another, in the namespace and on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IdRange {
    inside: u32,
    host: u32,
    count: u32,
}

impl FromStr for IdRange {
    type Err = &'static str;

    /// `:INSIDE:HOST:COUNT:` with any character for the colon, or `INSIDE:HOST:COUNT`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let first = text.chars().next().ok_or("it is empty")?;
        let delimiter = if first.is_ascii_digit() { ':' } else { first };
        let text = text.strip_prefix(delimiter).unwrap_or(text);
        let text = text.strip_suffix(delimiter).unwrap_or(text);
        let numbers: Result<Vec<u32>, _> = text.split(delimiter).map(str::parse).collect();
        let [inside, host, count] = numbers.map_err(|_| "it is not :INSIDE:HOST:COUNT:")?[..]
        else {
            return Err("it is not :INSIDE:HOST:COUNT:");
        };
        let fits = |first: u32| count > 0 && first.checked_add(count).is_some();
        if fits(inside) && fits(host) {
            Ok(IdRange { inside, host, count })
        } else {
            Err("it has no ids in it, or more than there are")
        }
    }
}

/// The ids of a user namespace.
#[derive(Debug)]
pub(super) struct IdMaps {
    uids: Vec<IdRange>,
    gids: Vec<IdRange>,
}

impl IdMaps {
    /// Without ranges a namespace knows its maker alone.
    pub(super) fn new(uids: &[IdRange], gids: &[IdRange]) -> Self {
        let or_own = |ranges: &[IdRange], own| match ranges {
            [] => vec![IdRange { inside: own, host: own, count: 1 }],
            ranges => ranges.to_vec(),
        };
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        IdMaps { uids: or_own(uids, uid), gids: or_own(gids, gid) }
    }

    /// True if nobody but one user exists in the namespace.
    pub(super) fn is_one_id(&self) -> bool {
        matches!(self.uids[..], [IdRange { count: 1, .. }])
    }

    /// Gives a process in a new user namespace its ids, from outside of it.
    pub(super) fn write(&self, pid: Pid) -> Result<(), StartError> {
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        let users = ("--uid-map", "uid_map", CapabilitySet::SETUID, uid, &self.uids);
        let groups = ("--gid-map", "gid_map", CapabilitySet::SETGID, gid, &self.gids);
        for (option, file, right, own, ranges) in [groups, users] {
            let has = capabilities(None).is_ok_and(|sets| sets.effective.contains(right));
            let is_own = matches!(**ranges, [range] if (range.host, range.count) == (own, 1));
            let written = match has || is_own {
                true => write_directly(pid, file, ranges, has),
                false => run_helper(pid, file, ranges),
            };
            written.map_err(|problem| {
                let remedy = "give ids that /etc/subuid and /etc/subgid grant you, and install \
                              newuidmap and newgidmap (Debian: uidmap)";
                StartError::new(option, problem, remedy)
            })?;
        }
        Ok(())
    }

    /// Makes the calling process root in its namespace, if there is one.
    pub(super) fn become_root(&self) -> io::Result<()> {
        let has_root = |ranges: &[IdRange]| ranges.iter().any(|range| range.inside == 0);
        if has_root(&self.gids) {
            let root = Some(Gid::ROOT);
            set_thread_res_gid(root, root, root)?;
        }
        if has_root(&self.uids) {
            let root = Some(Uid::ROOT);
            set_thread_res_uid(root, root, root)?;
        }
        Ok(())
    }
}

fn write_directly(
    pid: Pid,
    file: &str,
    ranges: &[IdRange],
    privileged: bool,
) -> Result<(), String> {
    let of_process = |name: &str| format!("/proc/{}/{name}", pid.as_raw_nonzero());
    let lines: String =
        ranges.iter().map(|range| format!("{}\n", range.words().join(" "))).collect();
    let write = |file: String, text: &str| {
        fs::write(&file, text).map_err(|error| format!("cannot write {file}: {error}"))
    };
    // The price of doing without privilege.
    if !privileged && file == "gid_map" {
        write(of_process("setgroups"), "deny")?;
    }
    write(of_process(file), &lines)
}

fn run_helper(pid: Pid, file: &str, ranges: &[IdRange]) -> Result<(), String> {
    let program = if file == "uid_map" { "newuidmap" } else { "newgidmap" };
    let failed = |why: &dyn Display| format!("{program} failed: {why}");
    let mut command = Command::new(program);
    command.arg(pid.as_raw_nonzero().to_string());
    command.args(ranges.iter().flat_map(|range| range.words()));
    let output = command.stdin(Stdio::null()).output().map_err(|error| failed(&error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(&said.lines().next().unwrap_or("it does not say why")))
}

impl IdRange {
    fn words(&self) -> [String; 3] {
        [self.inside, self.host, self.count].map(|number| number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_understood_in_both_notations() {
        let range = IdRange { inside: 0, host: 100_000, count: 65536 };
        for text in [":0:100000:65536:", "0:100000:65536", ":0:100000:65536", "/0/100000/65536/"] {
            assert_eq!(text.parse(), Ok(range), "{text}");
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in [
            "",
            ":",
            "::::",
            "0",
            "0:1",
            ":0:1:",
            "0:1:2:3",
            ":a:b:c:",
            ":0:1:-1:",
            "0:1:0",
            ":0:1:4294967296:",
            ":1:0:4294967295:",
            ":4294967295:0:1:",
            " 0:1:1",
        ] {
            assert!(text.parse::<IdRange>().is_err(), "{text}");
        }
    }
}
