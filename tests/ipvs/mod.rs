//! The netlink-compatible socket against what a real kernel answered.
mod golden;
