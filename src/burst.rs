//! A burst: the frames that one turn of a worker looks at together, with what each stage has learnt of them.

use crate::conn::ConnId;
use crate::proto::segment::Segment;
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
    /// Not looked at closely yet.
    Unseen,
    /// IPv4 with ports, addressed to a virtual service: a client's.
    Request4,
    /// IPv4 with ports, addressed to somebody else: a server's reply, perhaps.
    Reply4,
    /// The same two, off the wire, without IP options and with TCP or UDP: the common kind.
    PlainRequest4,
    /// See there.
    PlainReply4,
    /// IPv6, a client's.
    Request6,
    /// IPv6, a server's reply, perhaps.
    Reply6,
    /// An ICMP error that may belong to a connection.
    Icmp4,
    /// An ICMPv6 error that may belong to a connection.
    Icmp6,
    /// IPv4 with AH or ESP, whose connection is that of its key exchange.
    Ipsec4,
    /// The same of IPv6.
    Ipsec6,
}

/// What the stages know of one packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meta {
    /// Hash of the client.
    pub(crate) hash: u64,
    /// First entry whose tag matches.
    pub(crate) candidate: ConnId,
    /// Offset of the transport header.
    pub(crate) l4: u16,
    /// IP length in bytes.
    pub(crate) length: u16,
    /// Source port.
    pub(crate) sport: u16,
    /// Destination port.
    pub(crate) dport: u16,
    /// Transport protocol.
    pub(crate) protocol: u8,
    /// What it is.
    pub(crate) kind: Kind,
    /// What it tells the state tables.
    pub(crate) segment: Segment,
}

impl Meta {
    /// Of a frame of which nothing need be known.
    pub(crate) const NONE: Self = Self {
        hash: 0,
        candidate: ConnId::NONE,
        l4: 0,
        length: 0,
        sport: 0,
        dport: 0,
        protocol: 0,
        kind: Kind::Done,
        segment: Segment::Other,
    };
}

/// One frame and what is known of it; for a frame that is a pointer this is a cache line.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Slot<F> {
    pub(crate) frame: Option<F>,
    pub(crate) meta: Meta,
    pub(crate) verdict: Verdict,
    pub(crate) port: PortId,
    pub(crate) origin: Origin,
}

const _: () = assert!(size_of::<Slot<&u8>>() == 64, "a slot is a cache line");

impl<F> Slot<F> {
    const EMPTY: Self =
        Self { frame: None, meta: Meta::NONE, verdict: Verdict::Pending, port: PortId(0), origin: Origin::Wire };
}

/// Frames with their verdicts.
#[derive(Debug)]
pub struct Burst<F> {
    slots: [Slot<F>; CAPACITY],
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
        Self { slots: [const { Slot::EMPTY }; CAPACITY], len: 0, limit: limit.clamp(1, CAPACITY) }
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
        if self.len >= self.limit {
            return Err(frame);
        }
        let Some(slot) = self.slots.get_mut(self.len) else { return Err(frame) };
        slot.frame = Some(frame);
        slot.verdict = Verdict::Pending;
        (slot.port, slot.origin) = (port, origin);
        self.len += 1;
        Ok(())
    }

    /// Each frame in it with what is known of it.
    #[inline]
    pub(crate) fn slots_mut(&mut self) -> impl Iterator<Item = &mut Slot<F>> {
        self.slots.get_mut(..self.len).unwrap_or_default().iter_mut()
    }

    /// The frames from number `first` on, as they are, and the ports that they came in by.
    pub fn since(&self, first: usize) -> impl Iterator<Item = (&[u8], PortId)>
    where
        F: crate::frame::Frame,
    {
        let slots = self.slots.get(first..self.len).unwrap_or_default();
        slots.iter().filter_map(|slot| Some((slot.frame.as_ref()?.bytes(), slot.port)))
    }

    /// Each frame in it, to be rewritten.
    #[inline]
    pub fn frames_mut(&mut self) -> impl Iterator<Item = &mut F> {
        self.slots_mut().filter_map(|slot| slot.frame.as_mut())
    }

    /// Takes frame `index` out with its verdict.
    #[inline]
    pub fn take(&mut self, index: usize) -> Option<(F, Verdict, PortId)> {
        let slot = self.slots.get_mut(index)?;
        Some((slot.frame.take()?, slot.verdict, slot.port))
    }

    /// Empties the burst, giving each frame away with its verdict, the port that it came in by, and where from.
    #[inline]
    pub fn give_away(&mut self, mut take: impl FnMut(F, Verdict, PortId, Origin)) {
        for slot in self.slots_mut() {
            if let Some(frame) = slot.frame.take() {
                take(frame, slot.verdict, slot.port, slot.origin);
            }
        }
        self.len = 0;
    }

    /// The verdict of frame `index`; pending when there is none.
    pub fn verdict(&self, index: usize) -> Verdict {
        self.slots.get(index).map(|slot| slot.verdict).unwrap_or_default()
    }

    /// Where frame `index` came from.
    #[inline]
    pub fn origin(&self, index: usize) -> Origin {
        self.slots.get(index).map(|slot| slot.origin).unwrap_or_default()
    }

    /// Forgets what is left.
    #[inline]
    pub fn clear(&mut self) {
        self.slots_mut().for_each(|slot| drop(slot.frame.take()));
        self.len = 0;
    }
}
