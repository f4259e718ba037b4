//! Any bytes where a backup of the synchronisation listens.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pollvs_fuzz::sync::fuzz_one(data));
