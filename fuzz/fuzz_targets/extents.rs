//! What libFuzzer gives to `bodies/extents.rs`.
#![no_main]

use ferryfs_fuzz::bodies::extents;

libfuzzer_sys::fuzz_target!(init: ferryfs_fuzz::plant(&extents::seeds()), |input: &[u8]| extents::extents(input));
