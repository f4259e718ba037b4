//! The engine with probes that are made up, on a virtual clock.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::board::{Board, Id};
use super::engine::{Engine, Listener, MOST, Wanted};
use super::plan::{Exchange, Plan, Probe};
use super::probe::{Outcome, Probing};
use super::spec::Start;

const SECOND: Duration = Duration::from_secs(1);

/// A server that is made up.
#[derive(Clone, Copy, Default)]
struct Server {
    bad: bool,
    hangs: bool,
}

/// Servers by port, and what was done to them.
#[derive(Default)]
struct World {
    servers: Mutex<HashMap<u16, Server>>,
    probes: Mutex<Vec<(u16, Instant)>>,
    now: AtomicUsize,
    most: AtomicUsize,
    told: Mutex<Vec<(u16, bool, Instant)>>,
}

#[derive(Clone)]
struct Wire(Arc<World>);

/// Counts a probe as long as it lives.
struct Under<'a>(&'a World);

impl Drop for Under<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Probing for Wire {
    async fn probe(&self, plan: &Plan) -> Outcome {
        let port = port(plan);
        let now = self.0.now.fetch_add(1, Ordering::Relaxed) + 1;
        let _under = Under(&self.0);
        self.0.most.fetch_max(now, Ordering::Relaxed);
        self.0.probes.lock().unwrap().push((port, Instant::now()));
        let server = self.0.servers.lock().unwrap().get(&port).copied().unwrap_or_default();
        if server.hangs {
            sleep(3600 * SECOND).await;
        }
        if server.bad { Err("refused".to_owned()) } else { Ok("connected".to_owned()) }
    }
}

impl Listener for Wire {
    async fn tell(&self, (_, address): Id, health: Result<(), String>) {
        self.0.told.lock().unwrap().push((address.port(), health.is_ok(), Instant::now()));
    }
}

fn port(plan: &Plan) -> u16 {
    let Probe::Tcp(Exchange { to, .. }) = &plan.probe else { panic!() };
    to.port()
}

struct Bench {
    world: Arc<World>,
    board: Arc<Board>,
    engine: Engine<Wire, Wire>,
}

impl Bench {
    fn new() -> Self {
        let (world, board) = (Arc::new(World::default()), Arc::new(Board::default()));
        let engine = Engine::new(Wire(world.clone()), Wire(world.clone()), board.clone());
        Self { world, board, engine }
    }

    fn set(&self, port: u16, bad: bool, hangs: bool) {
        self.world.servers.lock().unwrap().insert(port, Server { bad, hangs });
    }

    fn probes(&self, port: u16) -> Vec<Instant> {
        let all = self.world.probes.lock().unwrap();
        all.iter().filter(|(p, _)| *p == port).map(|(_, at)| *at).collect()
    }

    fn told(&self) -> Vec<(u16, bool)> {
        self.world.told.lock().unwrap().iter().map(|(port, up, _)| (*port, *up)).collect()
    }

    /// Forgets what was told until now.
    fn forget(&self) {
        self.world.told.lock().unwrap().clear();
    }
}

fn wanted(port: u16, change: impl FnOnce(&mut Plan)) -> Wanted {
    let to = SocketAddr::from(([198, 51, 100, 11], port));
    let mut plan = Plan {
        interval: 5 * SECOND,
        timeout: 2 * SECOND,
        fall: 3,
        rise: 1,
        start: Start::Up,
        way: None,
        probe: Probe::Tcp(Exchange { to, send: Vec::new(), expect: None }),
    };
    change(&mut plan);
    Wanted { id: ("tcp:192.0.2.10:80".parse().unwrap(), to), object: (1, 1), plan: Arc::new(plan) }
}

fn keep(_: &mut Plan) {}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_is_out_after_fall_failures_and_back_after_rise_successes() {
    let mut bench = Bench::new();
    bench.engine.want(vec![wanted(1, |plan| plan.rise = 2)]);
    sleep(20 * SECOND).await;
    assert_eq!(bench.told(), [(1, true)], "once, when it was first seen");
    bench.forget();
    let (before, stopped) = (bench.probes(1).len(), Instant::now());
    bench.set(1, true, false);
    while bench.told().is_empty() {
        sleep(SECOND / 100).await;
    }
    assert_eq!((bench.told(), bench.probes(1).len() - before), (vec![(1, false)], 3));
    let took = stopped.elapsed();
    assert!(took > 9 * SECOND && took < 16 * SECOND, "{took:?}");
    let row = bench.board.row(&wanted(1, keep).id).unwrap();
    assert_eq!((row.up, row.failed, row.last), (false, 3, Some(Err("refused".to_owned()))));
    let before = bench.probes(1).len();
    bench.set(1, false, false);
    while bench.told().len() < 2 {
        sleep(SECOND / 100).await;
    }
    assert_eq!((bench.told()[1], bench.probes(1).len() - before), ((1, true), 2));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_is_given_up_and_delays_nobody() {
    let mut bench = Bench::new();
    bench.set(1, false, true);
    bench.engine.want(vec![wanted(1, keep), wanted(2, keep)]);
    sleep(60 * SECOND).await;
    assert_eq!(bench.told(), [(2, true), (1, false)]);
    let row = bench.board.row(&wanted(1, keep).id).unwrap();
    assert_eq!((row.last, row.latency), (Some(Err("no answer within 2000 ms".to_owned())), 2 * SECOND));
    for port in [1, 2] {
        let all = bench.probes(port);
        assert!((11..=13).contains(&all.len()), "{port}: {}", all.len());
        let apart = all.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(apart.clone().all(|d| d >= 4700 * SECOND / 1000 && d <= 5300 * SECOND / 1000), "{:?}", apart.max());
    }
}

#[tokio::test(start_paused = true)]
async fn first_checks_are_spread_and_so_many_run_at_a_time() {
    let mut bench = Bench::new();
    let all: Vec<_> = (1..=2000).map(|port| wanted(port, keep)).collect();
    let begun = Instant::now();
    bench.engine.want(all.clone());
    sleep(5 * SECOND).await;
    let first: Vec<_> = bench.world.probes.lock().unwrap().iter().map(|(_, at)| *at - begun).collect();
    for second in 0..5 {
        let of_it = first.iter().filter(|at| at.as_secs() == second).count();
        assert!((250..=550).contains(&of_it), "{of_it} in second {second}");
    }
    bench.forget();
    (1..=2000).for_each(|port| bench.set(port, false, true));
    sleep(60 * SECOND).await;
    assert_eq!(bench.world.most.load(Ordering::Relaxed), MOST);
    assert_eq!(bench.told().len(), 2000, "every one of them is known to be down");
    bench.engine.want(Vec::new());
    assert!(bench.engine.is_empty() && bench.board.all().is_empty());
    sleep(SECOND).await;
    assert_eq!(bench.world.now.load(Ordering::Relaxed), 0, "nothing is left under way");
}

#[tokio::test(start_paused = true)]
async fn what_did_not_change_goes_on_and_what_did_keeps_its_state() {
    let mut bench = Bench::new();
    bench.set(1, true, false);
    bench.set(2, true, false);
    bench.engine.want(vec![wanted(1, keep), wanted(2, keep)]);
    sleep(30 * SECOND).await;
    assert_eq!(bench.told().len(), 2);
    // Asked for again and again, no check would ever be due if it began anew.
    for _ in 0..60 {
        bench.engine.want(vec![wanted(1, keep), wanted(2, |plan| plan.rise = 2)]);
        sleep(SECOND).await;
    }
    assert_eq!(bench.told().len(), 3, "the one that changed is still down, which is said again");
    assert!((16..=20).contains(&bench.probes(1).len()), "{}", bench.probes(1).len());
    // Another object of the same address begins anew: up.
    let other = Wanted { object: (9, 9), ..wanted(2, keep) };
    bench.engine.want(vec![wanted(1, keep), other]);
    assert!(bench.board.row(&wanted(2, keep).id).unwrap().up);
    // What is no longer checked counts as up.
    bench.engine.want(Vec::new());
    sleep(SECOND).await;
    assert_eq!(bench.told().iter().filter(|(_, up)| *up).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn one_that_begins_down_is_down_until_it_has_answered() {
    let mut bench = Bench::new();
    bench.engine.want(vec![wanted(1, |plan| plan.start = Start::Down)]);
    tokio::task::yield_now().await;
    assert_eq!(bench.told(), [(1, false)]);
    timeout(6 * SECOND, async {
        while bench.told().len() < 2 {
            sleep(SECOND / 10).await;
        }
    })
    .await
    .unwrap();
    assert_eq!((bench.told()[1], bench.probes(1).len()), ((1, true), 1));
}
