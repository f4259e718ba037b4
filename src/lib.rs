//! pollvs: the Linux Virtual Server (LVS/IPVS) rebuilt as a poll-mode forwarder.
