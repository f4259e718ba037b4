//! One case under measurement: the director with its flows, the packets, and one turn of a worker.

use std::hint::black_box;
use std::time::{Duration, Instant as Wall};

use pollvs::addr::MacAddr;
use pollvs::burst::{BURST, Burst};
use pollvs::burst_meter::BurstMeter;
use pollvs::director::Director;
use pollvs::frame::Frame as _;
use pollvs::io::PacketIo as _;
use pollvs::io::dpdk::{DpdkIo, Mbuf, MbufPool};
use pollvs::steering::{Prefixes, Steering};
use pollvs::sync::Entry;
use pollvs::time::Instant;
use pollvs::verdict::{PortId, Verdict, WorkerId};
use pollvs::worker::{Clock as _, SystemClock};

use crate::case::Case;
use crate::report::median;
use crate::source::Source;
use crate::traffic::generator::{Family, Generator, Packets};
use crate::traffic::mix::{Mix, OPENS_EVERY};
use crate::traffic::present;

/// Packets that are timed together, a tenth of a millisecond or so.
const SLICE: usize = 2048;
/// Turns after which what is told is taken away.
const TELLING: usize = 256;
/// Turns before those that are timed.
const WARM_UP: usize = 2000;
/// Entries of the timer wheel that a turn looks at for each frame of a burst, as a worker does.
const LOOKS_PER_FRAME: usize = 4;
/// Room for what is told.
const TOLD: usize = 4096;
/// Workers whose clients are told apart, and bits of the hash that do it.
const STEERED: (u16, u8) = (4, 7);
/// In the mix so much time passes while as many connections are opened as there are flows: as long as TCP's time-out, so that as many
/// time out as are open.
const MIXED_LIFE: Duration = Duration::from_secs(900);
/// While instructions are counted, so much time passes with a packet, whatever the machine does.
const COUNTED_PACE: Duration = Duration::from_nanos(30);

/// The clock that the director sees.
struct Clock {
    wall: SystemClock,
    /// Time that passes with a packet, if it does not follow the wall clock, and the time so far; both in nanoseconds.
    pace: Option<u64>,
    passed: u64,
}

impl Clock {
    /// Now, which costs a reading of the wall clock in any case.
    #[inline]
    fn now(&self) -> Instant {
        let wall = black_box(self.wall.now());
        if self.pace.is_some() { Instant(self.passed) } else { wall }
    }
}

/// What the frames that come in are made into.
enum Making {
    Flows(Generator),
    Mix(Mix),
}

impl Making {
    #[inline]
    fn make(&mut self, burst: &mut Burst<Mbuf>) {
        match self {
            Self::Flows(generator) => generator.generate(burst),
            Self::Mix(mix) => mix.write(burst.frames_mut()),
        }
    }
}

/// One case.
pub(crate) struct Subject {
    pub(crate) case: Case,
    flows: u32,
    director: Director,
    making: Making,
    /// Three bursts under way, each in another stage.
    pipeline: [Box<Burst<Mbuf>>; 3],
    limit: usize,
    /// Do frames come back longer than they were?
    grows: bool,
    clock: Clock,
    meter: BurstMeter,
    /// What was told last, and how many turns ago.
    told: (Vec<Entry>, usize),
}

impl Subject {
    /// A case whose every flow is established, except where new ones are measured. `counted`: time passes with packets.
    pub(crate) fn new(
        case: Case,
        (family, flows): (Family, u32),
        mac: MacAddr,
        pool: &MbufPool,
        counted: bool,
    ) -> Self {
        let steering = match case {
            Case::Steer => Steering::new(STEERED.0, STEERED.1, Prefixes::default(), 42),
            _ => Steering::default(),
        };
        let mut director = Director::new(&case.limits(family, flows), 42, WorkerId(0), steering);
        director.apply(case.snapshot(family, mac));
        director.take_told(Vec::with_capacity(TOLD));
        let making = match case {
            Case::Mix => Making::Mix(Mix::new(family, flows, mac)),
            _ => {
                let generator = Generator::new(case.packets(), family, flows, mac);
                Making::Flows(generator.behind(case.front(family)))
            }
        };
        let pace = match case {
            Case::Mix => Some(MIXED_LIFE / (OPENS_EVERY * flows)),
            _ => counted.then_some(COUNTED_PACE),
        };
        let clock = Clock { wall: SystemClock::default(), pace: pace.map(|pace| pace.as_nanos() as u64), passed: 0 };
        let mut subject = Self {
            case,
            flows,
            director,
            making,
            pipeline: Default::default(),
            limit: BURST,
            grows: case.front(family) > 0,
            clock,
            meter: BurstMeter::default(),
            told: (Vec::with_capacity(TOLD), 0),
        };
        subject.establish(family, mac, pool);
        subject
    }

    /// Lets the director know the connections.
    fn establish(&mut self, family: Family, mac: MacAddr, pool: &MbufPool) {
        let used = |director: &Director| director.used()[usize::from(family == Family::V6)];
        match &self.making {
            _ if self.case.is_new() || matches!(self.case, Case::Macswap | Case::Steer) => {}
            Making::Mix(mix) => {
                let opened = Mix::opened_first(self.flows);
                for first in (0..opened).step_by(BURST) {
                    for established in [false, true] {
                        let numbers = first..opened.min(first + BURST as u32);
                        let packets = numbers.map(|n| move |frame: &mut Mbuf| mix.first(n, frame, established));
                        present(&mut self.director, pool, &mut self.pipeline[0], packets);
                    }
                }
                assert_eq!(used(&self.director), opened, "every flow has a connection");
            }
            Making::Flows(_) => {
                for flags in ["S", "A"] {
                    let requests = Generator::new(Packets::Requests(flags), family, self.flows, mac);
                    requests.establish(&mut self.director, pool);
                }
                assert_eq!(used(&self.director), self.flows, "every flow has a connection");
            }
        }
    }

    /// Goes on until there is as much of everything as there will be: in the mix, until old connections time out as fast as new ones come.
    pub(crate) fn settle(&mut self, source: &mut Source) {
        let until = MIXED_LIFE.as_nanos() as u64 * 5 / 2;
        while self.case == Case::Mix && self.clock.passed < until {
            self.turn(source);
        }
        self.drain(source);
    }

    /// One turn, as a worker does it. Returns how many packets came.
    #[inline]
    pub(crate) fn turn(&mut self, source: &mut Source) -> usize {
        match self.case {
            Case::Macswap => self.swap(source),
            Case::Steer => self.steer(source),
            _ => self.forward(source),
        }
    }

    /// Receives a burst into the first stage.
    #[inline]
    fn receive(&mut self, source: &mut Source) -> usize {
        let count = source.io.receive(&mut self.pipeline[0]);
        if source.loops {
            self.making.make(&mut self.pipeline[0]);
        }
        count
    }

    /// Generator and MAC swap.
    fn swap(&mut self, source: &mut Source) -> usize {
        let count = self.receive(source);
        let burst = &mut self.pipeline[0];
        for frame in burst.frames_mut() {
            if let Some(macs) = frame.bytes_mut().first_chunk_mut::<12>() {
                let (to, from) = macs.split_at_mut(6);
                to.swap_with_slice(from);
            }
        }
        source.io.transmit_all(PortId(0), black_box(burst));
        source.io.flush();
        count
    }

    /// Stage 1 alone.
    fn steer(&mut self, source: &mut Source) -> usize {
        let count = self.receive(source);
        self.director.parse(&mut self.pipeline[0]);
        self.pipeline[0].give_away(|frame, verdict, port, _| match verdict {
            Verdict::Pending | Verdict::Handoff(_) => source.io.transmit(port, black_box(frame)),
            _ => panic!("a client's packet got {verdict:?}"),
        });
        source.io.flush();
        count
    }

    /// Everything: three bursts under way, each in another stage.
    fn forward(&mut self, source: &mut Source) -> usize {
        let now = self.clock.now();
        self.meter.begin(now);
        let count = self.receive(source);
        self.meter.received(count);
        let [received, sought, decided] = &mut self.pipeline;
        self.director.parse(received);
        self.director.seek_and_decide(sought, decided, now);
        send(decided, &mut source.io);
        self.director.expire(now, (self.limit * LOOKS_PER_FRAME) as u32);
        source.io.flush();
        self.pipeline.rotate_right(1);
        self.clock.passed += self.clock.pace.unwrap_or(0) * count as u64;
        self.collect();
        count
    }

    /// Takes what is told away, as control does from time to time.
    #[inline]
    fn collect(&mut self) {
        let (told, turns) = &mut self.told;
        *turns += 1;
        if *turns == TELLING && self.case == Case::DrTold {
            told.clear();
            *turns = 0;
            *told = self.director.take_told(std::mem::take(told));
        }
    }

    /// One round of so long with bursts of so many frames: nanoseconds a packet.
    pub(crate) fn measure(&mut self, source: &mut Source, burst: usize, window: Duration) -> f64 {
        self.limit = burst;
        self.pipeline = std::array::from_fn(|_| Box::new(Burst::with_limit(burst)));
        let ns = if self.case.is_new() { self.pass(source) } else { self.watch(source, window) };
        self.drain(source);
        ns
    }

    /// The median of the slices of one window: a slice is shorter than what another process is given, so that few of them hold its time
    /// too.
    fn watch(&mut self, source: &mut Source, window: Duration) -> f64 {
        (0..WARM_UP).for_each(|_| _ = self.turn(source));
        let (start, mut slices) = (Wall::now(), Vec::new());
        while start.elapsed() < window {
            slices.push(self.slice(source));
        }
        median(&mut slices)
    }

    /// Makes every connection once, after ending all.
    fn pass(&mut self, source: &mut Source) -> f64 {
        self.director.flush();
        if let Making::Flows(generator) = &mut self.making {
            generator.next = 0;
        }
        let slices = self.flows as usize / SLICE;
        median(&mut (0..slices).map(|_| self.slice(source)).collect::<Vec<_>>())
    }

    /// Nanoseconds a packet of one slice.
    fn slice(&mut self, source: &mut Source) -> f64 {
        let (start, turns) = (Wall::now(), SLICE / self.limit);
        let packets = (0..turns).map(|_| self.turn(source)).sum::<usize>();
        start.elapsed().as_secs_f64() * 1e9 / packets as f64
    }

    /// Runs the stages out, so that every frame is in the ring, and as long as it was.
    fn drain(&mut self, source: &mut Source) {
        for _ in 0..3 {
            let now = self.clock.now();
            let [_, sought, decided] = &mut self.pipeline;
            self.director.seek(sought);
            self.director.decide(decided, now);
            send(decided, &mut source.io);
            self.pipeline.rotate_right(1);
        }
        source.io.flush();
        let mut left = if self.grows { source.in_flight() } else { 0 };
        while left > 0 {
            left = left.saturating_sub(self.swap(source));
        }
    }
}

#[inline]
fn send(burst: &mut Burst<Mbuf>, io: &mut DpdkIo) {
    if let Some(port) = burst.leaves_by() {
        return io.transmit_all(port, burst);
    }
    burst.give_away(|frame, verdict, _, _| match verdict {
        Verdict::Transmit(PortId(port)) => io.transmit(PortId(port), frame),
        _ => panic!("a packet of an established or new connection got {verdict:?}"),
    });
}
