//! Memory for large tables on huge pages: with ordinary ones nearly each look-up in a table of a million connections would miss the
//! processor's list of pages too. The kernel gives transparent huge pages to whoever asks (`madvise`, as most machines are set), and to
//! whole aligned ones only; so large blocks are mapped apart, aligned, and asked for. Linux, "Transparent Hugepage Support", and madvise(2).

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// Bytes of a huge page, on x86-64 and on ARM with pages of 4 KiB.
const HUGE: usize = 2 << 20;
/// Blocks from so many bytes on are worth it: rounding up loses less than half.
pub const LARGE: usize = 2 * HUGE;

/// The allocator of a program with large tables; what is smaller than [`LARGE`] is the system's.
#[derive(Clone, Copy, Debug, Default)]
pub struct HugeAllocator;

fn is_large(layout: Layout) -> bool {
    layout.size() >= LARGE && layout.align() <= HUGE && layout.size() < isize::MAX as usize - 2 * HUGE
}

/// Bytes that are mapped for a large block.
fn mapped(size: usize) -> usize {
    size.next_multiple_of(HUGE)
}

/// Maps a large block, all zeroes; null when there is no room.
fn map(layout: Layout) -> *mut u8 {
    let size = mapped(layout.size());
    let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: a new mapping, wherever the kernel likes.
    let Ok(whole) = (unsafe { mmap_anonymous(ptr::null_mut(), size + HUGE, protection, flags) }) else {
        return ptr::null_mut();
    };
    let before = whole.addr().next_multiple_of(HUGE) - whole.addr();
    // SAFETY: all within the mapping, which is nobody else's; what is in front of the block and behind it is given back.
    unsafe {
        let block = whole.byte_add(before);
        if before > 0 {
            let _ = munmap(whole, before);
        }
        if before < HUGE {
            let _ = munmap(block.byte_add(size), HUGE - before);
        }
        // A kernel without huge pages refuses, and the block is on ordinary ones.
        let _ = madvise(block, size, Advice::LinuxHugepage);
        block.cast()
    }
}

// SAFETY: a large block is a mapping of its own, aligned to a huge page, until it is given back; which blocks are large follows from their
// layout, which is the same when a block is given back. All others are the system's.
unsafe impl GlobalAlloc for HugeAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps to what `GlobalAlloc` asks.
        if is_large(layout) { map(layout) } else { unsafe { System.alloc(layout) } }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        if is_large(layout) { map(layout) } else { unsafe { System.alloc_zeroed(layout) } }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above; a large block was mapped with that size.
        unsafe {
            if is_large(layout) {
                let _ = munmap(block.cast(), mapped(layout.size()));
            } else {
                System.dealloc(block, layout);
            }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller gives a size that makes a layout with the same alignment.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: as above; a block that is large, or becomes it, is copied.
        unsafe {
            if !is_large(layout) && !is_large(new) {
                return System.realloc(block, layout, size);
            }
            if is_large(layout) && is_large(new) && mapped(layout.size()) == mapped(size) {
                return block;
            }
            let moved = self.alloc(new);
            if !moved.is_null() {
                ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}
