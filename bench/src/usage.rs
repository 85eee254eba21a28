//! What a daemon uses: processor time of all its threads, and memory.

use std::fs;
use std::io;
use std::time::Duration;

use crate::error::Result;

/// The processes of a daemon: the one that was started, and its children.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut at = 0;
    while let Some(&parent) = found.get(at) {
        for task in tasks(parent).unwrap_or_default() {
            // What ends meanwhile has no children.
            let text = fs::read_to_string(format!("{task}/children")).unwrap_or_default();
            found.extend(text.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
        at += 1;
    }
    found
}

fn tasks(pid: u32) -> io::Result<Vec<String>> {
    let entries = fs::read_dir(format!("/proc/{pid}/task"))?;
    entries.map(|entry| Ok(entry?.path().display().to_string())).collect()
}

/// Processor time and context switches of these processes so far.
pub(crate) fn used(family: &[u32]) -> Result<(Duration, u64)> {
    let (mut time, mut slices) = (0, 0);
    for pid in family {
        for task in tasks(*pid)? {
            let text = fs::read_to_string(format!("{task}/schedstat"))?;
            let mut numbers = text.split_whitespace().map(|number| number.parse::<u64>());
            let (Some(Ok(run)), Some(Ok(_)), Some(Ok(count))) =
                (numbers.next(), numbers.next(), numbers.next())
            else {
                return Err(io::Error::from(io::ErrorKind::InvalidData).into());
            };
            time += run;
            slices += count;
        }
    }
    Ok((Duration::from_nanos(time), slices))
}

/// True if all their threads wait for something.
pub(crate) fn are_asleep(family: &[u32]) -> Result<bool> {
    for pid in family {
        for task in tasks(*pid)? {
            // A thread that ends meanwhile does something.
            let stat = fs::read_to_string(format!("{task}/stat")).unwrap_or_default();
            // The name before the state may have any characters in it.
            let state = stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
            if state != Some('S') {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Bytes of resident memory of a process that are its own: what it shares with others, like the
/// guest's memory, is not counted, its program is.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let bytes = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.and_then(|line| Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10))
    };
    let (own, program) = (bytes("RssAnon"), bytes("RssFile"));
    Ok(own.zip(program).map(|(own, program)| own + program).ok_or(io::ErrorKind::InvalidData)?)
}
