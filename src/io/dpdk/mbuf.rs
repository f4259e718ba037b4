//! Frame buffers and the pools that they come from. A buffer holds one frame in one segment, with room in front
//! (RTE_PKTMBUF_HEADROOM) and behind. DPDK 22.11, "Mbuf Library".

use std::ffi::c_uint;
use std::fmt;
use std::ptr::NonNull;
use std::slice;

use dpdk_sys::{RTE_PKTMBUF_HEADROOM, rte_mbuf, rte_mempool};

use super::{Eal, c_string, last_errno, reason};
use crate::frame::Frame;

/// One frame in a DPDK buffer, owned: the only reference to its only segment. Dropped, it goes back to its pool.
#[repr(transparent)]
pub struct Mbuf(NonNull<rte_mbuf>);

const _: () = assert!(size_of::<Option<Mbuf>>() == size_of::<*mut rte_mbuf>());

// SAFETY: nobody else refers to the buffer, and pools take buffers back from any thread.
unsafe impl Send for Mbuf {}

impl Mbuf {
    /// Takes over a received buffer. `None`, and the buffer is freed, when the frame has more than one segment.
    ///
    /// # Safety
    /// `raw` points to a buffer with a reference count of 1 that nobody else uses.
    #[inline]
    pub(super) unsafe fn from_raw(raw: *mut rte_mbuf) -> Option<Self> {
        let mbuf = Self(NonNull::new(raw)?);
        (mbuf.raw().nb_segs == 1).then_some(mbuf)
    }

    /// Is it in one segment? A device may write buffers of which that is yet to be asked.
    #[inline]
    pub(super) fn is_single(&self) -> bool {
        self.raw().nb_segs == 1
    }

    #[inline]
    fn raw(&self) -> &rte_mbuf {
        // SAFETY: the buffer is ours and its pool lives as long as the process.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    fn raw_mut(&mut self) -> &mut rte_mbuf {
        // SAFETY: as in `raw`, and `self` is borrowed exclusively.
        unsafe { self.0.as_mut() }
    }

    #[inline]
    fn set_length(&mut self, length: u16) {
        let raw = self.raw_mut();
        raw.data_len = length;
        raw.pkt_len = u32::from(length);
    }
}

impl Frame for Mbuf {
    #[inline]
    fn bytes(&self) -> &[u8] {
        let raw = self.raw();
        // SAFETY: `data_off + data_len <= buf_len` always holds, and the buffer's memory, mapped zeroed, is initialised.
        unsafe { slice::from_raw_parts(raw.buf_addr.cast::<u8>().add(raw.data_off.into()), raw.data_len.into()) }
    }

    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        let raw = self.raw_mut();
        // SAFETY: as in `bytes`, and `self` is borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(raw.buf_addr.cast::<u8>().add(raw.data_off.into()), raw.data_len.into()) }
    }

    #[inline]
    fn prepend(&mut self, n: usize) -> bool {
        let raw = self.raw();
        let Some(start) = usize::from(raw.data_off).checked_sub(n) else { return false };
        let Ok(length) = u16::try_from(usize::from(raw.data_len) + n) else { return false };
        self.raw_mut().data_off = start as u16;
        self.set_length(length);
        true
    }

    #[inline]
    fn trim_front(&mut self, n: usize) -> bool {
        let raw = self.raw();
        let Some(length) = usize::from(raw.data_len).checked_sub(n) else { return false };
        // Both fit: they are no more than the length was.
        self.raw_mut().data_off += n as u16;
        self.set_length(length as u16);
        true
    }

    #[inline]
    fn resize(&mut self, len: usize) -> bool {
        let raw = self.raw();
        if len > usize::from(raw.buf_len.saturating_sub(raw.data_off)) {
            return false;
        }
        self.set_length(len as u16);
        true
    }

    #[inline]
    fn rss_hash(&self) -> Option<u32> {
        let raw = self.raw();
        // SAFETY: a number whatever the device has written; the flag says that it is the hash.
        let hash = unsafe { raw.__bindgen_anon_2.hash.rss };
        (raw.ol_flags & dpdk_sys::DPDK_HAS_HASH != 0).then_some(hash)
    }
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the buffer is ours, with all its segments, and this was its last use.
        unsafe { dpdk_sys::dpdk_mbuf_free(self.0.as_ptr()) }
    }
}

impl fmt::Debug for Mbuf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Mbuf({} bytes)", self.bytes().len())
    }
}

/// Why a pool cannot be made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PoolError {
    /// Larger than DPDK's 16-bit lengths.
    #[error("a buffer of {0} bytes is too large; DPDK's hold 65407 at most")]
    Room(usize),
    /// DPDK refused.
    #[error(
        "no pool `{name}` of {count} buffers ({mib} MiB): {reason}; give DPDK more memory or the pool fewer buffers"
    )]
    Create {
        /// The pool's name.
        name: String,
        /// Buffers asked for.
        count: u32,
        /// About the memory that it takes.
        mib: u64,
        /// DPDK's reason.
        reason: String,
    },
}

/// A pool of frame buffers, a handle to be copied and sent to whichever thread makes frames. The pool itself lives as long as
/// the process: frames outlive whoever made them.
#[derive(Clone, Copy, Debug)]
pub struct MbufPool(NonNull<rte_mempool>);

// SAFETY: a pool may be used from several threads at once (its ring is multi-producer, multi-consumer, its caches per thread).
unsafe impl Send for MbufPool {}
// SAFETY: as above.
unsafe impl Sync for MbufPool {}

/// Buffers that a registered thread may keep aside for itself, at most.
const CACHE: u32 = 256;

impl MbufPool {
    /// Makes a pool of `count` buffers, each with `data_room` bytes for a frame beside the usual room in front. Best is
    /// a power of two less one. Names are unique in the process and at most 25 bytes long.
    ///
    /// # Errors
    /// When memory does not suffice, or the name is taken or too long.
    pub fn new(eal: &Eal, name: &str, count: u32, data_room: usize) -> Result<Self, PoolError> {
        const ANY_SOCKET: i32 = -1;
        Self::on(eal, name, count, data_room, ANY_SOCKET)
    }

    /// The same, with its memory on a NUMA node.
    ///
    /// # Errors
    /// As [`MbufPool::new`].
    pub fn on_node(eal: &Eal, name: &str, count: u32, data_room: usize, node: u16) -> Result<Self, PoolError> {
        Self::on(eal, name, count, data_room, node.into())
    }

    fn on(_: &Eal, name: &str, count: u32, data_room: usize, socket: i32) -> Result<Self, PoolError> {
        let room = u16::try_from(data_room + RTE_PKTMBUF_HEADROOM as usize).map_err(|_| PoolError::Room(data_room))?;
        let cache: c_uint = CACHE.min(count / 2);
        // SAFETY: the environment is started; the name is NUL-terminated and copied.
        let pool = unsafe { dpdk_sys::rte_pktmbuf_pool_create(c_string(name).as_ptr(), count, cache, 0, room, socket) };
        NonNull::new(pool).map(Self).ok_or_else(|| PoolError::Create {
            name: name.into(),
            count,
            mib: Self::memory(count, data_room).div_ceil(1 << 20),
            reason: reason(last_errno()),
        })
    }

    /// About the memory that such a pool takes, in bytes.
    pub fn memory(count: u32, data_room: usize) -> u64 {
        const OBJECT_HEADER: usize = 64;
        let each = OBJECT_HEADER + size_of::<rte_mbuf>() + RTE_PKTMBUF_HEADROOM as usize + data_room;
        u64::from(count) * each.next_multiple_of(64) as u64
    }

    /// An empty frame, with room in front; `None` when the pool has no buffer left.
    #[inline]
    pub fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: the pool lives as long as the process; a fresh buffer is nobody else's.
        unsafe { Mbuf::from_raw(dpdk_sys::dpdk_mbuf_alloc(self.0.as_ptr())) }
    }

    /// A frame of these bytes; `None` when the pool has no buffer left or they do not fit one.
    pub fn frame(&self, bytes: &[u8]) -> Option<Mbuf> {
        let mut frame = self.alloc()?;
        frame.resize(bytes.len()).then(|| {
            frame.bytes_mut().copy_from_slice(bytes);
            frame
        })
    }

    /// Buffers left, those in the threads' caches included.
    pub fn available(&self) -> usize {
        // SAFETY: the pool lives as long as the process.
        unsafe { dpdk_sys::rte_mempool_avail_count(self.0.as_ptr()) as usize }
    }

    #[inline]
    pub(super) fn as_ptr(&self) -> *mut rte_mempool {
        self.0.as_ptr()
    }

    /// Bytes that a frame in it may have.
    pub(super) fn data_room(&self) -> usize {
        // SAFETY: the pool lives as long as the process, and its elements are an mbuf and its buffer.
        let element = unsafe { self.0.as_ref() }.elt_size as usize;
        element - size_of::<rte_mbuf>() - RTE_PKTMBUF_HEADROOM as usize
    }
}
