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
#[repr(u8)]
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
    /// An ICMP error that may belong to a connection.
    Icmp4,
    /// IPv4 with AH or ESP, whose connection is that of its key exchange.
    Ipsec4,
    /// IPv6, a client's; those of IPv4 stand before it.
    Request6,
    /// IPv6, a server's reply, perhaps.
    Reply6,
    /// The same two of the common kind: without extension headers.
    PlainRequest6,
    /// See there.
    PlainReply6,
    /// An ICMPv6 error that may belong to a connection.
    Icmp6,
    /// IPv6 with AH or ESP.
    Ipsec6,
}

impl Kind {
    /// Is its connection one of IPv6?
    #[inline(always)]
    pub(crate) fn is_v6(self) -> bool {
        self as u8 >= Self::Request6 as u8
    }
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

/// Which port a frame came in by, and where from, in a word that is compared at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Source(u32);

impl Source {
    #[inline]
    const fn new(port: PortId, origin: Origin) -> Self {
        Self(port.0 as u32 | (origin as u32) << 16)
    }

    /// The port.
    #[inline]
    pub(crate) const fn port(self) -> PortId {
        PortId(self.0 as u16)
    }

    /// Where from.
    #[inline]
    pub(crate) const fn origin(self) -> Origin {
        if self.0 >> 16 == Origin::Wire as u32 { Origin::Wire } else { Origin::Twin }
    }
}

/// Of a frame that does not simply leave: its [`Verdict`] says more.
const BY_VERDICT: u16 = u16::MAX;

/// One frame and what is known of it.
#[derive(Debug)]
pub(crate) struct Slot<'a, F> {
    pub(crate) frame: &'a mut Option<F>,
    pub(crate) mark: &'a mut Mark,
    /// What else the general way has found; what the mark says holds, not what it has of the same name.
    pub(crate) meta: &'a mut Meta,
    pub(crate) verdict: &'a mut Verdict,
    pub(crate) port: PortId,
    pub(crate) origin: Origin,
}

/// What one stage tells the next of a packet on the common way.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(16))]
pub(crate) struct Mark {
    /// Hash of the client.
    pub(crate) hash: u64,
    /// First entry whose tag matches.
    pub(crate) candidate: ConnId,
    /// The port that it leaves by as it is, by number, or [`BY_VERDICT`].
    pub(crate) way: u16,
    /// What it is.
    pub(crate) kind: Kind,
    /// Of the common kinds: the transport protocol, if the packet neither opens nor closes anything: a datagram, or a segment with ACK and
    /// without SYN, FIN and RST. Else 0.
    pub(crate) settled: u8,
}

const _: () = assert!(size_of::<Mark>() == 16, "four marks are a cache line");

impl Mark {
    /// What the first stage has found out.
    #[inline(always)]
    pub(crate) fn note(&mut self, kind: Kind, settled: u8) {
        (self.way, self.kind, self.settled) = (BY_VERDICT, kind, settled);
    }

    const NONE: Self = Self { hash: 0, candidate: ConnId::NONE, way: BY_VERDICT, kind: Kind::Done, settled: 0 };

    /// [`Mark::kind`] and [`Mark::settled`], to be compared at once.
    #[inline(always)]
    pub(crate) const fn sort(&self) -> u16 {
        Self::sort_of(self.kind, self.settled)
    }

    /// [`Mark::sort`] of these.
    #[inline(always)]
    pub(crate) const fn sort_of(kind: Kind, settled: u8) -> u16 {
        u16::from_le_bytes([kind as u8, settled])
    }
}

/// What is told of the packets of a burst, in their order.
pub(crate) type Marks = [Mark; CAPACITY];

/// Frames with their verdicts: an array of each, so that a device reads and writes its frames all at once, and a stage touches what it
/// needs. What lies beyond `len` is empty.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Burst<F> {
    pub(crate) frames: [Option<F>; CAPACITY],
    pub(crate) marks: Marks,
    pub(crate) sources: [Source; CAPACITY],
    metas: [Meta; CAPACITY],
    verdicts: [Verdict; CAPACITY],
    len: usize,
    limit: usize,
    /// Are not all of its frames from one source?
    mixed: bool,
    /// The port that all of its frames leave by as they are, by number, if that is known; [`BY_VERDICT`].
    way: u16,
}

impl<F> Default for Burst<F> {
    fn default() -> Self {
        Self::with_limit(BURST)
    }
}

impl<F> Burst<F> {
    /// The marks of no packets.
    pub(crate) const NOTHING: Marks = [Mark::NONE; CAPACITY];

    /// An empty burst that takes `limit` frames, at most [`CAPACITY`].
    pub fn with_limit(limit: usize) -> Self {
        Self {
            frames: [const { None }; CAPACITY],
            marks: Self::NOTHING,
            metas: [Meta::NONE; CAPACITY],
            sources: [Source::new(PortId(0), Origin::Wire); CAPACITY],
            verdicts: [Verdict::Pending; CAPACITY],
            len: 0,
            limit: limit.clamp(1, CAPACITY),
            mixed: false,
            way: BY_VERDICT,
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
        if at >= self.limit.min(CAPACITY) {
            return Err(frame);
        }
        self.note(Source::new(port, origin));
        self.frames[at] = Some(frame);
        (self.sources[at], self.marks[at].way, self.verdicts[at]) =
            (Source::new(port, origin), BY_VERDICT, Verdict::Pending);
        self.len = at + 1;
        Ok(())
    }

    /// Has a device put frames off the wire, which came in by `port`, into the places that are free: `receive` fills them from the first on
    /// and says how many. Until a frame is judged its verdict is that of the frame which was in its place before.
    #[inline]
    pub fn fill(&mut self, port: PortId, receive: impl FnOnce(&mut [Option<F>]) -> usize) {
        let free = self.len..self.limit.min(CAPACITY);
        let Some(frames) = self.frames.get_mut(free.clone()) else { return };
        let end = (self.len + receive(frames)).min(free.end);
        let source = Source::new(port, Origin::Wire);
        if end > self.len {
            self.note(source);
        }
        self.sources[self.len..end].fill(source);
        self.len = end;
    }

    /// Frames in it, a number that the compiler knows the bounds of.
    #[inline(always)]
    pub(crate) fn count(&self) -> usize {
        self.len.min(CAPACITY)
    }

    /// The end of the frames from number `at` on that came from one source.
    #[inline]
    pub(crate) fn end_of_run(&self, at: usize) -> usize {
        let sources = &self.sources[at.min(CAPACITY)..self.count()];
        match sources.first() {
            Some(first) if self.mixed => at + sources.iter().take_while(|source| *source == first).count(),
            _ => self.count(),
        }
    }

    /// Takes note that frames of that source come behind those that are there.
    #[inline(always)]
    fn note(&mut self, source: Source) {
        self.mixed = self.len > 0 && (self.mixed || self.sources[self.len.min(CAPACITY) - 1] != source);
    }

    /// Calls for each frame in it, with what is known of it.
    #[inline]
    pub(crate) fn each_slot(&mut self, mut call: impl FnMut(Slot<'_, F>)) {
        for at in 0..self.count() {
            if let Some(slot) = self.slot_mut(at) {
                call(slot);
            }
        }
    }

    /// One frame with what is known of it.
    #[inline]
    pub(crate) fn slot_mut(&mut self, at: usize) -> Option<Slot<'_, F>> {
        if at >= self.count() {
            return None;
        }
        let source = self.sources[at];
        Some(Slot {
            frame: &mut self.frames[at],
            mark: &mut self.marks[at],
            meta: &mut self.metas[at],
            verdict: &mut self.verdicts[at],
            port: source.port(),
            origin: source.origin(),
        })
    }

    /// What the stages have told of each frame in it.
    #[inline(always)]
    pub(crate) fn marks_mut(&mut self) -> &mut [Mark] {
        let count = self.count();
        &mut self.marks[..count]
    }

    /// The port that all of its frames leave by, as they are.
    #[inline]
    pub fn leaves_by(&self) -> Option<PortId> {
        if self.way != BY_VERDICT {
            return Some(PortId(self.way));
        }
        let marks = &self.marks[..self.count()];
        let first = marks.first()?.way;
        let others = marks.iter().fold(0, |others, mark| others | (mark.way ^ first));
        (others == 0 && first != BY_VERDICT).then_some(PortId(first))
    }

    /// Takes down the port that the frames from number `first` up to number `end` leave by as they are.
    #[inline]
    pub(crate) fn send(&mut self, first: usize, end: usize, way: u16) {
        if first == 0 && end == self.count() {
            self.way = way;
        } else if let Some(marks) = self.marks.get_mut(first..end) {
            marks.iter_mut().for_each(|mark| mark.way = way);
        }
    }

    /// The frames from number `first` on, as they are, and the ports that they came in by.
    pub fn since(&self, first: usize) -> impl Iterator<Item = (&[u8], PortId)>
    where
        F: crate::frame::Frame,
    {
        let range = first.min(self.count())..self.count();
        let frames = self.frames[range.clone()].iter().zip(&self.sources[range]);
        frames.filter_map(|(frame, source)| Some((frame.as_ref()?.bytes(), source.port())))
    }

    /// Each frame in it, to be rewritten.
    #[inline]
    pub fn frames_mut(&mut self) -> impl Iterator<Item = &mut F> {
        let count = self.count();
        self.frames[..count].iter_mut().filter_map(Option::as_mut)
    }

    /// Takes frame `index` out with its verdict.
    #[inline]
    pub fn take(&mut self, index: usize) -> Option<(F, Verdict, PortId)> {
        let frame = self.frames.get_mut(index)?.take()?;
        Some((frame, self.verdict(index), self.sources.get(index)?.port()))
    }

    /// Empties the burst, giving each frame away with its verdict, the port that it came in by, and where from.
    #[inline]
    pub fn give_away(&mut self, mut take: impl FnMut(F, Verdict, PortId, Origin)) {
        for at in 0..self.count() {
            if let Some(frame) = self.frames[at].take() {
                let source = self.sources[at];
                take(frame, self.verdict(at), source.port(), source.origin());
            }
        }
        (self.len, self.way) = (0, BY_VERDICT);
    }

    /// Empties the burst, giving all frames away at once. What `take` leaves is dropped.
    #[inline]
    pub fn give_all(&mut self, take: impl FnOnce(&mut [Option<F>])) {
        let count = self.count();
        let frames = &mut self.frames[..count];
        take(frames);
        if !frames.iter().fold(true, |none, frame| none & frame.is_none()) {
            frames.iter_mut().for_each(|frame| *frame = None);
        }
        (self.len, self.way) = (0, BY_VERDICT);
    }

    /// The verdict of frame `index`; pending when there is none.
    #[inline]
    pub fn verdict(&self, index: usize) -> Verdict {
        if self.way != BY_VERDICT && index < self.len {
            return Verdict::Transmit(PortId(self.way));
        }
        match self.marks.get(index).map(|mark| mark.way) {
            Some(BY_VERDICT) | None => self.verdicts.get(index).copied().unwrap_or_default(),
            Some(way) => Verdict::Transmit(PortId(way)),
        }
    }

    /// Where frame `index` came from.
    #[inline]
    pub fn origin(&self, index: usize) -> Origin {
        self.sources.get(index).map(|source| source.origin()).unwrap_or_default()
    }

    /// Forgets what is left.
    #[inline]
    pub fn clear(&mut self) {
        self.give_all(|_| {});
    }
}
