//! Signed messages between pollvsds that share a key: behind the message 8 bytes that tell the sender, 8 that only grow, and 32 of
//! HMAC-SHA-256 (RFC 2104, FIPS 180-4) over all that. The kernel speaks nothing of the kind; it drops such a message, whose length is
//! not the one that its header says.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Bytes of a tag.
const TAG: usize = 32;
/// Bytes behind a message.
pub const TRAILER: usize = 8 + 8 + TAG;
/// The fewest bytes of a key.
pub const SHORTEST_KEY: usize = 16;
/// Microseconds by which two clocks may differ.
const SKEW: u64 = 60_000_000;
/// Senders that are remembered.
const SENDERS: usize = 64;

/// A key that directors share.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    /// A key; `None` for one that is too short to be one.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let hmac = || Hmac::new_from_slice(bytes).ok().map(Self);
        (bytes.len() >= SHORTEST_KEY).then(hmac).flatten()
    }

    fn tag(&self, signed: &[u8]) -> Hmac<Sha256> {
        let mut hmac = self.0.clone();
        hmac.update(signed);
        hmac
    }
}

/// Signs what one socket sends.
#[derive(Debug)]
pub struct Sealer {
    key: Key,
    sender: u64,
    last: u64,
}

impl Sealer {
    /// The sender of that number, which is drawn at random.
    pub fn new(key: Key, sender: u64) -> Self {
        Self { key, sender, last: 0 }
    }

    /// Appends what makes a message of `bytes`, sent at this time: microseconds since 1970.
    pub fn seal(&mut self, bytes: &mut Vec<u8>, now: u64) {
        self.last = now.max(self.last.saturating_add(1));
        bytes.extend(self.sender.to_be_bytes());
        bytes.extend(self.last.to_be_bytes());
        let tag = self.key.tag(bytes).finalize().into_bytes();
        bytes.extend_from_slice(&tag);
    }
}

/// Why a signed message was not believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SealError {
    /// Not signed, or with another key.
    #[error("not signed with the key")]
    Unsigned,
    /// Signed, but sent before, or by a clock that is a minute off.
    #[error("sent again, or by a clock that is wrong")]
    Stale,
}

/// Checks what one socket receives.
#[derive(Debug)]
pub struct Verifier {
    key: Key,
    /// The last number of each sender, the one heard of last at the end.
    heard: Vec<(u64, u64)>,
}

impl Verifier {
    /// Has heard of nobody yet.
    pub fn new(key: Key) -> Self {
        Self { key, heard: Vec::new() }
    }

    /// The message without what signs it.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn open<'b>(&mut self, bytes: &'b [u8], now: u64) -> Result<&'b [u8], SealError> {
        let (signed, tag) = bytes.split_last_chunk::<TAG>().ok_or(SealError::Unsigned)?;
        self.key.tag(signed).verify_slice(tag).map_err(|_| SealError::Unsigned)?;
        let (rest, number) = signed.split_last_chunk().ok_or(SealError::Unsigned)?;
        let (message, sender) = rest.split_last_chunk().ok_or(SealError::Unsigned)?;
        let (sender, number) = (u64::from_be_bytes(*sender), u64::from_be_bytes(*number));
        let known = self.heard.iter().position(|(heard, _)| *heard == sender);
        let last = known.map_or(0, |at| self.heard.remove(at).1);
        let fresh = number > last && number.abs_diff(now) <= SKEW;
        if self.heard.len() >= SENDERS {
            self.heard.remove(0);
        }
        self.heard.push((sender, if fresh { number } else { last }));
        if fresh { Ok(message) } else { Err(SealError::Stale) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_900_000_000_000_000;

    fn key(text: &str) -> Key {
        Key::new(text.as_bytes()).unwrap()
    }

    fn sealed(sealer: &mut Sealer, text: &str, now: u64) -> Vec<u8> {
        let mut bytes = text.as_bytes().to_vec();
        sealer.seal(&mut bytes, now);
        bytes
    }

    #[test]
    fn what_is_signed_is_believed_once_and_nothing_else_is() {
        let mut sealer = Sealer::new(key("0123456789abcdef"), 7);
        let mut verifier = Verifier::new(key("0123456789abcdef"));
        let first = sealed(&mut sealer, "one", NOW);
        let second = sealed(&mut sealer, "two", NOW);
        assert_eq!(first.len(), 3 + TRAILER);
        assert_eq!(verifier.open(&first, NOW), Ok(&b"one"[..]));
        assert_eq!(verifier.open(&second, NOW), Ok(&b"two"[..]));
        assert_eq!(verifier.open(&first, NOW), Err(SealError::Stale));
        assert_eq!(verifier.open(&second, NOW), Err(SealError::Stale));
        let late = sealed(&mut sealer, "three", NOW + 1);
        assert_eq!(verifier.open(&late, NOW + SKEW + 3), Err(SealError::Stale));
        for at in 0..late.len() {
            let mut forged = late.clone();
            forged[at] ^= 1;
            assert_eq!(verifier.open(&forged, NOW), Err(SealError::Unsigned));
            assert_eq!(verifier.open(&late[..at], NOW), Err(SealError::Unsigned));
        }
        assert_eq!(verifier.open(&late, NOW), Ok(&b"three"[..]));
        let mut other = Verifier::new(key("another-key-of-16"));
        assert_eq!(other.open(&sealed(&mut sealer, "", NOW + 5), NOW), Err(SealError::Unsigned));
    }

    #[test]
    fn a_key_has_sixteen_bytes_and_senders_are_remembered_up_to_a_number() {
        assert!(Key::new(&[1; 15]).is_none());
        let mut verifier = Verifier::new(key("0123456789abcdef"));
        for sender in 0..200 {
            let mut sealer = Sealer::new(key("0123456789abcdef"), sender);
            assert!(verifier.open(&sealed(&mut sealer, "x", NOW), NOW).is_ok());
        }
        assert_eq!(verifier.heard.len(), SENDERS);
    }
}
