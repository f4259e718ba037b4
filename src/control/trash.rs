//! What becomes of removed destinations: each is kept as long as something refers to it, and two minutes more, in which it may return with
//! what it had counted (the kernel's `ip_vs_dest_trash_expire`). They are looked at every minute.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::destination::DestId;

/// From one look to the next.
pub const INTERVAL: Duration = Duration::from_secs(60);

/// Looks in a row that find nothing that refers to a destination: it is forgotten at the last of them.
const LOOKS: u8 = 3;

/// A removed destination at a look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Removed {
    /// Its index.
    pub id: DestId,
    /// Never used twice.
    pub uid: u64,
    /// Does anything refer to it: a connection, a template, a scheduler's memory?
    pub in_use: bool,
}

/// Remembers for how long removed destinations have been idle.
#[derive(Debug, Default)]
pub struct Trash {
    /// Looks that found it idle, by uid.
    idle: HashMap<u64, u8>,
}

impl Trash {
    /// Looks at all removed destinations: which are to be forgotten? When room is `scarce`, all that are idle.
    pub fn look(&mut self, removed: &[Removed], scarce: bool) -> HashSet<DestId> {
        let before = std::mem::take(&mut self.idle);
        let mut gone = HashSet::new();
        for Removed { id, uid, .. } in removed.iter().filter(|r| !r.in_use) {
            let looks = before.get(uid).map_or(1, |looks| looks.saturating_add(1));
            if looks >= LOOKS || scarce {
                gone.insert(*id);
            } else {
                self.idle.insert(*uid, looks);
            }
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn removed(uid: u64, in_use: bool) -> Removed {
        Removed { id: DestId(u32::try_from(uid).unwrap()), uid, in_use }
    }

    #[test]
    fn what_is_idle_for_two_minutes_is_forgotten() {
        let mut trash = Trash::default();
        let mut look = |used: [bool; 2]| trash.look(&[removed(1, used[0]), removed(2, used[1])], false);
        assert_eq!(look([false, true]), HashSet::new());
        assert_eq!(look([false, false]), HashSet::new());
        assert_eq!(look([false, true]), HashSet::from([DestId(1)]));
        assert_eq!(look([true, false]), HashSet::new());
        assert_eq!(look([true, false]), HashSet::new());
        assert_eq!(look([true, false]), HashSet::from([DestId(2)]));
    }

    #[test]
    fn one_that_returned_starts_anew() {
        let mut trash = Trash::default();
        for _ in 0..2 {
            assert_eq!(trash.look(&[removed(1, false)], false), HashSet::new());
        }
        assert_eq!(trash.look(&[], false), HashSet::new());
        assert_eq!(trash.look(&[removed(1, false)], false), HashSet::new());
    }

    #[test]
    fn what_is_idle_goes_at_once_where_room_is_scarce() {
        let mut trash = Trash::default();
        assert_eq!(trash.look(&[removed(1, false), removed(2, true)], true), HashSet::from([DestId(1)]));
    }
}
