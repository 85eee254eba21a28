//! virtiofsd's language for renaming extended attributes between guest and host.
//!
//! A rule is `:TYPE:SCOPE:KEY:PREPEND:` or `:map:KEY:PREPEND:`; its first character, whatever it
//! is, separates its fields. The first rule that matches a name decides.

use std::ffi::CStr;
use std::fmt;
use std::str::FromStr;

use crate::fuse::{Errno, Result};

/// A checked list of rules: some rule matches every name, in both directions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XattrMap {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    action: Action,
    /// Applies to names from the guest, to names from the host.
    guest: bool,
    host: bool,
    key: Box<[u8]>,
    prepend: Box<[u8]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Prefix,
    Ok,
    Bad,
    Unsupported,
}

/// Why a list of rules is not one, in the words of the person who wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadXattrMap(String);

impl fmt::Display for BadXattrMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadXattrMap {}

/// Longest name of an extended attribute (`XATTR_NAME_MAX`).
const LONGEST: usize = 255;

/// A name that was translated for the host.
pub(super) struct HostName {
    bytes: [u8; LONGEST + 1],
    len: usize,
}

impl HostName {
    pub(super) fn new(prepend: &[u8], name: &[u8]) -> Result<Self> {
        let len = prepend.len() + name.len();
        let mut bytes = [0; LONGEST + 1];
        bytes[..LONGEST].get_mut(..len).ok_or(Errno::ERANGE)?[..prepend.len()]
            .copy_from_slice(prepend);
        bytes[prepend.len()..len].copy_from_slice(name);
        Ok(HostName { bytes, len })
    }

    pub(super) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_with_nul(&self.bytes[..=self.len]).unwrap_or_default()
    }
}

impl XattrMap {
    /// What an overlay's upper layer and file capabilities in a guest need, without rights on the
    /// host: `trusted.*` and `security.*` are kept as `user.virtiofs.*`.
    ///
    /// # Panics
    /// Never: the rules are tested.
    #[must_use]
    pub fn overlay() -> Self {
        let rules = ":prefix:all:trusted.:user.virtiofs.: :prefix:all:security.:user.virtiofs.: \
                     :bad:server::trusted.: :bad:server::security.: \
                     :bad:client:user.virtiofs.:: :ok:all:::";
        rules.parse().expect("tested below")
    }

    /// The host's name for the guest's `name`.
    ///
    /// # Errors
    /// `EPERM` or `ENOTSUP` for names that the rules keep from the guest, `ERANGE` for one that
    /// gets too long.
    pub(super) fn to_host(&self, name: &CStr) -> Result<HostName> {
        let name = name.to_bytes();
        let rule = self.rules.iter().find(|rule| rule.guest && name.starts_with(&rule.key));
        match rule.map(|rule| (rule.action, &rule.prepend)) {
            Some((Action::Prefix, prepend)) => HostName::new(prepend, name),
            Some((Action::Ok, _)) => HostName::new(b"", name),
            Some((Action::Unsupported, _)) => Err(Errno::EOPNOTSUPP),
            Some((Action::Bad, _)) | None => Err(Errno::EPERM),
        }
    }

    /// The guest's name for the host's `name`, or none if the guest is not to see it.
    pub(super) fn to_guest<'a>(&self, name: &'a [u8]) -> Option<&'a [u8]> {
        let rule = self.rules.iter().find(|rule| rule.host && name.starts_with(&rule.prepend))?;
        match rule.action {
            Action::Prefix => name.get(rule.prepend.len()..).filter(|name| !name.is_empty()),
            Action::Ok => Some(name),
            Action::Bad | Action::Unsupported => None,
        }
    }
}

impl FromStr for XattrMap {
    type Err = BadXattrMap;

    fn from_str(text: &str) -> std::result::Result<Self, BadXattrMap> {
        let bad = |why: &str| Err(BadXattrMap(why.to_owned()));
        let mut rules = Vec::new();
        let mut rest = text.trim_start();
        let mut mapped = false;
        while let Some(separator) = rest.chars().next() {
            if mapped {
                return bad("a map rule must be the last");
            }
            let mut fields = rest[separator.len_utf8()..].split(separator);
            let mut used = separator.len_utf8();
            let mut field = || {
                let field = fields.next()?;
                used += field.len() + separator.len_utf8();
                // A field ends with a separator; the rest of the text does not count.
                (used <= rest.len()).then_some(field)
            };
            let incomplete = || BadXattrMap(format!("the rule {rest:?} is incomplete"));
            let kind = field().ok_or_else(incomplete)?;
            if kind == "map" {
                let (key, prepend) =
                    (field().ok_or_else(incomplete)?, field().ok_or_else(incomplete)?);
                rules.extend(map_rules(key, prepend));
                mapped = true;
            } else {
                let action = match kind {
                    "prefix" => Action::Prefix,
                    "ok" => Action::Ok,
                    "bad" => Action::Bad,
                    "unsupported" => Action::Unsupported,
                    _ => {
                        let types = "prefix, ok, bad, unsupported and map";
                        return bad(&format!("the type {kind:?} is none of {types}"));
                    }
                };
                let (guest, host) = match field().ok_or_else(incomplete)? {
                    "client" => (true, false),
                    "server" => (false, true),
                    "all" => (true, true),
                    scope => {
                        return bad(&format!(
                            "the scope {scope:?} is none of client, server and all"
                        ));
                    }
                };
                let (key, prepend) =
                    (field().ok_or_else(incomplete)?, field().ok_or_else(incomplete)?);
                rules.push(Rule::new(action, (guest, host), key, prepend));
            }
            rest = rest[used..].trim_start();
        }
        if rules.is_empty() {
            return bad("there is no rule");
        }
        let all_from_guest = rules.iter().any(|rule| rule.guest && rule.key.is_empty());
        let all_from_host = rules.iter().any(|rule| rule.host && rule.prepend.is_empty());
        if !all_from_guest || !all_from_host {
            return bad(
                "no rule matches the names that are left; end with :ok:all::: or :bad:all:::",
            );
        }
        Ok(XattrMap { rules })
    }
}

impl Rule {
    fn new(action: Action, (guest, host): (bool, bool), key: &str, prepend: &str) -> Self {
        let (key, prepend) = (key.as_bytes().into(), prepend.as_bytes().into());
        Rule { action, guest, host, key, prepend }
    }
}

/// What a `map` rule stands for: the prefix, no way around it, and the rest.
fn map_rules(key: &str, prepend: &str) -> Vec<Rule> {
    let both = (true, true);
    let mut rules = vec![Rule::new(Action::Prefix, both, key, prepend)];
    if key.is_empty() {
        rules.push(Rule::new(Action::Bad, both, "", ""));
    } else {
        rules.push(Rule::new(Action::Bad, both, prepend, key));
        rules.push(Rule::new(Action::Ok, both, "", ""));
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(rules: &str) -> XattrMap {
        rules.parse().unwrap_or_else(|error| panic!("{rules}: {error}"))
    }

    /// What a name from the guest becomes, and a name from the host.
    fn both<'a>(map: &XattrMap, guest: &'a str, host: &'a str) -> (String, Option<String>) {
        let guest = std::ffi::CString::new(guest).unwrap();
        let to_host = match map.to_host(&guest) {
            Ok(name) => name.as_c_str().to_str().unwrap().to_owned(),
            Err(error) => error.raw().to_string(),
        };
        let to_guest = map.to_guest(host.as_bytes());
        (to_host, to_guest.map(|name| String::from_utf8(name.to_vec()).unwrap()))
    }

    #[test]
    fn a_map_rule_is_short_for_the_documented_ones() {
        for (short, long) in [
            (":map::user.virtiofs.:", ":prefix:all::user.virtiofs.::bad:all:::"),
            (
                "/map/trusted./user.virtiofs./",
                "/prefix/all/trusted./user.virtiofs./\n/bad/server//trusted./\n\
                 /bad/client/user.virtiofs.//\n /ok/all///",
            ),
        ] {
            let (short, long) = (map(short), map(long));
            for name in ["trusted.a", "user.b", "user.virtiofs.trusted.a", "user.virtiofs.", "x"] {
                assert_eq!(both(&short, name, name), both(&long, name, name), "{name}");
            }
        }
    }

    #[test]
    fn names_are_prefixed_stripped_hidden_and_refused() {
        let all = map(":map::user.virtiofs.:");
        let expected = ("user.virtiofs.trusted.a".to_owned(), Some("trusted.a".to_owned()));
        assert_eq!(both(&all, "trusted.a", "user.virtiofs.trusted.a"), expected);
        assert_eq!(both(&all, "a", "user.own").1, None);
        let some = map("/map/trusted./user.virtiofs./");
        assert_eq!(both(&some, "user.virtiofs.trusted.a", "trusted.a"), (EPERM.to_owned(), None));
        assert_eq!(
            both(&some, "user.a", "user.a"),
            ("user.a".to_owned(), Some("user.a".to_owned()))
        );
        let hidden = map(":unsupported:client:security.:: :bad:server::security.: :ok:all:::");
        let refused = (EOPNOTSUPP.to_owned(), None);
        assert_eq!(both(&hidden, "security.selinux", "security.selinux"), refused);
    }

    const EPERM: &str = "1";
    const EOPNOTSUPP: &str = "95";

    #[test]
    fn the_overlay_preset_lets_nothing_around_it() {
        let overlay = XattrMap::overlay();
        for name in ["trusted.overlay.opaque", "security.capability", "security.selinux"] {
            let host = format!("user.virtiofs.{name}");
            assert_eq!(both(&overlay, name, &host), (host.clone(), Some(name.to_owned())));
            assert_eq!(both(&overlay, &host, name), (EPERM.to_owned(), None));
        }
    }

    #[test]
    fn a_name_that_gets_too_long_is_refused() {
        let all = map(":map::user.virtiofs.:");
        assert_eq!(both(&all, &"n".repeat(255 - 14), "x").0.len(), 255);
        assert_eq!(both(&all, &"n".repeat(255 - 13), "x").0, "34");
    }

    #[test]
    fn lists_that_are_not_rules_are_refused() {
        for (rules, why) in [
            ("", "no rule"),
            ("  ", "no rule"),
            (":", "incomplete"),
            (":ok:all::", "incomplete"),
            (":map:a:b", "incomplete"),
            (":frob:all:::", "type"),
            (":ok:some:::", "scope"),
            (":map::a: :ok:all:::", "last"),
            (":map::a: :map::b:", "last"),
            (":prefix:all:trusted.:user.:", "names that are left"),
            (":ok:client:::", "names that are left"),
            (":ok:server:::", "names that are left"),
        ] {
            let error = rules.parse::<XattrMap>().unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains('\n'), "{rules}: {error}");
        }
    }
}
