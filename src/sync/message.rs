//! A message: a header and the entries behind it. What is not of version 1 is taken for version 0, as the kernel has it.

use super::entry::{Entry, EntryError, Unencodable};
use super::{v0, v1};

/// Most entries of a message: their number is a byte.
const MOST: u8 = u8::MAX;
/// Most bytes of a message: its length is 16 bits.
const LONGEST: usize = u16::MAX as usize;

/// Version of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Version {
    /// IPv4 alone.
    V0,
    /// The kernel's since Linux 2.6.39.
    V1,
}

impl Version {
    /// The version of `sync_version`.
    pub fn of(number: u8) -> Self {
        if number == 0 { Self::V0 } else { Self::V1 }
    }

    fn header(self) -> usize {
        match self {
            Self::V0 => v0::HEADER,
            Self::V1 => v1::HEADER,
        }
    }
}

/// Why a message was dropped whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MessageError {
    /// Shorter than a header.
    #[error("shorter than a header")]
    Truncated,
    /// Its length is not the one that it says.
    #[error("{is} bytes long, and says {says}")]
    Length {
        /// Bytes received.
        is: usize,
        /// Bytes that the header says.
        says: u16,
    },
}

/// A message received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message<'b> {
    version: Version,
    syncid: u8,
    count: u8,
    body: &'b [u8],
}

impl<'b> Message<'b> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn read(bytes: &'b [u8]) -> Result<Self, MessageError> {
        let &[first, syncid, high, low] = bytes.first_chunk().ok_or(MessageError::Truncated)?;
        let says = u16::from_be_bytes([high, low]);
        if usize::from(says) != bytes.len() {
            return Err(MessageError::Length { is: bytes.len(), says });
        }
        Ok(match bytes.first_chunk() {
            Some(&[0, _, _, _, count, 1, 0, 0]) => {
                Self { version: Version::V1, syncid, count, body: bytes.get(v1::HEADER..).unwrap_or_default() }
            }
            _ => {
                let body = bytes.get(v0::HEADER..).unwrap_or_default();
                Self { version: Version::V0, syncid, count: first, body }
            }
        })
    }

    /// Which group of directors it is of.
    pub fn syncid(&self) -> u8 {
        self.syncid
    }

    /// Its version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// How many entries it says it has.
    pub fn count(&self) -> u8 {
        self.count
    }

    /// Its entries, until one of them cannot be made out.
    pub fn entries(&self) -> Entries<'b> {
        Entries { version: self.version, left: self.count, body: self.body }
    }
}

/// The entries of a message.
#[derive(Clone, Debug)]
pub struct Entries<'b> {
    version: Version,
    left: u8,
    body: &'b [u8],
}

impl Entries<'_> {
    fn read(&mut self) -> Result<Entry, EntryError> {
        let (entry, next) = match self.version {
            Version::V0 => v0::split(self.body)?,
            Version::V1 => v1::split(self.body)?,
        };
        self.body = self.body.get(next..).unwrap_or_default();
        match self.version {
            Version::V0 => v0::read(entry),
            Version::V1 => v1::read(entry),
        }
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, EntryError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let entry = self.read();
        if entry.is_err_and(EntryError::ends_message) {
            self.left = 0;
        }
        Some(entry)
    }
}

/// What became of an entry that was to go into a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pushed {
    /// It is in.
    In,
    /// There is no room for it.
    Full,
}

/// A message being written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Builder {
    version: Version,
    bytes: Vec<u8>,
    count: u8,
    maxlen: usize,
}

impl Builder {
    /// An empty message of at most so many bytes. One that has a single entry may be longer.
    pub fn new(version: Version, syncid: u8, maxlen: usize) -> Self {
        let mut bytes = Vec::with_capacity(maxlen.min(LONGEST));
        bytes.extend([0, syncid, 0, 0]);
        if version == Version::V1 {
            bytes.extend([0, 1, 0, 0]);
        }
        Self { version, bytes, count: 0, maxlen: maxlen.min(LONGEST) }
    }

    /// Its version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Entries in it.
    pub fn count(&self) -> u8 {
        self.count
    }

    /// Takes an entry, if there is room.
    ///
    /// # Errors
    /// [`Unencodable`]; the message is as it was.
    pub fn push(&mut self, entry: &Entry) -> Result<Pushed, Unencodable> {
        let padding = if self.version == Version::V1 { v1::padding(self.bytes.len()) } else { 0 };
        let length = match self.version {
            Version::V0 => v0::length(entry),
            Version::V1 => v1::length(entry),
        };
        let full = self.bytes.len() + padding + length > self.maxlen || self.count == MOST;
        if self.count > 0 && full {
            return Ok(Pushed::Full);
        }
        let before = self.bytes.len();
        self.bytes.resize(before + padding, 0);
        let told = Entry { flags: v1::told(entry.flags), ..*entry };
        let written = match self.version {
            Version::V0 => v0::write(&told, &mut self.bytes),
            Version::V1 => v1::write(&told, &mut self.bytes),
        };
        written.inspect_err(|_| self.bytes.truncate(before))?;
        self.count += 1;
        Ok(Pushed::In)
    }

    /// The bytes of the message.
    #[allow(clippy::cast_possible_truncation, reason = "no message is longer than its length can say")]
    pub fn finish(mut self) -> Vec<u8> {
        let length = (self.bytes.len() as u16).to_be_bytes();
        let at = if self.version == Version::V1 { 4 } else { 0 };
        self.bytes[2..4].copy_from_slice(&length);
        self.bytes[at] = self.count;
        self.bytes
    }

    /// Bytes of a header of this version, for those who reckon what fits.
    pub fn header(version: Version) -> usize {
        version.header()
    }
}
