//! Netlink messages (`struct nlmsghdr`) of generic netlink: the requests of a datagram, and the messages that answer them. How they
//! are taken apart and acknowledged is `net/netlink/af_netlink.c`'s way.

use netlink_packet_core::{
    Emitable as _, NLM_F_ACK, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_MULTIPART, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader,
};
use nix::errno::Errno;

/// Bytes of the header.
const NETLINK_HEADER_LEN: usize = 16;
/// Of this type are error and acknowledgement.
pub(super) const ERROR: u16 = 2;
/// The end of a dump.
pub(super) const DONE: u16 = 3;
/// Types below are netlink's own.
const FIRST_TYPE: u16 = 0x10;
/// Bytes of the header of generic netlink: command, version, two unused.
pub(super) const GENERIC: usize = 4;

/// One request of a datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    /// Header and all.
    whole: &'a [u8],
    pub(super) kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
}

impl<'a> Request<'a> {
    /// The requests of a datagram, up to the first that is cut short.
    pub(super) fn all(datagram: &'a [u8]) -> impl Iterator<Item = Self> {
        let mut rest = datagram;
        std::iter::from_fn(move || {
            let request = Self::first(rest)?;
            rest = rest.get(request.whole.len().next_multiple_of(4)..).unwrap_or_default();
            Some(request)
        })
    }

    fn first(bytes: &'a [u8]) -> Option<Self> {
        let buffer = NetlinkBuffer::new_checked(bytes).ok()?;
        Some(Self {
            whole: bytes.get(..buffer.length() as usize)?,
            kind: buffer.message_type(),
            flags: buffer.flags(),
            sequence: buffer.sequence_number(),
            port: buffer.port_number(),
        })
    }

    /// Is anything to be done? The kernel only acknowledges what is marked as no request, and what is netlink's own.
    pub(super) fn is_request(&self) -> bool {
        self.flags & NLM_F_REQUEST != 0 && self.kind >= FIRST_TYPE
    }

    /// Does it want everything there is?
    pub(super) fn is_dump(&self) -> bool {
        self.flags & NLM_F_DUMP == NLM_F_DUMP
    }

    /// Everything behind the header.
    fn payload(&self) -> &'a [u8] {
        &self.whole[NETLINK_HEADER_LEN..]
    }

    /// Command and attributes, if it is long enough for generic netlink.
    pub(super) fn command(&self) -> Option<(u8, &'a [u8])> {
        let (head, attributes) = self.payload().split_at_checked(GENERIC)?;
        Some((head[0], attributes))
    }

    /// The name that is asked for, up to its zero byte.
    pub(super) fn name(&self) -> Option<&'a str> {
        let end = self.payload().iter().position(|byte| *byte == 0)?;
        std::str::from_utf8(&self.payload()[..end]).ok()
    }

    fn put(&self, to: &mut Vec<u8>, kind: u16, flags: u16, fill: impl FnOnce(&mut Vec<u8>)) {
        let start = to.len();
        to.resize(start + NETLINK_HEADER_LEN, 0);
        fill(to);
        let mut header = NetlinkHeader::default();
        header.length = u32::try_from(to.len() - start).expect("a message is far shorter");
        (header.message_type, header.flags) = (kind, flags);
        (header.sequence_number, header.port_number) = (self.sequence, self.port);
        header.emit(&mut to[start..start + NETLINK_HEADER_LEN]);
    }

    /// Appends an answer of generic netlink; `part` if it is part of a dump.
    pub(super) fn answer(
        &self,
        to: &mut Vec<u8>,
        part: bool,
        command: u8,
        version: u8,
        fill: impl FnOnce(&mut Vec<u8>),
    ) {
        let flags = if part { NLM_F_MULTIPART } else { 0 };
        self.put(to, self.kind, flags, |to| {
            to.extend_from_slice(&[command, version, 0, 0]);
            fill(to);
        });
    }

    /// Appends the end of a dump.
    pub(super) fn done(&self, to: &mut Vec<u8>) {
        self.put(to, DONE, NLM_F_MULTIPART, |to| to.extend_from_slice(&0_i32.to_ne_bytes()));
    }

    /// Appends the outcome: an error with the whole request, or the acknowledgement, if one was asked for, with its header.
    pub(super) fn outcome(&self, to: &mut Vec<u8>, outcome: Result<(), Errno>) {
        match outcome {
            Err(error) => self.error(to, error),
            Ok(()) if self.flags & NLM_F_ACK != 0 => self.acknowledge(to),
            Ok(()) => {}
        }
    }

    /// Appends an acknowledgement.
    pub(super) fn acknowledge(&self, to: &mut Vec<u8>) {
        self.put(to, ERROR, NLM_F_CAPPED, |to| {
            to.extend_from_slice(&0_i32.to_ne_bytes());
            to.extend_from_slice(&self.whole[..NETLINK_HEADER_LEN]);
        });
    }

    fn error(&self, to: &mut Vec<u8>, error: Errno) {
        self.put(to, ERROR, 0, |to| {
            to.extend_from_slice(&(-(error as i32)).to_ne_bytes());
            to.extend_from_slice(self.whole);
        });
    }
}
