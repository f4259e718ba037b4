//! Any bytes as a datagram to the netlink-compatible socket.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pollvs_fuzz::netlink::fuzz_one(data));
