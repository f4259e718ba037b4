//! Figures in few characters.

/// At most five characters: 999, 1.2k, 12k, 999k, 1.2M and so on.
pub(super) fn short(n: u64) -> String {
    const UNITS: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
    let (mut whole, mut tenths, mut unit) = (n, 0, 0);
    while whole >= 1000 {
        (whole, tenths) = (whole / 1000, whole % 1000 / 100);
        unit += 1;
    }
    if unit > 0 && whole < 10 { format!("{whole}.{tenths}{}", UNITS[unit]) } else { format!("{whole}{}", UNITS[unit]) }
}

/// Nanoseconds in at most five characters: 250n, 9.5u, 30u, 1.2m, 4.0s.
pub(super) fn short_time(nanos: u64) -> String {
    const UNITS: [&str; 4] = ["n", "u", "m", "s"];
    let (mut whole, mut tenths, mut unit) = (nanos, 0, 0);
    while whole >= 1000 && unit + 1 < UNITS.len() {
        (whole, tenths) = (whole / 1000, whole % 1000 / 100);
        unit += 1;
    }
    if unit > 0 && whole < 10 { format!("{whole}.{tenths}{}", UNITS[unit]) } else { format!("{whole}{}", UNITS[unit]) }
}

/// A whole percentage; of nothing it is 0.
pub(super) fn percent(part: u64, whole: u64) -> u64 {
    let percent = u128::from(part) * 100 / u128::from(whole.max(1));
    u64::try_from(percent).unwrap_or(u64::MAX)
}

/// The last `width` values, the newest at the right, each a bar an eighth of a line high or more, by the greatest of them.
pub(super) fn sparkline(values: impl DoubleEndedIterator<Item = u64>, width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let mut last: Vec<u64> = values.rev().take(width).collect();
    last.reverse();
    let most = last.iter().max().copied().unwrap_or(0).max(1);
    let bar = |value: &u64| {
        let eighths = usize::try_from(u128::from(*value) * 7 / u128::from(most)).unwrap_or(7);
        if *value == 0 { ' ' } else { BARS[eighths] }
    };
    let bars: String = last.iter().map(bar).collect();
    format!("{bars:>width$}")
}

/// Cut to a width, which the last character tells.
pub(super) fn fitted(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(std::iter::once('…')).take(width).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        for (n, want) in [
            (0, "0"),
            (999, "999"),
            (1000, "1.0k"),
            (9999, "9.9k"),
            (10_000, "10k"),
            (999_999, "999k"),
            (1_234_567, "1.2M"),
            (u64::MAX, "18E"),
        ] {
            assert_eq!(short(n), want);
        }
        for (n, want) in
            [(0, "0n"), (999, "999n"), (9500, "9.5u"), (30_000, "30u"), (1_250_000, "1.2m"), (u64::MAX, "18446744073s")]
        {
            assert_eq!(short_time(n), want);
        }
        assert_eq!((percent(1, 3), percent(5, 0), percent(u64::MAX, u64::MAX)), (33, 500, 100));
    }

    #[test]
    fn a_sparkline_is_as_wide_as_it_is_to_be() {
        assert_eq!(sparkline([].into_iter(), 3), "   ");
        assert_eq!(sparkline([0, 1, 7].into_iter(), 4), "  ▂█");
        assert_eq!(sparkline([9, 0, 4, 8].into_iter(), 3), " ▄█");
        assert_eq!(sparkline([u64::MAX; 2].into_iter(), 2), "██");
    }

    #[test]
    fn what_does_not_fit_is_cut() {
        for (width, want) in [(0, ""), (1, "…"), (3, "ab…"), (4, "abcd")] {
            assert_eq!(fitted("abcd", width), want);
        }
    }
}
