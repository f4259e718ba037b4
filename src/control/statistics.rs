//! Statistics as the kernel shows them: totals above a base that `zero` moves, and rates by an exponential estimator that looks every
//! two seconds (`ip_vs_est.c`). Pure: fed with counters, never reads a clock.

use rustc_hash::FxHashMap;

use crate::control::reply::Rates;
use crate::mailbox::DestinationRow;
use crate::stats::Traffic;

/// Time between two estimates.
pub const INTERVAL: std::time::Duration = std::time::Duration::from_secs(2);

/// One thing that is counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meter {
    total: Traffic,
    base: Traffic,
    sampled: Traffic,
    /// The base of what is shown as sampled: the last sample itself.
    base_sampled: Traffic,
    /// Per second in fixed point: 2^10 for connections and packets, 2^5 for bytes.
    rates: [u64; 5],
}

/// Bits after the point: connections, packets in and out, bytes in and out.
const FRACTION: [u32; 5] = [10, 10, 10, 5, 5];

fn fields(t: &Traffic) -> [u64; 5] {
    [t.connections, t.in_packets, t.out_packets, t.in_bytes, t.out_bytes]
}

fn minus(a: Traffic, b: Traffic) -> Traffic {
    Traffic {
        connections: a.connections.saturating_sub(b.connections),
        in_packets: a.in_packets.saturating_sub(b.in_packets),
        out_packets: a.out_packets.saturating_sub(b.out_packets),
        in_bytes: a.in_bytes.saturating_sub(b.in_bytes),
        out_bytes: a.out_bytes.saturating_sub(b.out_bytes),
    }
}

impl Meter {
    /// Sets the total that has been counted so far.
    pub fn set(&mut self, total: Traffic) {
        self.total = total;
    }

    /// Adds to the total.
    pub fn add(&mut self, more: Traffic) {
        self.total += more;
    }

    /// Takes a sample; to be called every [`INTERVAL`]. A quarter of the difference goes into each rate.
    pub fn estimate(&mut self) {
        let new = fields(&minus(self.total, self.sampled));
        for ((rate, count), bits) in self.rates.iter_mut().zip(new).zip(FRACTION) {
            // Counted over two seconds, hence one bit less.
            let now = count.saturating_mul(1 << (bits - 1));
            *rate = if now >= *rate { *rate + (now - *rate) / 4 } else { *rate - (*rate - now).div_ceil(4) };
        }
        self.sampled = self.total;
    }

    /// Shows zero from here on. What was counted since the last sample is in the next one, as it is in the kernel's.
    pub fn zero(&mut self) {
        *self = Self { base: self.total, base_sampled: self.sampled, rates: [0; 5], ..*self };
    }

    /// All counted, less the base.
    pub fn traffic(&self) -> Traffic {
        minus(self.total, self.base)
    }

    /// All counted, whatever was set to zero.
    pub fn counted(&self) -> Traffic {
        self.total
    }

    /// As it was at the last sample: what the kernel shows.
    pub fn sampled(&self) -> Traffic {
        minus(self.sampled, self.base_sampled)
    }

    /// Per second, rounded up below the half as the kernel does.
    pub fn rates(&self) -> Rates {
        let shown = |i: usize| (self.rates[i] + (1 << (FRACTION[i] - 1)) - 1) >> FRACTION[i];
        Rates {
            connections: shown(0),
            in_packets: shown(1),
            out_packets: shown(2),
            in_bytes: shown(3),
            out_bytes: shown(4),
        }
    }
}

/// The counters of one destination, as all workers together have them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counted {
    /// uid of the destination.
    pub uid: u64,
    /// uid of the service that its traffic is counted for.
    pub service_uid: u64,
    /// Its traffic.
    pub traffic: Traffic,
    /// Of its connections, those that another service made.
    pub lent: u64,
    /// uid of that service; 0 for none.
    pub borrower: u64,
    /// Is it in its service, not removed?
    pub listed: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    meter: Meter,
    lent: u64,
    service_uid: u64,
    listed: bool,
}

/// What one worker has counted, of destinations that are gone too.
#[derive(Clone, Debug, Default)]
struct WorkerTotal {
    /// uid and traffic by index, as last heard.
    rows: Vec<(u64, Traffic)>,
    total: Traffic,
}

/// Meters of destinations and services, by uid.
#[derive(Clone, Debug, Default)]
pub struct Statistics {
    destinations: FxHashMap<u64, Entry>,
    services: FxHashMap<u64, Meter>,
    /// Of all together.
    all: Meter,
    workers: Vec<WorkerTotal>,
}

impl Statistics {
    /// Takes the counters of all destinations that there are; the traffic of a service is that of its destinations, also of those
    /// that it no longer has.
    pub fn absorb(&mut self, all: &[Counted]) {
        let mut before = std::mem::take(&mut self.destinations);
        for counted in all {
            let entry = before.remove(&counted.uid);
            self.absorb_into(entry, counted);
        }
    }

    /// Takes the counters of one destination; all others stay.
    pub fn absorb_one(&mut self, counted: &Counted) {
        let entry = self.destinations.remove(&counted.uid);
        self.absorb_into(entry, counted);
    }

    fn absorb_into(&mut self, entry: Option<Entry>, counted: &Counted) {
        let mut entry = entry.unwrap_or(Entry { service_uid: counted.service_uid, ..Entry::default() });
        let more = minus(counted.traffic, entry.meter.total);
        self.all.add(more);
        entry.meter.set(counted.traffic);
        entry.listed = counted.listed;
        let lent = counted.lent.saturating_sub(entry.lent).min(more.connections);
        entry.lent = counted.lent;
        let own = Traffic { connections: more.connections - lent, ..more };
        self.services.entry(counted.service_uid).or_default().add(own);
        if lent > 0 && counted.borrower != 0 {
            let borrowed = Traffic { connections: lent, ..Traffic::default() };
            self.services.entry(counted.borrower).or_default().add(borrowed);
        }
        if entry.service_uid != counted.service_uid {
            entry.meter.zero();
            entry.service_uid = counted.service_uid;
        }
        self.destinations.insert(counted.uid, entry);
    }

    /// Takes the rows of one worker, of destinations from an index on.
    pub fn absorb_worker(&mut self, worker: usize, first: usize, rows: &[DestinationRow]) {
        if self.workers.len() <= worker {
            self.workers.resize_with(worker + 1, WorkerTotal::default);
        }
        let WorkerTotal { rows: before, total } = &mut self.workers[worker];
        before.resize(before.len().max(first + rows.len()), (0, Traffic::default()));
        for ((uid, traffic), row) in before.iter_mut().skip(first).zip(rows) {
            *total += if *uid == row.uid { minus(row.traffic, *traffic) } else { row.traffic };
            (*uid, *traffic) = (row.uid, row.traffic);
        }
    }

    /// What each worker has counted; never set to zero.
    pub fn workers(&self) -> Vec<Traffic> {
        self.workers.iter().map(|w| w.total).collect()
    }

    /// The meter of all services together.
    pub fn all(&self) -> Meter {
        self.all
    }

    /// Forgets the services that are no more.
    pub fn keep_services(&mut self, is_there: impl Fn(u64) -> bool) {
        self.services.retain(|uid, _| is_there(*uid));
    }

    /// Estimates the rates; to be called every [`INTERVAL`]. Nobody looks at removed destinations: if they return they go on from there.
    pub fn estimate(&mut self) {
        self.destinations.values_mut().filter(|e| e.listed).for_each(|e| e.meter.estimate());
        self.services.values_mut().for_each(Meter::estimate);
        self.all.estimate();
    }

    /// Shows zero from here on: everything, or one service and its destinations; not those removed, which may return.
    pub fn zero(&mut self, service_uid: Option<u64>) {
        let chosen = |uid: u64| service_uid.is_none_or(|s| s == uid);
        if service_uid.is_none() {
            self.all.zero();
        }
        self.destinations.values_mut().filter(|e| e.listed && chosen(e.service_uid)).for_each(|e| e.meter.zero());
        self.services.iter_mut().filter(|(uid, _)| chosen(**uid)).for_each(|(_, m)| m.zero());
    }

    /// The meter of a destination.
    pub fn destination(&self, uid: u64) -> Meter {
        self.destinations.get(&uid).map(|e| e.meter).unwrap_or_default()
    }

    /// The meter of a service.
    pub fn service(&self, uid: u64) -> Meter {
        self.services.get(&uid).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(connections: u64, in_packets: u64, out_packets: u64, in_bytes: u64, out_bytes: u64) -> Traffic {
        Traffic { connections, in_packets, out_packets, in_bytes, out_bytes }
    }

    /// As `ipvsadm -Ln --rate` showed some seconds after `--stats` had shown these totals.
    #[test]
    fn rates_are_the_kernels() {
        let recorded = [
            (traffic(12, 12, 6, 480, 240), [1, 1, 0, 25, 13]),
            (traffic(6, 6, 0, 240, 0), [0, 0, 0, 13, 0]),
            (traffic(4, 4, 0, 160, 0), [0, 0, 0, 8, 0]),
        ];
        for (total, want) in recorded {
            let mut meter = Meter::default();
            meter.set(total);
            for _ in 0..4 {
                meter.estimate();
            }
            let r = meter.rates();
            assert_eq!([r.connections, r.in_packets, r.out_packets, r.in_bytes, r.out_bytes], want);
        }
    }

    #[test]
    fn a_steady_rate_is_reached_and_left() {
        let mut meter = Meter::default();
        for second in 1..100 {
            meter.set(traffic(second * 200, 0, 0, second * 20_000, 0));
            meter.estimate();
        }
        assert_eq!((meter.rates().connections, meter.rates().in_bytes), (100, 10_000));
        for _ in 0..60 {
            meter.estimate();
        }
        assert_eq!(meter.rates(), Rates::default());
    }

    #[test]
    fn what_is_shown_as_sampled_waits_for_the_sample() {
        let mut meter = Meter::default();
        meter.set(traffic(5, 0, 0, 0, 0));
        assert_eq!((meter.traffic().connections, meter.sampled().connections), (5, 0));
        meter.estimate();
        assert_eq!(meter.sampled().connections, 5);
    }

    #[test]
    fn zero_between_two_samples_leaves_what_came_since_the_first() {
        let mut meter = Meter::default();
        meter.set(traffic(5, 0, 0, 0, 0));
        meter.estimate();
        meter.set(traffic(7, 0, 0, 0, 0));
        meter.zero();
        assert_eq!((meter.traffic().connections, meter.sampled().connections), (0, 0));
        meter.estimate();
        assert_eq!((meter.traffic().connections, meter.sampled().connections), (0, 2));
    }

    #[test]
    fn a_removed_destination_is_not_sampled_until_it_returns() {
        let mut s = Statistics::default();
        for (connections, listed, sampled) in [(5, true, 5), (6, false, 5), (6, true, 6)] {
            s.absorb(&[Counted { listed, ..counted(10, 1, connections) }]);
            s.estimate();
            assert_eq!(s.destination(10).sampled().connections, sampled);
        }
    }

    fn counted(uid: u64, service_uid: u64, connections: u64) -> Counted {
        Counted { uid, service_uid, traffic: traffic(connections, 0, 0, 0, 0), listed: true, ..Counted::default() }
    }

    #[test]
    fn a_connection_that_another_service_made_is_counted_for_that_one() {
        let mut s = Statistics::default();
        for (connections, lent) in [(3, 0), (5, 1), (6, 1)] {
            s.absorb(&[Counted { lent, borrower: 2, ..counted(10, 1, connections) }]);
        }
        let shown = |m: Meter| m.traffic().connections;
        assert_eq!([shown(s.destination(10)), shown(s.service(1)), shown(s.service(2))], [6, 5, 1]);
    }

    #[test]
    fn a_service_keeps_the_traffic_of_the_destinations_that_it_had() {
        let mut s = Statistics::default();
        s.absorb(&[counted(10, 1, 5), counted(11, 1, 7)]);
        s.absorb(&[counted(11, 1, 8)]);
        assert_eq!(s.service(1).traffic().connections, 13);
        assert_eq!(s.destination(10).traffic().connections, 0);
        s.keep_services(|uid| uid == 2);
        assert_eq!(s.service(1).traffic().connections, 0);
    }

    #[test]
    fn what_a_worker_has_counted_outlives_its_destinations() {
        let mut s = Statistics::default();
        let row =
            |uid, connections| DestinationRow { uid, traffic: traffic(connections, 0, 0, 0, 0), ..Default::default() };
        s.absorb_worker(1, 0, &[row(10, 5), row(11, 1)]);
        s.absorb_worker(1, 0, &[row(12, 2), row(11, 4)]);
        assert_eq!(s.workers().iter().map(|t| t.connections).collect::<Vec<_>>(), [0, 5 + 1 + 2 + 3]);
        s.absorb_worker(1, 1, &[row(11, 6)]);
        assert_eq!(s.workers()[1].connections, 5 + 1 + 2 + 3 + 2);
    }

    #[test]
    fn one_destination_is_taken_as_all_are_and_the_others_stay() {
        let start = || {
            let mut s = Statistics::default();
            s.absorb(&[counted(10, 1, 5), counted(20, 1, 7)]);
            s
        };
        for moved in [counted(10, 1, 6), counted(10, 2, 6), counted(30, 2, 4)] {
            let (mut one, mut all) = (start(), start());
            one.absorb_one(&moved);
            let before = [counted(10, 1, 5), counted(20, 1, 7)].into_iter().filter(|c| c.uid != moved.uid);
            all.absorb(&before.chain([moved]).collect::<Vec<_>>());
            let shown = |s: &Statistics| {
                let destinations = [10, 20, 30].map(|uid| s.destination(uid).traffic().connections);
                (destinations, [1, 2].map(|uid| s.service(uid).traffic().connections), s.all().traffic().connections)
            };
            assert_eq!(shown(&one), shown(&all));
        }
    }

    #[test]
    fn all_together_keep_what_removed_ones_had_until_all_is_set_to_zero() {
        let mut s = Statistics::default();
        s.absorb(&[counted(10, 1, 5), counted(20, 2, 7)]);
        s.absorb(&[counted(20, 2, 8)]);
        s.zero(Some(2));
        assert_eq!(s.all().traffic().connections, 13);
        s.zero(None);
        assert_eq!(s.all().traffic().connections, 0);
    }

    #[test]
    fn zero_moves_the_base_of_the_chosen() {
        let mut s = Statistics::default();
        s.absorb(&[counted(10, 1, 5), counted(20, 2, 7)]);
        s.zero(Some(1));
        s.absorb(&[counted(10, 1, 6), counted(20, 2, 7)]);
        let shown = |m: Meter| m.traffic().connections;
        assert_eq!([shown(s.destination(10)), shown(s.service(1))], [1, 1]);
        assert_eq!([shown(s.destination(20)), shown(s.service(2))], [7, 7]);
        s.zero(None);
        assert_eq!([shown(s.destination(20)), shown(s.service(2))], [0, 0]);
    }

    #[test]
    fn a_destination_that_moves_to_a_new_service_starts_at_zero() {
        let mut s = Statistics::default();
        s.absorb(&[counted(10, 1, 5)]);
        s.absorb(&[counted(10, 2, 6)]);
        assert_eq!(s.destination(10).traffic().connections, 0);
        assert_eq!(s.service(2).traffic().connections, 1);
    }
}
