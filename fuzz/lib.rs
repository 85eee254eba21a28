//! The targets of scripts/fuzz.
#![expect(clippy::unwrap_used, reason = "a fuzzer may")]

#[path = "bodies/mod.rs"]
pub mod bodies;

use std::path::Path;

/// Writes a target's first inputs to where scripts/fuzz keeps all that it finds.
pub fn plant(seeds: &[Vec<u8>]) {
    let Some(corpus) = std::env::var_os("FERRY_FUZZ_SEEDS") else { return };
    for (number, seed) in seeds.iter().enumerate() {
        std::fs::write(Path::new(&corpus).join(format!("seed-{number:03}")), seed)
            .expect("scripts/fuzz has made it");
    }
}
