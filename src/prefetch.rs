//! Hints about memory: asks the processor for a cache line before it is needed, so that the look-ups of a burst wait together,
//! and the kernel for huge pages under a table, so that a look-up does not wait for page tables too. The only `unsafe` of the
//! core; nothing here changes what a program computes. No line is fetched on processors other than x86-64.

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

/// Fetches element `index` of `slice`; does nothing when there is none.
#[inline]
pub fn element<T>(slice: &[T], index: usize) {
    if let Some(found) = slice.get(index) {
        value(found);
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

/// Lays out `count` times `value`, in huge pages where the kernel has some to give (`madvise`; those that it makes by itself).
pub fn in_huge_pages<T: Copy>(value: T, count: usize) -> Box<[T]> {
    let mut room = Vec::with_capacity(count);
    advise_huge_pages(room.spare_capacity_mut());
    // Filled now: the data path must not be the first to touch a page.
    room.resize(count, value);
    room.into_boxed_slice()
}

#[cfg(target_os = "linux")]
fn advise_huge_pages<T>(room: &mut [std::mem::MaybeUninit<T>]) {
    const HUGE_PAGE: usize = 2 << 20;
    let start = room.as_mut_ptr().cast::<u8>();
    let skip = start.align_offset(HUGE_PAGE);
    let length = size_of_val(room).saturating_sub(skip) / HUGE_PAGE * HUGE_PAGE;
    if length == 0 {
        return;
    }
    // SAFETY: the range lies within `room`, which is borrowed for writing, and the advice leaves its contents as they are. A kernel
    // without huge pages refuses, and the memory stays as it is.
    unsafe {
        libc::madvise(start.wrapping_add(skip).cast(), length, libc::MADV_HUGEPAGE);
    }
}

#[cfg(not(target_os = "linux"))]
fn advise_huge_pages<T>(_room: &mut [std::mem::MaybeUninit<T>]) {}

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

    #[test]
    fn a_table_is_laid_out_whole_whatever_its_size() {
        for count in [0, 1, 1000, 1 << 20] {
            let laid_out = in_huge_pages(7_u64, count);
            assert_eq!(laid_out.len(), count);
            assert!(laid_out.iter().all(|value| *value == 7));
        }
    }
}
