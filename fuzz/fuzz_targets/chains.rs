//! What libFuzzer gives to `bodies/chains.rs`.
#![no_main]

use ferryfs::vhost::chains;

libfuzzer_sys::fuzz_target!(init: ferryfs_fuzz::plant(&chains::seeds()), |input: &[u8]| chains::chains(input));
