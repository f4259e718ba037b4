//! Any bytes as frames through the director.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pollvs_fuzz::process::fuzz_one(data));
