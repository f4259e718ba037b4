//! Sequence numbers of a connection whose text a helper has made longer or shorter: what one end sends lies elsewhere in what the
//! other end receives. As netfilter has it (`nf_conntrack_seqadj.c`), which Linux' FTP helper rewrites by; the fields are those of
//! the kernel's `struct ip_vs_seq`, as the synchronisation of connections sends them.

use crate::wire::checksum::Delta;
use crate::wire::tcp::{self, TcpOption};

/// The shift of one direction. Numbers up to `init_seq`, as the sender counts, are shifted by `previous_delta`, later ones by `delta`;
/// both are added modulo 2^32.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Shift {
    /// Where the last rewritten segment began.
    pub init_seq: u32,
    /// Shift of what follows it.
    pub delta: u32,
    /// Shift of it, and of what was before.
    pub previous_delta: u32,
}

/// Is `a` later than `b`? Numbers wrap.
fn after(a: u32, b: u32) -> bool {
    (1..1 << 31).contains(&a.wrapping_sub(b))
}

impl Shift {
    /// Is nothing shifted?
    pub fn is_none(&self) -> bool {
        self.delta == 0 && self.previous_delta == 0
    }

    /// A segment that begins at `seq`, as its sender counts, became longer by `by` bytes. A segment before the last one that was
    /// rewritten, sent again, changes nothing.
    pub fn grow(&mut self, seq: u32, by: i32) {
        if by != 0 && (self.delta == self.previous_delta || after(seq, self.init_seq)) {
            self.init_seq = seq;
            self.previous_delta = self.delta;
            self.delta = self.delta.wrapping_add_signed(by);
        }
    }

    /// The number as the receiver counts of one that the sender sends.
    pub fn sent(&self, seq: u32) -> u32 {
        seq.wrapping_add(if after(seq, self.init_seq) { self.delta } else { self.previous_delta })
    }

    /// The number as the sender counts of one that the receiver acknowledges. Just behind the rewritten segment is no place that
    /// both ends know, hence the comparison by the older shift.
    pub fn acknowledged(&self, ack: u32) -> u32 {
        let behind = after(ack.wrapping_sub(self.previous_delta), self.init_seq);
        ack.wrapping_sub(if behind { self.delta } else { self.previous_delta })
    }
}

/// Both directions of a connection (the kernel's `in_seq` and `out_seq`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Sequences {
    /// Of what the client sends.
    pub input: Shift,
    /// Of what the server sends.
    pub output: Shift,
}

impl Sequences {
    /// Shifts a client's segment, which begins with the TCP header; false when its options cannot be read.
    #[must_use]
    pub fn request(&self, segment: &mut [u8]) -> bool {
        shift(segment, &self.input, &self.output)
    }

    /// Shifts a server's segment, which begins with the TCP header; false when its options cannot be read.
    #[must_use]
    pub fn reply(&self, segment: &mut [u8]) -> bool {
        shift(segment, &self.output, &self.input)
    }
}

/// Shifts a segment that goes one way: `forth` is that way's, `back` the other's. The checksum is updated.
fn shift(segment: &mut [u8], forth: &Shift, back: &Shift) -> bool {
    if forth.is_none() && back.is_none() {
        return true;
    }
    let mut tcp = tcp::Packet::new_unchecked(segment);
    let mut delta = tcp.set_seq(forth.sent(tcp.seq()));
    let mut sound = true;
    if tcp.flags().contains(tcp::TcpFlags::ACK) {
        delta = delta.and(tcp.set_ack(back.acknowledged(tcp.ack())));
        let (blocks, readable) = shift_blocks(tcp.options_mut(), back);
        (delta, sound) = (delta.and(blocks), readable);
    }
    tcp.update_checksum(delta);
    sound
}

/// Length of one block of selective acknowledgement.
const BLOCK: usize = 8;

/// Shifts the blocks of selective acknowledgements (RFC 2018) among the options. Returns the change for the checksum, and whether
/// the options could be read to their end.
fn shift_blocks(options: &mut [u8], back: &Shift) -> (Delta, bool) {
    let mut before = [0; tcp::MAX_OPTIONS_LEN];
    let before = &mut before[..options.len().min(tcp::MAX_OPTIONS_LEN)];
    before.copy_from_slice(&options[..before.len()]);
    let (mut at, mut sound) = (0, true);
    while let Some(kind) = options.get(at).copied().filter(|kind| sound && *kind != TcpOption::END) {
        let length = if kind == TcpOption::NOP { 1 } else { options.get(at + 1).map_or(0, |n| usize::from(*n)) };
        sound = kind == TcpOption::NOP || (length >= 2 && at + length <= options.len());
        if kind == TcpOption::SACK && sound && (length - 2).is_multiple_of(BLOCK) {
            let edges = options[at + 2..at + length].as_chunks_mut::<4>().0;
            edges.iter_mut().for_each(|edge| *edge = back.acknowledged(u32::from_be_bytes(*edge)).to_be_bytes());
        }
        at += length.max(1);
    }
    let words = before.as_chunks::<2>().0.iter().zip(options.as_chunks::<2>().0);
    let changed =
        |delta: Delta, (old, new): (&[u8; 2], &[u8; 2])| delta.u16(u16::from_be_bytes(*old), u16::from_be_bytes(*new));
    (words.fold(Delta::new(), changed), sound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::checksum::Sum;
    use proptest::prelude::*;

    /// A stream of which pieces were replaced, as plain as can be: where each piece was, and by how much it grew.
    #[derive(Debug)]
    struct Stream {
        start: u32,
        pieces: Vec<(u32, i32)>,
    }

    impl Stream {
        /// The shift of what begins at `seq`.
        fn shift(&self, seq: u32) -> u32 {
            let before =
                self.pieces.iter().filter(|(at, _)| at.wrapping_sub(self.start) < seq.wrapping_sub(self.start));
            before.fold(0_u32, |sum, (_, by)| sum.wrapping_add_signed(*by))
        }
    }

    proptest! {
        #[test]
        fn what_is_sent_after_the_last_rewriting_or_since_the_one_before_is_shifted_as_a_list_of_all_says(
            start: u32,
            pieces in prop::collection::vec((1_u32..400, -40_i32..40, 1_u32..1000), 1..20),
        ) {
            let (mut stream, mut shift) = (Stream { start, pieces: Vec::new() }, Shift::default());
            let (mut at, mut last) = (start, start);
            for (length, by, gap) in pieces {
                at = at.wrapping_add(gap);
                // A segment never shrinks to nothing.
                let by = by.max(1 - i32::try_from(length).unwrap());
                shift.grow(at, by);
                stream.pieces.push((at, by));
                if by != 0 {
                    prop_assert_eq!(shift.init_seq, at);
                }
                // Every segment that began between the last two rewritten ones, and the first after.
                let end = at.wrapping_add(length);
                for seq in [last.wrapping_add(1), at, end, end.wrapping_add(5000)] {
                    prop_assert_eq!(shift.sent(seq), seq.wrapping_add(stream.shift(seq)));
                }
                // Everything received is acknowledged as its sender counts.
                let received = end.wrapping_add(stream.shift(end));
                prop_assert_eq!(shift.acknowledged(received), end);
                prop_assert_eq!(shift.acknowledged(received.wrapping_add(5000)), end.wrapping_add(5000));
                (last, at) = (at, end);
            }
        }

        #[test]
        fn a_shifted_segment_keeps_its_checksum_right_or_wrong(
            seq: u32, ack: u32, edges in prop::collection::vec(any::<u32>(), 0..=4), nops in 0_usize..4,
            input: (u32, u32, u32), output: (u32, u32, u32), wrong in 0_u16..2,
        ) {
            let shift = |(init_seq, delta, previous_delta)| Shift { init_seq, delta, previous_delta };
            let sequences = Sequences { input: shift(input), output: shift(output) };
            let blocks: Vec<_> = edges.as_chunks::<2>().0.iter().collect();
            let mut options = vec![TcpOption::NOP; nops];
            options.extend([TcpOption::SACK, 2 + 8 * u8::try_from(blocks.len()).unwrap()]);
            options.extend(blocks.iter().copied().flatten().flat_map(|edge| edge.to_be_bytes()));
            options.resize(options.len().next_multiple_of(4), TcpOption::END);
            let mut segment = vec![0; tcp::HEADER_LEN];
            segment.extend(&options);
            segment[12] = ((segment.len() / 4) << 4) as u8;
            segment[13] = 0x10;
            let mut tcp = tcp::Packet::new_unchecked(&mut segment[..]);
            let _ = tcp.set_seq(seq).and(tcp.set_ack(ack));
            tcp.fill_checksum(Sum::new());
            tcp.set_checksum(tcp.checksum() ^ wrong);
            prop_assert!(sequences.request(&mut segment));
            let after = tcp::Packet::new_unchecked(&segment[..]);
            prop_assert_eq!((after.seq(), after.ack()), (sequences.input.sent(seq), sequences.output.acknowledged(ack)));
            prop_assert_eq!(after.is_intact(Sum::new()), wrong == 0);
            let shifted = |edge: &u32| sequences.output.acknowledged(*edge).to_be_bytes();
            let expected: Vec<u8> = blocks.iter().copied().flatten().flat_map(shifted).collect();
            prop_assert_eq!(&segment[tcp::HEADER_LEN + nops + 2..][..expected.len()], &expected);
        }

        #[test]
        fn options_of_any_kind_are_read_or_refused(options in prop::collection::vec(any::<u8>(), 0..=40)) {
            let back = Shift { init_seq: 0, delta: 7, previous_delta: 3 };
            let mut shifted = options.clone();
            let (_, _) = shift_blocks(&mut shifted, &back);
            prop_assert_eq!(shifted.len(), options.len());
        }
    }

    #[test]
    fn as_the_kernel_did_with_two_answers_that_became_three_bytes_shorter() {
        // Answers of 51 bytes at 5001 and 5059; see the recorded scenario of two rewritten answers.
        let mut shift = Shift::default();
        shift.grow(5001, -3);
        assert_eq!([5001, 5052].map(|seq| shift.sent(seq)), [5001, 5049]);
        assert_eq!([5049, 5056, 5001, 5042].map(|ack| shift.acknowledged(ack)), [5052, 5059, 5001, 5045]);
        shift.grow(5059, -3);
        assert_eq!([5059, 5001, 5052, 5110].map(|seq| shift.sent(seq)), [5056, 4998, 5049, 5104]);
        assert_eq!([5104, 5114, 5001].map(|ack| shift.acknowledged(ack)), [5110, 5120, 5004]);
    }

    #[test]
    fn a_segment_sent_again_does_not_shift_anew() {
        let mut shift = Shift::default();
        shift.grow(u32::MAX, 5);
        let once = shift;
        shift.grow(u32::MAX, 5);
        shift.grow(u32::MAX - 9, 5);
        shift.grow(3, 0);
        assert_eq!(shift, once);
    }

    #[test]
    fn malformed_options_are_refused() {
        let sequences =
            Sequences { output: Shift { init_seq: 0, delta: 1, previous_delta: 1 }, ..Sequences::default() };
        for (options, sound) in [
            ([1, 1, 1, 8], false),
            ([8, 0, 0, 0], false),
            ([8, 5, 0, 0], false),
            ([8, 4, 0, 0], true),
            ([0, 8, 9, 9], true),
        ] {
            let mut segment = [0; 24];
            (segment[12], segment[13]) = (0x60, 0x10);
            segment[20..].copy_from_slice(&options);
            assert_eq!(sequences.request(&mut segment), sound, "{options:?}");
        }
    }
}
