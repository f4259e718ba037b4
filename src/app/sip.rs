//! SIP's Call-ID (RFC 3261, 8.1.1.4 and 25.1), by which the datagrams of one call are known, as Linux reads it (`ip_vs_pe_sip.c`, which
//! asks `nf_conntrack_sip.c`): a header after the first line, by its long or short name, its value a word or `word@word`, and behind it
//! the end of the line at once.

use std::fmt;

/// Most bytes of a Call-ID.
pub const MAX_LEN: usize = 255;

/// A Call-ID, kept; empty for none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CallId {
    length: u8,
    bytes: [u8; MAX_LEN],
}

impl CallId {
    /// None.
    pub const NONE: Self = Self { length: 0, bytes: [0; MAX_LEN] };

    /// Keeps a Call-ID; `None` for one that is too long.
    pub fn new(text: &[u8]) -> Option<Self> {
        let mut kept = Self { length: u8::try_from(text.len()).ok()?, ..Self::NONE };
        kept.bytes.get_mut(..text.len())?.copy_from_slice(text);
        Some(kept)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length.into()).unwrap_or_default()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

impl Default for CallId {
    fn default() -> Self {
        Self::NONE
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.bytes()))
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallId({self})")
    }
}

/// What was found of the header.
enum Found {
    /// Its value.
    Value { start: usize, length: usize },
    /// The header, from there on without a value.
    Empty { start: usize },
}

/// The Call-ID of a message, if it is one.
pub fn call_id(message: &[u8]) -> Option<&[u8]> {
    let mut from = 0;
    loop {
        match header(message, from)? {
            // As the kernel: the search goes on as far behind the header as that is behind where the search began.
            Found::Empty { start } => from += start,
            Found::Value { start, length } => {
                let ends = matches!(message.get(start + length)?, b'\r' | b'\n');
                return message.get(start..start + length).filter(|id| ends && id.len() <= MAX_LEN);
            }
        }
    }
}

/// Looks for the header behind the first end of a line from `from` on.
fn header(message: &[u8], from: usize) -> Option<Found> {
    let mut at = from;
    loop {
        at += message.get(at..)?.iter().position(|byte| matches!(byte, b'\r' | b'\n'))?;
        let line = at + end_of_line(message.get(at..)?);
        let Some(name) = named(message.get(line..)?) else {
            // As the kernel: the first byte of a line that is another's begins no further line.
            at = line + 1;
            continue;
        };
        let colon = skip_blanks(message, line + name)?;
        if *message.get(colon)? != b':' {
            return None;
        }
        message.get(colon + 1)?;
        let start = skip_blanks(message, colon + 1)?;
        let length = value(message.get(start..)?);
        return Some(if length == 0 { Found::Empty { start } } else { Found::Value { start, length } });
    }
}

/// Length of the end of a line that is here: CR, LF or both.
fn end_of_line(text: &[u8]) -> usize {
    if text.starts_with(b"\r\n") { 2 } else { 1 }
}

/// Length of the header's name, if it begins here. The short name must not be the beginning of another.
fn named(line: &[u8]) -> Option<usize> {
    let begins = |name: &[u8]| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    let short = || begins(b"i") && line.get(1).is_some_and(|next| !is_letter(*next));
    if begins(b"call-id") { Some(7) } else { short().then_some(1) }
}

/// Where the blanks end that begin here, perhaps going on in the next line; `None` when that does not continue this one.
fn skip_blanks(message: &[u8], at: usize) -> Option<usize> {
    let blanks = |at: usize| at + message.get(at..).unwrap_or_default().iter().take_while(|b| is_blank(**b)).count();
    let end = blanks(at);
    if !matches!(message.get(end), Some(b'\r' | b'\n')) {
        return Some(end);
    }
    let next = end + end_of_line(message.get(end..)?);
    is_blank(*message.get(next)?).then(|| blanks(next))
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Length of a value: a word, or two with an `@` between; 0 for none.
fn value(text: &[u8]) -> usize {
    let word = |text: &[u8]| text.iter().take_while(|byte| is_word(**byte)).count();
    let first = word(text);
    if first == 0 || text.get(first) != Some(&b'@') {
        return first;
    }
    match word(text.get(first + 1..).unwrap_or_default()) {
        0 => 0,
        second => first + 1 + second,
    }
}

/// A letter, in the kernel's character set (Latin-1).
fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || matches!(byte, 0xc0..=0xd6 | 0xd8..=0xf6 | 0xf8..)
}

/// Characters of a word (RFC 3261, 25.1).
fn is_word(byte: u8) -> bool {
    is_letter(byte) || byte.is_ascii_digit() || b"-.!%*_+`'~()<>:\\\"/[]?{}".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The Call-ID of a message with these lines after the first.
    fn read(lines: &str) -> Option<String> {
        let message = format!("INVITE sip:b@x SIP/2.0\r\nVia: x\r\n{lines}");
        call_id(message.as_bytes()).map(|id| String::from_utf8(id.to_vec()).unwrap())
    }

    #[test]
    fn call_ids_are_read_as_the_kernel_reads_them() {
        let cases = [
            ("Call-ID: 1@h\r\n", Some("1@h")),
            ("call-id: 2@h\r\n", Some("2@h")),
            ("CALL-ID:3@h\r\n", Some("3@h")),
            ("i: 4@h\r\n", Some("4@h")),
            ("I:5@h\r\n", Some("5@h")),
            ("i 6@h\r\n", None),
            ("Call-ID : 7@h\r\n", Some("7@h")),
            ("Call-ID:\t8@h\r\n", Some("8@h")),
            ("Call-ID:\r\n 9@h\r\n", Some("9@h")),
            ("Call-ID: 10\r\n", Some("10")),
            ("Call-ID: 11@\r\n", None),
            ("Call-ID: @12\r\n", None),
            ("Call-ID: 13@h x\r\n", None),
            ("Call-ID: 14@h;y\r\n", None),
            ("Call-ID: 15@h", None),
            ("Call-ID: 16@h\n", Some("16@h")),
            ("Call-ID: 17@h\r", Some("17@h")),
            ("Call-IDx: 18@h\r\n", None),
            ("Call-ID\r\n : 19@h\r\n", Some("19@h")),
            ("X: y\r\n Call-ID: 20@h\r\n", None),
            ("id: 21@h\r\n", None),
            ("i-: 22@h\r\n", None),
            ("Call-ID:\r\nCall-ID: 23@h\r\n", None),
            ("Call-ID: \r\nX: 24\r\n", None),
            ("Call-ID: 25@h@z\r\n", None),
            ("Call-ID: (26.%!*_+`'~)<>:\\\"/[]?{}@h-1.a\r\n", Some("(26.%!*_+`'~)<>:\\\"/[]?{}@h-1.a")),
            ("Call-ID: 27,\r\n", None),
            ("Call-ID: 30$\r\nCall-ID: 31@h\r\n", None),
            ("Call-ID: $32\r\ni: 33@h\r\n", Some("33@h")),
            ("\r\nCall-ID: 34@h\r\n", Some("34@h")),
            ("Call-ID\t:  35@h\r\n", Some("35@h")),
            ("i\r\n\t:\r\n\t36@h\r\n", Some("36@h")),
            ("Call-ID: 37@h \r\n", None),
            ("Call-ID: 41@h\n\r", Some("41@h")),
            ("Call-ID=: 42@h\r\n", None),
            ("Call-Id: 46@[::1]:5060\r\n", Some("46@[::1]:5060")),
            ("i\r\n: 47@h\r\n", None),
            ("Call-ID:48@h\r\r\n", Some("48@h")),
            ("i:\r\n  \r\n 51@h\r\n", None),
            ("X\n\nCall-ID: 52@h\r\n", None),
            ("X\n\r\nCall-ID: 53@h\r\n", Some("53@h")),
            ("Call-ID", None),
            ("Call-ID:", None),
            ("Call-ID: ", None),
            ("i", None),
            ("", None),
        ];
        for (lines, expected) in cases {
            assert_eq!(read(lines).as_deref(), expected, "{lines:?}");
        }
        let long = |length: usize| read(&format!("Call-ID: {}\r\n", "x".repeat(length)));
        assert_eq!((long(255).map(|id| id.len()), long(256)), (Some(255), None));
        assert_eq!(call_id(b"Call-ID: first@line\r\n\r\n"), None);
        assert_eq!(call_id(b"\nCall-ID: nl@line\n"), Some(&b"nl@line"[..]));
        for odd in [&b""[..], b"\n", b"x\r", b"x\r\n"] {
            assert_eq!(call_id(odd), None);
        }
    }

    #[test]
    fn a_call_id_is_kept_up_to_the_kernels_length() {
        assert_eq!(CallId::new(b"a@x").map(|id| id.to_string()).as_deref(), Some("a@x"));
        assert_eq!((CallId::new(&[b'x'; 255]).is_some(), CallId::new(&[b'x'; 256])), (true, None));
        assert!(CallId::default().is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(text: Vec<u8>, lines in "((\r|\n|\r\n|[ \t:@ix])|call-id:?){0,12}") {
            for message in [text.clone(), lines.clone().into_bytes(), [lines.as_bytes(), &text[..]].concat()] {
                prop_assert!(call_id(&message).is_none_or(|id| (1..=MAX_LEN).contains(&id.len())));
            }
        }
    }
}
