//! Any bytes as a frame.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pollvs_fuzz::wire::fuzz_one(data));
