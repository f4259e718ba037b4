//! Any bytes where a helper listens.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pollvs_fuzz::app::fuzz_one(data));
