//! pollvsd as it is used: started as a program on veth ports in a network of namespaces, with web servers behind it and load
//! in front of it. Skipped, with a word why, without root or without DPDK; `make test` sets `POLLVS_NAMESPACE_TESTS=required`,
//! and then a test that cannot run fails.
mod checks;
mod demo;
mod director;
mod ecmp;
mod ftp;
mod handover;
mod health;
mod looking;
mod metrics;
mod network;
mod pair;
mod restart;
mod rules;
mod soak;
mod standing;
mod start;
mod synchronisation;
mod takeover;
mod testbed;
mod traffic;
mod tutorials;
mod vrrp;
