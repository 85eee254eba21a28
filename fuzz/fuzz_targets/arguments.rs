//! What libFuzzer gives to `bodies/arguments.rs`.
#![no_main]

use ferryfs::daemon::arguments;

libfuzzer_sys::fuzz_target!(init: ferryfs_fuzz::plant(&arguments::seeds()), |input: &[u8]| arguments::arguments(input));
