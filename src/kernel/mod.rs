//! The kernel as the control plane's friend: a TAP beside each port (the twin), through which the kernel speaks ARP, ND, ICMP, BGP and
//! ssh on the port's wire, and rtnetlink, by which the addresses, routes and neighbours that it knows reach the data path.

mod announce;
mod carrier;
mod detour;
mod fresh;
mod rtnetlink;
mod sysctl;
mod tap;
mod tunnel;
mod twin;
mod view;
mod watcher;

#[cfg(test)]
mod tests;

pub use announce::{Announced, Announcer};
pub use carrier::{Links, interface_behind};
pub use detour::{Detours, Way};
pub use rtnetlink::interface_mtu;
pub use sysctl::check_sysctls;
pub use tap::{Tap, TapError};
pub use twin::{Twin, TwinCounters, TwinEnd};
pub use view::{Assigned, Effect, Event, KernelRoute, Link, Neighbour, Port, Reach, RouteKind, Table, View};
pub use watcher::Watcher;
