//! What holds for all three workspaces: what deny.toml says of dependencies, as `cargo deny check`
//! would judge it, and the lints.
#![expect(clippy::unwrap_used, reason = "a test may")]

use std::env;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use spdx::{Expression, ParseMode};

const DENY: &str = include_str!("../deny.toml");
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// The licences that may be used.
fn allowed() -> Vec<&'static str> {
    let (_, licenses) = DENY.split_once("[licenses]").unwrap();
    let (_, list) = licenses.split_once("\nallow = [").unwrap();
    let (list, _) = list.split_once(']').unwrap();
    list.split('"').skip(1).step_by(2).collect()
}

/// All that is built for Linux from a manifest, with what the manifest says of it.
fn packages(manifest: &str) -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let metadata = Command::new(env::var_os("CARGO").unwrap())
        .args(["metadata", "--locked", "--format-version", "1", "--manifest-path"])
        .arg(root.join(manifest))
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn all_packages() -> Vec<Value> {
    let manifests = ["Cargo.toml", "fuzz/Cargo.toml", "proofs/Cargo.toml"];
    let packages: Vec<_> = manifests.into_iter().flat_map(packages).collect();
    assert!(packages.len() > 150, "{}", packages.len());
    packages
}

/// Whether a list of licences is enough to use what is under an expression.
fn suffices(allowed: &[&str], expression: &str) -> bool {
    let expression = Expression::parse_mode(expression, ParseMode::LAX).unwrap();
    expression.evaluate(|wanted| {
        wanted.addition.is_none()
            && wanted.license.id().is_some_and(|license| allowed.contains(&license.name))
    })
}

#[test]
fn every_dependency_has_a_licence_that_may_be_used() {
    let allowed = allowed();
    for package in all_packages() {
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(!licence.is_empty(), "{} names no licence", package["id"]);
        assert!(suffices(&allowed, licence), "{} is under {licence}", package["id"]);
    }
    assert!(!suffices(&allowed, "GPL-3.0-only") && !suffices(&allowed, "MIT AND GPL-3.0-only"));
}

#[test]
fn every_dependency_comes_from_crates_io_with_a_version() {
    for package in all_packages() {
        let Some(source) = package["source"].as_str() else {
            for dependency in package["dependencies"].as_array().unwrap() {
                let named = dependency["req"] != "*" || dependency["path"].is_string();
                assert!(named, "{} takes any {}", package["id"], dependency["name"]);
            }
            continue;
        };
        assert_eq!(source, CRATES_IO, "{}", package["id"]);
    }
}

#[test]
fn packages_of_their_own_have_the_lints_of_all_others() {
    let manifest = include_str!("../Cargo.toml");
    let (_, lints) = manifest.split_once("[workspace.lints.rust]\n").unwrap();
    let lints = lints.lines().filter(|line| line.contains(" = "));
    for lint in lints {
        for (name, other) in [
            ("fuzz", include_str!("../fuzz/Cargo.toml")),
            ("proofs", include_str!("../proofs/Cargo.toml")),
        ] {
            let (_, theirs) = other.split_once("[lints.rust]\n").unwrap();
            assert!(theirs.lines().any(|line| line == lint), "{name} has not {lint}");
        }
    }
}
