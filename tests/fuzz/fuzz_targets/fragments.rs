//! Any fragments in the store.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pollvs_fuzz::fragments::fuzz_one(data));
