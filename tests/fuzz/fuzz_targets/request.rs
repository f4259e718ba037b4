//! Any bytes as a line to the control socket.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pollvs_fuzz::control::fuzz_request(data));
