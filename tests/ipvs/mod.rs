//! What was written for the kernel's IPVS, against what a real kernel answered: raw requests on the netlink-compatible socket
//! (`golden`), and the distribution's unmodified programs (ipvsadm, keepalived, ldirectord) through the preload library, whose
//! transcripts are in `kernel/` and `keepalived/kernel.txt`. For the programs pollvsd runs its rules alone (`--no-dataplane`), in a
//! network namespace of the test; skipped, with a word why, without root, without the programs or without DPDK:
//! POLLVS_NAMESPACE_TESTS=required has them run or fail.
mod bed;
mod disk;
mod golden;
mod install;
mod ipvsadm;
mod keepalived;
mod ldirectord;
mod library;
mod transcript;
