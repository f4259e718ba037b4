//! Control: the rules, who may change them and how, and the protocol of the control socket (`docs/control.md`).

pub mod apply;
pub mod check;
pub mod key;
pub mod reply;
pub mod request;
pub mod rule_set;
pub mod state;
pub mod statistics;
pub mod store;
