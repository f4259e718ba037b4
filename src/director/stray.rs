//! Frames that came to the wrong worker.

use crate::director::Director;
use crate::verdict::{PortId, WorkerId};

impl Director {
    /// Was the device of the port to bring this frame to its owner by itself?
    pub fn was_to_reach(&self, owner: WorkerId, port: PortId, frame: &[u8]) -> bool {
        self.steering.promise(port).is_some_and(|promise| promise.is_broken_by(&self.steering, frame, owner))
    }
}
