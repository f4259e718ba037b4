//! Control: the rules, who may change them and how, and the protocol of the control socket (`docs/control.md`).

pub mod key;
pub mod reply;
pub mod request;
