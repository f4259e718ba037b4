use proptest::prelude::*;
use std::time::Duration;

use super::*;
use crate::io::memory::VecFrame;
use crate::verdict::Cut;
use crate::wire::sample::{Sample, at, tcp, udp};

/// A store with its counters.
struct World {
    store: Fragments<VecFrame>,
    counters: Counters,
    now: Instant,
}

impl World {
    fn new() -> Self {
        Self { store: Fragments::new(7), counters: Counters::default(), now: Instant(1_000_000_000) }
    }

    /// Takes a frame; returns the datagram's frame when it is whole, with what its fragments carried.
    fn take(&mut self, frame: &[u8]) -> Option<(Vec<u8>, Vec<u16>)> {
        let whole = self.store.take(VecFrame::new(frame), Origin::Wire, self.now, &mut self.counters)?;
        let seen = (whole.bytes().to_vec(), whole.parts(Cut::AsItCame).to_vec());
        assert!(whole.largest_fragment().is_some());
        self.store.give_back(whole);
        Some(seen)
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.counters.drops[reason as usize]
    }

    /// Lets time pass; returns the first fragments whose senders are to be told.
    fn pass(&mut self, time: Duration) -> Vec<VecFrame> {
        self.now = self.now + time;
        let mut late = Vec::new();
        self.store.expire(self.now, &mut self.counters, &mut late);
        late
    }

    /// Counts the free places; all must be when nothing is held.
    fn assert_empty(&self) {
        assert!(self.store.is_empty());
        let count =
            |mut at: u32, next: &dyn Fn(u32) -> u32| std::iter::from_fn(|| (at != NONE).then(|| at = next(at))).count();
        assert_eq!(count(self.store.free_node, &|at| self.store.nodes[at as usize].next), MOST_FRAMES);
        assert_eq!(count(self.store.free_slot, &|at| self.store.slots[at as usize].next), MOST_DATAGRAMS);
        assert!(self.store.held.iter().all(|held| *held == 0));
        assert!(self.store.index.iter().all(|first| *first == NONE));
    }
}

fn v4(length: usize) -> Sample {
    let data: Vec<u8> = (0..length).map(|n| n as u8).collect();
    udp(at("203.0.113.5:1000"), at("192.0.2.10:53")).dont_fragment(false).ident(77).data(data)
}

fn v6(length: usize) -> Sample {
    let data: Vec<u8> = (0..length).map(|n| n as u8).collect();
    udp(at("[2001:db8:ffff::5]:1000"), at("[2001:db8:1::10]:53")).ident(77).data(data)
}

#[test]
fn a_datagram_is_whole_in_any_order_and_as_it_was() {
    for sample in [v4(300), v6(300), v4(300).ip_options(&[0x94, 4, 0, 0])] {
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [1, 0, 2]] {
            let (mut world, frames) = (World::new(), sample.fragments(128));
            assert!(world.take(&frames[order[0]]).is_none() && world.take(&frames[order[1]]).is_none());
            assert_eq!(world.take(&frames[order[2]]), Some((sample.frame(), vec![128, 128, 52])));
            assert_eq!(world.counters.events[Event::Reassembled as usize], 1);
            world.assert_empty();
        }
    }
}

#[test]
fn what_is_here_is_dropped_and_what_contradicts_ends_the_datagram() {
    let piece = |from: usize, to: usize| {
        let whole = v4(392).frame();
        let mut packet = whole[..34].to_vec();
        packet.extend(&whole[34 + from..34 + to]);
        let mut ip = crate::wire::ipv4::Packet::new_unchecked(&mut packet[14..]);
        ip.set_fragment(from as u16, to < 400);
        ip.set_total_len((20 + to - from) as u16);
        ip.fill_checksum();
        packet
    };
    // Parts of 400 bytes, and how many of them were duplicates, how many were dropped for a contradiction, and whether it became whole.
    type Case = (&'static [(usize, usize)], u64, u64, bool);
    let table: [Case; 9] = [
        (&[(0, 200), (0, 200), (200, 400), (0, 8)], 1, 0, true),
        (&[(0, 200), (200, 320), (104, 296), (320, 400)], 1, 0, true),
        (&[(200, 400), (104, 304), (0, 104)], 0, 2, false),
        // Two runs that touch are two to the kernel, as they did not come in a row.
        (&[(200, 304), (0, 200), (104, 296), (304, 400)], 0, 3, false),
        (&[(0, 200), (0, 320)], 0, 2, false),
        (&[(320, 400), (0, 320)], 0, 0, true),
        (&[(200, 400), (200, 208), (0, 200)], 1, 0, true),
        (&[(0, 200), (200, 200)], 0, 2, false),
        (&[(0, 8), (16, 24), (8, 16), (24, 400)], 0, 0, true),
    ];
    for (parts, duplicates, contradictions, whole) in table {
        let mut world = World::new();
        let became_whole = parts.iter().filter(|(from, to)| world.take(&piece(*from, *to)).is_some()).count();
        assert_eq!(became_whole, usize::from(whole), "{parts:?}");
        let dropped = [DropReason::FragmentDuplicate, DropReason::FragmentBad].map(|r| world.dropped(r));
        assert_eq!(dropped, [duplicates, contradictions], "{parts:?}");
    }
}

#[test]
fn the_largest_fragment_says_whether_the_whole_may_be_fragmented() {
    for (fixed, expected) in [([true, true], true), ([true, false], true), ([false, true], false)] {
        let mut world = World::new();
        let mut frames = v4(192).fragments(104);
        for (frame, fixed) in frames.iter_mut().zip(fixed) {
            let mut ip = crate::wire::ipv4::Packet::new_unchecked(&mut frame[14..]);
            ip.set_dont_fragment(fixed);
            ip.fill_checksum();
        }
        assert!(world.take(&frames[0]).is_none());
        let (whole, _) = world.take(&frames[1]).unwrap();
        let whole = crate::wire::ipv4::Packet::new_checked(&whole[14..]).unwrap();
        assert_eq!((whole.dont_fragment(), whole.is_fragment(), whole.is_intact()), (expected, false, true));
    }
}

#[test]
fn congestion_marks_are_joined_or_contradict() {
    for (marks, joined) in [([0, 0], Some(0)), ([2, 3], Some(3)), ([1, 2], Some(1)), ([0, 3], None), ([2, 0], None)] {
        for sample in [v4(192), v6(192)] {
            let mut world = World::new();
            let frames = [0, 1].map(|n| sample.clone().tos(0x28 | marks[n]).fragments(104).remove(n));
            assert!(world.take(&frames[0]).is_none());
            let whole = world.take(&frames[1]).map(|(frame, _)| frame);
            assert_eq!(whole, joined.map(|mark| sample.clone().tos(0x28 | mark).frame()), "{marks:?}");
            assert_eq!(world.dropped(DropReason::FragmentBad), if joined.is_none() { 2 } else { 0 });
            world.assert_empty();
        }
    }
}

#[test]
fn time_runs_out_after_thirty_or_sixty_seconds_and_the_sender_of_the_first_is_told() {
    for (sample, patience) in [(v4(192), 30), (v6(192), 60)] {
        for (kept, told) in [(0, 1), (1, 0)] {
            let mut world = World::new();
            let frames = sample.fragments(104);
            assert!(world.take(&frames[kept]).is_none());
            assert!(world.pass(Duration::from_secs(patience) - Duration::from_millis(10)).is_empty());
            let late = world.pass(Duration::from_millis(10));
            assert_eq!((late.len(), world.dropped(DropReason::FragmentTimeout)), (told, 1));
            assert!(late.iter().all(|frame| frame.bytes() == frames[kept]));
            world.assert_empty();
        }
    }
}

#[test]
fn the_newest_of_what_is_late_comes_first() {
    let mut world = World::new();
    for ident in 0..5 {
        world.take(&v4(192).ident(ident).fragments(104)[0]);
    }
    let late = world.pass(Duration::from_secs(31));
    let idents: Vec<u8> = late.iter().map(|frame| frame.bytes()[19]).collect();
    assert_eq!(idents, [4, 3, 2, 1, 0]);
}

#[test]
fn one_source_gets_its_share_and_no_more() {
    let mut world = World::new();
    for ident in 0..2000 {
        world.take(&v4(192).ident(ident).fragments(104)[0]);
    }
    assert_eq!(world.dropped(DropReason::FragmentsFull), 2000 - u64::from(PER_SOURCE));
    let other = udp(at("203.0.113.6:1000"), at("192.0.2.10:53")).dont_fragment(false).data([7; 192]);
    let [first, second] = <[_; 2]>::try_from(other.fragments(104)).unwrap();
    assert!(world.take(&first).is_none());
    assert_eq!(world.take(&second).unwrap().0, other.frame());
    world.pass(Duration::from_secs(31));
    world.assert_empty();
    // The places of one network of IPv6 are one source's.
    for n in 0..1000 {
        let source = at(&format!("[2001:db8:7::{n:x}]:1"));
        world.take(&udp(source, at("[2001:db8:1::10]:53")).data([7; 192]).fragments(104)[0]);
    }
    assert_eq!(world.dropped(DropReason::FragmentsFull), 2000 + 1000 - 2 * u64::from(PER_SOURCE));
}

#[test]
fn a_flood_from_everywhere_pushes_the_oldest_out_and_lets_others_pass() {
    let mut world = World::new();
    let source = |n: u32| (std::net::IpAddr::from(std::net::Ipv4Addr::from_bits(0x0b00_0000 + n)), 1);
    for n in 0..10_000 {
        let flood = udp(source(n), at("192.0.2.10:53")).dont_fragment(false).data([7; 192]);
        world.take(&flood.fragments(104)[0]);
        if n % 1000 == 999 {
            let [first, second] = <[_; 2]>::try_from(v4(192).ident(n).fragments(104)).unwrap();
            assert!(world.take(&second).is_none() && world.take(&first).is_some());
        }
    }
    let pushed = world.dropped(DropReason::FragmentsFull);
    assert!((10_000 - MOST_DATAGRAMS as u64..=10_010).contains(&pushed), "{pushed}");
    world.pass(Duration::from_secs(31));
    assert_eq!(world.dropped(DropReason::FragmentTimeout) + pushed, 10_000);
    world.assert_empty();
}

#[test]
fn what_is_no_fragment_or_too_long_is_refused() {
    let mut world = World::new();
    assert!(world.take(&[0; 60]).is_none() && world.take(&[]).is_none());
    assert_eq!(world.dropped(DropReason::FragmentBad), 2);
    // The longest payload that offsets can name is longer than a packet may be.
    let frames = v4(65_500 - 8).fragments(32_752);
    assert!(world.take(&frames[0]).is_none());
    assert!(world.take(&frames[1]).is_some());
    let mut last = v4(192).fragments(104).remove(1);
    let mut ip = crate::wire::ipv4::Packet::new_unchecked(&mut last[14..]);
    ip.set_fragment(65_528, false);
    ip.fill_checksum();
    assert!(world.take(&frames[0]).is_none());
    assert!(world.take(&last).is_none());
    // The first of IPv6 has the whole transport header.
    let tiny = tcp(at("[2001:db8:ffff::5]:1"), at("[2001:db8:1::10]:80")).data([7; 50]).fragments(16);
    assert!(world.take(&tiny[0]).is_none());
    assert_eq!(world.dropped(DropReason::FragmentBad), 3);
}

#[test]
fn what_the_kernel_pulls_into_the_first_part_is_taken_out_of_the_next() {
    for (bytes, left) in [
        (0, &[16_u16, 8, 24, 152][..]),
        (16, &[16, 8, 24, 152]),
        (20, &[20, 4, 24, 152]),
        (24, &[24, 24, 152]),
        (32, &[32, 16, 152]),
        (500, &[200]),
    ] {
        let mut world = World::new();
        let mut whole = None;
        for frame in pieces_of(&v4(192), &[2, 1, 3, 19]) {
            whole = world.store.take(VecFrame::new(&frame), Origin::Wire, world.now, &mut world.counters);
        }
        let mut whole = whole.unwrap();
        whole.pull(bytes);
        assert_eq!(whole.parts(Cut::Listed(0)), left, "{bytes}");
        whole.flatten();
        assert!(whole.parts(Cut::Listed(0)).is_empty());
        assert_eq!(whole.parts(Cut::AsItCame), left);
    }
}

#[test]
fn a_contradiction_about_the_length_ends_a_datagram_of_ipv4_and_not_of_ipv6() {
    for (sample, survives) in [(v4(192), false), (v6(192), true)] {
        let mut world = World::new();
        let frames = sample.fragments(104);
        let header = frames[0].len() - 104;
        assert!(world.take(&frames[1]).is_none());
        // More is to follow than the end that has come.
        let mut beyond = frames[1].clone();
        beyond.extend([7; 8]);
        assert!(world.take(&finished(beyond, header, true)).is_none());
        assert_eq!(world.take(&frames[0]).is_some(), survives);
        assert_eq!(world.dropped(DropReason::FragmentBad), if survives { 1 } else { 2 });
    }
}

#[test]
fn a_fragment_of_ipv6_that_is_nowhere_leaves_no_trace() {
    let mut world = World::new();
    let frames = v6(192).fragments(104);
    let nothing = finished(frames[1][..frames[0].len() - 104].to_vec(), frames[0].len() - 104, false);
    assert!(world.take(&nothing).is_none());
    assert_eq!(world.dropped(DropReason::FragmentBad), 1);
    world.assert_empty();
}

#[test]
fn what_is_told_of_is_without_padding_and_in_units() {
    let mut world = World::new();
    let mut frame = v4(64).fragments(16).remove(0);
    frame.extend([0; 10]);
    assert!(world.take(&frame).is_none());
    let late = world.pass(Duration::from_secs(31));
    assert_eq!(late[0].bytes(), &frame[..14 + 20 + 16]);
}

/// The rules again, slowly: the runs that have come, each a line of fragments that came in a row.
#[derive(Default)]
struct Slow {
    runs: Vec<(u32, u32)>,
    length: u32,
    ended: bool,
}

#[derive(PartialEq, Eq, Debug)]
enum Step {
    Taken,
    Whole,
    Duplicate,
    Contradiction,
}

impl Slow {
    fn take(&mut self, (start, end, more): (u32, u32, bool)) -> Step {
        let contradicts = match (more, self.ended) {
            (false, ended) => end < self.length || ended && end != self.length,
            (true, ended) => ended && end > self.length,
        };
        let overlaps = |run: &&(u32, u32)| start < run.1 && end > run.0;
        if contradicts || start == end {
            return Step::Contradiction;
        }
        self.ended |= !more;
        self.length = self.length.max(end);
        match self.runs.iter().find(overlaps) {
            Some(run) if run.0 <= start && end <= run.1 => return Step::Duplicate,
            Some(_) => return Step::Contradiction,
            None => {}
        }
        match self.runs.iter().position(|run| run.1 == self.runs.iter().map(|r| r.1).max().unwrap() && run.1 == start) {
            Some(last) => self.runs[last].1 = end,
            None => self.runs.push((start, end)),
        }
        let here: u32 = self.runs.iter().map(|run| run.1 - run.0).sum();
        if self.ended && here == self.length { Step::Whole } else { Step::Taken }
    }
}

proptest! {
    /// Any cut, in any order, some of it twice.
    #[test]
    fn any_cut_in_any_order_is_put_together(
        length in 1_usize..3000,
        cuts in proptest::collection::vec(1_usize..200, 0..12),
        order in any::<u64>(),
        again in any::<u16>(),
        is_v6: bool,
    ) {
        let sample = if is_v6 { v6(length) } else { v4(length) };
        let mut frames = pieces_of(&sample, &cuts);
        let expected = sample.frame();
        let count = frames.len();
        shuffle(&mut frames, order);
        let mut world = World::new();
        let mut whole = None;
        for (n, frame) in frames.iter().enumerate() {
            if n + 1 < count && again >> (n % 16) & 1 == 1 {
                prop_assert!(world.take(frame).is_none());
            }
            prop_assert!(whole.is_none());
            whole = world.take(frame);
        }
        prop_assert_eq!(whole.map(|(frame, _)| frame), Some(expected));
        prop_assert_eq!(world.dropped(DropReason::FragmentBad), 0);
        world.assert_empty();
    }

    /// Any fragments at all, against the slow one.
    #[test]
    fn any_fragments_meet_the_same_end_as_with_the_slow_one(
        pieces in proptest::collection::vec((0_u32..12, 0_u32..5, proptest::bool::weighted(0.8)), 1..24),
    ) {
        let (mut world, mut slow) = (World::new(), Slow::default());
        let bytes = v4(200).frame();
        for (unit, units, more) in pieces {
            let (start, end) = (unit * 8, (unit + units) * 8);
            let mut frame = bytes[..34].to_vec();
            frame.extend(&bytes[34 + start as usize..34 + end as usize]);
            let mut ip = crate::wire::ipv4::Packet::new_unchecked(&mut frame[14..]);
            ip.set_fragment(start as u16, more);
            ip.set_total_len((20 + end - start) as u16);
            ip.fill_checksum();
            let before = world.counters.clone();
            let whole = world.take(&frame).is_some();
            let rose = |reason| world.dropped(reason) > before.drops[reason as usize];
            let step = match (whole, rose(DropReason::FragmentDuplicate), rose(DropReason::FragmentBad)) {
                (true, ..) => Step::Whole,
                (_, true, _) => Step::Duplicate,
                (_, _, true) => Step::Contradiction,
                // A fragment that is nobody's last and none is known.
                _ => Step::Taken,
            };
            let expected = slow.take((start, end, more));
            if matches!(expected, Step::Whole | Step::Contradiction) {
                slow = Slow::default();
            }
            prop_assert_eq!(step, expected);
        }
    }
}

/// The datagram's fragments, cut after so many units of 8 bytes each.
fn pieces_of(sample: &Sample, cuts: &[usize]) -> Vec<Vec<u8>> {
    let units = sample.fragments(8);
    if units.len() < 2 {
        return vec![if sample.frame()[12] == 0x86 { units[0].clone() } else { sample.frame() }];
    }
    let header = units[0].len() - 8;
    let (mut frames, mut at, mut cuts) = (Vec::new(), 0, cuts.iter());
    while at < units.len() {
        let end = cuts.next().map_or(units.len(), |n| (at + n).min(units.len()));
        let mut frame = units[at].clone();
        units[at + 1..end].iter().for_each(|unit| frame.extend(&unit[header..]));
        frames.push(finished(frame, header, end == units.len()));
        at = end;
    }
    frames
}

fn finished(mut frame: Vec<u8>, header: usize, last: bool) -> Vec<u8> {
    let length = frame.len();
    if frame[14] >> 4 == 6 {
        crate::wire::ipv6::Packet::new_unchecked(&mut frame[14..]).set_payload_len((length - 54) as u16);
        frame[header - 5] = frame[header - 5] & !1 | u8::from(!last);
        return frame;
    }
    let mut ip = crate::wire::ipv4::Packet::new_unchecked(&mut frame[14..]);
    let offset = ip.fragment_offset();
    ip.set_fragment(offset, !last);
    ip.set_total_len((length - 14) as u16);
    ip.fill_checksum();
    frame
}

fn shuffle<T>(items: &mut [T], mut seed: u64) {
    for n in (1..items.len()).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        items.swap(n, (seed >> 33) as usize % (n + 1));
    }
}
