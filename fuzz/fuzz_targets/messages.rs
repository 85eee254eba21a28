//! What libFuzzer gives to `bodies/messages.rs`.
#![no_main]

use ferryfs_fuzz::bodies::messages;

libfuzzer_sys::fuzz_target!(init: ferryfs_fuzz::plant(&messages::seeds()), |input: &[u8]| messages::messages(input));
