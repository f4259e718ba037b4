//! Netlink messages as far as the library must understand them: whether one is about IPVS, whom it is answered to, what answer it
//! is owed, and the answer that is made up where no director gives one. Layouts and numbers are those of `linux/netlink.h`,
//! `linux/genetlink.h` and `linux/ip_vs.h`; numbers are in the machine's order.

/// Length of a message's header, `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;
/// Length of the header of generic netlink that follows it.
const GENERIC: usize = 4;
/// What pollvsd calls the family IPVS: outside the 0x10..0x3ff that a kernel gives, so it is no other family's number.
pub(crate) const FAMILY: u16 = 0x4956;
/// The message type by which pollvsd is asked for a text of `/proc/net`.
pub(crate) const TEXT: u16 = 0x4957;
/// The family that tells of families, its command that asks for one, and the attributes that name it.
const CONTROLLER: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// Commands of IPVS that are answered with more than an error number: GET_SERVICE, GET_DEST, GET_DAEMON, GET_CONFIG, GET_INFO.
const GETS: [u8; 5] = [4, 8, 11, 13, 15];
/// The types of answers that end one, NLMSG_ERROR and NLMSG_DONE.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// NLM_F_ACK, and both bits of NLM_F_DUMP.
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;
/// Length of an NLMSG_ERROR that quotes the request's header.
pub(crate) const ERROR_LENGTH: usize = HEADER + 4 + HEADER;

/// A message's header as it came, and the command after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    bytes: [u8; HEADER],
    /// The command of generic netlink; 0 where there is none.
    command: u8,
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    number(bytes, at).map_or(0, u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    number(bytes, at).map_or(0, u32::from_ne_bytes)
}

/// A length rounded up to netlink's four bytes.
fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

impl Header {
    /// In the place of a header that is not there.
    pub(crate) const NONE: Self = Self { bytes: [0; HEADER], command: 0 };

    /// The header at the start of `bytes`; none where they are too short.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let header = number(bytes, 0)?;
        Some(Self { bytes: header, command: bytes.get(HEADER).copied().unwrap_or(0) })
    }

    /// The whole message's length in bytes, as it says.
    pub(crate) fn length(&self) -> usize {
        u32_at(&self.bytes, 0) as usize
    }

    /// From its start to that of the next message, in bytes; never none.
    pub(crate) fn advance(&self) -> usize {
        aligned(self.length().max(HEADER))
    }

    pub(crate) fn kind(&self) -> u16 {
        u16_at(&self.bytes, 4)
    }

    fn flags(&self) -> u16 {
        u16_at(&self.bytes, 6)
    }

    /// The number by which an answer is known as that of its request.
    pub(crate) fn sequence(&self) -> u32 {
        u32_at(&self.bytes, 8)
    }

    /// Is this message the last one of an answer?
    pub(crate) fn ends_an_answer(&self) -> bool {
        matches!(self.kind(), ERROR | DONE)
    }

    /// As a request: does its answer end with an NLMSG_ERROR or NLMSG_DONE, rather than with its first message?
    pub(crate) fn is_acknowledged(&self) -> bool {
        self.flags() & ACK != 0 || self.flags() & DUMP == DUMP
    }

    /// As a request: is it answered when all goes well?
    pub(crate) fn is_answered(&self) -> bool {
        let asks = match self.kind() {
            CONTROLLER => self.command == GET_FAMILY,
            _ => GETS.contains(&self.command),
        };
        asks || self.is_acknowledged()
    }

    /// The NLMSG_ERROR that a kernel answers this request with, quoting its header.
    pub(crate) fn refusal(&self, errno: i32) -> [u8; ERROR_LENGTH] {
        let mut answer = [0; ERROR_LENGTH];
        let length = (ERROR_LENGTH as u32).to_ne_bytes();
        let [sequence, port] = [8, 12].map(|at| number::<4>(&self.bytes, at).unwrap_or_default());
        let fields: [(usize, &[u8]); 6] = [
            (0, &length),
            (4, &ERROR.to_ne_bytes()),
            (8, &sequence),
            (12, &port),
            (HEADER, &errno.saturating_neg().to_ne_bytes()),
            (HEADER + 4, &self.bytes),
        ];
        for (at, field) in fields {
            if let Some(place) = answer.get_mut(at..at + field.len()) {
                place.copy_from_slice(field);
            }
        }
        answer
    }
}

/// Each message of a datagram, as the place where it starts and its header. Stops at the first that does not fit.
pub(crate) fn messages(datagram: &[u8]) -> impl Iterator<Item = (usize, Header)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = datagram.get(at..)?;
        let header = Header::read(rest)?;
        if header.length() < HEADER || header.length() > rest.len() {
            return None;
        }
        let start = at;
        at = at.saturating_add(header.advance());
        Some((start, header))
    })
}

/// Might a datagram that starts like this be about IPVS? Asked before anything that costs a system call.
pub(crate) fn might_concern_ipvs(start: &[u8]) -> bool {
    matches!(u16_at(start, 4), FAMILY | CONTROLLER) && start.len() >= HEADER
}

/// Is the datagram's first message about IPVS: one of its family, or a question for the family of that name?
pub(crate) fn concerns_ipvs(datagram: &[u8]) -> bool {
    let Some((_, header)) = messages(datagram).next() else { return false };
    match header.kind() {
        FAMILY => true,
        CONTROLLER if header.command == GET_FAMILY => {
            let attributes = datagram.get(HEADER + GENERIC..header.length()).unwrap_or_default();
            attributes_of(attributes).any(|(kind, value)| names_ipvs(kind, value))
        }
        _ => false,
    }
}

fn names_ipvs(kind: u16, value: &[u8]) -> bool {
    match kind {
        FAMILY_NAME => value.strip_suffix(b"\0").unwrap_or(value) == b"IPVS",
        FAMILY_ID => value.len() == 2 && u16_at(value, 0) == FAMILY,
        _ => false,
    }
}

/// The attributes in `bytes`, as type and value. Stops at the first that does not fit.
fn attributes_of(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0));
        let value = rest.get(4..length)?;
        let kind = u16_at(rest, 2) & 0x3fff;
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// Puts `port` into every message of a request. A kernel answers to the port of the socket, whatever the header says.
pub(crate) fn address_from(datagram: &mut [u8], port: u32) {
    let mut at = 0;
    while let Some(header) = datagram.get(at..).and_then(|rest| messages(rest).next()).map(|(_, header)| header) {
        if let Some(place) = datagram.get_mut(at + 12..at + HEADER) {
            place.copy_from_slice(&port.to_ne_bytes());
        }
        at = at.saturating_add(header.advance());
    }
}

/// The request for the text of `/proc/net/NAME`: the name, ended by a zero byte, after a bare header.
pub(crate) fn text_request(name: &[u8]) -> Vec<u8> {
    let length = HEADER + name.len() + 1;
    let mut request = Vec::with_capacity(length);
    request.extend_from_slice(&(length as u32).to_ne_bytes());
    request.extend_from_slice(&TEXT.to_ne_bytes());
    // NLM_F_REQUEST, then the sequence number 1 and no port.
    request.extend_from_slice(&1_u16.to_ne_bytes());
    request.extend_from_slice(&1_u32.to_ne_bytes());
    request.extend_from_slice(&0_u32.to_ne_bytes());
    request.extend_from_slice(name);
    request.push(0);
    request
}

/// The error number that an NLMSG_ERROR carries, 0 for success; none where the datagram is something else.
pub(crate) fn error_of(datagram: &[u8]) -> Option<i32> {
    let (start, header) = messages(datagram).next()?;
    let carried = number(datagram, start + HEADER).map(i32::from_ne_bytes)?;
    (header.kind() == ERROR).then(|| carried.saturating_neg())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A message with the rest that follows the header.
    pub(crate) fn message(kind: u16, flags: u16, sequence: u32, rest: &[u8]) -> Vec<u8> {
        let mut bytes = ((HEADER + rest.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&sequence.to_ne_bytes());
        bytes.extend_from_slice(&0_u32.to_ne_bytes());
        bytes.extend_from_slice(rest);
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(value);
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    fn ask(attributes: &[u8]) -> Vec<u8> {
        message(CONTROLLER, 0x5, 1, &[&[GET_FAMILY, 1, 0, 0], attributes].concat())
    }

    #[test]
    fn only_what_is_about_ipvs_is_taken() {
        let cases = [
            (ask(&attribute(FAMILY_NAME, b"IPVS\0")), true),
            (ask(&attribute(FAMILY_NAME, b"IPVS")), true),
            (ask(&[attribute(7, b"abc"), attribute(FAMILY_NAME, b"IPVS\0")].concat()), true),
            (ask(&attribute(FAMILY_ID, &FAMILY.to_ne_bytes())), true),
            (ask(&attribute(FAMILY_ID, &16_u16.to_ne_bytes())), false),
            (ask(&attribute(FAMILY_NAME, b"nl80211\0")), false),
            (ask(&attribute(FAMILY_NAME, b"IPVS2\0")), false),
            // The name as another attribute's value is not the family's.
            (ask(&attribute(7, b"IPVS\0")), false),
            (ask(b""), false),
            (message(CONTROLLER, 0x305, 1, &[GET_FAMILY, 1, 0, 0]), false),
            (message(CONTROLLER, 5, 1, &[[4, 1, 0, 0].to_vec(), attribute(FAMILY_NAME, b"IPVS\0")].concat()), false),
            (message(FAMILY, 5, 1, &[15, 1, 0, 0]), true),
            (message(0x1c, 5, 1, &[15, 1, 0, 0]), false),
            (Vec::new(), false),
        ];
        for (bytes, expected) in cases {
            assert_eq!(concerns_ipvs(&bytes), expected, "{bytes:x?}");
            assert!(!expected || might_concern_ipvs(&bytes), "{bytes:x?}");
        }
    }

    #[test]
    fn no_cut_and_no_length_is_too_odd() {
        let whole = ask(&attribute(FAMILY_NAME, b"IPVS\0"));
        for end in 0..whole.len() {
            concerns_ipvs(&whole[..end]);
            might_concern_ipvs(&whole[..end]);
            error_of(&whole[..end]);
        }
        for at in 0..whole.len() {
            for value in [0, 1, 3, 0x7f, 0xff] {
                let mut changed = whole.clone();
                changed[at] = value;
                concerns_ipvs(&changed);
                address_from(&mut changed, 7);
                assert!(messages(&changed).count() <= changed.len() / HEADER);
            }
        }
    }

    #[test]
    fn every_message_of_a_request_gets_the_port_of_the_socket() {
        let mut datagram = [message(FAMILY, 5, 1, b"abcde"), message(FAMILY, 5, 2, b"xy")].concat();
        address_from(&mut datagram, 0x0102_0304);
        let ports: Vec<_> = messages(&datagram).map(|(at, _)| u32_at(&datagram, at + 12)).collect();
        assert_eq!(ports, [0x0102_0304; 2]);
        assert!(datagram.windows(5).any(|bytes| bytes == b"abcde"));
    }

    #[test]
    fn an_answer_that_is_made_up_reads_like_the_kernels() {
        let mut request = message(FAMILY, 5, 77, &[1, 1, 0, 0]);
        address_from(&mut request, 4242);
        let refusal = Header::read(&request).unwrap().refusal(libc::EAGAIN);
        let (start, header) = messages(&refusal).next().unwrap();
        assert_eq!((start, header.length(), header.kind(), header.flags()), (0, 36, ERROR, 0));
        assert_eq!((header.sequence(), u32_at(&refusal, 12)), (77, 4242));
        assert_eq!(error_of(&refusal), Some(libc::EAGAIN));
        assert_eq!(refusal[20..], request[..16]);
    }

    #[test]
    fn which_requests_are_answered_and_how_the_answer_ends() {
        // Type, flags and command; then whether an answer comes and whether it ends with NLMSG_ERROR or NLMSG_DONE.
        let cases = [
            (FAMILY, 0x5, 1, true, true),
            (FAMILY, 0x1, 1, false, false),
            (FAMILY, 0x301, 8, true, true),
            // Half of the bits of a dump are no dump.
            (FAMILY, 0x101, 4, true, false),
            (FAMILY, 0x1, 15, true, false),
            (FAMILY, 0x1, 17, false, false),
            (CONTROLLER, 0x1, 3, true, false),
            (CONTROLLER, 0x1, 4, false, false),
        ];
        for (kind, flags, command, answered, acknowledged) in cases {
            let header = Header::read(&message(kind, flags, 1, &[command, 1, 0, 0])).unwrap();
            assert_eq!((header.is_answered(), header.is_acknowledged()), (answered, acknowledged), "{header:?}");
        }
    }

    #[test]
    fn a_text_is_asked_for_by_its_name() {
        let request = text_request(b"ip_vs_conn");
        let header = Header::read(&request).unwrap();
        assert_eq!((header.kind(), header.length(), request.len()), (TEXT, 27, 27));
        assert_eq!(&request[16..], b"ip_vs_conn\0");
    }

    #[test]
    fn only_an_error_carries_an_error_number() {
        let carried = (-libc::ENOENT).to_ne_bytes();
        assert_eq!(error_of(&message(ERROR, 0, 1, &[&carried[..], &[0; 16]].concat())), Some(libc::ENOENT));
        assert_eq!(error_of(&message(ERROR, 0, 1, &[0; 20])), Some(0));
        assert_eq!(error_of(&message(DONE, 0, 1, &[0; 4])), None);
        assert_eq!(error_of(&message(ERROR, 0, 1, &[])), None);
    }
}
