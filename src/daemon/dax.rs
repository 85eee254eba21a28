//! Options of the DAX window.

use std::sync::Arc;

use clap::Args;

use super::error::StartError;
use crate::dax::DaxWindow;
use crate::passthrough::{DaxPolicy, Passthrough};

#[derive(Clone, Debug, Args)]
pub(super) struct DaxOptions {
    /// Let the guest map files into a window of this size, a power of two such as 512M, if the
    /// front-end can do that (see docs/DAX.md)
    #[arg(long, value_name = "SIZE", value_parser = window_size, help_heading = "DAX")]
    dax_window: Option<u64>,

    /// Files that are mapped if the guest leaves it to us: auto (large ones, of which several fit
    /// into the window), always, never, size:N (those of N bytes or more) or glob:PATTERN (by name)
    #[arg(long, value_name = "POLICY", default_value = "auto", value_parser = policy,
          requires = "dax_window", help_heading = "DAX")]
    dax_policy: DaxPolicy,
}

impl DaxOptions {
    /// The window, if there is to be one: made where that is still allowed.
    pub(super) fn open(&self) -> Result<Option<Arc<DaxWindow>>, StartError> {
        self.dax_window.map(DaxWindow::new).transpose().map_err(|error| {
            let problem = format!("cannot make a file to try it with: {error}");
            StartError::new("--dax-window", problem, "leave it out, or mount /proc")
        })
    }

    /// Has `share` shown in it.
    pub(super) fn map_into(
        &self,
        window: Arc<DaxWindow>,
        share: &mut Passthrough,
    ) -> Arc<DaxWindow> {
        share.map_into(window.clone(), self.dax_policy.clone());
        window
    }
}

/// Guests map by ranges of this, and do not come up with a window that has room for none.
const SMALLEST: u64 = 2 << 20;

fn window_size(text: &str) -> Result<u64, String> {
    let size = bytes(text).ok_or("it is not a size such as 512M")?;
    if !size.is_power_of_two() {
        return Err("it is not a power of two, which windows of PCI devices are".into());
    }
    if size < SMALLEST {
        return Err("it is smaller than 2M".into());
    }
    if i64::try_from(size).is_err() {
        return Err("it is too large".into());
    }
    Ok(size)
}

fn policy(text: &str) -> Result<DaxPolicy, String> {
    match text.split_once(':') {
        None if text == "auto" => Ok(DaxPolicy::Auto),
        None if text == "always" => Ok(DaxPolicy::Always),
        None if text == "never" => Ok(DaxPolicy::Never),
        Some(("size", size)) => {
            bytes(size).map(DaxPolicy::Size).ok_or("it is not a size such as size:16M".into())
        }
        Some(("glob", pattern)) if !pattern.is_empty() => {
            Ok(DaxPolicy::Glob(pattern.as_bytes().into()))
        }
        _ => Err("it is not auto, always, never, size:N or glob:PATTERN".into()),
    }
}

/// A number of bytes, perhaps with K, M, G or T behind it.
fn bytes(text: &str) -> Option<u64> {
    let shift = match text.bytes().last()?.to_ascii_uppercase() {
        b'K' => 10,
        b'M' => 20,
        b'G' => 30,
        b'T' => 40,
        _ => 0,
    };
    let digits = if shift == 0 { text } else { &text[..text.len() - 1] };
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_a_power_of_two_of_two_mebibytes_or_more() {
        for (text, size) in
            [("2M", 2 << 20), ("512m", 512 << 20), ("1G", 1 << 30), ("4194304", 4 << 20)]
        {
            assert_eq!(window_size(text), Ok(size), "{text}");
        }
        for text in [
            "",
            "0",
            "1M",
            "3M",
            "2M2",
            "-2M",
            "+2M",
            "2MB",
            "M",
            "0x200000",
            "1.5G",
            "99999999T",
            "8388608T",
        ] {
            assert!(window_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn policies_are_named() {
        let glob = DaxPolicy::Glob(Box::from(&b"*.img"[..]));
        for (text, expected) in [
            ("auto", DaxPolicy::Auto),
            ("always", DaxPolicy::Always),
            ("never", DaxPolicy::Never),
            ("size:16M", DaxPolicy::Size(16 << 20)),
            ("size:0", DaxPolicy::Size(0)),
            ("glob:*.img", glob),
        ] {
            assert_eq!(policy(text), Ok(expected), "{text}");
        }
        for text in ["", "Auto", "size", "size:", "size:x", "glob:", "auto:", "never:1"] {
            assert!(policy(text).is_err(), "{text}");
        }
    }
}
