//! Bindings to the distribution's DPDK 22.11, generated at build time from the installed headers (`wrapper.h`) for the names
//! that pollvs uses (listed in build.rs), and to the few functions of `shim.c`. Nothing here is safe to call as it stands; the
//! safe interface is the `io::dpdk` module of pollvs.
//!
//! Thread-local variables (`rte_errno`, the lcore id) are left out on purpose: bindgen would declare them as plain statics,
//! which links and then crashes. [`dpdk_errno`] and [`dpdk_lcore_id`] read them.
#![no_std]
#![allow(unsafe_code, unreachable_pub, missing_docs, missing_debug_implementations, unused_qualifications)]
#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals, clippy::all, clippy::undocumented_unsafe_blocks)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));

// The fast path reaches into it; a header that disagrees must not compile.
const _: () = assert!(size_of::<rte_mbuf>() == 128 && align_of::<rte_mbuf>() == 64);
