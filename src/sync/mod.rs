//! The synchronisation of connections between directors, in the kernel's own protocol (`ip_vs_sync.c`), versions 1 and 0: what is told
//! of a connection, its bytes, when it is told, and the messages that carry it. Pure: sockets and clocks are the business of those who
//! call.

pub mod entry;
pub mod kept;
pub mod message;
pub mod pace;
pub mod seal;
pub mod sender;
mod v0;
mod v1;

pub use entry::{Entry, EntryError, Flags, Unencodable};
pub use kept::{Block, Kept, KeptError, Rest};
pub use message::{Builder, Message, MessageError, Version};
pub use pace::{Memo, Pace, Subject};
pub use sender::{Sender, Setup};

#[cfg(test)]
mod tests;
