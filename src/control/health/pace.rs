//! When checks are due. Pure. The first ones are spread over the interval, so that a thousand that begin together do not run together;
//! later ones keep the interval, shifted a little at random, so that they do not drift into step with each other or with what the
//! servers do themselves.

use std::time::Duration;

/// The largest random shift, of so many parts of the interval, to either side.
const SHIFT: u32 = 20;

/// The wait before the first check; `random` is any number.
pub fn first(interval: Duration, random: u32) -> Duration {
    share(interval, random)
}

/// The wait from the time at which one check was due to the next; `random` is any number.
pub fn next(interval: Duration, random: u32) -> Duration {
    let shift = interval / SHIFT;
    interval - shift + share(shift * 2, random)
}

/// The part of `whole` that `random` is of all numbers.
fn share(whole: Duration, random: u32) -> Duration {
    whole.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_checks_are_spread_over_the_interval_and_later_ones_keep_it() {
        let second = Duration::from_secs(1);
        let ms = |d: Duration| (d + Duration::from_micros(1)).as_millis();
        for (random, begin, then) in [(0, 0, 950), (u32::MAX / 2, 500, 1000), (u32::MAX, 1000, 1050)] {
            assert_eq!((ms(first(second, random)), ms(next(second, random))), (begin, then), "{random}");
        }
    }
}
