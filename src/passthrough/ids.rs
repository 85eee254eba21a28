//! Translating user or group ids between guest and host.

use std::fmt;
use std::str::FromStr;

use crate::fuse::{Errno, Result};

/// How ids of one kind (users or groups) are translated; what no rule names stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMap {
    to_host: Vec<Range>,
    to_guest: Vec<Range>,
}

/// What becomes of `count` ids from `first` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u32,
    count: u32,
    to: Target,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// The ids from this one on.
    Base(u32),
    /// This id, all of them.
    One(u32),
    /// Nothing: they must not be used.
    Forbidden,
}

/// A rule of virtiofsd's `--translate-uid` and `--translate-gid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRule {
    to_host: Option<Range>,
    to_guest: Option<Range>,
}

/// Why a rule, or a list of rules, makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadIdRule(&'static str);

impl fmt::Display for BadIdRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadIdRule {}

impl FromStr for IdRule {
    type Err = BadIdRule;

    fn from_str(rule: &str) -> std::result::Result<Self, BadIdRule> {
        let (kind, numbers) = match rule.split_once(':') {
            // virtiofsd's older form has no type: a mapping in both directions.
            Some((first, _)) if first.bytes().all(|byte| byte.is_ascii_digit()) => ("map", rule),
            Some(parts) => parts,
            None => return Err(BadIdRule("it is not TYPE:FIRST:TARGET:COUNT")),
        };
        let numbers: std::result::Result<Vec<u32>, _> =
            numbers.split(':').map(str::parse).collect();
        let numbers = numbers.map_err(|_| BadIdRule("a number in it is not one, or too large"))?;
        let range = |first: u32, count: u32, to| {
            let last = count.checked_sub(1).and_then(|more| first.checked_add(more));
            let last_target = match to {
                Target::Base(base) => count.checked_sub(1).and_then(|more| base.checked_add(more)),
                Target::One(_) | Target::Forbidden => Some(0),
            };
            match (last, last_target) {
                (Some(_), Some(_)) => Ok(Some(Range { first, count, to })),
                _ => Err(BadIdRule("its range is empty, or reaches beyond the largest id")),
            }
        };
        let (to_host, to_guest) = match (kind, &numbers[..]) {
            ("map", &[guest, host, count]) => {
                let to_host = range(guest, count, Target::Base(host))?;
                (to_host, range(host, count, Target::Base(guest))?)
            }
            ("guest", &[guest, host, count]) => (range(guest, count, Target::Base(host))?, None),
            ("host", &[host, guest, count]) => (None, range(host, count, Target::Base(guest))?),
            ("squash-guest", &[guest, host, count]) => {
                (range(guest, count, Target::One(host))?, None)
            }
            ("squash-host", &[host, guest, count]) => {
                (None, range(host, count, Target::One(guest))?)
            }
            ("forbid-guest", &[guest, count]) => (range(guest, count, Target::Forbidden)?, None),
            ("map" | "guest" | "host" | "squash-guest" | "squash-host" | "forbid-guest", _) => {
                return Err(BadIdRule("it has too few or too many numbers for its type"));
            }
            _ => return Err(BadIdRule(TYPES)),
        };
        Ok(IdRule { to_host, to_guest })
    }
}

const TYPES: &str =
    "its type is none of map, guest, host, squash-guest, squash-host and forbid-guest";

impl IdMap {
    /// A map of these rules.
    ///
    /// # Errors
    /// Two rules of one direction name the same id.
    pub fn new(rules: &[IdRule]) -> std::result::Result<Self, BadIdRule> {
        let to_host = sorted(rules.iter().filter_map(|rule| rule.to_host).collect())?;
        let to_guest = sorted(rules.iter().filter_map(|rule| rule.to_guest).collect())?;
        Ok(IdMap { to_host, to_guest })
    }

    /// Everything on the host is the daemon's `host` id, and the guest's `guest` id.
    #[must_use]
    pub fn one_owner(guest: u32, host: u32) -> Self {
        let all = |to| vec![Range { first: 0, count: u32::MAX, to: Target::One(to) }];
        IdMap { to_host: all(host), to_guest: all(guest) }
    }

    /// All ids of the guest become `host`; those of the host stay.
    #[must_use]
    pub fn squash(host: u32) -> Self {
        let to_host = vec![Range { first: 0, count: u32::MAX, to: Target::One(host) }];
        IdMap { to_host, to_guest: Vec::new() }
    }

    /// True if nothing is ever translated.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        self.to_host.is_empty() && self.to_guest.is_empty()
    }

    /// The host's id for one of the guest's.
    ///
    /// # Errors
    /// `EPERM` if the guest must not use it.
    pub fn to_host(&self, id: u32) -> Result<u32> {
        translate(&self.to_host, id).ok_or(Errno::EPERM)
    }

    /// The guest's id for one of the host's.
    #[must_use]
    pub fn to_guest(&self, id: u32) -> u32 {
        translate(&self.to_guest, id).unwrap_or(id)
    }
}

/// Sorted by their first id, without overlaps.
fn sorted(mut ranges: Vec<Range>) -> std::result::Result<Vec<Range>, BadIdRule> {
    ranges.sort_by_key(|range| range.first);
    let overlap = |pair: &[Range]| pair[1].first - pair[0].first < pair[0].count;
    if ranges.windows(2).any(overlap) {
        return Err(BadIdRule("it names ids that another rule names as well"));
    }
    Ok(ranges)
}

fn translate(ranges: &[Range], id: u32) -> Option<u32> {
    let after = ranges.partition_point(|range| range.first <= id);
    let Some(range) = after.checked_sub(1).map(|at| ranges[at]) else { return Some(id) };
    let offset = id - range.first;
    match range.to {
        _ if offset >= range.count => Some(id),
        Target::Base(base) => Some(base + offset),
        Target::One(one) => Some(one),
        Target::Forbidden => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(rules: &str) -> std::result::Result<IdMap, BadIdRule> {
        let rules: std::result::Result<Vec<_>, _> =
            rules.split_whitespace().map(str::parse).collect();
        IdMap::new(&rules?)
    }

    #[test]
    fn nothing_is_translated_without_rules() {
        let none = map("").unwrap();
        assert!(none.is_identity());
        for id in [0, 1000, u32::MAX] {
            assert_eq!((none.to_host(id), none.to_guest(id)), (Ok(id), id));
        }
    }

    #[test]
    fn each_type_translates_in_its_direction() {
        let ids = map("map:0:1000:10 guest:20:2000:5 host:30:3000:5 squash-guest:40:7:3 \
                       squash-host:50:8:3 forbid-guest:60:2 70:700:1")
        .unwrap();
        for (guest, host) in
            [(0, 1000), (9, 1009), (10, 10), (24, 2004), (25, 25), (40, 7), (42, 7), (43, 43)]
        {
            assert_eq!(ids.to_host(guest), Ok(host), "guest {guest}");
        }
        for (host, guest) in
            [(1000, 0), (1009, 9), (1010, 1010), (30, 3000), (34, 3004), (52, 8), (700, 70)]
        {
            assert_eq!(ids.to_guest(host), guest, "host {host}");
        }
        assert_eq!((ids.to_host(60), ids.to_host(61)), (Err(Errno::EPERM), Err(Errno::EPERM)));
        assert_eq!((ids.to_host(62), ids.to_guest(60)), (Ok(62), 60));
    }

    #[test]
    fn the_example_of_virtiofsd_gives_one_owner() {
        let ids = map("squash-guest:0:1001:4294967295 host:1001:1000:1").unwrap();
        assert_eq!((ids.to_host(0), ids.to_host(4_294_967_294)), (Ok(1001), Ok(1001)));
        assert_eq!((ids.to_guest(1001), ids.to_guest(5)), (1000, 5));
        let one = IdMap::one_owner(1000, 1001);
        assert_eq!((one.to_host(0), one.to_guest(0)), (Ok(1001), 1000));
    }

    #[test]
    fn rules_that_make_no_sense_are_refused() {
        for rules in [
            "map",
            "map:1",
            "map:1:2",
            "map:1:2:3:4",
            "map:1:2:0",
            "map:1:x:1",
            "map:-1:1:1",
            "map:1:2:4294967295",
            "guest:4294967295:0:2",
            "forbid-guest:4294967295:2",
            "forbid-guest:1:1:1",
            "sideways:1:2:3",
            "map:0:0:10 guest:9:1:1",
            "squash-guest:0:1:4294967295 forbid-guest:100:1",
            "1:2",
        ] {
            assert!(map(rules).is_err(), "{rules}");
        }
        assert!(map("guest:0:0:10 host:0:0:10").is_ok(), "directions are independent");
    }
}
