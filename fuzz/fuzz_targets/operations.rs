//! What libFuzzer gives to `bodies/operations.rs`.
#![no_main]

use ferryfs_fuzz::bodies::operations;

libfuzzer_sys::fuzz_target!(init: ferryfs_fuzz::plant(&operations::seeds()), |input: &[u8]| operations::operations(input));
