//! What libFuzzer gives to `bodies/requests.rs`.
#![no_main]

use ferryfs_fuzz::bodies::requests;

libfuzzer_sys::fuzz_target!(init: ferryfs_fuzz::plant(&requests::seeds()), |input: &[u8]| requests::requests(input));
