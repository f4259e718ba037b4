//! A set of which it is known how often each member was put in: a member leaves when it has been taken out as often. Copies share what
//! they have in common.

use std::hash::Hash;
use std::sync::Arc;

use rustc_hash::FxHashMap;

/// Members with their counts.
#[derive(Clone, Debug)]
pub struct Counted<K>(Arc<FxHashMap<K, u32>>);

impl<K> Default for Counted<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Copy + Eq + Hash> Counted<K> {
    /// Is that a member?
    #[inline]
    pub fn contains(&self, member: &K) -> bool {
        self.0.contains_key(member)
    }

    /// Every member, in no order.
    pub fn iter(&self) -> impl Iterator<Item = K> {
        self.0.keys().copied()
    }

    /// Puts one in. True when it was none before.
    pub fn add(&mut self, member: K) -> bool {
        let count = Arc::make_mut(&mut self.0).entry(member).or_default();
        *count += 1;
        *count == 1
    }

    /// Takes one out. True when it is none any more.
    pub fn remove(&mut self, member: &K) -> bool {
        let members = Arc::make_mut(&mut self.0);
        match members.get_mut(member) {
            Some(count) if *count > 1 => *count -= 1,
            _ => return members.remove(member).is_some(),
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_leaves_when_it_was_taken_out_as_often_as_put_in() {
        let mut set = Counted::default();
        assert!(set.add(7) && !set.add(7));
        let copy = set.clone();
        assert!(!set.remove(&7) && set.contains(&7));
        assert!(set.remove(&7) && !set.contains(&7) && !set.remove(&7));
        assert!(copy.contains(&7));
    }
}
