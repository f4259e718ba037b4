//! What a run leaves behind: the trace (each frame that came in, and under it what went out, with the output of the steps), the
//! frames that went out, and the tables at the end.

use std::fmt::Write as _;

use crate::io::pcap;
use crate::time::Instant;
use crate::wire::show::{self, Ident};

/// The trace and the capture, as they grow.
#[derive(Debug, Default)]
pub(crate) struct Record {
    trace: String,
    sent: Vec<(Instant, Vec<u8>)>,
    frames: usize,
}

/// Seconds and milliseconds.
fn seconds(at: Instant) -> String {
    let millis = at.0 / 1_000_000;
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

impl Record {
    /// A frame that comes in.
    pub(crate) fn came(&mut self, at: Instant, port: &str, frame: &[u8]) {
        self.frames += 1;
        let (number, time) = (self.frames, seconds(at));
        let _ = writeln!(self.trace, "#{number} {time} {port} <- {}", show::frame(frame, Ident::Shown));
    }

    /// A frame that went out, unless it is no part of any result.
    pub(crate) fn went(&mut self, at: Instant, port: &str, frame: Vec<u8>) {
        if is_noise(&frame) {
            return;
        }
        let _ = writeln!(self.trace, "   {} {port} -> {}", seconds(at), show::frame(&frame, Ident::Shown));
        self.sent.push((Instant(at.0 / 1_000_000 * 1_000_000), frame));
    }

    /// A step that is about to run.
    pub(crate) fn step(&mut self, at: Instant, when: &str, command: &str) {
        let _ = writeln!(self.trace, "$ {} [{when}] {command}", seconds(at));
    }

    /// What a step printed.
    pub(crate) fn text(&mut self, line: &str) {
        let _ = writeln!(self.trace, "  | {line}");
    }

    /// The trace.
    pub(crate) fn trace(&self) -> &str {
        &self.trace
    }

    /// The capture of what went out, a pcap file.
    pub(crate) fn capture(&self) -> Result<Vec<u8>, pcap::PcapError> {
        let mut writer = pcap::Writer::new(Vec::new())?;
        for (at, frame) in &self.sent {
            writer.write(*at, frame)?;
        }
        Ok(writer.into_inner())
    }
}

/// Housekeeping of IPv6 neighbours and multicast, and IGMP.
fn is_noise(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([0x86, 0xdd]) => {
            let hop_by_hop = frame.get(20) == Some(&0) && frame.len() > 62;
            let (next, at) =
                if hop_by_hop { (frame.get(54), 62 + 8 * usize::from(frame[55])) } else { (frame.get(20), 54) };
            next == Some(&58) && matches!(frame.get(at), Some(130..=134 | 143))
        }
        Some([8, 0]) => frame.get(23) == Some(&2),
        _ => false,
    }
}

/// Sorts the lines of a listing of connections: their order is that of a table with a random key.
pub(crate) fn sorted(text: &str) -> Vec<&str> {
    let is_head = |line: &&str| ["IPVS", "pro ", "Pro "].iter().any(|h| line.starts_with(h));
    let (mut lines, mut body): (Vec<&str>, Vec<&str>) = text.lines().partition(is_head);
    body.sort_unstable();
    lines.append(&mut body);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_cut_to_milliseconds() {
        assert_eq!(seconds(Instant(4_061_999_999)), "4.061");
        assert_eq!(seconds(Instant(58_000_000)), "0.058");
    }

    #[test]
    fn a_listing_of_connections_is_sorted_under_its_head() {
        let text = "IPVS connection entries\npro expire state\nUDP b\nTCP a\n";
        assert_eq!(sorted(text), ["IPVS connection entries", "pro expire state", "TCP a", "UDP b"]);
    }
}
