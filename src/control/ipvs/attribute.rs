//! Netlink attributes (`struct nlattr`): read as leniently, and refused by the same rules, as the kernel does for a family of IPVS'
//! age (`lib/nlattr.c`, `NL_VALIDATE_LIBERAL`): unknown ones are skipped, of several of a kind the last one counts, a number may be
//! followed by more bytes but not be cut short.

use netlink_packet_core::{NLA_ALIGNTO, NLA_HEADER_SIZE, NlaBuffer, NlasIterator};

/// What an attribute holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Nothing that is looked at.
    Ignored,
    /// A number of so many bytes.
    Number(usize),
    /// So many bytes at most.
    Bytes(usize),
    /// So many bytes at least.
    Long(usize),
    /// A string that a zero byte ends, so many bytes before it at most.
    Name(usize),
    /// Attributes.
    Nest,
}

/// An attribute that breaks the rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Malformed {
    /// Too long or too short: the kernel's `ERANGE`.
    Length,
    /// A string without end: the kernel's `EINVAL`.
    Unterminated,
}

/// Attributes by their numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes<'a, const N: usize>([Option<&'a [u8]>; N]);

impl<'a, const N: usize> Attributes<'a, N> {
    /// Reads attributes; `kinds` are those of the numbers 0 to N - 1.
    pub(super) fn parse(bytes: &'a [u8], kinds: &[Kind; N]) -> Result<Self, Malformed> {
        let mut found = [None; N];
        let mut rest = bytes;
        // What is no attribute any more is left alone, as the kernel leaves it.
        for attribute in NlasIterator::new(bytes).map_while(Result::ok) {
            let (number, length) = (usize::from(attribute.kind()), usize::from(attribute.length()));
            let value = &rest[NLA_HEADER_SIZE..length];
            rest = rest.get(aligned(length)..).unwrap_or_default();
            // Number 0 is none of anybody's.
            if let Some(kind) = kinds.get(number).filter(|_| number != 0) {
                check(*kind, value)?;
                found[number] = Some(value);
            }
        }
        Ok(Self(found))
    }

    /// Its bytes.
    pub(super) fn bytes(&self, number: usize) -> Option<&'a [u8]> {
        self.0.get(number).copied().flatten()
    }

    fn start<const L: usize>(&self, number: usize) -> Option<[u8; L]> {
        self.bytes(number)?.first_chunk().copied()
    }

    pub(super) fn u8(&self, number: usize) -> Option<u8> {
        self.start(number).map(u8::from_ne_bytes)
    }

    pub(super) fn u16(&self, number: usize) -> Option<u16> {
        self.start(number).map(u16::from_ne_bytes)
    }

    /// A port, big-endian.
    pub(super) fn port(&self, number: usize) -> Option<u16> {
        self.start(number).map(u16::from_be_bytes)
    }

    pub(super) fn u32(&self, number: usize) -> Option<u32> {
        self.start(number).map(u32::from_ne_bytes)
    }

    pub(super) fn u64(&self, number: usize) -> Option<u64> {
        self.start(number).map(u64::from_ne_bytes)
    }

    /// Bytes, as many as there are, the rest zero.
    pub(super) fn padded<const L: usize>(&self, number: usize) -> Option<[u8; L]> {
        let bytes = self.bytes(number)?;
        let mut padded = [0; L];
        padded.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        Some(padded)
    }

    /// A string up to its zero byte. One that is no UTF-8 is nobody's name: `?` stands for what is not ASCII, so that it is as long as
    /// before.
    pub(super) fn name(&self, number: usize) -> Option<String> {
        let bytes = self.bytes(number)?.split(|b| *b == 0).next()?;
        let ascii = || bytes.iter().map(|byte| if byte.is_ascii() { char::from(*byte) } else { '?' }).collect();
        Some(std::str::from_utf8(bytes).map_or_else(|_| ascii(), str::to_owned))
    }
}

fn check(kind: Kind, value: &[u8]) -> Result<(), Malformed> {
    let fits = match kind {
        Kind::Ignored => true,
        Kind::Number(least) | Kind::Long(least) => value.len() >= least,
        Kind::Bytes(most) => value.len() <= most,
        // An empty one is allowed.
        Kind::Nest => value.is_empty() || value.len() >= NLA_HEADER_SIZE,
        Kind::Name(most) => {
            if !value.iter().take(most + 1).any(|b| *b == 0) {
                return Err(Malformed::Unterminated);
            }
            value.strip_suffix(&[0]).unwrap_or(value).len() <= most
        }
    };
    if fits { Ok(()) } else { Err(Malformed::Length) }
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(NLA_ALIGNTO)
}

/// Appends attributes to a message.
#[derive(Debug)]
pub(super) struct Writer<'a>(pub(super) &'a mut Vec<u8>);

impl Writer<'_> {
    /// One attribute.
    pub(super) fn put(&mut self, number: usize, value: &[u8]) {
        self.nest(number, |w| w.0.extend_from_slice(value));
    }

    /// One attribute, if there is a value.
    pub(super) fn put_some<const L: usize>(&mut self, number: usize, value: Option<[u8; L]>) {
        if let Some(value) = value {
            self.put(number, &value);
        }
    }

    pub(super) fn u8(&mut self, number: usize, value: Option<u8>) {
        self.put_some(number, value.map(u8::to_ne_bytes));
    }

    pub(super) fn u16(&mut self, number: usize, value: Option<u16>) {
        self.put_some(number, value.map(u16::to_ne_bytes));
    }

    /// A port, big-endian.
    pub(super) fn port(&mut self, number: usize, value: Option<u16>) {
        self.put_some(number, value.map(u16::to_be_bytes));
    }

    pub(super) fn u32(&mut self, number: usize, value: Option<u32>) {
        self.put_some(number, value.map(u32::to_ne_bytes));
    }

    /// A string with the zero byte that ends it.
    pub(super) fn name(&mut self, number: usize, value: Option<&str>) {
        if let Some(value) = value {
            self.nest(number, |w| {
                w.0.extend_from_slice(value.as_bytes());
                w.0.push(0);
            });
        }
    }

    /// An attribute that `fill` writes the value of.
    pub(super) fn nest(&mut self, number: usize, fill: impl FnOnce(&mut Writer<'_>)) {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; NLA_HEADER_SIZE]);
        fill(&mut Writer(self.0));
        let length = u16::try_from(self.0.len() - start).expect("no attribute of this family is longer than 64 KiB");
        let mut header = NlaBuffer::new(&mut self.0[start..]);
        header.set_length(length);
        header.set_kind(u16::try_from(number).expect("attributes have small numbers"));
        self.0.resize(start + aligned(usize::from(length)), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 5] = [Kind::Ignored, Kind::Number(2), Kind::Bytes(3), Kind::Name(4), Kind::Nest];

    fn parse(bytes: &[u8]) -> Result<Attributes<'_, 5>, Malformed> {
        Attributes::parse(bytes, &KINDS)
    }

    fn written(fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        fill(&mut Writer(&mut bytes));
        bytes
    }

    #[test]
    fn values_are_padded_to_four_bytes_and_their_length_is_without_it() {
        let bytes = written(|w| {
            w.u16(1, Some(0x1234));
            w.name(3, Some("wlc"));
            w.nest(4, |w| w.u8(1, Some(7)));
        });
        assert_eq!(bytes.len(), 8 + 8 + 12);
        assert_eq!(&bytes[..8], &[6, 0, 1, 0, 0x34, 0x12, 0, 0]);
        let read = parse(&bytes).unwrap();
        assert_eq!((read.u16(1), read.name(3).as_deref()), (Some(0x1234), Some("wlc")));
        assert_eq!(read.bytes(4).unwrap(), &[5, 0, 1, 0, 7, 0, 0, 0]);
    }

    #[test]
    fn unknown_ones_and_what_is_none_are_skipped_and_the_last_of_a_kind_counts() {
        let mut bytes = written(|w| {
            w.u16(1, Some(1));
            w.u16(99, Some(9));
            w.put(0, b"zero");
            // The flags that a number may carry.
            w.u16(0xc001, Some(2));
        });
        bytes.extend([9, 0, 1]);
        assert_eq!(parse(&bytes).unwrap().u16(1), Some(2));
        bytes.extend([0, 0, 0]);
        assert_eq!(parse(&bytes).unwrap().u16(1), Some(2), "longer than what is left");
        assert!(parse(&[3, 0, 1, 0, 0, 0, 0, 0]).unwrap().bytes(1).is_none(), "shorter than its header");
    }

    #[test]
    fn lengths_are_judged_as_the_kernel_does() {
        let one = |number, value: &[u8]| parse(&written(|w| w.put(number, value))).err();
        assert_eq!(one(1, b"x"), Some(Malformed::Length));
        assert_eq!(one(1, b"xyz"), None, "a longer number is only warned of");
        assert_eq!((one(2, b"xyz"), one(2, b"xyzz")), (None, Some(Malformed::Length)));
        assert_eq!((one(3, b"wlcx\0"), one(3, b"wlcxy\0")), (None, Some(Malformed::Unterminated)));
        assert_eq!((one(3, b"wlc"), one(3, b"")), (Some(Malformed::Unterminated), Some(Malformed::Unterminated)));
        assert_eq!((one(3, b"a\0\0\0\0"), one(3, b"a\0\0\0\0\0")), (None, Some(Malformed::Length)));
        assert_eq!((one(4, b""), one(4, b"xyz")), (None, Some(Malformed::Length)));
    }

    #[test]
    fn a_name_that_is_no_utf_8_stays_as_long_as_it_was() {
        for (bytes, name) in [(&b"\xc3\xa9\0"[..], "é"), (b"a\xff\xf9\0", "a??"), (b"\xff\xff\xff\xff\0", "????")] {
            let written = written(|w| w.put(3, bytes));
            assert_eq!(parse(&written).unwrap().name(3).as_deref(), Some(name));
        }
    }

    #[test]
    fn short_bytes_are_filled_up_with_zeros() {
        let bytes = written(|w| w.put(2, &[1, 2]));
        assert_eq!(parse(&bytes).unwrap().padded(2), Some([1, 2, 0, 0]));
    }
}
