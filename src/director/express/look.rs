//! Stage 1 of the common packet's way: what each packet is, and where its connection would be. A head is held against a mould, 64 bytes at
//! once; packets of one kind in a row have a loop of their own.

use super::plain::{self, Mould, Plain, half};
use crate::burst::{Burst, Kind, Mark};
use crate::conn::table::Index;
use crate::director::{Director, aside};
use crate::forward::ETHERNET;
use crate::frame::Frame;
use crate::network::AddressSet;
use crate::proto::tcp as flag;
use crate::steering::{Role, Steering};
use crate::verdict::{Origin, WorkerId};
use crate::wire::{protocol, tcp, udp};

/// What tells whose packets of a family are.
#[derive(Clone, Copy)]
struct Eyes<'a, A> {
    /// With no service of the family every packet of it is the kernel's, and with no virtual address for the general way.
    serves: bool,
    /// A mark may make any address virtual.
    marked: bool,
    vips: &'a AddressSet<A>,
    /// The virtual address that a packet was to lately, which is asked about first: most are to the same.
    vip: A,
    index: Index<'a>,
}

impl<'a, A: Plain> Eyes<'a, A> {
    fn new(director: &'a Director) -> Self {
        let rules = &director.snapshot.rules;
        let vips = A::vips(rules);
        let vip = vips.any();
        Self {
            serves: !rules.is_empty(A::V6) && vip.is_some(),
            marked: rules.has_mark_services::<A>(),
            vips,
            vip: vip.unwrap_or_default(),
            index: A::tables(&director.core).connections.index(),
        }
    }

    /// What a segment of an open connection looks like that came to that MAC, as [`Snapshot::macs`] has it.
    fn mould(&self, mac: Option<u64>) -> Option<Mould> {
        mac.filter(|_| self.serves).map(|mac| A::MOULD.to(octets(mac)))
    }

    /// Says what any packet is. False when it is not of the common kind, or not sound.
    #[inline(always)]
    fn see<F: Frame>(&self, mould: &Option<Mould>, frame: &mut F, mark: &mut Mark) -> bool {
        let Some(mould) = mould else { return false };
        let bytes = frame.bytes();
        let available = bytes.len();
        let Some((head, protocol)) = read::<A>(bytes, mould) else { return false };
        let settled = protocol == protocol::UDP || head[A::L4 + plain::FLAGS] & plain::DECIDING == flag::ACK;
        let end = ETHERNET + A::length(head);
        let seen = self.place(head, (protocol, if settled { protocol } else { 0 }), &mut self.vip.clone(), mark);
        // A datagram without its padding may be shorter than a head.
        if seen && protocol == protocol::TCP && end != available {
            frame.resize(end);
        }
        seen
    }

    /// Says what a packet of a protocol is, which is settled as `settled` says ([`Mark::settled`]), and has where its connection would be
    /// fetched.
    #[inline(always)]
    fn place(&self, head: &[u8], (protocol, settled): (u8, u8), last: &mut A, mark: &mut Mark) -> bool {
        let (address, port, kind) = if A::is_to(head, *last) || self.is_virtual(A::address(head, A::DST), last) {
            (A::address(head, A::SRC), half(head, A::L4), A::REQUEST)
        } else if self.marked {
            return false;
        } else {
            (A::address(head, A::DST), half(head, A::L4 + 2), A::REPLY)
        };
        mark.note(kind, settled);
        mark.hash = self.index.hash(protocol, address, port);
        self.index.prefetch(mark.hash);
        true
    }

    #[inline(always)]
    fn is_virtual(&self, address: A, last: &mut A) -> bool {
        let is = self.vips.contains(address);
        if is {
            *last = address;
        }
        is
    }
}

/// Stage 1 for the common packets of a burst: what each is, and where its connection would be, which is then on its way. What is left as
/// [`Kind::Unseen`] is to be looked at closely; returns whether there is any.
pub(in crate::director) fn look<F: Frame>(director: &Director, burst: &mut Burst<F>) -> bool {
    let Director { core, snapshot, steering, .. } = director;
    let mut v4 = Eyes::<u32>::new(director);
    let (mut at, mut left) = (0, false);
    while at < burst.count() {
        let (source, end) = (burst.sources[at], burst.end_of_run(at));
        let mac = snapshot.macs.get(usize::from(source.port().0)).copied();
        let mac = mac.filter(|_| source.origin() == Origin::Wire);
        let (frames, marks) = (&mut burst.frames[at..end], &mut burst.marks[at..end]);
        let mould = v4.mould(mac);
        let seen = segments(&mut v4, &mould, frames, marks, 0);
        if seen < frames.len() {
            left |= look_on(director, &mut v4, frames, marks, seen, mac);
        }
        at = end;
    }
    if steering.workers() > 1 {
        left |= leave_others(burst, steering, core.shared.worker);
    }
    left
}

/// The same for the frames of one source from number `at` on, of which that is no segment of IPv4: those of a kind in a row, each kind in
/// a loop of its own.
#[inline(never)]
fn look_on<F: Frame>(
    director: &Director,
    v4: &mut Eyes<'_, u32>,
    frames: &mut [Option<F>],
    marks: &mut [Mark],
    mut at: usize,
    mac: Option<u64>,
) -> bool {
    let mut v6 = Eyes::<u128>::new(director);
    let moulds = (v4.mould(mac), v6.mould(mac));
    let mut left = false;
    while at < frames.len() {
        let before = at;
        at = segments(&mut v6, &moulds.1, frames, marks, at);
        if at == before {
            at = others((v4, &v6), &moulds, frames, marks, at, &mut left);
        }
        at = segments(v4, &moulds.0, frames, marks, at);
    }
    left
}

/// The segments of open connections from number `at` on, as long as all are of the family.
#[inline(always)]
fn segments<F: Frame, A: Plain>(
    eyes: &mut Eyes<'_, A>,
    mould: &Option<Mould>,
    frames: &mut [Option<F>],
    marks: &mut [Mark],
    mut at: usize,
) -> usize {
    let Some(mould) = mould else { return at };
    loop {
        at = requests::<F, A>(eyes.index, &mould.addressed(eyes.vip), frames, marks, at);
        if at >= frames.len() {
            return at;
        }
        let before = at;
        at = strays(eyes, mould, frames, marks, at);
        if at == before && !cut::<F, A>(&mut frames[at], mould) {
            return at;
        }
    }
}

/// Those of clients to one virtual address, which the mould has.
#[inline(never)]
fn requests<F: Frame, A: Plain>(
    index: Index<'_>,
    mould: &Mould,
    frames: &[Option<F>],
    marks: &mut [Mark],
    from: usize,
) -> usize {
    let (mould, hasher) = (aside(*mould), aside(index.hasher(protocol::TCP)));
    let mut at = from;
    for (frame, mark) in frames[from..].iter().zip(&mut marks[from..]) {
        let Some(frame) = frame else { break };
        let bytes = frame.bytes();
        if bytes.len() < A::HEAD || frame.largest_fragment().is_some() {
            break;
        }
        let head = &bytes[..A::HEAD];
        if rest::<A>(head) != bytes.len() - A::HEAD || !mould.fits(head, A::WINDOW) || !A::has_intact_header(head) {
            break;
        }
        mark.note(A::REQUEST, protocol::TCP);
        mark.hash = hasher.hash(A::address(head, A::SRC), half(head, A::L4));
        index.prefetch(mark.hash);
        at += 1;
    }
    at
}

/// Those to any address, until there is one to the same virtual address as the one before.
#[inline(never)]
fn strays<F: Frame, A: Plain>(
    eyes: &mut Eyes<'_, A>,
    mould: &Mould,
    frames: &[Option<F>],
    marks: &mut [Mark],
    from: usize,
) -> usize {
    let (mould, own) = (aside(*mould), *eyes);
    let last = &mut eyes.vip;
    let mut at = from;
    while let (Some(Some(frame)), Some(mark)) = (frames.get(at), marks.get_mut(at)) {
        let bytes = frame.bytes();
        if bytes.len() < A::HEAD || frame.largest_fragment().is_some() {
            break;
        }
        let head = &bytes[..A::HEAD];
        if rest::<A>(head) != bytes.len() - A::HEAD || !mould.fits(head, A::WINDOW) || !A::has_intact_header(head) {
            break;
        }
        let again = at > from && A::is_to(head, *last);
        if again || !own.place(head, (protocol::TCP, protocol::TCP), last, mark) {
            break;
        }
        at += 1;
    }
    at
}

/// Bytes behind the headers, as the head says. Of what is shorter than the headers it is more than any frame has.
#[inline(always)]
fn rest<A: Plain>(head: &[u8]) -> usize {
    A::length(head).wrapping_sub(A::HEAD - ETHERNET)
}

/// Cuts the padding off behind a segment that fits the mould. False when it is none, or has none.
#[cold]
#[inline(never)]
fn cut<F: Frame, A: Plain>(frame: &mut Option<F>, mould: &Mould) -> bool {
    let Some(frame) = frame.as_mut().filter(|frame| frame.largest_fragment().is_none()) else { return false };
    let bytes = frame.bytes();
    let Some(head) = start(bytes, A::HEAD) else { return false };
    let padded = rest::<A>(head) < bytes.len() - A::HEAD;
    let end = ETHERNET + A::length(head);
    padded && mould.fits(head, A::WINDOW) && A::has_intact_header(head) && frame.resize(end)
}

/// What else there is from number `at` on, until the next segment of an open connection.
#[inline(never)]
fn others<F: Frame>(
    (v4, v6): (&Eyes<'_, u32>, &Eyes<'_, u128>),
    moulds: &(Option<Mould>, Option<Mould>),
    frames: &mut [Option<F>],
    marks: &mut [Mark],
    mut at: usize,
    left: &mut bool,
) -> usize {
    while let (Some(frame), Some(mark)) = (frames.get_mut(at), marks.get_mut(at)) {
        let whole = frame.as_mut().filter(|frame| frame.largest_fragment().is_none());
        at += 1;
        if !whole.is_some_and(|frame| v4.see(&moulds.0, frame, mark) || v6.see(&moulds.1, frame, mark)) {
            mark.note(Kind::Unseen, 0);
            *left = true;
        } else if mark.settled == protocol::TCP {
            break;
        }
    }
    at
}

/// The first `length` bytes. Asked like this, of a pointer that is never null nobody asks whether it is.
#[inline(always)]
fn start(bytes: &[u8], length: usize) -> Option<&[u8]> {
    if bytes.len() < length {
        return None;
    }
    Some(&bytes[..length])
}

/// A MAC as it stands in a frame.
#[inline]
fn octets(mac: u64) -> [u8; 6] {
    let [_, _, octets @ ..] = mac.to_be_bytes();
    octets
}

/// Reads the headers: they, and the protocol. None when the packet is not of the common kind, not sound, or not to the MAC of the mould.
#[inline(always)]
fn read<'a, A: Plain>(bytes: &'a [u8], mould: &Mould) -> Option<(&'a [u8], u8)> {
    let head = start(bytes, A::HEAD)?;
    let protocol = head[A::PROTOCOL];
    let least = match protocol {
        protocol::TCP => A::L4 + tcp::HEADER_LEN,
        protocol::UDP => A::L4 + udp::HEADER_LEN,
        _ => return None,
    };
    let end = ETHERNET + A::length(head);
    let common =
        mould.is_to(head) && end >= least && end <= bytes.len() && A::is_plain(head) && A::has_intact_header(head);
    common.then_some((head, protocol))
}

/// Leaves other workers' clients to be handed over. Returns whether there is any.
#[inline(never)]
fn leave_others<F: Frame>(burst: &mut Burst<F>, steering: &Steering, worker: WorkerId) -> bool {
    let mut left = false;
    let count = burst.count();
    for ((frame, source), mark) in burst.frames[..count].iter().zip(&burst.sources).zip(&mut burst.marks) {
        let Some(frame) = frame else { continue };
        let at = |offset| frame.bytes().get(offset..).unwrap_or_default();
        let told = |role, v6| steering.owner_by_device(source.port(), role, v6, frame.rss_hash());
        let owner = match mark.kind {
            Kind::PlainRequest4 => told(Role::Outside, false).or_else(|| owner4(steering, at(u32::SRC))),
            Kind::PlainReply4 => told(Role::Inside, false).or_else(|| owner4(steering, at(u32::DST))),
            Kind::PlainRequest6 => told(Role::Outside, true).or_else(|| owner6(steering, at(u128::SRC))),
            Kind::PlainReply6 => told(Role::Inside, true).or_else(|| owner6(steering, at(u128::DST))),
            _ => continue,
        };
        if owner != Some(worker) {
            (mark.kind, left) = (Kind::Unseen, true);
        }
    }
    left
}

/// The owner of the IPv4 client whose address the bytes begin with.
#[inline]
fn owner4(steering: &Steering, bytes: &[u8]) -> Option<WorkerId> {
    bytes.first_chunk().map(|address| steering.owner4(u32::from_be_bytes(*address)))
}

/// The owner of the IPv6 client whose address the bytes begin with.
#[inline]
fn owner6(steering: &Steering, bytes: &[u8]) -> Option<WorkerId> {
    bytes.first_chunk().map(|address| steering.owner6(u128::from_be_bytes(*address)))
}
