//! What the next process of the same director must know of a connection or template: what directors tell each other of it, and behind
//! that, in [`Rest::LENGTH`] bytes, what they do not (`docs/restart.md`).

use super::entry::{Entry, EntryError};
use super::message::{Builder, Message, MessageError, Pushed, Version};
use super::pace::Memo;
use crate::app::ftp::Awaited;
use crate::conn::{ConnFlags, ConnId};
use crate::destination::DestId;
use crate::proto::State;
use crate::time::Tick;

/// A connection or template.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kept {
    /// What directors tell each other of it.
    pub entry: Entry,
    /// What they do not.
    pub rest: Rest,
}

/// What directors do not tell each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rest {
    /// Its place in its worker's table, by which what it controls names it.
    pub id: ConnId,
    /// What controls it, as [`crate::conn::Connection::template`] has it.
    pub controller: ConnId,
    /// Its destination, by the index that its process knew it by.
    pub dest: DestId,
    /// Its flags.
    pub flags: ConnFlags,
    /// The answer that an FTP control connection awaits.
    pub awaited: Awaited,
    /// What the synchronisation remembers of it, but for the mark; `ends` counts from now on, unless it is 0.
    pub memo: Memo,
    /// Ticks until it expires.
    pub left: u32,
    /// Ticks that it is given with each packet.
    pub timeout: u32,
    /// The client's packets.
    pub packets: u32,
    /// Connections that were made after it.
    pub age: u32,
    /// Connections that it controls.
    pub controlled: u32,
}

impl Kept {
    /// As it is so many ticks later, if nothing came.
    #[must_use]
    pub fn after(mut self, ticks: u32) -> Self {
        self.rest.left = self.rest.left.saturating_sub(ticks);
        self.rest.memo = self.rest.memo.until(Tick(ticks));
        self
    }
}

/// Why bytes are no connections and templates.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeptError {
    /// Not a message.
    #[error("no message: {0}")]
    Message(#[from] MessageError),
    /// An entry that cannot be.
    #[error("an entry cannot be read: {0}")]
    Entry(#[from] EntryError),
    /// Another length than that of the entries.
    #[error("what is said of the entries has another length than theirs")]
    Length,
    /// Flags, a state or an answer that cannot be.
    #[error("what is said of an entry cannot be")]
    Rest,
}

impl Rest {
    /// Bytes of one.
    pub const LENGTH: usize = 40;
    /// In the byte of the memo: it was told, it was received; above these the state.
    const TOLD: u8 = 1;
    const RECEIVED: u8 = 2;
    const STATE_AT: u32 = 2;

    fn bytes(&self) -> [u8; Self::LENGTH] {
        let told = if self.memo.ends == 0 { 0 } else { Self::TOLD };
        let received = if self.memo.received { Self::RECEIVED } else { 0 };
        let memo = (self.memo.state as u8) << Self::STATE_AT | told | received;
        let [low, high] = self.flags.0.to_le_bytes();
        let mut bytes = [0; Self::LENGTH];
        let (words, _) = bytes.as_chunks_mut();
        let numbers = [
            self.id.0,
            self.controller.0,
            self.dest.0,
            u32::from_le_bytes([low, high, self.awaited as u8, memo]),
            self.memo.ends,
            self.left,
            self.timeout,
            self.packets,
            self.age,
            self.controlled,
        ];
        words.iter_mut().zip(numbers).for_each(|(word, number): (&mut [u8; 4], u32)| *word = number.to_le_bytes());
        bytes
    }

    fn read(bytes: &[u8; Self::LENGTH]) -> Option<Self> {
        let words = bytes.as_chunks::<4>().0;
        let word = |at: usize| words.get(at).map_or(0, |word| u32::from_le_bytes(*word));
        let [low, high, awaited, memo] = word(3).to_le_bytes();
        let memo = Memo {
            ends: if memo & Self::TOLD == 0 { 0 } else { word(4) },
            mark: 0,
            state: *State::ALL.get(usize::from(memo >> Self::STATE_AT))?,
            received: memo & Self::RECEIVED != 0,
        };
        Some(Self {
            id: ConnId(word(0)),
            controller: ConnId(word(1)),
            dest: DestId(word(2)),
            flags: ConnFlags(u16::from_le_bytes([low, high])),
            awaited: *Awaited::ALL.get(usize::from(awaited))?,
            memo,
            left: word(5),
            timeout: word(6),
            packets: word(7),
            age: word(8),
            controlled: word(9),
        })
    }

    /// Can an entry, a template or not, be so?
    fn suits(&self, template: bool) -> bool {
        let methods = (self.flags.0 & ConnFlags::METHOD.0).count_ones();
        self.flags.contains(ConnFlags::TEMPLATE) == template
            && methods == u32::from(!template)
            && !self.flags.contains(ConnFlags::ONE_PACKET)
            && self.left.max(self.timeout) <= u32::MAX / 2
    }
}

/// Connections and templates being written: a message, and the rest of each behind it.
#[derive(Debug)]
pub struct Block {
    message: Builder,
    rests: Vec<u8>,
}

/// Most bytes of the message of a block.
const LONGEST: usize = 32_768;

impl Default for Block {
    fn default() -> Self {
        Self { message: Builder::new(Version::V1, 0, LONGEST), rests: Vec::new() }
    }
}

impl Block {
    /// Takes one, unless it is full: returns false then.
    pub fn push(&mut self, kept: &Kept) -> bool {
        match self.message.push(&kept.entry) {
            Ok(Pushed::Full) => return false,
            Ok(Pushed::In) => self.rests.extend(kept.rest.bytes()),
            // The addresses of an entry are those of one connection, which has one family.
            Err(_) => debug_assert!(false, "an entry is of one family"),
        }
        true
    }

    /// Has it none?
    pub fn is_empty(&self) -> bool {
        self.message.count() == 0
    }

    /// Its bytes.
    pub fn finish(self) -> Vec<u8> {
        let mut bytes = self.message.finish();
        bytes.extend(self.rests);
        bytes
    }

    /// Most bytes of one.
    pub const MOST: usize = u16::MAX as usize + 255 * Rest::LENGTH;

    /// What is in the bytes of one.
    ///
    /// # Errors
    /// [`KeptError`].
    pub fn read(bytes: &[u8]) -> Result<Vec<Kept>, KeptError> {
        let length =
            bytes.get(2..4).and_then(|field| field.first_chunk()).map_or(0, |field| u16::from_be_bytes(*field));
        let (message, rests) = bytes.split_at_checked(length.into()).ok_or(KeptError::Length)?;
        let message = Message::read(message)?;
        let (rests, odd) = rests.as_chunks();
        if message.version() != Version::V1 || rests.len() != usize::from(message.count()) || !odd.is_empty() {
            return Err(KeptError::Length);
        }
        let one = |(entry, rest): (Result<Entry, EntryError>, _)| {
            let entry = entry?;
            let rest = Rest::read(rest).filter(|rest| rest.suits(entry.is_template())).ok_or(KeptError::Rest)?;
            Ok(Kept { entry, rest })
        };
        message.entries().zip(rests).map(one).collect()
    }
}
