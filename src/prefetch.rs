//! Asks the processor for a cache line before it is needed, so that the look-ups of a burst wait for memory together. The only
//! `unsafe` of the core; a hint that reads nothing and cannot fault. Nothing happens on processors other than x86-64.

#![allow(unsafe_code)]

/// Bytes in a cache line.
const LINE: usize = 64;

/// Fetches every cache line of `value` into the first level cache.
#[inline]
pub fn value<T>(value: &T) {
    let start = std::ptr::from_ref(value).cast::<u8>();
    for offset in (0..size_of::<T>()).step_by(LINE) {
        line(start.wrapping_add(offset));
    }
}

/// Fetches element `index` of `slice`. When there is none nothing comes of it: what lies there is not read.
#[inline]
pub fn element<T>(slice: &[T], index: usize) {
    let start = slice.as_ptr().wrapping_add(index).cast::<u8>();
    for offset in (0..size_of::<T>()).step_by(LINE) {
        line(start.wrapping_add(offset));
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn line(address: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: SSE is part of every x86-64, and a prefetch neither faults nor reads, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn line(_address: *const u8) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_index_and_any_size_may_be_asked_for() {
        let lines = vec![[7_u8; 200]; 3];
        for index in [0, 2, 3, usize::MAX] {
            element(&lines, index);
        }
        value(&());
        element::<u32>(&[], 0);
        assert_eq!(lines, vec![[7_u8; 200]; 3]);
    }
}
