//! A side table: what few connections have and none need space for. Entries are numbered from 1, so that 0 in a connection means
//! that it has none; laid out whole at start.

/// Entries of one kind.
#[derive(Debug)]
pub struct Slab<T> {
    entries: Box<[T]>,
    /// By entry: the next free one, while it is free.
    after: Box<[u16]>,
    /// First of the entries that were freed.
    free: u16,
    /// Entries from here on have never been used.
    fresh: u16,
    len: u16,
}

impl<T: Clone + Default> Slab<T> {
    /// Room for `capacity` entries, at most 65535.
    pub fn new(capacity: u32) -> Self {
        let capacity = usize::from(u16::try_from(capacity).unwrap_or(u16::MAX));
        Self {
            entries: vec![T::default(); capacity].into_boxed_slice(),
            after: vec![0; capacity].into_boxed_slice(),
            free: 0,
            fresh: 0,
            len: 0,
        }
    }

    /// Bytes that a table for `capacity` entries takes.
    pub fn bytes_for(capacity: u32) -> usize {
        (size_of::<T>() + size_of::<u16>()) * usize::from(u16::try_from(capacity).unwrap_or(u16::MAX))
    }

    /// Entries in use.
    pub fn len(&self) -> u16 {
        self.len
    }

    /// Returns true when no entry is in use.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes a free entry, at its default; `None` when all are in use.
    pub fn take(&mut self) -> Option<u16> {
        let number = if self.free == 0 {
            self.fresh = self.fresh.checked_add(1).filter(|n| usize::from(*n) <= self.entries.len())?;
            self.fresh
        } else {
            let number = self.free;
            self.free = *self.after.get(usize::from(number) - 1)?;
            number
        };
        *self.get_mut(number)? = T::default();
        self.len += 1;
        Some(number)
    }

    /// Gives an entry back; 0 is none.
    pub fn give_back(&mut self, number: u16) {
        let Some(after) = usize::from(number).checked_sub(1).and_then(|index| self.after.get_mut(index)) else {
            return;
        };
        *after = self.free;
        self.free = number;
        self.len -= 1;
    }

    /// The entry of that number; `None` for 0.
    pub fn get(&self, number: u16) -> Option<&T> {
        self.entries.get(usize::from(number).checked_sub(1)?)
    }

    /// The entry of that number, to be changed.
    pub fn get_mut(&mut self, number: u16) -> Option<&mut T> {
        self.entries.get_mut(usize::from(number).checked_sub(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_taken_up_to_the_capacity_and_come_back_clean() {
        let mut slab = Slab::<u32>::new(3);
        let numbers: Vec<_> = (0..4).map(|_| slab.take()).collect();
        assert_eq!(numbers, [Some(1), Some(2), Some(3), None]);
        *slab.get_mut(2).unwrap() = 7;
        slab.give_back(2);
        slab.give_back(0);
        assert_eq!((slab.len(), slab.take()), (2, Some(2)));
        assert_eq!(slab.get(2), Some(&0));
        assert_eq!((slab.get(0), slab.get(4)), (None, None));
        assert_eq!(slab.take(), None);
        (1..=3).for_each(|n| slab.give_back(n));
        assert!(slab.is_empty());
    }

    #[test]
    fn a_table_has_at_most_as_many_entries_as_there_are_numbers() {
        let mut slab = Slab::<u8>::new(1 << 20);
        assert_eq!((0..1 << 17).filter_map(|_| slab.take()).count(), 65535);
        assert_eq!(Slab::<u8>::bytes_for(1 << 20), 3 * 65535);
        assert_eq!(Slab::<u8>::new(0).take(), None);
    }
}
