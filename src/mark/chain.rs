//! The walk of a chain, for packets that belong to no connection. Rules are sorted by the destination addresses that they are for, so
//! that a packet meets only those that may be for its own: a chain of hundreds of virtual addresses costs no more than one of a few.

use crate::family::Address;
use crate::mark::{Bits, Interface, Match, Range, Rule, Side, Sign, Target, bits};
use crate::verdict::PortId;
use crate::wire::{protocol, sctp, tcp, udp};

/// What the rules look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header<A> {
    /// Source.
    pub src: A,
    /// Destination.
    pub dst: A,
    /// IP protocol.
    pub protocol: u8,
    /// Source port; 0 where there is none.
    pub sport: u16,
    /// Destination port; 0 where there is none.
    pub dport: u16,
    /// The port that it came in by.
    pub port: PortId,
}

/// What of a datagram is in a fragment, in bytes of what IP carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// Where it begins.
    pub offset: u16,
    /// How much it is.
    pub length: u16,
}

/// Which ports the interfaces of the rules mean: a bit for each of the first 64.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Entrances(Vec<u64>);

impl Entrances {
    pub(super) fn new<'a>(interfaces: &[Interface], ports: impl Iterator<Item = &'a str> + Clone) -> Self {
        let ports_of = |interface: &Interface| {
            let matching = ports.clone().take(64).enumerate().filter(|(_, name)| interface.matches(name));
            matching.fold(0, |all, (at, _)| all | 1 << at)
        };
        Self(interfaces.iter().map(ports_of).collect())
    }

    fn contains(&self, interface: usize, port: PortId) -> bool {
        self.0.get(interface).is_some_and(|ports| ports.checked_shr(port.0.into()).unwrap_or(0) & 1 == 1)
    }
}

/// A rule as it is compared.
#[derive(Clone, Debug)]
struct Step<A> {
    /// Address and mask; a mask of nothing fits all.
    source: Sign<(A, A)>,
    destination: Sign<(A, A)>,
    protocol: Option<Sign<u8>>,
    /// Index of the interface.
    interface: Option<Sign<usize>>,
    tests: Vec<Test>,
    /// What of the transport header its matches read.
    reads: Option<Reads>,
    target: Target,
}

/// What a match reads, of a whole packet always there.
#[derive(Clone, Copy, Debug)]
struct Reads {
    bytes: u16,
    tcp: bool,
}

#[derive(Clone, Debug)]
enum Test {
    Ports(Side, Sign<Vec<Range>>),
    Mark(Sign<Bits>),
}

/// The rules of one family, ready to be walked.
#[derive(Clone, Debug, Default)]
pub struct Chain<A> {
    steps: Vec<Step<A>>,
    /// First destination of each interval.
    starts: Vec<A>,
    /// By interval, the steps that may be for it: where they end in `numbers`, beginning where those of the interval before end.
    ends: Vec<usize>,
    numbers: Vec<u32>,
}

impl<A: Address> Chain<A> {
    /// Makes rules of this family ready; the names of their interfaces are added to those that there are.
    pub(super) fn new(rules: &[Rule], interfaces: &mut Vec<Interface>) -> Self {
        let steps: Vec<Step<A>> = rules.iter().map(|rule| step(rule, interfaces)).collect();
        let mut starts: Vec<A> =
            steps.iter().filter_map(Step::reach).flat_map(|(a, b)| [Some(a), after(b)]).flatten().collect();
        starts.push(A::default());
        starts.sort_unstable();
        starts.dedup();
        let mut chain = Self { steps, starts, ends: Vec::new(), numbers: Vec::new() };
        chain.sort();
        chain
    }

    /// Finds the steps of each interval. None of them reaches over only a part of it.
    fn sort(&mut self) {
        let reaches: Vec<_> = self.steps.iter().map(Step::reach).collect();
        for start in &self.starts {
            let fits = |reach: &Option<(A, A)>| reach.is_none_or(|(first, last)| (first..=last).contains(start));
            self.numbers.extend((0..).zip(&reaches).filter(|(_, reach)| fits(reach)).map(|(number, _)| number));
            self.ends.push(self.numbers.len());
        }
    }

    /// The mark of a packet, 0 for none: later rules change what earlier ones have set.
    pub fn mark(&self, header: &Header<A>, entrances: &Entrances) -> u32 {
        let mut mark = 0;
        for step in self.met_by(header.dst).iter().filter_map(|number| self.steps.get(*number as usize)) {
            if !step.fits(header, entrances, mark) {
                continue;
            }
            match step.target {
                Target::Mark(Bits { value, mask }) => mark = mark & !mask ^ value,
                Target::Accept | Target::Return => break,
                Target::None => {}
            }
        }
        mark
    }

    /// The mark of a fragment; `None` when it is dropped, for a rule of ports is to be held against it and it has less than that needs
    /// (`hotdrop`), or begins 8 bytes into TCP. Such a rule does not match what comes after the first.
    pub fn mark_of_fragment(&self, header: &Header<A>, entrances: &Entrances, fragment: Fragment) -> Option<u32> {
        const EVIL: u16 = 8;
        let mut mark = 0;
        for step in self.met_by(header.dst).iter().filter_map(|number| self.steps.get(*number as usize)) {
            let met = step.is_for(header, entrances);
            match step.reads.filter(|_| met) {
                Some(Reads { tcp: true, .. }) if fragment.offset == EVIL => return None,
                Some(_) if fragment.offset > 0 => continue,
                Some(Reads { bytes, .. }) if fragment.length < bytes => return None,
                _ => {}
            }
            if !met || !step.tests.iter().all(|test| test.fits(header, mark)) {
                continue;
            }
            match step.target {
                Target::Mark(Bits { value, mask }) => mark = mark & !mask ^ value,
                Target::Accept | Target::Return => break,
                Target::None => {}
            }
        }
        Some(mark)
    }

    pub(super) fn sets(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.target, Target::Mark(_)))
    }

    /// The numbers of the steps that may be for this destination, in order.
    fn met_by(&self, destination: A) -> &[u32] {
        let interval = self.starts.partition_point(|start| *start <= destination).wrapping_sub(1);
        let end = self.ends.get(interval).copied().unwrap_or(0);
        let begin = interval.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.numbers.get(begin..end).unwrap_or_default()
    }
}

fn after<A: Address>(last: A) -> Option<A> {
    (last != A::MAX).then(|| last.next())
}

impl<A: Address> Step<A> {
    /// The first and last destination that it may be for, if these are fewer than all.
    fn reach(&self) -> Option<(A, A)> {
        let Sign { not, value: (address, mask) } = self.destination;
        let prefix = (0..=A::BITS).find(|prefix| A::MAX.masked(*prefix) == mask)?;
        (!not && prefix > 0).then(|| (address, address.last(prefix)))
    }

    fn fits(&self, header: &Header<A>, entrances: &Entrances, mark: u32) -> bool {
        self.is_for(header, entrances) && self.tests.iter().all(|test| test.fits(header, mark))
    }

    /// Is it for packets with such an IP header?
    fn is_for(&self, header: &Header<A>, entrances: &Entrances) -> bool {
        let within = |side: Sign<(A, A)>, address: A| (address & side.value.1 == side.value.0) != side.not;
        within(self.destination, header.dst)
            && within(self.source, header.src)
            && self.protocol.is_none_or(|p| (p.value == header.protocol) != p.not)
            && self.interface.is_none_or(|i| entrances.contains(i.value, header.port) != i.not)
    }
}

impl Test {
    fn fits<A>(&self, header: &Header<A>, mark: u32) -> bool {
        match self {
            Self::Mark(Sign { not, value }) => (mark & value.mask == value.value) != *not,
            Self::Ports(side, Sign { not, value: ranges }) => {
                let any = |port| ranges.iter().any(|range| range.contains(port));
                let found = match side {
                    Side::Source => any(header.sport),
                    Side::Destination => any(header.dport),
                    Side::Both => any(header.sport) || any(header.dport),
                };
                found != *not
            }
        }
    }
}

fn step<A: Address>(rule: &Rule, interfaces: &mut Vec<Interface>) -> Step<A> {
    let side = |masked: Option<Sign<crate::mark::Masked>>| match masked {
        Some(Sign { not, value }) => Sign { not, value: (bits(value.address), bits(value.mask)) },
        None => Sign { not: false, value: (A::default(), A::default()) },
    };
    let interface = rule.interface.as_ref().map(|i| Sign { not: i.not, value: number(&i.value, interfaces) });
    Step {
        source: side(rule.source),
        destination: side(rule.destination),
        protocol: rule.protocol,
        interface,
        tests: rule.matches.iter().flat_map(tests).collect(),
        reads: rule.matches.iter().filter_map(reads).max_by_key(|reads| reads.bytes),
        target: rule.target,
    }
}

/// The index of an interface among those named so far, with it added if need be.
fn number(interface: &Interface, interfaces: &mut Vec<Interface>) -> usize {
    interfaces.iter().position(|known| known == interface).unwrap_or_else(|| {
        interfaces.push(interface.clone());
        interfaces.len() - 1
    })
}

/// What of the transport header a match reads (`xt_tcpudp.c`, `xt_sctp.c`, `xt_multiport.c`).
fn reads(matching: &Match) -> Option<Reads> {
    const PORTS: usize = 4;
    let bytes = match matching {
        Match::Transport { protocol: protocol::TCP, .. } => tcp::HEADER_LEN,
        Match::Transport { protocol: protocol::UDP, .. } => udp::HEADER_LEN,
        Match::Transport { .. } => sctp::HEADER_LEN,
        Match::Multiport { .. } => PORTS,
        Match::Mark(_) | Match::Comment(_) => return None,
    };
    let tcp = matches!(matching, Match::Transport { protocol: protocol::TCP, .. });
    Some(Reads { bytes: u16::try_from(bytes).unwrap_or(u16::MAX), tcp })
}

fn tests(matching: &Match) -> Vec<Test> {
    let one =
        |side, ports: &Option<Sign<Range>>| ports.map(|p| Test::Ports(side, Sign { not: p.not, value: vec![p.value] }));
    match matching {
        Match::Transport { source, destination, .. } => {
            [one(Side::Source, source), one(Side::Destination, destination)].into_iter().flatten().collect()
        }
        Match::Multiport { side, ranges } => vec![Test::Ports(*side, ranges.clone())],
        Match::Mark(bits) => vec![Test::Mark(*bits)],
        Match::Comment(_) => Vec::new(),
    }
}
