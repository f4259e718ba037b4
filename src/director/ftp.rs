//! FTP's control connections under NAT (`ip_vs_ftp.c`): the helper reads the client's commands and the server's answers, has the data
//! connections that they announce expected, and writes the virtual address into the answers, which shifts the sequence numbers. All
//! that is off the common way: a connection's flag leads here.
//!
//! In one thing the director is more obliging than the kernel, which rewrites by netfilter's tracking of connections: without it, as
//! with services of marks or of port 0 where no other rule asks for it, the kernel drops the answers. Here they are always rewritten, but
//! in replay.

use crate::app::ftp::{self, Awaited, Command};
use crate::conn::{ConnFlags, ConnId, Connection, ReplyKey, RequestKey};
use crate::director::family::Family;
use crate::director::request::{Bound, longest, request_key, trim};
use crate::director::{Lane, Packet};
use crate::forward::{self, Offsets, splice};
use crate::frame::Frame;
use crate::network::Hop;
use crate::proto::State;
use crate::stats::DropReason;
use crate::verdict::{Origin, Verdict};
use crate::wire::{protocol, tcp};

/// FTP's control port.
const FTP: u16 = 21;

/// Has a connection of this protocol, virtual port and forwarding method a helper? Only NAT rewrites what it forwards.
pub(super) fn is_helped(protocol: u8, vport: u16, method: ConnFlags) -> bool {
    protocol == protocol::TCP && vport == FTP && method.contains(ConnFlags::NAT)
}

impl<A: Family> Lane<'_, A> {
    /// Sends a client's packet of a control connection on, read before.
    #[cold]
    pub(super) fn control_request<F: Frame>(
        &mut self,
        frame: &mut F,
        packet: Packet<A>,
        bound: Bound<'_, A>,
    ) -> Verdict {
        let hop = &self.shared_hop(&bound, packet.dst);
        let lives = *hop == Hop::Local || A::ttl(frame.bytes(), packet.at.l3) > 1;
        if lives && self.fits(frame, &packet, hop) {
            let id = self.tables.connections.request(packet.hash, packet.candidate, &request_key(&packet));
            if let Err(reason) = self.read_request(frame, &packet, id.unwrap_or_default()) {
                return Verdict::Drop(reason);
            }
        }
        forward::verdict(self.deliver_by(frame, &packet, &bound, hop))
    }

    /// Sends a server's packet of a control connection on, read and rewritten before.
    #[cold]
    pub(super) fn control_reply<F: Frame>(&mut self, frame: &mut F, packet: &Packet<A>, id: ConnId) -> Verdict {
        let Some(&connection) = self.tables.connections.get(id) else { return Verdict::Drop(DropReason::Aborted) };
        let lives = packet.origin == Origin::Twin || A::ttl(frame.bytes(), packet.at.l3) > 1;
        let mut packet = *packet;
        if lives && self.fits(frame, &packet, &A::hop(self.snapshot, packet.dst)) {
            packet = match self.read_reply(frame, &packet, id, &connection) {
                Ok(rewritten) => rewritten,
                Err(reason) => return Verdict::Drop(reason),
            };
        }
        forward::verdict(self.translate(frame, &packet, id, connection.vaddr, connection.vport))
    }

    /// Can the packet go this way, perhaps in fragments?
    pub(super) fn fits<F: Frame>(&self, frame: &F, packet: &Packet<A>, hop: &Hop) -> bool {
        let longest = longest(packet, frame.largest_fragment());
        forward::mtu(hop).is_none_or(|mtu| longest <= mtu || !A::dont_fragment(frame.bytes(), packet.at.l3))
    }

    fn read_request<F: Frame>(&mut self, frame: &mut F, packet: &Packet<A>, id: ConnId) -> Result<(), DropReason> {
        let connection = self.tables.connections.get(id).copied();
        if connection.is_some_and(|c| c.state == State::Established) {
            frame.flatten();
        }
        let data = data::<A>(frame.bytes(), &packet.at)?;
        let Some(connection) = connection else { return Ok(()) };
        if connection.state == State::Established {
            match ftp::command::<A>(data) {
                Some(Command::Passive(awaited)) => self.await_answer(id, awaited)?,
                Some(Command::Active(address, port)) => {
                    self.await_answer(id, Awaited::Nothing)?;
                    self.expect_from_server(id, &connection, (address, port), packet)?;
                }
                None => {}
            }
        }
        let Some(control) = self.control(id) else { return Ok(()) };
        let sequences = control.sequences;
        let segment = frame.bytes_mut().get_mut(packet.at.l4..packet.at.end).unwrap_or_default();
        if sequences.request(segment) { Ok(()) } else { Err(DropReason::BadHeader) }
    }

    /// Remembers which answer is awaited. Only a connection that has ever asked takes an entry of the helper's table.
    fn await_answer(&mut self, id: ConnId, awaited: Awaited) -> Result<(), DropReason> {
        let Some(connection) = self.tables.connections.get_mut(id) else { return Ok(()) };
        if connection.side == 0 && awaited != Awaited::Nothing {
            connection.side = self.shared.apps.ftp.take().ok_or(DropReason::HelpersFull)?;
        }
        if let Some(control) = self.shared.apps.ftp.get_mut(connection.side) {
            control.awaited = awaited;
        }
        Ok(())
    }

    fn control(&mut self, id: ConnId) -> Option<&mut ftp::Control> {
        self.shared.apps.ftp.get_mut(self.tables.connections.get(id)?.side)
    }

    /// Reads a server's packet, whose state is still the one before it. Returns where it ends when it is rewritten.
    fn read_reply<F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        id: ConnId,
        connection: &Connection<A>,
    ) -> Result<Packet<A>, DropReason> {
        let established = connection.state == State::Established;
        if established {
            frame.flatten();
        }
        let data = data::<A>(frame.bytes(), &packet.at)?;
        let awaited = self.control(id).map(|control| control.awaited).unwrap_or_default();
        let answer = if established { ftp::answer::<A>(awaited, data) } else { None };
        let mut packet = *packet;
        if let Some(mut announced) = answer {
            let start = packet.at.end - data.len();
            let server = (announced.address.unwrap_or(connection.daddr), announced.port);
            let (vaddr, vport) = self.expect_from_client(id, connection, server, &packet)?;
            if !self.may_rewrite() {
                self.await_answer(id, Awaited::Nothing)?;
                return Err(DropReason::HelpersFull);
            }
            announced.text = announced.text.start + start..announced.text.end + start;
            packet.at = self.rewrite_answer(
                frame,
                &packet,
                id,
                announced.text,
                &ftp::announcement(awaited, vaddr.ip(), vport),
            )?;
            packet.length = u16::try_from(packet.at.end - packet.at.l3).unwrap_or(u16::MAX);
        }
        let Some(control) = self.control(id) else { return Ok(packet) };
        let sequences = control.sequences;
        let segment = frame.bytes_mut().get_mut(packet.at.l4..packet.at.end).unwrap_or_default();
        if sequences.reply(segment) { Ok(packet) } else { Err(DropReason::BadHeader) }
    }

    /// Can an answer be rewritten?
    fn may_rewrite(&self) -> bool {
        let by_others = self.shared.tracking.is_none_or(|tracking| tracking[usize::from(A::V6)]);
        by_others || self.snapshot.rules.tracks_of(A::V6)
    }

    fn rewrite_answer<F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        id: ConnId,
        text: std::ops::Range<usize>,
        with: &ftp::Text,
    ) -> Result<Offsets, DropReason> {
        trim(frame, packet.at.end);
        let grown = with.bytes().len() as i32 - text.len() as i32;
        let seq = tcp::Packet::new_unchecked(frame.bytes().get(packet.at.l4..).unwrap_or_default()).seq();
        let at = splice::replace::<A, F>(frame, &packet.at, text, with.bytes()).ok_or(DropReason::NoRoom)?;
        if let Some(control) = self.control(id) {
            control.sequences.output.grow(seq, grown);
            // As the kernel: the same answer sent again is not read any more.
            control.awaited = Awaited::Nothing;
        }
        Ok(at)
    }

    /// Has a data connection expected that the server will open from the port before the control connection's (RFC 959, 3.2).
    fn expect_from_server(
        &mut self,
        id: ConnId,
        control: &Connection<A>,
        (caddr, cport): (A, u16),
        packet: &Packet<A>,
    ) -> Result<(), DropReason> {
        let (vport, dport) = (control.vport.wrapping_sub(1), control.dport.wrapping_sub(1));
        let data = Connection { caddr, cport, vport, dport, ..*control };
        let key = RequestKey { protocol: data.protocol, caddr, cport, vaddr: data.vaddr, vport };
        self.expect(id, data, |c| key.matches(c), packet.now).map(drop)
    }

    /// Has a data connection expected that the client will open, from a port not known yet, to the port that the server says. Returns
    /// the virtual address and port to open it to.
    fn expect_from_client(
        &mut self,
        id: ConnId,
        control: &Connection<A>,
        (daddr, dport): (A, u16),
        packet: &Packet<A>,
    ) -> Result<(A, u16), DropReason> {
        let flags = control.flags | ConnFlags::NO_CPORT;
        let data = Connection { cport: 0, vport: dport, daddr, dport, flags, ..*control };
        let key = ReplyKey { protocol: data.protocol, caddr: data.caddr, cport: 0, daddr, dport };
        self.expect(id, data, |c| key.matches(c), packet.now)
    }
}

/// A segment's data, if its checksum is right.
fn data<'b, A: Family>(bytes: &'b [u8], at: &Offsets) -> Result<&'b [u8], DropReason> {
    let pseudo = A::pseudo_header(bytes, at.l3, at.protocol, at.end - at.l4);
    let segment = tcp::Packet::new_unchecked(bytes.get(at.l4..at.end).unwrap_or_default());
    if !segment.is_intact(pseudo) {
        return Err(DropReason::BadTcpChecksum);
    }
    let whole = segment.check_len().is_ok();
    let offset = if whole { at.l4 + segment.header_len() } else { at.end };
    Ok(bytes.get(offset..at.end).unwrap_or_default())
}
