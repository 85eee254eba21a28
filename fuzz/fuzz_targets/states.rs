//! What libFuzzer gives to `bodies/states.rs`.
#![no_main]

use ferryfs_fuzz::bodies::states;

libfuzzer_sys::fuzz_target!(init: ferryfs_fuzz::plant(&states::seeds()), |input: &[u8]| states::states(input));
