//! What the core needs of a packet buffer: bytes, and room in front of them for an outer header.

/// One Ethernet frame in a buffer with room in front. Implemented by the DPDK edge for its mbufs and by
/// [`crate::io::memory`] for tests and replay.
pub trait Frame {
    /// The frame from its destination MAC on.
    fn bytes(&self) -> &[u8];
    /// The frame, to be rewritten in place.
    fn bytes_mut(&mut self) -> &mut [u8];
    /// Grows the frame by `n` bytes at the front, their contents undefined; false, and no change, when there is no room.
    fn prepend(&mut self, n: usize) -> bool;
    /// Takes `n` bytes off the front; false, and no change, when the frame is shorter.
    fn trim_front(&mut self, n: usize) -> bool;
    /// Sets the length, cutting or growing at the tail (new bytes undefined); false, and no change, when there is no room.
    fn resize(&mut self, len: usize) -> bool;
    /// Length from the IP header on of the largest fragment that the packet was put together from; `None` for one that came whole.
    #[inline(always)]
    fn largest_fragment(&self) -> Option<u16> {
        None
    }
    /// The hash that the device has computed of the packet, if it has.
    #[inline(always)]
    fn rss_hash(&self) -> Option<u32> {
        None
    }
    /// Takes note that the kernel needs so many bytes behind the IP header in one piece: what the first fragment lacks it takes out of the
    /// next (`skb_ensure_writable`).
    #[inline(always)]
    fn pull(&mut self, _bytes: usize) {}
    /// Takes note that the kernel needs the whole packet in one piece, and so forgets where its fragments began and ended
    /// (`skb_linearize`).
    #[inline(always)]
    fn flatten(&mut self) {}
    /// Is that a fragment that is judged as it is, since no others can join it?
    #[inline(always)]
    fn is_alone(&self) -> bool {
        false
    }
}

/// A fragment that no others can join.
#[derive(Debug)]
pub struct Alone<F>(pub F);

impl<F: Frame> Frame for Alone<F> {
    fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.bytes_mut()
    }

    fn prepend(&mut self, n: usize) -> bool {
        self.0.prepend(n)
    }

    fn trim_front(&mut self, n: usize) -> bool {
        self.0.trim_front(n)
    }

    fn resize(&mut self, len: usize) -> bool {
        self.0.resize(len)
    }

    fn rss_hash(&self) -> Option<u32> {
        self.0.rss_hash()
    }

    fn is_alone(&self) -> bool {
        true
    }
}

/// Where empty frames come from, for a thread that brings packets in by other ways than a device's queues.
pub trait FrameSource: Send {
    /// The buffer.
    type Frame: Frame + Send + 'static;
    /// A frame of length 0; `None` when the pool is empty.
    fn allocate(&mut self) -> Option<Self::Frame>;
}
