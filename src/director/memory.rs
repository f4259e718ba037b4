//! What a director's tables take.

use crate::conn::table::Table;
use crate::director::announce::Memos;
use crate::family::Address;

/// Bytes that a table for so many connections, or templates, of a family takes: entries, index, and what the synchronisation remembers of
/// each; but for the fixed part of its timer wheel.
pub fn table_bytes<A: Address>(entries: u32) -> usize {
    Table::<A>::bytes_for(entries) + Memos::bytes_for(entries)
}
