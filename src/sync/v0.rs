//! An entry of version 0: 24 bytes, IPv4 alone, without time-out, mark and Call-ID; 24 more when sequence numbers are shifted, which
//! are, in the kernel too, in the byte order of the machine that sends. All other fields are big-endian.

use std::net::{IpAddr, Ipv4Addr};

use super::entry::{self, Entry, EntryError, Flags, Unencodable};
use super::v1;
use crate::app::sequence::Sequences;
use crate::app::sip::CallId;

/// Bytes of the header of a message.
pub(super) const HEADER: usize = 4;
/// Bytes of an entry without sequence numbers, and with them.
const SHORT: usize = 24;
const LONG: usize = SHORT + 24;

/// Bytes of an entry.
pub(super) fn length(entry: &Entry) -> usize {
    if entry.flags.intersects(Flags::SEQ) { LONG } else { SHORT }
}

/// Appends an entry.
///
/// # Errors
/// [`Unencodable`]; nothing is appended then.
#[allow(clippy::cast_possible_truncation, reason = "the version has 16 bits for flags")]
pub(super) fn write(entry: &Entry, out: &mut Vec<u8>) -> Result<(), Unencodable> {
    let (IpAddr::V4(client), IpAddr::V4(vip), IpAddr::V4(dest)) = (entry.client, entry.vip, entry.dest) else {
        return Err(if entry.client.is_ipv6() { Unencodable::Version0 } else { Unencodable::MixedFamilies });
    };
    out.extend([0, entry.protocol]);
    out.extend([entry.cport, entry.vport, entry.dport].iter().flat_map(|port| port.to_be_bytes()));
    out.extend([client, vip, dest].iter().flat_map(Ipv4Addr::octets));
    out.extend((entry.flags.0 as u16).to_be_bytes());
    out.extend(u16::from(entry.state.number()).to_be_bytes());
    if entry.flags.intersects(Flags::SEQ) {
        let Sequences { input, output } = entry.sequences.unwrap_or_default();
        out.extend([input, output].iter().flat_map(v1::words).flat_map(u32::to_ne_bytes));
    }
    Ok(())
}

/// The first entry, and where the next one begins.
///
/// # Errors
/// [`EntryError::Truncated`].
pub(super) fn split(bytes: &[u8]) -> Result<(&[u8], usize), EntryError> {
    let head: &[u8; SHORT] = bytes.first_chunk().ok_or(EntryError::Truncated)?;
    let flags = Flags(u32::from(u16::from_be_bytes([head[20], head[21]])));
    let length = if flags.intersects(Flags::SEQ) { LONG } else { SHORT };
    Ok((bytes.get(..length).ok_or(EntryError::Truncated)?, length))
}

/// Reads an entry as [`split`] gives it.
///
/// # Errors
/// [`EntryError`].
pub(super) fn read(entry: &[u8]) -> Result<Entry, EntryError> {
    let (head, options) = entry.split_first_chunk::<SHORT>().ok_or(EntryError::Truncated)?;
    let half = |at: usize| head[at..].first_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes));
    let end = |at: usize| head[at..].first_chunk().map_or(Ipv4Addr::UNSPECIFIED, |bytes| Ipv4Addr::from(*bytes));
    let flags = entry::taken(half(20).into())?;
    let words = options.as_chunks().0;
    let word = |at: usize| words.get(at).map_or(0, |word| u32::from_ne_bytes(*word));
    Ok(Entry {
        client: end(8).into(),
        vip: end(12).into(),
        dest: end(16).into(),
        cport: half(2),
        vport: half(4),
        dport: half(6),
        protocol: head[1],
        state: entry::state(flags, head[1], half(22))?,
        flags,
        mark: 0,
        timeout_secs: 0,
        sequences: (!words.is_empty()).then(|| v1::sequences(std::array::from_fn(word))),
        engine: None,
        call: CallId::NONE,
    })
}
