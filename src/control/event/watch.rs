//! What is not asked for and happens all the same: workers that fall silent, links that go, tables that fill. Each is told once, when it
//! begins and when it is over.

use std::collections::HashSet;

use super::Event;

/// The tables of a worker, by their keys of `[director]`.
const TABLES: [&str; 4] = ["connections", "connections6", "templates", "templates6"];

/// A table is nearly full from this many percent on, and has room again below the other.
const NEARLY_FULL: u64 = 90;
const RELIEVED: u64 = 80;

/// From so many frames on that a device brought to the wrong worker, and one in so many of all, it does not steer as it was told. Some
/// always do: ICMP errors, and what came before its table was set.
const ASTRAY: u64 = 1000;
const ASTRAY_ONE_IN: u64 = 50;

/// What is seen at one look.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::control) struct Seen {
    /// Worker, and the entries in each of its tables; `None` if it does not answer.
    pub(in crate::control) workers: Vec<(u16, Option<[u64; 4]>)>,
    /// Room in each table of a worker.
    pub(in crate::control) room: [u64; 4],
    /// Name of each port, and has it a link? `None` while its device is not there, which is told otherwise.
    pub(in crate::control) ports: Vec<(String, Option<bool>)>,
    /// Name of each port, frames that its device brought to the wrong worker, and all that it received.
    pub(in crate::control) strays: Vec<(String, u64, u64)>,
}

/// Remembers what has been told.
#[derive(Debug, Default)]
pub(in crate::control) struct Watch {
    silent: HashSet<u16>,
    full: HashSet<(u16, usize)>,
    /// Ports without a link.
    down: HashSet<String>,
    /// Ports that do not steer as they were told.
    astray: HashSet<String>,
}

impl Watch {
    /// What is news.
    pub(in crate::control) fn look(&mut self, seen: &Seen) -> Vec<Event> {
        let mut events = Vec::new();
        for &(worker, used) in &seen.workers {
            match used {
                None if self.silent.insert(worker) => events.push(Event::WorkerSilent { worker }),
                Some(_) if self.silent.remove(&worker) => events.push(Event::WorkerBack { worker }),
                _ => {}
            }
            for (table, used) in used.into_iter().flatten().enumerate() {
                events.extend(self.fill(worker, table, used, seen.room[table]));
            }
        }
        for (port, up) in &seen.ports {
            events.extend(up.and_then(|up| self.link(port, up)));
        }
        for (port, astray, received) in &seen.strays {
            events.extend(self.steering(port, *astray, *received));
        }
        events
    }

    fn fill(&mut self, worker: u16, table: usize, used: u64, room: u64) -> Option<Event> {
        let name = TABLES[table].to_owned();
        let reaches = |percent: u64| used.saturating_mul(100) >= room.saturating_mul(percent);
        if room > 0 && reaches(NEARLY_FULL) {
            let is_news = self.full.insert((worker, table));
            return is_news.then_some(Event::TableNearlyFull { worker, table: name, used, room });
        }
        let relieved = !reaches(RELIEVED) && self.full.remove(&(worker, table));
        relieved.then_some(Event::TableRelieved { worker, table: name, used, room })
    }

    fn steering(&mut self, port: &str, frames: u64, received: u64) -> Option<Event> {
        let many = frames >= ASTRAY && frames.saturating_mul(ASTRAY_ONE_IN) >= received;
        let is_news = many && self.astray.insert(port.to_owned());
        is_news.then(|| Event::Astray { port: port.to_owned(), frames, received })
    }

    fn link(&mut self, port: &str, up: bool) -> Option<Event> {
        let name = port.to_owned();
        if up {
            return self.down.remove(port).then_some(Event::LinkUp { port: name });
        }
        self.down.insert(name.clone()).then_some(Event::LinkDown { port: name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(watch: &mut Watch, seen: &Seen) -> Vec<String> {
        watch.look(seen).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_worker_that_falls_silent_is_told_of_once_and_once_when_it_is_back() {
        let mut watch = Watch::default();
        let mut look = |answers: bool| {
            said(
                &mut watch,
                &Seen { workers: vec![(0, Some([0; 4])), (1, answers.then_some([0; 4]))], ..Seen::default() },
            )
        };
        let silent = "worker 1 does not answer; if this lasts, restart the director";
        let back = "worker 1 answers again";
        assert_eq!(
            [true, false, false, true, true].map(&mut look),
            [vec![], vec![silent.to_owned()], vec![], vec![back.to_owned()], vec![]]
        );
    }

    #[test]
    fn a_table_is_nearly_full_until_it_has_clearly_room() {
        let mut watch = Watch::default();
        let mut look = |used| {
            let workers = vec![(3, Some([0, used, 0, 0]))];
            said(&mut watch, &Seen { workers, room: [100, 1000, 100, 0], ..Seen::default() })
        };
        let full = |used| {
            vec![format!("connections6 of worker 3 are nearly full, {used} of 1000; raise [director] connections6")]
        };
        let room = vec!["connections6 of worker 3 have room again, 799 of 1000".to_owned()];
        let want = [vec![], full(900), vec![], vec![], room, vec![], full(1000)];
        assert_eq!([899, 900, 950, 800, 799, 850, 1000].map(&mut look), want);
    }

    #[test]
    fn a_link_is_told_of_when_it_goes_and_comes_back() {
        let mut watch = Watch::default();
        let mut look = |up| said(&mut watch, &Seen { ports: vec![("outside".into(), up)], ..Seen::default() });
        let (lost, back) = ("port outside has no link".to_owned(), "port outside has a link".to_owned());
        let want = [vec![], vec![lost], vec![], vec![], vec![back]];
        assert_eq!([Some(true), Some(false), Some(false), None, Some(true)].map(&mut look), want);
        assert_eq!([None, Some(true)].map(&mut look), [Vec::<String>::new(), vec![]], "not of a device that is gone");
    }

    #[test]
    fn a_device_that_does_not_steer_as_it_was_told_is_told_of_once() {
        let mut watch = Watch::default();
        let mut look = |astray, received| {
            let strays = vec![("outside".into(), astray, received)];
            said(&mut watch, &Seen { strays, ..Seen::default() }).len()
        };
        let few = [look(999, 999), look(1000, 50_001)];
        assert_eq!((few, look(1001, 50_050), look(9000, 10_000)), ([0, 0], 1, 0));
    }
}
