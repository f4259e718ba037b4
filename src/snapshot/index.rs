//! Which service has a key.

use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::service::{ServiceId, ServiceKey};

/// Where the service of a key is: in parts, by the last bits of address and port, so that a change copies a small one.
#[derive(Clone, Debug)]
pub(super) struct Index([Arc<FxHashMap<ServiceKey, ServiceId>>; Self::PARTS]);

impl Default for Index {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Arc::default()))
    }
}

impl Index {
    const PARTS: usize = 64;

    #[inline]
    fn part(key: &ServiceKey) -> usize {
        let last = match *key {
            ServiceKey::Address { address: IpAddr::V4(a), port, .. } => a.octets()[3] ^ port.to_le_bytes()[0],
            ServiceKey::Address { address: IpAddr::V6(a), port, .. } => a.octets()[15] ^ port.to_le_bytes()[0],
            ServiceKey::Mark { mark, .. } => mark.to_le_bytes()[0],
        };
        usize::from(last) % Self::PARTS
    }

    #[inline]
    pub(super) fn get(&self, key: &ServiceKey) -> Option<ServiceId> {
        self.0[Self::part(key)].get(key).copied()
    }

    pub(super) fn insert(&mut self, key: ServiceKey, id: ServiceId) {
        Arc::make_mut(&mut self.0[Self::part(&key)]).insert(key, id);
    }

    /// Takes a key out, unless another service has it by now.
    pub(super) fn remove(&mut self, key: &ServiceKey, id: ServiceId) {
        if self.get(key) == Some(id) {
            Arc::make_mut(&mut self.0[Self::part(key)]).remove(key);
        }
    }
}

#[cfg(test)]
impl Index {
    /// Keys.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|part| part.len()).sum()
    }
}
