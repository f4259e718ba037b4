//! What is shown of the counters: copied every two seconds, with rates as exponential averages in the kernel's fixed-point
//! arithmetic (`ip_vs_est.c`: each step moves a rate a quarter of the way to what was just measured).

use crate::control::reply::Rates;
use crate::stats::Traffic;

/// Counters of one service or destination as they are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Estimate {
    /// Counters at the last step.
    seen: Traffic,
    /// Counters when they were set to zero.
    base: Traffic,
    /// Averages, scaled: connections and packets by 1024, bytes by 32.
    averages: [u64; 5],
}

/// Counters one by one.
fn list(t: &Traffic) -> [u64; 5] {
    [t.connections, t.in_packets, t.out_packets, t.in_bytes, t.out_bytes]
}

/// Half the scale of each average, as a shift: a measurement is over two seconds.
const SHIFTS: [u32; 5] = [9, 9, 9, 4, 4];

impl Estimate {
    /// Takes the counters as they are now.
    pub(crate) fn step(&mut self, now: Traffic) {
        let steps = list(&now).into_iter().zip(list(&self.seen)).zip(SHIFTS);
        for (average, ((new, old), shift)) in self.averages.iter_mut().zip(steps) {
            let rate = new.wrapping_sub(old) << shift;
            *average = average.wrapping_add_signed((rate.wrapping_sub(*average)).cast_signed() >> 2);
        }
        self.seen = now;
    }

    /// Sets what is shown to zero.
    pub(crate) fn zero(&mut self) {
        (self.base, self.averages) = (self.seen, [0; 5]);
    }

    /// The counters as they are shown.
    pub(crate) fn shown(&self) -> Traffic {
        let [connections, in_packets, out_packets, in_bytes, out_bytes] =
            std::array::from_fn(|i| list(&self.seen)[i] - list(&self.base)[i]);
        Traffic { connections, in_packets, out_packets, in_bytes, out_bytes }
    }

    /// The rates as they are shown, rounded to the nearest.
    pub(crate) fn rates(&self) -> Rates {
        let [connections, in_packets, out_packets, in_bytes, out_bytes] =
            std::array::from_fn(|i| (self.averages[i] + (1 << SHIFTS[i]) - 1) >> (SHIFTS[i] + 1));
        Rates { connections, in_packets, out_packets, in_bytes, out_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_decay_as_the_kernels_did() {
        let mut estimate = Estimate::default();
        let traffic = Traffic { connections: 12, in_packets: 12, out_packets: 6, in_bytes: 480, out_bytes: 240 };
        for _ in 0..4 {
            estimate.step(traffic);
        }
        assert_eq!(estimate.shown(), traffic);
        let rates = Rates { connections: 1, in_packets: 1, out_packets: 0, in_bytes: 25, out_bytes: 13 };
        assert_eq!(estimate.rates(), rates);
        estimate.zero();
        assert_eq!((estimate.shown(), estimate.rates()), (Traffic::default(), Rates::default()));
    }
}
