//! FTP's control connection (RFC 959, RFC 2428): the commands and answers that announce a data connection, as far as Linux reads
//! them (`ip_vs_ftp.c`). A line is read at the beginning of a segment only and must be whole; `PASV` and `EPSV` are found anywhere.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use crate::app::sequence::Sequences;
use crate::family::Address;

/// What is remembered of a control connection that has asked for a passive data connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Control {
    /// The answer that is awaited.
    pub awaited: Awaited,
    /// What the answers so far have shifted.
    pub sequences: Sequences,
}

/// Which answer of the server is awaited.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Awaited {
    /// None that matters.
    #[default]
    Nothing,
    /// That to `PASV`: 227.
    Passive,
    /// That to `EPSV`: 229.
    ExtendedPassive,
}

impl Awaited {
    /// Every one, by its number.
    pub const ALL: &'static [Self] = &[Self::Nothing, Self::Passive, Self::ExtendedPassive];
}

/// What a client asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command<A> {
    /// A data connection to the server.
    Passive(Awaited),
    /// A data connection to this address and port of the client (`PORT`, `EPRT`).
    Active(A, u16),
}

/// Where a server waits for a data connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Announced<A> {
    /// Its address, where it names one.
    pub address: Option<A>,
    /// Its port.
    pub port: u16,
    /// The bytes of the answer that say so.
    pub text: Range<usize>,
}

/// Reads what a client sends.
pub fn command<A: Address>(text: &[u8]) -> Option<Command<A>> {
    if let Some(asked) = passive::<A>(text) {
        return asked.map(Command::Passive);
    }
    let port = || if A::V6 { None } else { plain(text, "PORT", b' ') };
    let found: Announced<A> = port().or_else(|| extended(text, "EPRT", b' ', true))?;
    Some(Command::Active(found.address?, found.port))
}

/// Reads what a server sends.
pub fn answer<A: Address>(awaited: Awaited, text: &[u8]) -> Option<Announced<A>> {
    match awaited {
        Awaited::Nothing => None,
        Awaited::Passive => plain(text, "227 ", b'('),
        Awaited::ExtendedPassive => extended(text, "229 ", b'(', false),
    }
}

/// What stands in an answer instead of what it said: the virtual address and port. The answer to `EPSV` names no address, for the
/// client knows whom it has asked.
pub fn announcement(awaited: Awaited, address: IpAddr, port: u16) -> Text {
    let mut text = Text::default();
    let [high, low] = port.to_be_bytes();
    let written = match (awaited, address) {
        (Awaited::Passive, IpAddr::V4(address)) => {
            let [a, b, c, d] = address.octets();
            write!(text, "{a},{b},{c},{d},{high},{low}")
        }
        _ => write!(text, "|||{port}|"),
    };
    debug_assert!(written.is_ok(), "the longest text fits");
    text
}

/// A short text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Text {
    bytes: [u8; 24],
    length: usize,
}

impl Text {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.length..self.length + text.len()).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length += text.len();
        Ok(())
    }
}

/// Does the text begin with the word, in capitals or not?
fn begins(text: &[u8], word: &str) -> bool {
    text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
}

/// Looks for `PASV` and `EPSV`. `Some(None)`: there is an `EPSV` for another family than the connection's, which ends the search.
fn passive<A: Address>(text: &[u8]) -> Option<Option<Awaited>> {
    // "PASV" and its end take six bytes, and so do the shortest that is read as "EPSV".
    text.windows(6).enumerate().find_map(|(at, line)| {
        if !A::V6 && line.eq_ignore_ascii_case(b"PASV\r\n") {
            return Some(Some(Awaited::Passive));
        }
        let extended = begins(line, "EPSV") && matches!(line[4], b' ' | b'\r');
        let family = if A::V6 { b'2' } else { b'1' };
        let fits = line[4] == b'\r' || (text.get(at + 6) == Some(&b'\r') && line[5] == family);
        extended.then_some(fits.then_some(Awaited::ExtendedPassive))
    })
}

/// Where the argument of a line begins. The opening character may be missing before a digit if `bare` allows that.
fn argument(text: &[u8], word: &str, open: u8, bare: bool) -> Option<usize> {
    if !begins(text, word) {
        return None;
    }
    let rest = &text[word.len()..];
    let start = rest.iter().position(|byte| *byte == open || (bare && byte.is_ascii_digit()))?;
    let opened = rest[start..].iter().position(|byte| *byte != open)?;
    Some(word.len() + start + opened)
}

/// Reads `h1,h2,h3,h4,p1,p2`. Numbers are taken modulo 256, and missing ones are 0.
fn plain<A: Address>(text: &[u8], word: &str, open: u8) -> Option<Announced<A>> {
    let start = argument(text, word, open, true)?;
    let (mut numbers, mut which, mut at) = ([0_u8; 6], 0, start);
    loop {
        match *text.get(at)? {
            digit @ b'0'..=b'9' => numbers[which] = numbers[which].wrapping_mul(10).wrapping_add(digit - b'0'),
            b',' if which < 5 => which += 1,
            _ => break,
        }
        at += 1;
    }
    let [a, b, c, d, high, low] = numbers;
    let address = A::from_ip(Ipv4Addr::new(a, b, c, d).into())?;
    let port = u16::from_be_bytes([high, low]);
    (which == 5).then_some(Announced { address: Some(address), port, text: start..at })
}

/// Reads `|family|address|port|`, with any visible character for the bars. An address that need not be there may be missing, and
/// its family with it.
fn extended<A: Address>(text: &[u8], word: &str, open: u8, address_needed: bool) -> Option<Announced<A>> {
    let start = argument(text, word, open, false)?;
    let bar = *text.get(start)?;
    let mut fields = text.get(start + 1..)?.split(|byte| *byte == bar);
    // Something, be it nothing, follows the bar that ends the port.
    let (family, host, port, _) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let address = match family {
        [] if address_needed || !host.is_empty() => return None,
        [] => None,
        _ => Some(named::<A>(family, host)?),
    };
    let text = start..start + 4 + family.len() + host.len() + port.len();
    let port = number(port)?;
    bar.is_ascii_graphic().then_some(Announced { address, port, text })
}

/// The address of the connection's family: 1 for IPv4, 2 for IPv6.
fn named<A: Address>(family: &[u8], address: &[u8]) -> Option<A> {
    if family != if A::V6 { b"2" } else { b"1" } {
        return None;
    }
    let text = std::str::from_utf8(address).ok()?;
    A::from_ip(if A::V6 { text.parse::<Ipv6Addr>().ok()?.into() } else { dotted(address)?.into() })
}

/// Reads an IPv4 address; zeros in front are nothing special.
fn dotted(text: &[u8]) -> Option<Ipv4Addr> {
    let mut parts = text.split(|byte| *byte == b'.').map(part);
    let octets = [parts.next()??, parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then(|| octets.into())
}

fn part(digits: &[u8]) -> Option<u8> {
    let add = |sum: u8, digit: &u8| match digit {
        b'0'..=b'9' => sum.checked_mul(10)?.checked_add(digit - b'0'),
        _ => None,
    };
    if digits.is_empty() { None } else { digits.iter().try_fold(0, add) }
}

/// Reads a port, modulo 2^16; 0 is none.
fn number(digits: &[u8]) -> Option<u16> {
    let add =
        |sum: u16, digit: &u8| digit.is_ascii_digit().then(|| sum.wrapping_mul(10).wrapping_add((digit - b'0').into()));
    digits.iter().try_fold(0, add).filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is read, as `address port text`; `-` for no address.
    fn read<A: Address>(awaited: Awaited, line: &str) -> Option<String> {
        let announced = answer::<A>(awaited, line.as_bytes())?;
        let address = announced.address.map_or("-".to_owned(), |a| a.ip().to_string());
        Some(format!("{address} {} {}", announced.port, &line[announced.text]))
    }

    #[test]
    fn answers_to_pasv_are_read_as_the_kernel_reads_them() {
        let cases = [
            ("227 Entering Passive Mode (198,51,100,11,156,64).\r\n", Some("198.51.100.11 40000 198,51,100,11,156,64")),
            ("227 198,51,100,11,156,64 \r\n", Some("198.51.100.11 40000 198,51,100,11,156,64")),
            ("227 =198,51,100,11,156,64\r", Some("198.51.100.11 40000 198,51,100,11,156,64")),
            ("227 ((198,51,100,11,156,64))", Some("198.51.100.11 40000 198,51,100,11,156,64")),
            ("227 (1,2,3,4,5,6,7)", Some("1.2.3.4 1286 1,2,3,4,5,6")),
            ("227 (,,,,4,1)", Some("0.0.0.0 1025 ,,,,4,1")),
            ("227 (454,51,100,11,156,64)", Some("198.51.100.11 40000 454,51,100,11,156,64")),
            ("227 (1,2,3,4,5,6", None),
            ("227 (1,2,3,4,5)", None),
            ("227 (x1,2,3,4,5,6)", None),
            ("227 Mode 2 (1,2,3,4,5,6)", None),
            ("227-(1,2,3,4,5,6)", None),
            ("227 no numbers\r\n", None),
            ("227 (((", None),
            ("227 ", None),
            ("22", None),
            ("200 ok\r\n227 (1,2,3,4,5,6)", None),
            (" 227 (1,2,3,4,5,6)", None),
            ("", None),
        ];
        for (line, expected) in cases {
            assert_eq!(read::<u32>(Awaited::Passive, line).as_deref(), expected, "{line:?}");
            assert_eq!(read::<u128>(Awaited::Passive, line), None, "there is no such thing in IPv6");
            assert_eq!(read::<u32>(Awaited::Nothing, line), None, "nobody has asked");
        }
    }

    #[test]
    fn answers_to_epsv_are_read_as_the_kernel_reads_them() {
        let cases = [
            ("229 Entering Extended Passive Mode (|||40002|)\r\n", Some("- 40002 |||40002|")),
            ("229 x (!!!40006!)\r\n", Some("- 40006 !!!40006!")),
            ("229 (|1|198.51.100.11|40003|)", Some("198.51.100.11 40003 |1|198.51.100.11|40003|")),
            ("229 (|1|198.051.100.011|40003|)", Some("198.51.100.11 40003 |1|198.051.100.011|40003|")),
            ("229 (|||65537|)", Some("- 1 |||65537|")),
            ("229 (|||0|)", None),
            ("229 (||||)", None),
            ("229 (|||40002)", None),
            ("229 (|||4000x|)", None),
            ("229 (|2|198.51.100.11|40003|)", None),
            ("229 (|11|198.51.100.11|40003|)", None),
            ("229 (|1|198.51.100|40003|)", None),
            ("229 (|1|198.51.100.256|40003|)", None),
            ("229 (|1||40003|)", None),
            ("229 (||198.51.100.11|40003|)", None),
            ("229 |||40002|", None),
            ("229 (   40002 )", None),
            ("229 (", None),
            ("229 (|", None),
        ];
        for (line, expected) in cases {
            assert_eq!(read::<u32>(Awaited::ExtendedPassive, line).as_deref(), expected, "{line:?}");
        }
        let v6 = |line| read::<u128>(Awaited::ExtendedPassive, line);
        assert_eq!(v6("229 (|||40002|)").as_deref(), Some("- 40002 |||40002|"));
        assert_eq!(
            v6("229 (|2|2001:db8:2::11|40003|)").as_deref(),
            Some("2001:db8:2::11 40003 |2|2001:db8:2::11|40003|")
        );
        assert_eq!(v6("229 (|1|198.51.100.11|40003|)"), None);
    }

    #[test]
    fn commands_are_read_as_the_kernel_reads_them() {
        let active = |address: &str, port| Some(Command::Active(address.parse::<Ipv4Addr>().unwrap().to_bits(), port));
        let (passive, extended) =
            (Some(Command::Passive(Awaited::Passive)), Some(Command::Passive(Awaited::ExtendedPassive)));
        let cases = [
            ("PASV\r\n", passive),
            ("pasv\r\n", passive),
            ("xxPASV\r\nyy", passive),
            ("PASV\n", None),
            ("PASV \r\n", None),
            ("EPSV\r\n", extended),
            ("EPSV\r", None),
            ("EPSV 1\r\n", extended),
            ("EPSV 1\r", extended),
            ("EPSV 1", None),
            ("EPSV 2\r\n", None),
            ("EPSV ALL\r\n", None),
            ("EPSV 2\r\nPASV\r\n", None),
            ("PORT 203,0,113,5,4,4\r\n", active("203.0.113.5", 1028)),
            ("port  203,0,113,5,4,4\r\n", active("203.0.113.5", 1028)),
            ("PORT203,0,113,5,4,4\r\n", active("203.0.113.5", 1028)),
            ("PORT 203,0,113,5,4,4", None),
            ("NOOP\r\nPORT 203,0,113,5,4,4\r\n", None),
            ("EPRT |1|203.0.113.5|2000|\r\n", active("203.0.113.5", 2000)),
            ("EPRT |1|203.0.113.5|2000|", active("203.0.113.5", 2000)),
            ("EPRT |1|203.0.113.5|2000", None),
            ("EPRT |||2000|\r\n", None),
            ("EPRT |2|2001:db8::5|2000|\r\n", None),
            ("EPRT|1|203.0.113.5|2000|\r\n", None),
            ("USER me\r\n", None),
            ("", None),
        ];
        for (line, expected) in cases {
            assert_eq!(command::<u32>(line.as_bytes()), expected, "{line:?}");
        }
        let v6 = |line: &str| command::<u128>(line.as_bytes());
        let client = "2001:db8:ffff::5".parse::<Ipv6Addr>().unwrap().to_bits();
        assert_eq!(v6("EPRT |2|2001:db8:ffff::5|2000|\r\n"), Some(Command::Active(client, 2000)));
        assert_eq!(v6("EPSV 2\r\n"), Some(Command::Passive(Awaited::ExtendedPassive)));
        for line in ["EPSV 1\r\n", "PASV\r\n", "PORT 203,0,113,5,4,4\r\n", "EPRT |1|203.0.113.5|2000|\r\n"] {
            assert_eq!(v6(line), None, "{line:?}");
        }
    }

    #[test]
    fn announcements_fit_and_are_what_a_client_reads() {
        let longest = announcement(Awaited::Passive, [255, 255, 255, 255].into(), 65535);
        assert_eq!(longest.bytes(), b"255,255,255,255,255,255");
        assert_eq!(announcement(Awaited::ExtendedPassive, [192, 0, 2, 10].into(), 21).bytes(), b"|||21|");
    }

    proptest! {
        #[test]
        fn what_is_announced_is_read_back(address: u32, port in 1_u16.., before in "[^0-9(]{0,20}", after in "[^0-9,|]{1,20}") {
            let text = |awaited| announcement(awaited, address.ip(), port);
            for (awaited, code) in [(Awaited::Passive, "227 "), (Awaited::ExtendedPassive, "229 ")] {
                let text = text(awaited);
                let line = [code.as_bytes(), before.as_bytes(), b"(", text.bytes(), after.as_bytes()].concat();
                let read = answer::<u32>(awaited, &line).unwrap();
                prop_assert_eq!(&line[read.text], text.bytes());
                prop_assert_eq!((read.address, read.port), ((awaited == Awaited::Passive).then_some(address), port));
            }
        }

        #[test]
        fn no_bytes_are_too_odd(text: Vec<u8>, word in "(PORT|EPRT|EPSV|PASV|227|229) ?[(|,0-9.:]{0,12}") {
            for text in [text.clone(), [word.as_bytes(), &text[..]].concat()] {
                let _ = (command::<u32>(&text), command::<u128>(&text));
                for awaited in [Awaited::Passive, Awaited::ExtendedPassive] {
                    let end = |found: Option<Range<usize>>| found.map_or(0, |range| range.end);
                    prop_assert!(end(answer::<u32>(awaited, &text).map(|a| a.text)) <= text.len());
                    prop_assert!(end(answer::<u128>(awaited, &text).map(|a| a.text)) <= text.len());
                }
            }
        }
    }
}
