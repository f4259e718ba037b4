//! A burst: the frames that one turn of a worker looks at together, with what each stage has learnt of them.

use crate::conn::ConnId;
use crate::verdict::{Origin, PortId, Verdict};

/// Most frames in a burst; [`Burst::with_limit`] sets how many are used.
pub const CAPACITY: usize = 64;
/// Frames in a burst unless configured otherwise.
pub const BURST: usize = 32;

/// What a packet is to the director, found by the first stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Kind {
    /// Judged already, nothing left to do.
    #[default]
    Done,
    /// IPv4 with ports, addressed to a virtual service: a client's.
    Request4,
    /// IPv4 with ports, addressed to somebody else: a server's reply, perhaps.
    Reply4,
    /// IPv6, a client's.
    Request6,
    /// IPv6, a server's reply, perhaps.
    Reply6,
    /// An ICMP error that may belong to a connection.
    Icmp4,
    /// An ICMPv6 error that may belong to a connection.
    Icmp6,
}

/// What the stages know of one packet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meta {
    /// Hash of the client.
    pub(crate) hash: u64,
    /// First entry whose tag matches.
    pub(crate) candidate: ConnId,
    /// Offset of the transport header.
    pub(crate) l4: u16,
    /// IP length in bytes.
    pub(crate) length: u16,
    /// Offset of the IP header.
    pub(crate) l3: u8,
    /// Transport protocol.
    pub(crate) protocol: u8,
    /// What it is.
    pub(crate) kind: Kind,
}

/// Frames with their verdicts.
#[derive(Debug)]
pub struct Burst<F> {
    pub(crate) frames: [Option<F>; CAPACITY],
    pub(crate) metas: [Meta; CAPACITY],
    pub(crate) verdicts: [Verdict; CAPACITY],
    pub(crate) ports: [PortId; CAPACITY],
    pub(crate) origins: [Origin; CAPACITY],
    len: usize,
    limit: usize,
}

impl<F> Default for Burst<F> {
    fn default() -> Self {
        Self::with_limit(BURST)
    }
}

impl<F> Burst<F> {
    /// An empty burst that takes `limit` frames, at most [`CAPACITY`].
    pub fn with_limit(limit: usize) -> Self {
        Self {
            frames: [const { None }; CAPACITY],
            metas: [Meta::default(); CAPACITY],
            verdicts: [Verdict::Pending; CAPACITY],
            ports: [PortId(0); CAPACITY],
            origins: [Origin::Wire; CAPACITY],
            len: 0,
            limit: limit.clamp(1, CAPACITY),
        }
    }

    /// Frames in it.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Has it no frame?
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Frames that it still takes.
    #[inline]
    pub fn room(&self) -> usize {
        self.limit - self.len
    }

    /// Adds a frame that came in by `port`; gives it back when the burst is full.
    ///
    /// # Errors
    /// The frame itself, when there is no room.
    #[inline]
    pub fn push(&mut self, frame: F, port: PortId, origin: Origin) -> Result<(), F> {
        let at = self.len;
        if at >= self.limit {
            return Err(frame);
        }
        self.frames[at] = Some(frame);
        self.verdicts[at] = Verdict::Pending;
        self.ports[at] = port;
        self.origins[at] = origin;
        self.len = at + 1;
        Ok(())
    }

    /// Each frame in it, to be rewritten.
    pub fn frames_mut(&mut self) -> impl Iterator<Item = &mut F> {
        self.frames.iter_mut().take(self.len).flatten()
    }

    /// Takes frame `index` out with its verdict.
    #[inline]
    pub fn take(&mut self, index: usize) -> Option<(F, Verdict, PortId)> {
        let frame = self.frames.get_mut(index)?.take()?;
        Some((frame, self.verdicts[index], self.ports[index]))
    }

    /// The verdict of frame `index`; pending when there is none.
    pub fn verdict(&self, index: usize) -> Verdict {
        self.verdicts.get(index).copied().unwrap_or_default()
    }

    /// Where frame `index` came from.
    #[inline]
    pub fn origin(&self, index: usize) -> Origin {
        self.origins.get(index).copied().unwrap_or_default()
    }

    /// Forgets what is left.
    #[inline]
    pub fn clear(&mut self) {
        self.frames[..self.len].iter_mut().for_each(|f| drop(f.take()));
        self.len = 0;
    }
}
