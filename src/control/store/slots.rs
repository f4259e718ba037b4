//! Room for things by index.

use std::sync::Arc;

use rpds::RedBlackTreeSetSync;

use crate::control::reply::{ErrorCode, Failure};
use crate::shelf::Shelf;

/// Things by index. The index of what is taken out is given to the next.
#[derive(Clone, Debug)]
pub(in crate::control) struct Slots<T> {
    pub(in crate::control) all: Shelf<Arc<T>>,
    free: RedBlackTreeSetSync<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { all: Shelf::default(), free: RedBlackTreeSetSync::new_sync() }
    }
}

impl<T> Slots<T> {
    pub(in crate::control) fn get(&self, index: usize) -> Option<&Arc<T>> {
        self.all.get(index)
    }

    /// Everything there is, by index.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.all.iter()
    }

    pub(super) fn put(&mut self, index: u32, thing: Arc<T>) {
        self.free.remove_mut(&index);
        self.all.put(index as usize, Some(thing));
    }

    pub(super) fn take_out(&mut self, index: u32) {
        self.all.put(index as usize, None);
        self.free.insert_mut(index);
    }

    /// The lowest free index; the slot is made if need be.
    pub(super) fn free_index(&mut self, most: usize, what: &str) -> Result<u32, Failure> {
        if let Some(index) = self.free.first() {
            return Ok(*index);
        }
        if self.all.len() >= most {
            let text = format!("no room for more than {most} {what}; raise `{what}` in the configuration and restart");
            return Err(Failure::new(ErrorCode::Full, text));
        }
        let index = u32::try_from(self.all.len())
            .map_err(|_| Failure::new(ErrorCode::Full, format!("no room for more than {} {what}", u32::MAX)))?;
        self.all.put(self.all.len(), None);
        self.free.insert_mut(index);
        Ok(index)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len() - self.free.size()
    }
}
