//! Traffic of a service in use: of ten packets one opens a connection and nine belong to connections that are open. A connection lives
//! until as many others as there are flows have been opened after it; then it is forgotten by its client, and times out. Knows no device.

use pollvs::addr::MacAddr;
use pollvs::frame::Frame;

use super::generator::{Family, Generator, Packets, Scatter};

/// Of so many packets one opens a connection.
pub(crate) const OPENS_EVERY: u32 = 10;
/// A connection is established so many openings after its own, when the director has long dealt with its SYN.
const SETTLED_AFTER: u32 = 64;
/// Clients' numbers come round again after so many times the flows: those that are open and those that time out are all different.
const ROUND: u32 = 4;

/// Makes that traffic.
#[derive(Clone, Debug)]
pub(crate) struct Mix {
    opening: Generator,
    open: Generator,
    /// Of connections, by the order in which they are opened.
    clients: Scatter,
    flows: u32,
    /// Connections that have been opened.
    opened: u32,
    /// Packets since the last opening, that one included.
    step: u32,
    /// Packets of open connections so far.
    visits: u32,
}

impl Mix {
    /// With so many flows open, which have been opened by [`Mix::first`].
    pub(crate) fn new(family: Family, flows: u32, own: MacAddr) -> Self {
        let of = |flags| Generator::new(Packets::Requests(flags), family, flows, own);
        let clients = Scatter::new((flows * ROUND).trailing_zeros());
        Self { opening: of("S"), open: of("A"), clients, flows, opened: Self::opened_first(flows), step: 0, visits: 0 }
    }

    /// How many connections are open before the first packet.
    pub(crate) fn opened_first(flows: u32) -> u32 {
        flows + SETTLED_AFTER
    }

    /// The packet that opens one of the first connections, or the one that establishes it.
    pub(crate) fn first<F: Frame>(&self, number: u32, frame: &mut F, established: bool) {
        let generator = if established { &self.open } else { &self.opening };
        generator.write_flow(frame, self.clients.of(number));
    }

    /// Makes each frame the next packet.
    #[inline]
    pub(crate) fn write<'a, F: Frame + 'a>(&mut self, frames: impl Iterator<Item = &'a mut F>) {
        for frame in frames {
            let number = match self.step {
                0 => {
                    self.opened = self.opened.wrapping_add(1);
                    self.opened.wrapping_sub(1)
                }
                1 => self.opened.wrapping_sub(SETTLED_AFTER),
                _ => self.visited(),
            };
            let generator = if self.step == 0 { &self.opening } else { &self.open };
            generator.write_flow(frame, self.clients.of(number));
            self.step = if self.step + 1 == OPENS_EVERY { 0 } else { self.step + 1 };
        }
    }

    /// The number of the open connection whose turn it is: all have theirs once before any has its second.
    #[inline]
    fn visited(&mut self) -> u32 {
        self.visits = self.visits.wrapping_add(1);
        // Each place among the flows belongs to the last connection of as many.
        let place = Scatter::new(self.flows.trailing_zeros()).of(self.visits);
        let last = self.opened.wrapping_sub(SETTLED_AFTER);
        last.wrapping_sub(last.wrapping_sub(place) & (self.flows - 1))
    }
}
