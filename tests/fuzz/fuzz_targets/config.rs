//! Any bytes as a configuration.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pollvs_fuzz::control::fuzz_config(data));
