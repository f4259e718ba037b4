//! When a master tells of a connection (`ip_vs_sync_conn_needed`): on a change of state, else by the number of packets
//! (`sync_threshold`: "3 50" is the third of every fifty) or by time (`sync_refresh_period`, `sync_retries`).

use crate::proto::State;
use crate::settings::Settings;
use crate::time::{HZ, Tick};

/// Shortest half life in ticks that `sync_refresh_period` is held against.
const SHORTEST: u32 = 10 * HZ;
/// In the low bits of [`Memo::ends`]: how often the same was told again.
const RETRIES: u32 = 3;

/// What a master remembers of a connection or template; all zero for one that was never told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Memo {
    /// When it would have ended as it was last told, in ticks; the two lowest bits count repetitions.
    pub ends: u32,
    /// The mark that it came with, of one that was received.
    pub mark: u32,
    /// Its state when it was last told of.
    pub state: State,
    /// Was it received from another director?
    pub received: bool,
}

impl Memo {
    /// The same with `ends` counted from `now` on; 0 stays 0. [`Memo::since`] turns it back, at any other time.
    #[must_use]
    pub fn until(self, now: Tick) -> Self {
        self.moved(0_u32.wrapping_sub(now.0))
    }

    /// The same with `ends` counted from 0 on, which counted from `now` on until here.
    #[must_use]
    pub fn since(self, now: Tick) -> Self {
        self.moved(now.0)
    }

    /// Whole multiples, for the sake of the lowest bits.
    fn moved(self, by: u32) -> Self {
        if self.ends == 0 { self } else { Self { ends: self.ends.wrapping_add(by & !RETRIES), ..self } }
    }
}

/// What is asked about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    /// A template.
    Template,
    /// A connection in this state, which a template controls or not.
    Connection {
        /// Its state.
        state: State,
        /// Does a template control it?
        persistent: bool,
    },
}

/// The pace of one master.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    threshold: u32,
    period: u32,
    /// For the remainder by `period`: 2^64 / period, rounded up.
    reciprocal: u64,
    /// Ticks.
    refresh: u32,
    retries: u32,
    templates_only: bool,
    families: [bool; 2],
}

/// What becomes of a look at a connection's state.
enum Verdict {
    Never,
    AtOnce,
    ByCount,
}

impl Pace {
    /// The pace that the sysctls set.
    pub fn new(settings: &Settings) -> Self {
        let [threshold, period] = settings.sync_threshold.map(|n| u32::try_from(n).unwrap_or(0));
        Self {
            threshold,
            period,
            reciprocal: if period == 0 { 0 } else { (u64::MAX / u64::from(period)).wrapping_add(1) },
            refresh: u32::try_from(settings.sync_refresh_period).unwrap_or(0).saturating_mul(HZ),
            retries: settings.sync_retries.into(),
            templates_only: settings.sync_persist_mode != 0,
            families: [true, settings.sync_version != 0],
        }
    }

    /// Is anything told of this family? Version 0 knows IPv4 alone.
    #[inline]
    pub fn tells(&self, v6: bool) -> bool {
        self.families[usize::from(v6)]
    }

    /// The number of packets that is told whatever the period.
    #[inline]
    pub fn threshold(&self) -> u32 {
        self.threshold
    }

    /// May a packet that changes nothing, the one of this number, be a reason to tell? A quick look that never says no wrongly, for
    /// connections that nothing controls. The remainder is by Lemire, Kaser and Kurz, "Faster remainder by direct computation" (2019).
    #[inline(always)]
    pub fn may_tell(&self, packets: u32) -> bool {
        if self.period == 0 {
            return self.refresh > 0 || packets == self.threshold;
        }
        let fraction = self.reciprocal.wrapping_mul(packets.into());
        let remainder = (u128::from(fraction) * u128::from(self.period)) >> 64;
        remainder == u128::from(self.threshold)
    }

    /// Is it to be told of, its time-out in ticks and the number of its packets being these? The memo remembers that it was.
    pub fn needs(&self, subject: Subject, memo: &mut Memo, timeout: u32, packets: u32, now: Tick) -> bool {
        let state = match subject {
            Subject::Template => State::None,
            Subject::Connection { state, .. } => state,
        };
        let mut ends = now.0.wrapping_add(timeout) & !RETRIES;
        let due = match self.by_state(subject, memo.state) {
            Verdict::Never => return false,
            Verdict::AtOnce => true,
            Verdict::ByCount => self.by_time(memo.ends, &mut ends, timeout, now) && self.by_count(subject, packets),
        };
        if due {
            (memo.ends, memo.state) = (ends, state);
        }
        due
    }

    /// Is a connection in such a state ever told of?
    pub fn is_told(&self, subject: Subject) -> bool {
        !matches!(self.by_state(subject, State::None), Verdict::Never)
    }

    fn by_state(&self, subject: Subject, before: State) -> Verdict {
        let Subject::Connection { state, persistent } = subject else { return Verdict::ByCount };
        if self.templates_only && persistent {
            return Verdict::Never;
        }
        match state {
            State::Established | State::SctpEstablished | State::Udp => Verdict::ByCount,
            State::FinWait | State::Close | State::CloseWait | State::TimeWait => changed(state, before),
            State::SctpShutdownSent | State::SctpShutdownReceived | State::SctpShutdownAckSent | State::SctpClosed => {
                changed(state, before)
            }
            _ => Verdict::Never,
        }
    }

    /// With `sync_refresh_period` nothing is told again before it would be news: the end has moved by that period, or by half the
    /// time-out; but for some repetitions, an eighth of the period apart.
    fn by_time(&self, told: u32, ends: &mut u32, timeout: u32, now: Tick) -> bool {
        if self.refresh == 0 {
            return true;
        }
        let told = if told == 0 { now.0 & !RETRIES } else { told };
        let moved = ends.wrapping_sub(told).cast_signed().unsigned_abs();
        if moved >= self.refresh.min((timeout / 2).max(SHORTEST)) {
            return true;
        }
        let done = told & RETRIES;
        let next = told.wrapping_sub(timeout).wrapping_add(self.refresh / 8);
        if done >= self.retries || !Tick(next).reached(now) {
            return false;
        }
        *ends |= done + 1;
        true
    }

    fn by_count(&self, subject: Subject, packets: u32) -> bool {
        match self.period {
            0 => self.refresh > 0 || packets == self.threshold,
            period => subject == Subject::Template || packets % period == self.threshold,
        }
    }
}

fn changed(state: State, before: State) -> Verdict {
    if state == before { Verdict::ByCount } else { Verdict::AtOnce }
}
