//! Cutting a packet that is too long for its way into fragments (RFC 791, section 3.2; RFC 8200, section 4.5), one after the other into
//! frames that the caller brings. As the kernel does it: every piece has the whole header of the packet, in all but the first with
//! no-operations in place of the options that are not to be copied; and what came in fragments leaves in the same, if they still fit
//! (the fast path of `ip_do_fragment` and `ip6_fragment`).

use crate::forward::ETHERNET;
use crate::frame::Frame;
use crate::verdict::Cut;
use crate::wire::{ipv4, ipv6, protocol};

/// Extension headers that are looked through for the unfragmentable part.
const MOST_EXTENSIONS: usize = 8;
/// Length of the fragment header of IPv6 in bytes.
const FRAGMENT: usize = 8;
/// The unit of fragment offsets in bytes.
const UNIT: usize = 8;
/// Fragments that the kernel joins into one buffer when it puts together what is for itself: the first and as many as a buffer has pages
/// (`MAX_SKB_FRAGS`, where pages have 4096 bytes).
const MOST_JOINED: usize = 18;

/// The fragments of one packet that are still to be written.
#[derive(Clone, Debug)]
pub struct Pieces<'a> {
    /// Ethernet header and unfragmentable part: what every piece begins with.
    header: &'a [u8],
    payload: &'a [u8],
    /// How much of the payload is written.
    done: usize,
    size: Size<'a>,
    family: Family,
    /// It is a fragment even if it is the only one.
    always: bool,
}

/// How much of the payload each piece carries, in bytes.
#[derive(Clone, Copy, Debug)]
enum Size<'a> {
    AtMost(usize),
    /// These, the first with what they leave over; whether they keep DF.
    Parts(&'a [u16], bool),
}

impl<'a> Size<'a> {
    /// So many bytes cut into `parts`, the first with what they leave over, if none is longer than `room` and all but the last are whole
    /// units; else into parts as long as they can be.
    fn listed(length: usize, parts: &'a [u16], room: usize) -> Self {
        match first_of(length, parts) {
            Some(first)
                if parts.len() > 1
                    && parts.iter().skip(1).map(|p| usize::from(*p)).chain([first]).all(|p| p <= room) =>
            {
                Self::Parts(parts, false)
            }
            _ => Self::AtMost(room),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Family {
    /// The packet is itself a fragment that begins at `offset`, in bytes, and perhaps not the last.
    V4 { offset: u16, more: bool },
    /// Where in the header the number of what follows stands, and the identification.
    V6 { next_header: usize, ident: u32 },
}

impl Family {
    /// Bytes that are inserted before the payload.
    fn inserted(self) -> usize {
        if matches!(self, Self::V6 { .. }) { FRAGMENT } else { 0 }
    }
}

impl<'a> Pieces<'a> {
    /// Fragments of the packet in `frame`, whose fragments carried `parts` when it came, in bytes; none if it came whole, or the kernel
    /// would not know them any more. IPv6 fragments get `ident`, those of IPv4 keep the packet's own. `None` for what is no IP packet.
    pub fn new(frame: &'a [u8], cut: Cut, parts: &'a [u16], ident: u32) -> Option<Self> {
        let packet = frame.get(ETHERNET..)?;
        let (family, header, length) = match packet.first()? >> 4 {
            6 => {
                let (header, next_header) = unfragmentable(packet)?;
                (Family::V6 { next_header, ident }, header, ipv6::Packet::new_checked(packet).ok()?.total_len())
            }
            _ => {
                let ip = ipv4::Packet::new_checked(packet).ok()?;
                let family = Family::V4 { offset: ip.fragment_offset(), more: ip.more_fragments() };
                (family, ip.header_len(), usize::from(ip.total_len()))
            }
        };
        let (header, payload) = frame.get(..ETHERNET + length)?.split_at_checked(ETHERNET + header)?;
        let taken = header.len() - ETHERNET + family.inserted();
        let room = |size: u16| usize::from(size).saturating_sub(taken).max(UNIT);
        let size = match cut {
            Cut::AtMost(size) => Size::AtMost(room(size)),
            Cut::AsItCame if first_of(payload.len(), parts).is_some() => Size::Parts(parts, true),
            // Its length has changed since: as the largest of them.
            Cut::AsItCame => Size::AtMost(parts.iter().max().map_or(usize::MAX, |part| usize::from(*part).max(UNIT))),
            Cut::Listed(size) => Size::listed(payload.len(), parts, room(size)),
            Cut::Joined(size) => {
                let listed = parts.get(MOST_JOINED - 1..).unwrap_or_default();
                Size::listed(payload.len(), listed, room(size))
            }
        };
        let always = matches!((family, cut), (Family::V6 { .. }, Cut::Listed(_) | Cut::Joined(_)));
        Some(Self { header, payload, done: 0, size, family, always })
    }

    /// Are all written?
    pub fn is_done(&self) -> bool {
        self.done >= self.payload.len()
    }

    /// Writes the next one into a frame. False, and it is still the next one, when the frame has no room.
    pub fn write<F: Frame>(&mut self, into: &mut F) -> bool {
        let left = self.payload.get(self.done..).unwrap_or_default();
        let (part, rest) = left.split_at_checked(self.next_size(left.len())).unwrap_or((left, &[]));
        let is_whole = part.len() == self.payload.len() && !self.always;
        let (header, inserted) = (self.header.len(), if is_whole { 0 } else { self.family.inserted() });
        if !into.resize(header + inserted + part.len()) {
            return false;
        }
        put(into, 0, self.header);
        put(into, header + inserted, part);
        let packet = into.bytes_mut().get_mut(ETHERNET..).unwrap_or_default();
        match self.family {
            _ if is_whole => {}
            Family::V4 { offset, more } => self.finish_v4(packet, offset, more || !rest.is_empty()),
            Family::V6 { next_header, ident } => self.finish_v6(packet, next_header, !rest.is_empty(), ident),
        }
        self.done += part.len();
        true
    }

    /// What the next piece carries of the bytes that are left.
    fn next_size(&self, left: usize) -> usize {
        match self.size {
            Size::AtMost(room) if left <= room => left,
            Size::AtMost(room) => room / UNIT * UNIT,
            Size::Parts(parts, _) => {
                // From the end, since something may have been put in front.
                let mut after = 0;
                let sizes = parts.iter().rev().map(|part| usize::from(*part));
                for size in sizes.take(parts.len().saturating_sub(1)) {
                    if after + size >= left {
                        break;
                    }
                    after += size;
                }
                left - after
            }
        }
    }

    /// Where the next piece begins in the payload.
    fn offset(&self) -> u16 {
        u16::try_from(self.done).unwrap_or(u16::MAX)
    }

    fn finish_v4(&self, packet: &mut [u8], base: u16, more: bool) {
        let length = u16::try_from(packet.len()).unwrap_or(u16::MAX);
        if self.done > 0 {
            let options = self.header.len() - ETHERNET;
            blank_options(packet.get_mut(ipv4::HEADER_LEN..options).unwrap_or_default());
        }
        let mut ip = ipv4::Packet::new_unchecked(packet);
        ip.set_fragment(base.saturating_add(self.offset()), more);
        if matches!(self.size, Size::Parts(_, false)) {
            ip.set_dont_fragment(false);
        }
        ip.set_total_len(length);
        ip.fill_checksum();
    }

    fn finish_v6(&self, packet: &mut [u8], next_header: usize, more: bool, ident: u32) {
        let payload_len = u16::try_from(packet.len().saturating_sub(ipv6::HEADER_LEN)).unwrap_or(u16::MAX);
        let Some(field) = packet.get_mut(next_header) else { return };
        let follows = std::mem::replace(field, protocol::FRAGMENT);
        let fragment = ipv6::Fragment { offset: self.offset(), more, ident };
        let at = self.header.len() - ETHERNET;
        if let Some(header) = packet.get_mut(at..at + FRAGMENT) {
            header.copy_from_slice(&fragment.to_bytes(follows));
        }
        ipv6::Packet::new_unchecked(packet).set_payload_len(payload_len);
    }
}

/// What the first of the parts carries, which takes what the others leave over; `None` when that does not end with a unit.
fn first_of(length: usize, parts: &[u16]) -> Option<usize> {
    let after: usize = parts.iter().skip(1).map(|part| usize::from(*part)).sum();
    length.checked_sub(after).filter(|first| *first > 0 && (after == 0 || first.is_multiple_of(UNIT)))
}

fn put<F: Frame>(frame: &mut F, at: usize, bytes: &[u8]) {
    if let Some(field) = frame.bytes_mut().get_mut(at..at + bytes.len()) {
        field.copy_from_slice(bytes);
    }
}

/// Puts no-operations in place of the options that only the first fragment has (RFC 791, section 3.1, "Options").
fn blank_options(mut options: &mut [u8]) {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const COPIED: u8 = 0x80;
    loop {
        let length = match *options {
            [] | [END, ..] => return,
            [NO_OPERATION, ..] => 1,
            [_, length, ..] if length >= 2 => usize::from(length),
            _ => return,
        };
        let Some((option, rest)) = options.split_at_mut_checked(length) else { return };
        if option.first().is_some_and(|kind| kind & COPIED == 0) {
            option.fill(NO_OPERATION);
        }
        options = rest;
    }
}

/// The unfragmentable part of an IPv6 packet: its length in bytes, and where in it the number of what follows stands.
fn unfragmentable(packet: &[u8]) -> Option<(usize, usize)> {
    const NEXT_HEADER: usize = 6;
    let (mut end, mut field) = (ipv6::HEADER_LEN, NEXT_HEADER);
    let mut part = (end, field);
    for _ in 0..MOST_EXTENSIONS {
        let kind = *packet.get(field)?;
        if !matches!(kind, protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS) {
            break;
        }
        (field, end) = (end, end + (usize::from(*packet.get(end + 1)?) + 1) * UNIT);
        // Options for the destination stand before the fragment header only when routers are to look at them, too.
        if kind != protocol::DESTINATION_OPTIONS {
            part = (end, field);
        }
    }
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::memory::VecFrame;
    use crate::wire::sample::{Sample, at, udp};
    use proptest::prelude::*;

    /// The pieces of a frame.
    fn cut(frame: &[u8], size: u16) -> Vec<Vec<u8>> {
        let mut pieces = Pieces::new(frame, Cut::AtMost(size), &[], 77).unwrap();
        let mut cut = Vec::new();
        while !pieces.is_done() {
            let mut piece = VecFrame::new(&[]);
            assert!(pieces.write(&mut piece));
            cut.push(piece.bytes().to_vec());
        }
        cut
    }

    fn v4() -> Sample {
        udp(at("203.0.113.5:1000"), at("192.0.2.10:53")).dont_fragment(false).ident(77)
    }

    fn v6() -> Sample {
        udp(at("[2001:db8:ffff::5]:1000"), at("[2001:db8:1::10]:53")).ident(77)
    }

    #[test]
    fn the_last_piece_alone_may_end_between_units() {
        // 20 + 8 + 72 bytes: 76 in one packet of 100 leave 4, which do not fill a unit.
        for (size, payloads) in
            [(99, vec![72, 8]), (100, vec![80]), (95, vec![72, 8]), (60, vec![40, 40]), (1, vec![8; 10])]
        {
            let cut = cut(&v4().data([7; 72]).frame(), size);
            assert_eq!(cut.iter().map(|p| p.len() - 34).collect::<Vec<_>>(), payloads, "{size}");
        }
        let cut = cut(&v4().data([7; 69]).frame(), 64);
        assert_eq!(cut.iter().map(|p| p.len() - 34).collect::<Vec<_>>(), [40, 37]);
    }

    #[test]
    fn as_it_came_the_first_piece_takes_what_is_new_unless_that_does_not_end_with_a_unit() {
        let lengths = |data: usize, parts: &[u16]| {
            let frame = v4().data(vec![7; data]).frame();
            let mut pieces = Pieces::new(&frame, Cut::AsItCame, parts, 0).unwrap();
            let mut lengths = Vec::new();
            while !pieces.is_done() {
                let mut piece = VecFrame::new(&[]);
                assert!(pieces.write(&mut piece));
                lengths.push(piece.bytes().len() - 34);
            }
            lengths
        };
        assert_eq!(lengths(100 - 8, &[40, 16, 44]), [40, 16, 44]);
        assert_eq!(lengths(140 - 8, &[40, 16, 44]), [80, 16, 44]);
        assert_eq!(lengths(103 - 8, &[40, 16, 44]), [40, 40, 23]);
        assert_eq!(lengths(50 - 8, &[40, 16, 44]), [40, 10]);
        assert_eq!(lengths(47 - 8, &[50]), [47]);
        assert_eq!(lengths(47 - 8, &[]), [47]);
    }

    /// How long what each piece carries is, and where it begins; in IPv6, of a packet that has no fragment header yet.
    fn places(frame: &[u8], cut: Cut, parts: &[u16]) -> Vec<(usize, usize)> {
        let mut pieces = Pieces::new(frame, cut, parts, 0).unwrap();
        let (mut places, mut done) = (Vec::new(), 0);
        while !pieces.is_done() {
            let mut piece = VecFrame::new(&[]);
            assert!(pieces.write(&mut piece));
            let header = if frame[12] == 8 { 34 } else { 62 };
            let length = piece.bytes().len() - header;
            places.push((done, length));
            done += length;
        }
        places
    }

    #[test]
    fn what_is_listed_leaves_as_it_came_only_if_every_part_fits() {
        let frame = v4().data([7; 280]).frame();
        assert_eq!(places(&frame, Cut::Listed(148), &[80, 80, 128]), [(0, 80), (80, 80), (160, 128)]);
        assert_eq!(places(&frame, Cut::Listed(147), &[80, 80, 128]), [(0, 120), (120, 120), (240, 48)]);
        // The first takes what is new, which must be whole units and fit.
        assert_eq!(places(&frame, Cut::Listed(148), &[60, 80, 128]), [(0, 80), (80, 80), (160, 128)]);
        assert_eq!(places(&frame, Cut::Listed(148), &[60, 81, 128]), [(0, 128), (128, 128), (256, 32)]);
        assert_eq!(places(&frame, Cut::Listed(148), &[8, 8, 128]), [(0, 128), (128, 128), (256, 32)]);
        // Nobody knows how it came.
        assert_eq!(places(&frame, Cut::Listed(148), &[]), [(0, 128), (128, 128), (256, 32)]);
        assert_eq!(places(&frame, Cut::Listed(148), &[288]), [(0, 128), (128, 128), (256, 32)]);
    }

    #[test]
    fn what_is_joined_has_one_part_of_as_many_as_a_buffer_has_pages() {
        let frame = v4().data([7; 8 * 20 + 1000 - 8]).frame();
        let parts: Vec<u16> = std::iter::repeat_n(8, 20).chain([1000]).collect();
        assert_eq!(places(&frame, Cut::Joined(1020), &parts), [(0, 144), (144, 8), (152, 8), (160, 1000)]);
        assert_eq!(places(&frame, Cut::Joined(1019), &parts), [(0, 992), (992, 168)]);
        // All in one: nothing is left of how it came.
        let parts: Vec<u16> = std::iter::repeat_n(8, 17).chain([1024]).collect();
        assert_eq!(places(&frame, Cut::Joined(1044), &parts), [(0, 1024), (1024, 136)]);
    }

    #[test]
    fn the_fast_path_forgets_df_and_the_slow_one_does_not() {
        let frame = v4().dont_fragment(true).data([7; 280]).frame();
        for (cut, parts, fixed) in [
            (Cut::Listed(228), &[208_u16, 80][..], false),
            (Cut::Listed(228), &[], true),
            (Cut::AsItCame, &[208, 80], true),
        ] {
            let mut pieces = Pieces::new(&frame, cut, parts, 0).unwrap();
            let mut piece = VecFrame::new(&[]);
            assert!(pieces.write(&mut piece));
            assert_eq!(ipv4::Packet::new_unchecked(&piece.bytes()[14..]).dont_fragment(), fixed, "{cut:?}");
        }
    }

    #[test]
    fn in_ipv6_what_came_in_fragments_and_is_cut_anew_is_a_fragment_even_if_it_is_one() {
        let frame = v6().data([7; 280]).frame();
        assert_eq!(places(&frame, Cut::Listed(1280), &[]), [(0, 288)]);
        assert_eq!(places(&frame, Cut::Listed(1280), &[200, 88]), [(0, 200), (200, 88)]);
    }

    #[test]
    fn options_that_are_not_to_be_copied_are_blank_in_later_pieces() {
        // Record route (7) is not copied, loose source route (131) is; then the end of the list.
        let options = [1, 7, 7, 4, 9, 9, 9, 9, 131, 3, 4, 0];
        let cut = cut(&v4().ip_options(&options).data([7; 64]).frame(), 72);
        let seen: Vec<_> =
            cut.iter().map(|p| ipv4::Packet::new_checked(&p[14..]).unwrap().options().to_vec()).collect();
        let blank = vec![1, 1, 1, 1, 1, 1, 1, 1, 131, 3, 4, 0];
        assert_eq!(seen, [options.to_vec(), blank]);
        assert!(cut.iter().all(|p| ipv4::Packet::new_unchecked(&p[14..]).is_intact()));
    }

    #[test]
    fn options_that_contradict_themselves_are_left_alone() {
        for options in [[7, 0, 5, 5], [7, 1, 5, 5], [7, 9, 5, 5], [1, 1, 1, 7]] {
            let cut = cut(&v4().ip_options(&options).data([7; 64]).frame(), 60);
            assert!(cut.iter().all(|p| p[34..38] == options), "{options:?}");
        }
    }

    #[test]
    fn a_fragment_is_cut_into_fragments_of_the_same_datagram() {
        let whole = v4().data([7; 200]);
        for (index, fragment) in whole.fragments(104).iter().enumerate() {
            let cut = cut(fragment, 76);
            let places: Vec<_> = cut
                .iter()
                .map(|p| ipv4::Packet::new_unchecked(&p[14..]))
                .map(|ip| (ip.fragment_offset(), ip.more_fragments()))
                .collect();
            let expected = [[(0, true), (56, true)], [(104, true), (160, false)]][index];
            assert_eq!(places, expected);
        }
    }

    #[test]
    fn the_fragment_header_follows_what_every_router_reads() {
        use protocol::{DESTINATION_OPTIONS as DEST, FRAGMENT, HOP_BY_HOP as HOP, ROUTING, UDP};
        let empty = [1, 4, 0, 0, 0, 0];
        let chain = |kinds: &[u8]| kinds.iter().fold(v6(), |sample, kind| sample.extension(*kind, &empty));
        let table: [(&[u8], &[u8]); 5] = [
            (&[], &[FRAGMENT, UDP]),
            (&[HOP], &[HOP, FRAGMENT, UDP]),
            (&[DEST], &[FRAGMENT, DEST]),
            (&[HOP, DEST, ROUTING], &[HOP, DEST, ROUTING, FRAGMENT, UDP]),
            (&[ROUTING, DEST], &[ROUTING, FRAGMENT, DEST]),
        ];
        for (before, after) in table {
            for piece in cut(&chain(before).data([7; 200]).frame(), 160) {
                let packet = &piece[14..];
                let mut seen = vec![packet[6]];
                (0..after.len() - 1).for_each(|n| seen.push(packet[40 + 8 * n]));
                assert_eq!(seen, after);
            }
        }
    }

    #[test]
    fn what_is_no_packet_is_not_cut() {
        assert!(Pieces::new(&[0; 13], Cut::AtMost(100), &[], 0).is_none());
        assert!(Pieces::new(&[0; 60], Cut::AtMost(100), &[], 0).is_none());
        let frame = v4().data([7; 64]).frame();
        assert!(Pieces::new(&frame[..frame.len() - 1], Cut::AtMost(60), &[], 0).is_none());
    }

    #[test]
    fn a_frame_without_room_leaves_the_piece_for_another() {
        let frame = v4().data([7; 3000]).frame();
        let mut pieces = Pieces::new(&frame, Cut::AtMost(2500), &[], 0).unwrap();
        assert!(!pieces.write(&mut VecFrame::new(&[])));
        let mut roomy = VecFrame::new(&[0; 3000]);
        assert!(pieces.write(&mut roomy) && !pieces.is_done());
        assert_eq!(roomy.bytes().len(), 14 + 20 + 2480);
    }

    proptest! {
        /// The same bytes as the maker of samples, which cuts in its own way.
        #[test]
        fn pieces_are_the_fragments(length in 0usize..3000, units in 1usize..120, spare in 0usize..8, is_v6: bool) {
            let sample = if is_v6 { v6() } else { v4() }.data(vec![0x5a; length]);
            let overhead = if is_v6 { 48 } else { 20 };
            let pieces = cut(&sample.frame(), u16::try_from(overhead + units * 8 + spare).unwrap());
            let mut expected = sample.fragments(units * 8);
            if expected.len() == 1 {
                expected = vec![sample.frame()];
            }
            // The last two are one where the spare bytes take the rest.
            if pieces.len() < expected.len() {
                prop_assert!(expected.pop().unwrap().len() - 14 - overhead <= spare);
                prop_assert_eq!(&pieces[..pieces.len() - 1], &expected[..expected.len() - 1]);
            } else {
                prop_assert_eq!(pieces, expected);
            }
        }
    }
}
