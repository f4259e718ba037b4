//! Things by index, in pieces. A copy shares every piece that is not changed afterwards, and two copies are told apart without a look
//! into the pieces that they share: with ten thousand things, a change costs what it costs with a few hundred.

use std::ops::Range;
use std::sync::Arc;

/// Things in a piece.
const PIECE: usize = 256;

/// Things by index; an index may be free.
#[derive(Debug)]
pub struct Shelf<T> {
    pieces: Vec<Arc<[Option<T>; PIECE]>>,
    len: usize,
}

impl<T> Clone for Shelf<T> {
    fn clone(&self) -> Self {
        Self { pieces: self.pieces.clone(), len: self.len }
    }
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { pieces: Vec::new(), len: 0 }
    }
}

impl<T> Shelf<T> {
    /// Indices, free ones among them.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Is there no index at all?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The thing of that index.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&T> {
        self.pieces.get(index / PIECE)?[index % PIECE].as_ref()
    }

    /// Every thing, by index.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.pieces.iter().flat_map(|piece| piece.iter().flatten())
    }

    /// Every index in turn.
    pub fn slots(&self) -> impl Iterator<Item = Option<&T>> {
        (0..self.len).map(|index| self.get(index))
    }
}

impl<T: Clone> Shelf<T> {
    /// Puts a thing, or nothing, where that index is; indices before it that there were not are free.
    pub fn put(&mut self, index: usize, thing: Option<T>) {
        self.len = self.len.max(index + 1);
        while self.pieces.len() * PIECE < self.len {
            self.pieces.push(Arc::new(std::array::from_fn(|_| None)));
        }
        Arc::make_mut(&mut self.pieces[index / PIECE])[index % PIECE] = thing;
    }
}

impl<T: Clone> FromIterator<Option<T>> for Shelf<T> {
    fn from_iter<I: IntoIterator<Item = Option<T>>>(things: I) -> Self {
        let mut shelf = Self::default();
        things.into_iter().enumerate().for_each(|(index, thing)| shelf.put(index, thing));
        shelf
    }
}

impl<T> Shelf<Arc<T>> {
    /// The indices at which there is something else than there was: index, before, now.
    pub fn changed<'a>(
        &'a self,
        before: &'a Self,
    ) -> impl Iterator<Item = (usize, Option<&'a Arc<T>>, Option<&'a Arc<T>>)> {
        self.changed_within(before, 0..self.len.max(before.len))
    }

    /// The same of some of the indices.
    pub fn changed_within<'a>(
        &'a self,
        before: &'a Self,
        within: Range<usize>,
    ) -> impl Iterator<Item = (usize, Option<&'a Arc<T>>, Option<&'a Arc<T>>)> {
        let shared = |piece: usize| match (self.pieces.get(piece), before.pieces.get(piece)) {
            (Some(now), Some(before)) => Arc::ptr_eq(now, before),
            _ => false,
        };
        let Range { start, end } = within;
        let pieces = (start / PIECE..end.div_ceil(PIECE)).filter(move |piece| !shared(*piece));
        let indices = pieces.flat_map(move |piece| (piece * PIECE).max(start)..((piece + 1) * PIECE).min(end));
        let same = |before: Option<&Arc<T>>, now: Option<&Arc<T>>| match (before, now) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (before, now) => before.is_none() && now.is_none(),
        };
        let both = |index| (index, before.get(index), self.get(index));
        indices.map(both).filter(move |(_, before, now)| !same(*before, *now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn put(shelf: &mut Shelf<Arc<u32>>, steps: &[(usize, Option<u32>)]) {
        for (index, thing) in steps {
            shelf.put(*index, thing.map(Arc::new));
        }
    }

    fn steps() -> impl Strategy<Value = Vec<(usize, Option<u32>)>> {
        prop::collection::vec((0_usize..1500, any::<Option<u32>>()), 0..40)
    }

    proptest! {
        #[test]
        fn a_shelf_is_a_vector_whose_copies_stay_as_they_were(first in steps(), second in steps()) {
            let mut shelf = Shelf::default();
            put(&mut shelf, &first);
            let (before, copied) = (shelf.clone(), shelf.slots().map(|s| s.map(|s| **s)).collect::<Vec<_>>());
            put(&mut shelf, &second);
            let mut model = copied.clone();
            for (index, thing) in &second {
                model.resize(model.len().max(index + 1), None);
                model[*index] = *thing;
            }
            prop_assert_eq!(before.slots().map(|s| s.map(|s| **s)).collect::<Vec<_>>(), copied);
            prop_assert_eq!(shelf.slots().map(|s| s.map(|s| **s)).collect::<Vec<_>>(), model.clone());
            prop_assert_eq!(shelf.iter().map(|s| **s).collect::<Vec<_>>(), model.into_iter().flatten().collect::<Vec<_>>());
        }

        #[test]
        fn what_is_told_as_changed_makes_the_one_of_the_other(first in steps(), second in steps()) {
            let mut shelf = Shelf::default();
            put(&mut shelf, &first);
            let mut before = shelf.clone();
            put(&mut shelf, &second);
            let changed: Vec<_> = shelf.changed(&before).map(|(index, old, new)| (index, old.cloned(), new.cloned())).collect();
            for (index, old, new) in changed {
                prop_assert!(second.iter().any(|(i, _)| *i == index));
                prop_assert_eq!(before.get(index).cloned(), old);
                before.put(index, new);
            }
            prop_assert_eq!(shelf.changed(&before).count(), 0);
        }

        #[test]
        fn what_has_changed_is_told_in_shares_as_at_once(first in steps(), second in steps(), share in 1_usize..600) {
            let mut shelf = Shelf::default();
            put(&mut shelf, &first);
            let before = shelf.clone();
            put(&mut shelf, &second);
            let of = |(index, _, _): (usize, Option<&Arc<u32>>, Option<&Arc<u32>>)| index;
            let shares = (0..shelf.len().max(before.len())).step_by(share);
            let told = shares.flat_map(|start| shelf.changed_within(&before, start..start + share).map(of));
            prop_assert_eq!(told.collect::<Vec<_>>(), shelf.changed(&before).map(of).collect::<Vec<_>>());
        }
    }
}
