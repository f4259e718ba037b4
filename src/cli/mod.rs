//! The command lines that people know, on top of the control protocol.

mod figure;
pub mod iptables;
pub mod ipvsadm;
pub mod plain;
pub mod top;
