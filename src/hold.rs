//! Frames that wait for the MAC of their next hop while the kernel resolves it: a few for each neighbour, for a few seconds, the
//! rest is dropped and counted, so that a flood towards a dead address costs nothing (the kernel's `unres_qlen`).

use std::net::IpAddr;
use std::time::Duration;

use crate::frame::Frame;
use crate::network::Network;
use crate::time::Instant;
use crate::verdict::PortId;

/// Frames held for one neighbour: the first SYNs of a burst of clients, each of which would cost its client a second.
const PER_NEIGHBOUR: usize = 32;
/// Frames held in all.
pub const MOST: usize = 512;
/// How long a frame is held.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often the kernel is asked for the same neighbour.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// A frame complete but for its destination MAC.
#[derive(Debug)]
struct Held<F> {
    frame: F,
    port: PortId,
    neighbour: IpAddr,
    since: Instant,
}

/// A neighbour that the kernel was asked for.
#[derive(Clone, Copy, Debug)]
struct Asked {
    port: PortId,
    neighbour: IpAddr,
    at: Instant,
}

/// What holding a frame led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// It is held; otherwise there was no room and it is gone.
    pub held: bool,
    /// The kernel is to be asked for the neighbour now.
    pub ask: bool,
}

/// The frames that one worker holds.
#[derive(Debug)]
pub struct Hold<F> {
    held: Vec<Held<F>>,
    asked: Vec<Asked>,
}

impl<F: Frame> Default for Hold<F> {
    fn default() -> Self {
        Self { held: Vec::with_capacity(MOST), asked: Vec::with_capacity(MOST) }
    }
}

impl<F: Frame> Hold<F> {
    /// Is nothing held?
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Holds a frame for a neighbour, or drops it.
    pub fn hold(&mut self, frame: F, port: PortId, neighbour: IpAddr, now: Instant) -> Outcome {
        let ask = self.ask(port, neighbour, now);
        let same = self.held.iter().filter(|h| h.port == port && h.neighbour == neighbour).count();
        let held = same < PER_NEIGHBOUR && self.held.len() < MOST;
        if held {
            self.held.push(Held { frame, port, neighbour, since: now });
        }
        Outcome { held, ask }
    }

    /// Is it time to ask the kernel for the neighbour?
    fn ask(&mut self, port: PortId, neighbour: IpAddr, now: Instant) -> bool {
        let known = self.asked.iter_mut().find(|a| a.port == port && a.neighbour == neighbour);
        match known {
            Some(asked) if now < asked.at + ASK_AGAIN => return false,
            Some(asked) => asked.at = now,
            None => {
                if self.asked.len() >= MOST {
                    self.asked.swap_remove(0);
                }
                self.asked.push(Asked { port, neighbour, at: now });
            }
        }
        true
    }

    /// Releases what the network can now send, through `send`.
    pub fn release(&mut self, network: &Network, mut send: impl FnMut(PortId, F)) {
        let mut index = 0;
        while index < self.held.len() {
            let Held { port, neighbour, .. } = self.held[index];
            match network.neighbour(port, neighbour) {
                Some(mac) => {
                    let mut held = self.held.remove(index);
                    if let Some(to) = held.frame.bytes_mut().get_mut(..6) {
                        to.copy_from_slice(&mac.0);
                    }
                    send(port, held.frame);
                }
                None => index += 1,
            }
        }
    }

    /// Gives up what has waited too long: those frames, the oldest first, with the ports that they would have left by.
    pub fn give_up(&mut self, now: Instant, late: &mut Vec<(F, PortId)>) {
        let waited = self.held.extract_if(.., |held| now >= held.since + PATIENCE);
        late.extend(waited.map(|held| (held.frame, held.port)));
        self.asked.retain(|asked| now < asked.at + PATIENCE);
    }
}
