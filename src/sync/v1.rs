//! An entry of version 1: 36 bytes for IPv4, 72 for IPv6, and options behind them. All fields are big-endian; entries begin at
//! multiples of four bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::entry::{self, Entry, EntryError, Flags, Unencodable};
use crate::app::sequence::{Sequences, Shift};
use crate::app::sip::CallId;
use crate::service::Engine;

/// Bytes of the header of a message.
pub(super) const HEADER: usize = 8;
/// Bytes before the addresses.
const FIXED: usize = 24;
/// Bytes of an entry without options.
const V4: usize = FIXED + 3 * 4;
const V6: usize = FIXED + 3 * 16;
/// Alignment of entries.
const ALIGNMENT: usize = 4;
/// Of the length field: the length, and above it the version.
const LENGTH: u16 = 0x0fff;
/// Bit of the type that means IPv6.
const OF_V6: u8 = 1;
/// Option: both directions' sequence numbers.
const SEQ_DATA: u8 = 1;
/// Option: what a persistence engine knows the entry by.
const PE_DATA: u8 = 2;
/// Option: that engine.
const PE_NAME: u8 = 3;
/// Bit of an option's type: it may be passed over.
const OPTIONAL: u8 = 0x40;
/// Bytes of the sequence numbers.
const SEQUENCES: usize = 24;
/// Most bytes of an engine's name.
const LONGEST_NAME: usize = 16;

/// Bytes of an entry.
pub(super) fn length(entry: &Entry) -> usize {
    let fixed = if entry.client.is_ipv6() { V6 } else { V4 };
    let sequences = if entry.sequences.is_some() { 2 + SEQUENCES } else { 0 };
    let engine = persona(entry).map_or(0, |(engine, call)| 4 + engine.name().len() + call.bytes().len());
    fixed + sequences + engine
}

/// Bytes that must follow `length` for another entry to begin.
pub(super) fn padding(length: usize) -> usize {
    length.next_multiple_of(ALIGNMENT) - length
}

/// The engine and what it knows the entry by.
fn persona(entry: &Entry) -> Option<(Engine, &CallId)> {
    entry.engine.filter(|_| !entry.call.is_empty()).map(|engine| (engine, &entry.call))
}

/// Appends an entry.
///
/// # Errors
/// [`Unencodable::MixedFamilies`]; nothing is appended then.
#[allow(clippy::cast_possible_truncation, reason = "the longest entry has 373 bytes, the longest option 255")]
pub(super) fn write(entry: &Entry, out: &mut Vec<u8>) -> Result<(), Unencodable> {
    let v6 = entry.client.is_ipv6();
    if [entry.vip, entry.dest].iter().any(|end| end.is_ipv6() != v6) {
        return Err(Unencodable::MixedFamilies);
    }
    out.extend([u8::from(v6), entry.protocol]);
    out.extend((length(entry) as u16 & LENGTH).to_be_bytes());
    out.extend(entry.flags.0.to_be_bytes());
    let ports = [entry.cport, entry.vport, entry.dport];
    out.extend(u16::from(entry.state.number()).to_be_bytes());
    out.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
    out.extend([entry.mark, entry.timeout_secs].iter().flat_map(|word| word.to_be_bytes()));
    for end in [entry.client, entry.vip, entry.dest] {
        match end {
            IpAddr::V4(end) => out.extend(end.octets()),
            IpAddr::V6(end) => out.extend(end.octets()),
        }
    }
    if let Some(Sequences { input, output }) = entry.sequences {
        out.extend([SEQ_DATA, SEQUENCES as u8]);
        out.extend([input, output].iter().flat_map(words).flat_map(u32::to_be_bytes));
    }
    if let Some((engine, call)) = persona(entry) {
        option(out, PE_DATA, call.bytes());
        option(out, PE_NAME, engine.name().as_bytes());
    }
    Ok(())
}

#[allow(clippy::cast_possible_truncation, reason = "no option is longer than 255 bytes")]
fn option(out: &mut Vec<u8>, kind: u8, data: &[u8]) {
    out.extend([kind, data.len() as u8]);
    out.extend(data);
}

/// The words of a direction, in their order.
pub(super) fn words(shift: &Shift) -> [u32; 3] {
    [shift.init_seq, shift.delta, shift.previous_delta]
}

/// Both directions out of their six words.
pub(super) fn sequences(words: [u32; 6]) -> Sequences {
    let [a, b, c, d, e, f] = words;
    let shift = |init_seq, delta, previous_delta| Shift { init_seq, delta, previous_delta };
    Sequences { input: shift(a, b, c), output: shift(d, e, f) }
}

/// The first entry, and where the next one begins.
///
/// # Errors
/// [`EntryError::Truncated`], [`EntryError::Version`].
pub(super) fn split(bytes: &[u8]) -> Result<(&[u8], usize), EntryError> {
    let &[_, _, high, low] = bytes.get(..V4).and_then(|entry| entry.first_chunk()).ok_or(EntryError::Truncated)?;
    let field = u16::from_be_bytes([high, low]);
    let length = usize::from(field & LENGTH);
    let entry = bytes.get(..length).ok_or(EntryError::Truncated)?;
    match high >> 4 {
        0 => Ok((entry, length + padding(length))),
        version => Err(EntryError::Version(version)),
    }
}

/// The fields before the addresses.
struct Fixed<'b> {
    flags: u32,
    state: u16,
    ports: [u16; 3],
    mark: u32,
    timeout_secs: u32,
    after: &'b [u8],
}

fn fixed(entry: &[u8]) -> Result<Fixed<'_>, EntryError> {
    let (head, after) = entry.split_first_chunk::<FIXED>().ok_or(EntryError::Truncated)?;
    let word = |at: usize| head[at..].first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
    let half = |at: usize| head[at..].first_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes));
    Ok(Fixed {
        flags: word(4),
        state: half(8),
        ports: [half(10), half(12), half(14)],
        mark: word(16),
        timeout_secs: word(20),
        after,
    })
}

/// The three addresses, and what follows.
fn addresses<const N: usize>(bytes: &[u8], of: impl Fn([u8; N]) -> IpAddr) -> Result<([IpAddr; 3], &[u8]), EntryError> {
    let (client, rest) = bytes.split_first_chunk().ok_or(EntryError::Truncated)?;
    let (vip, rest) = rest.split_first_chunk().ok_or(EntryError::Truncated)?;
    let (dest, rest) = rest.split_first_chunk().ok_or(EntryError::Truncated)?;
    Ok(([of(*client), of(*vip), of(*dest)], rest))
}

/// Reads an entry as [`split`] gives it.
///
/// # Errors
/// [`EntryError`].
pub(super) fn read(entry: &[u8]) -> Result<Entry, EntryError> {
    let Fixed { flags, state, ports: [cport, vport, dport], mark, timeout_secs, after } = fixed(entry)?;
    let [kind, protocol] = *entry.first_chunk().ok_or(EntryError::Truncated)?;
    let (ends, options) = match kind {
        kind if kind & OF_V6 != 0 => addresses(after, |octets: [u8; 16]| Ipv6Addr::from(octets).into())?,
        0 => addresses(after, |octets: [u8; 4]| Ipv4Addr::from(octets).into())?,
        other => return Err(EntryError::Type(other)),
    };
    let Options { sequences, data, name } = Options::read(options)?;
    let flags = entry::taken(flags)?;
    let state = entry::state(flags, protocol, state)?;
    let (engine, call) = engine(data, name)?;
    let [client, vip, dest] = ends;
    Ok(Entry {
        client,
        vip,
        dest,
        cport,
        vport,
        dport,
        protocol,
        state,
        flags,
        mark,
        timeout_secs,
        sequences,
        engine,
        call,
    })
}

/// A name without data means nothing; data without a name, or with one that is not known, cannot be understood.
fn engine(data: Option<&[u8]>, name: Option<&[u8]>) -> Result<(Option<Engine>, CallId), EntryError> {
    let Some(data) = data else { return Ok((None, CallId::NONE)) };
    let name = name.and_then(|name| std::str::from_utf8(name).ok());
    let engine = name.and_then(Engine::from_name).ok_or(EntryError::Engine)?;
    Ok((Some(engine), CallId::new(data).ok_or(EntryError::Engine)?))
}

/// The options of an entry.
#[derive(Default)]
struct Options<'b> {
    sequences: Option<Sequences>,
    data: Option<&'b [u8]>,
    name: Option<&'b [u8]>,
}

impl<'b> Options<'b> {
    fn read(mut bytes: &'b [u8]) -> Result<Self, EntryError> {
        let mut options = Self::default();
        while let [kind, rest @ ..] = bytes {
            let wrong = EntryError::OptionLength(*kind);
            let (length, rest) = rest.split_first().ok_or(wrong)?;
            let (data, rest) = rest.split_at_checked((*length).into()).ok_or(wrong)?;
            if data.is_empty() {
                return Err(wrong);
            }
            options.take(*kind, data)?;
            bytes = rest;
        }
        Ok(options)
    }

    fn take(&mut self, kind: u8, data: &'b [u8]) -> Result<(), EntryError> {
        let wrong = EntryError::OptionLength(kind);
        let again = match kind & !OPTIONAL {
            SEQ_DATA => {
                let bytes: &[u8; SEQUENCES] = data.try_into().map_err(|_| wrong)?;
                self.sequences.replace(sequences(big_endian(bytes))).is_some()
            }
            PE_DATA => self.data.replace(data).is_some(),
            PE_NAME if data.len() > LONGEST_NAME => return Err(wrong),
            PE_NAME => self.name.replace(data).is_some(),
            _ if kind & OPTIONAL == 0 => return Err(EntryError::UnknownOption(kind)),
            _ => false,
        };
        if again { Err(EntryError::OptionTwice(kind)) } else { Ok(()) }
    }
}

fn big_endian(bytes: &[u8; SEQUENCES]) -> [u32; 6] {
    let words = bytes.as_chunks().0;
    std::array::from_fn(|at| words.get(at).map_or(0, |word| u32::from_be_bytes(*word)))
}

/// Flags of an entry as they are told.
pub(super) fn told(flags: Flags) -> Flags {
    Flags(flags.0 & !Flags::HASHED.0)
}
