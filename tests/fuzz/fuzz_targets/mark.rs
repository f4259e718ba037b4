//! Any text as a mark rule.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pollvs_fuzz::control::fuzz_mark(data));
