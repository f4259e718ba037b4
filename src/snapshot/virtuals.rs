//! The virtual addresses and marks that packets are looked up by.

use std::net::IpAddr;

use crate::counted::Counted;
use crate::family::Address;
use crate::network::AddressSet;
use crate::service::ServiceKey;

/// What services are found by, those among them whose connections may live on after they were removed: their clients' packets are
/// then still looked up, by the worker that owns the client.
#[derive(Clone, Debug, Default)]
pub(super) struct Virtuals {
    addresses: Counted<IpAddr>,
    pub(super) vips4: AddressSet<u32>,
    pub(super) vips6: AddressSet<u128>,
    /// Addresses have left that are still in the sets.
    stale: bool,
    /// Uses of marks, IPv4 and IPv6.
    pub(super) marks: [usize; 2],
}

impl Virtuals {
    pub(super) fn add(&mut self, key: &ServiceKey) {
        match *key {
            ServiceKey::Mark { v6, .. } => self.marks[usize::from(v6)] += 1,
            ServiceKey::Address { address, .. } if self.addresses.add(address) => match address {
                IpAddr::V4(a) => self.vips4.insert(a.to_bits()),
                IpAddr::V6(a) => self.vips6.insert(a.to_bits()),
            },
            ServiceKey::Address { .. } => {}
        }
    }

    pub(super) fn remove(&mut self, key: &ServiceKey) {
        match *key {
            ServiceKey::Mark { v6, .. } => self.marks[usize::from(v6)] -= 1,
            ServiceKey::Address { address, .. } => self.stale |= self.addresses.remove(&address),
        }
    }

    pub(super) fn settle(&mut self) {
        if std::mem::take(&mut self.stale) {
            self.vips4 = AddressSet::new(self.addresses.iter().filter_map(u32::from_ip));
            self.vips6 = AddressSet::new(self.addresses.iter().filter_map(u128::from_ip));
        }
    }
}
