//! The command lines that people know, on top of the control protocol.

pub mod iptables;
pub mod ipvsadm;
pub mod plain;
