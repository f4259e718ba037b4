//! Any bytes in the place of what the process before hands over.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pollvs_fuzz::handover::fuzz_one(data));
