//! The files of pollvs that are checked, on loom's atomics, and as much of what they use as they use. See Cargo.toml.

extern crate self as rtrb;

#[path = "../../../src/handoff.rs"]
pub mod handoff;
#[path = "../../../src/load_board.rs"]
pub mod load_board;
#[path = "../../../src/place.rs"]
pub mod verdict;

mod ring;

pub use ring::{Consumer, Producer, RingBuffer};

/// Instead of the standard library's.
pub mod atomic {
    pub use loom::sync::atomic::{AtomicU64, Ordering};
}

pub mod destination {
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct DestId(pub u32);

    impl DestId {
        pub fn index(self) -> usize {
            self.0 as usize
        }
    }
}

pub mod director {
    use crate::destination::DestId;

    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Load {
        pub active: u32,
        pub inactive: u32,
    }

    /// A worker's loads, and what it has heard of the other's.
    #[derive(Debug)]
    pub struct Director {
        pub own: Vec<Load>,
        pub foreign: Vec<Load>,
    }

    impl Director {
        pub fn new(destinations: usize) -> Self {
            Self { own: vec![Load::default(); destinations], foreign: vec![Load::default(); destinations] }
        }

        pub fn destinations(&self) -> u32 {
            self.own.len() as u32
        }

        pub fn load(&self, id: DestId) -> Load {
            self.own[id.index()]
        }

        pub fn set_foreign_load(&mut self, id: DestId, active: u32, inactive: u32) {
            self.foreign[id.index()] = Load { active, inactive };
        }
    }
}
