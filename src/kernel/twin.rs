//! The twin thread: carries frames between the workers and the TAPs of all ports. Workers never wait for it: both ways lead over
//! bounded queues, what finds one full is dropped and counted, and the thread is woken at most once a turn and only if it sleeps.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::tap::Tap;
use crate::frame::{Frame, FrameSource};
use crate::verdict::PortId;
use crate::worker::TwinLink;

/// Frames that one TAP or one worker may move before the others have their turn.
const TURN: usize = 64;
/// Room for the longest frame that a TAP may hand over: the largest IP packet and two VLAN tags.
const LONGEST_FRAME: usize = 65_535 + 14 + 8;
/// The waker's token, beyond every port's.
const WAKE: Token = Token(usize::MAX);

/// Frames of one port that went between the workers and the kernel, since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TwinCounters {
    /// Given to the kernel.
    pub to_kernel: u64,
    /// Taken from the kernel and put in line for the worker.
    pub from_kernel: u64,
    /// From the kernel, dropped because the worker's line was full.
    pub full: u64,
    /// From the kernel, dropped because there was no buffer, or none long enough.
    pub no_buffer: u64,
    /// To the kernel, refused by it (the twin is down, say).
    pub write_errors: u64,
    /// Failures to read from the kernel.
    pub read_errors: u64,
}

#[derive(Debug, Default)]
struct Counters {
    to_kernel: AtomicU64,
    from_kernel: AtomicU64,
    full: AtomicU64,
    no_buffer: AtomicU64,
    write_errors: AtomicU64,
    read_errors: AtomicU64,
}

/// Only the twin thread writes, so no more is needed than that readers see whole numbers.
fn count(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

impl Counters {
    fn read(&self) -> TwinCounters {
        let now = |c: &AtomicU64| c.load(Ordering::Relaxed);
        TwinCounters {
            to_kernel: now(&self.to_kernel),
            from_kernel: now(&self.from_kernel),
            full: now(&self.full),
            no_buffer: now(&self.no_buffer),
            write_errors: now(&self.write_errors),
            read_errors: now(&self.read_errors),
        }
    }
}

/// What wakes the thread.
#[derive(Debug)]
struct Bell {
    sleeping: AtomicBool,
    stop: AtomicBool,
    waker: Waker,
}

impl Bell {
    /// Rings if the thread sleeps. The caller has pushed, the thread announces its sleep before it looks at the queues a last time; with
    /// the fence between each pair, one of the two sees the other.
    fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::AcqRel) {
            // An eventfd refuses a write only when 2^64 - 2 are pending, and then the thread wakes all the same.
            let _ = self.waker.wake();
        }
    }
}

type Line<F> = Arc<ArrayQueue<(PortId, F)>>;

/// One worker's end of the way to the kernel.
#[derive(Debug)]
pub struct TwinEnd<F> {
    to_kernel: Line<F>,
    from_kernel: Option<Line<F>>,
    bell: Arc<Bell>,
    pushed: bool,
}

impl<F> TwinLink<F> for TwinEnd<F> {
    #[inline]
    fn pass(&mut self, port: PortId, frame: F) -> Result<(), F> {
        self.to_kernel.push((port, frame)).map_err(|(_, frame)| frame)?;
        self.pushed = true;
        Ok(())
    }

    #[inline]
    fn receive(&mut self) -> Option<(PortId, F)> {
        self.from_kernel.as_ref()?.pop()
    }

    /// Rings at most once a turn, and only if the thread sleeps.
    #[inline]
    fn flush(&mut self) {
        if self.pushed {
            self.pushed = false;
            self.bell.ring();
        }
    }
}

/// The running thread; it stops, and the TAPs go, when this is dropped.
#[derive(Debug)]
pub struct Twin {
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
    counters: Vec<(PortId, Arc<Counters>)>,
}

impl Twin {
    /// Starts the thread over the TAPs. Returns it with an end for each of `workers`, whose lines hold `depth` frames each way; what the
    /// kernel sends goes to the first, which hands on what belongs to others. The thread inherits the caller's CPU affinity.
    ///
    /// # Errors
    /// When the operating system gives no poll, no wake-up descriptor or no thread.
    pub fn start<S: FrameSource + 'static>(
        taps: Vec<(PortId, Tap)>,
        source: S,
        workers: usize,
        depth: usize,
    ) -> io::Result<(Self, Vec<TwinEnd<S::Frame>>)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let bell = Arc::new(Bell { sleeping: AtomicBool::new(false), stop: AtomicBool::new(false), waker });
        let line = || Arc::new(ArrayQueue::new(depth.max(1)));
        let to_worker = line();
        let from_workers: Vec<Line<S::Frame>> = (0..workers).map(|_| line()).collect();
        let ports = open(&poll, taps)?;
        let counters = ports.iter().map(|p| (p.id, Arc::clone(&p.counters))).collect();
        let ends = ends(&bell, &from_workers, &to_worker);
        let ferry = Ferry { poll, ports, source, from_workers, to_worker, bell: Arc::clone(&bell), scratch: scratch() };
        let thread = std::thread::Builder::new().name("twin".to_owned()).spawn(move || ferry.run())?;
        Ok((Self { bell, thread: Some(thread), counters }, ends))
    }

    /// The counters of each port.
    pub fn counters(&self) -> Vec<(PortId, TwinCounters)> {
        self.counters.iter().map(|(port, counters)| (*port, counters.read())).collect()
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        self.bell.stop.store(true, Ordering::Release);
        let _ = self.bell.waker.wake();
        if let Some(thread) = self.thread.take() {
            // It does not panic; and there is nothing to be done here if it did.
            let _ = thread.join();
        }
    }
}

fn ends<F>(bell: &Arc<Bell>, from_workers: &[Line<F>], to_worker: &Line<F>) -> Vec<TwinEnd<F>> {
    let end = |(at, line): (usize, &Line<F>)| TwinEnd {
        to_kernel: Arc::clone(line),
        from_kernel: (at == 0).then(|| Arc::clone(to_worker)),
        bell: Arc::clone(bell),
        pushed: false,
    };
    from_workers.iter().enumerate().map(end).collect()
}

fn scratch() -> Box<[u8]> {
    vec![0; LONGEST_FRAME].into_boxed_slice()
}

fn open(poll: &Poll, taps: Vec<(PortId, Tap)>) -> io::Result<Vec<TwinPort>> {
    let mut ports = Vec::with_capacity(taps.len());
    for (at, (id, tap)) in taps.into_iter().enumerate() {
        poll.registry().register(&mut SourceFd(&tap.as_raw_fd()), Token(at), Interest::READABLE)?;
        ports.push(TwinPort { id, tap, state: State::Readable, counters: Arc::default() });
    }
    Ok(ports)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// The kernel may have frames: readiness is told once, so it is read until it would block.
    Readable,
    /// It has none.
    Idle,
    /// Somebody deleted the interface.
    Gone,
}

#[derive(Debug)]
struct TwinPort {
    id: PortId,
    tap: Tap,
    state: State,
    counters: Arc<Counters>,
}

impl TwinPort {
    /// Gives a frame to the kernel.
    fn write(&self, frame: &[u8]) {
        match self.tap.write(frame) {
            Ok(()) => count(&self.counters.to_kernel),
            Err(_) => count(&self.counters.write_errors),
        }
    }

    /// Reads a frame of the kernel's; `None` when it has no more.
    fn read<'a>(&mut self, scratch: &'a mut [u8]) -> Option<&'a [u8]> {
        match self.tap.read(scratch) {
            Ok(len) => return scratch.get(..len),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.state = State::Idle,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => self.fail(&e),
        }
        None
    }

    fn fail(&mut self, error: &io::Error) {
        count(&self.counters.read_errors);
        self.state = State::Idle;
        if error.raw_os_error() == Some(Errno::EBADFD as i32) {
            self.state = State::Gone;
            tracing::error!(twin = self.tap.name(), "the twin was deleted; restart pollvsd to have it back");
        }
    }
}

/// What the thread owns.
struct Ferry<S: FrameSource> {
    poll: Poll,
    ports: Vec<TwinPort>,
    source: S,
    from_workers: Vec<Line<S::Frame>>,
    to_worker: Line<S::Frame>,
    bell: Arc<Bell>,
    scratch: Box<[u8]>,
}

impl<S: FrameSource> Ferry<S> {
    fn run(mut self) {
        let mut events = Events::with_capacity(64);
        while !self.bell.stop.load(Ordering::Acquire) {
            let more = self.write_passed() | self.read_sent();
            self.wait(&mut events, more);
            for event in &events {
                self.readable(event.token());
            }
        }
    }

    fn readable(&mut self, token: Token) {
        if let Some(port) = self.ports.get_mut(token.0).filter(|p| p.state == State::Idle) {
            port.state = State::Readable;
        }
    }

    /// Sleeps until there is something to do, or only looks when there is `more` already.
    fn wait(&mut self, events: &mut Events, more: bool) {
        self.bell.sleeping.store(!more, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let idle = !more && self.from_workers.iter().all(|line| line.is_empty());
        let timeout = if idle { None } else { Some(Duration::ZERO) };
        if self.poll.poll(events, timeout).is_err() {
            // Interrupted by a signal: nothing is known to be readable.
            events.clear();
        }
        self.bell.sleeping.store(false, Ordering::Relaxed);
    }

    /// Writes what the workers passed. Returns true when there may be more.
    fn write_passed(&mut self) -> bool {
        let mut more = false;
        for line in &self.from_workers {
            let mut left = TURN;
            while left > 0
                && let Some((id, frame)) = line.pop()
            {
                left -= 1;
                if let Some(port) = self.ports.iter().find(|p| p.id == id) {
                    port.write(frame.bytes());
                }
            }
            more |= left == 0;
        }
        more
    }

    /// Reads what the kernel sends. Returns true when there may be more.
    fn read_sent(&mut self) -> bool {
        for port in &mut self.ports {
            let mut left = TURN;
            while left > 0 && port.state == State::Readable {
                left -= 1;
                let Some(bytes) = port.read(&mut self.scratch) else { continue };
                let outcome = match fill(&mut self.source, bytes).map(|frame| self.to_worker.push((port.id, frame))) {
                    None => &port.counters.no_buffer,
                    Some(Err(_)) => &port.counters.full,
                    Some(Ok(())) => &port.counters.from_kernel,
                };
                count(outcome);
            }
        }
        self.ports.iter().any(|p| p.state == State::Readable)
    }
}

/// A frame of those bytes; `None` when the pool is empty or its frames are too short.
fn fill<S: FrameSource>(source: &mut S, bytes: &[u8]) -> Option<S::Frame> {
    let mut frame = source.allocate()?;
    if !frame.resize(bytes.len()) {
        return None;
    }
    frame.bytes_mut().copy_from_slice(bytes);
    Some(frame)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::io::memory::VecFrame;

    /// A pool that is empty.
    struct Nothing;

    impl FrameSource for Nothing {
        type Frame = VecFrame;
        fn allocate(&mut self) -> Option<VecFrame> {
            None
        }
    }

    #[test]
    fn no_frame_waits_for_a_wake_up_that_does_not_come() {
        // Without a TAP: what is passed is thrown away, but it has to be fetched.
        let (_twin, mut ends) = Twin::start(Vec::new(), Nothing, 1, 8).unwrap();
        let end = &mut ends[0];
        for round in 0..4_000 {
            assert!(end.pass(PortId(0), VecFrame::new(&[])).is_ok());
            end.flush();
            let until = Instant::now() + Duration::from_secs(5);
            while !end.to_kernel.is_empty() {
                assert!(Instant::now() < until, "round {round}: the thread sleeps on");
            }
            // The next comes at about the moment at which the thread, having found no more, falls asleep.
            (0..round % 29).for_each(|_| std::hint::spin_loop());
        }
    }

    #[test]
    fn a_frame_passed_while_the_thread_was_falling_asleep_keeps_it_awake() {
        let poll = Poll::new().unwrap();
        let waker = Waker::new(poll.registry(), WAKE).unwrap();
        let bell = Arc::new(Bell { sleeping: AtomicBool::new(false), stop: AtomicBool::new(false), waker });
        let line: Line<VecFrame> = Arc::new(ArrayQueue::new(1));
        let to_worker = Arc::clone(&line);
        let mut end = ends(&bell, &[Arc::clone(&line)], &to_worker).remove(0);
        // Nobody is woken, for the thread does not sleep yet.
        assert!(end.pass(PortId(0), VecFrame::new(&[])).is_ok());
        end.flush();
        let from_workers = vec![line];
        let mut ferry =
            Ferry { poll, ports: Vec::new(), source: Nothing, from_workers, to_worker, bell, scratch: scratch() };
        let (done, awake) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            ferry.wait(&mut Events::with_capacity(1), false);
            done.send(()).unwrap();
        });
        assert!(awake.recv_timeout(Duration::from_secs(5)).is_ok());
    }

    #[test]
    fn a_full_line_gives_the_frame_back() {
        let (twin, mut ends) = Twin::start(Vec::new(), Nothing, 2, 2).unwrap();
        drop(twin);
        let end = &mut ends[1];
        let frame = |byte| VecFrame::new(&[byte]);
        assert!(end.pass(PortId(0), frame(1)).is_ok() && end.pass(PortId(0), frame(2)).is_ok());
        assert_eq!(end.pass(PortId(0), frame(3)).unwrap_err().bytes(), [3]);
        end.flush();
        assert!(end.receive().is_none());
    }

    #[test]
    fn the_thread_is_woken_only_when_something_was_passed() {
        let (_twin, mut ends) = Twin::start(Vec::new(), Nothing, 1, 8).unwrap();
        let end = &mut ends[0];
        let until = Instant::now() + Duration::from_secs(5);
        while !end.bell.sleeping.load(Ordering::Acquire) {
            assert!(Instant::now() < until, "an idle thread sleeps");
        }
        end.flush();
        assert!(end.bell.sleeping.load(Ordering::Acquire));
        assert!(end.pass(PortId(0), VecFrame::new(&[])).is_ok());
        assert!(end.bell.sleeping.load(Ordering::Acquire), "not before the end of the turn");
    }
}
