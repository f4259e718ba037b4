//! Reads and writes of header fields. A view's `check_len` has made sure that a field is there; should that contract be
//! broken, a read yields zeros and a write does nothing, so that no accessor carries a panic path onto the data path.

use std::ops::Range;

/// Returns the first `N` bytes of `field`.
#[inline(always)]
pub(super) fn array<const N: usize>(bytes: &[u8], field: Range<usize>) -> [u8; N] {
    debug_assert_eq!(field.len(), N, "a field is read at its own width");
    bytes.get(field).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}

/// Returns the byte at `at`.
#[inline(always)]
pub(super) fn u8_at(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

/// Returns the 16-bit field in network order.
#[inline(always)]
pub(super) fn u16_at(bytes: &[u8], field: Range<usize>) -> u16 {
    u16::from_be_bytes(array(bytes, field))
}

/// Returns the 32-bit field in network order.
#[inline(always)]
pub(super) fn u32_at(bytes: &[u8], field: Range<usize>) -> u32 {
    u32::from_be_bytes(array(bytes, field))
}

/// Writes one byte.
#[inline(always)]
pub(super) fn put_u8(bytes: &mut [u8], at: usize, value: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = value;
    }
}

/// Writes `value` over `field`.
#[inline(always)]
pub(super) fn put<const N: usize>(bytes: &mut [u8], field: Range<usize>, value: [u8; N]) {
    debug_assert_eq!(field.len(), N, "a field is written at its own width");
    if let Some(target) = bytes.get_mut(field).and_then(<[u8]>::first_chunk_mut) {
        *target = value;
    }
}

/// Returns what follows the first `at` bytes; nothing when there are fewer.
#[inline(always)]
pub(super) fn rest(bytes: &[u8], at: usize) -> &[u8] {
    bytes.get(at..).unwrap_or_default()
}

/// Returns what follows the first `at` bytes for writing.
#[inline(always)]
pub(super) fn rest_mut(bytes: &mut [u8], at: usize) -> &mut [u8] {
    bytes.get_mut(at..).unwrap_or_default()
}
