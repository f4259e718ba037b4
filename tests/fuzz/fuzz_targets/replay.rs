//! Any lines of rules and frames through the replay.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pollvs_fuzz::replay::fuzz_one(data));
