//! Two directors behind a router that spreads connections over both (ECMP): bird announces to it by BGP what pollvsd puts on an
//! interface, by the examples of config/bird. A director dies, or has no server left; its connections go on by the other.
use super::director::Director;
use super::network::{Network, within};
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/bird/");
const HOLD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/namespaces/hold.py");
const VIP: &str = "203.0.113.10";
const ROLES: [&str; 2] = ["director", "standby"];
/// Patience with elections and with a busy machine.
const SOON: Duration = Duration::from_secs(30);
/// Connections held open.
const CONNECTIONS: usize = 1000;
/// A message of the synchronisation is two seconds old at the most when it leaves.
const TOLD: Duration = Duration::from_secs(4);

/// Router, two directors, three real servers.
struct Routed {
    /// Dropped first, for its end is everybody's.
    network: Option<Network>,
    directors: [Director; 2],
    birds: Vec<Child>,
}

impl Routed {
    /// All of it, with bird at work and no service yet; `None` where that is impossible.
    fn start() -> Option<Self> {
        let network = Network::hold(&["routed"])?;
        let director = |number: usize| {
            let folder = network.folder().join(ROLES[number]);
            fs::create_dir(&folder).unwrap();
            let config = Network::config(&folder, 1).replace("workers = 1", &format!("workers = 1\ncpus = [{number}]"));
            let announce = "\n[announce]\ninterface = \"vips\"\nnetworks = [\"203.0.113.0/24\"]\n";
            Director::new(ROLES[number], &folder, &(config + announce))
        };
        let directors = [director(0), director(1)];
        let mut routed = Self { network: Some(network), directors, birds: Vec::new() };
        for at in 0..2 {
            routed.prepare(at);
        }
        routed.bird("router", "router.conf", &[]);
        for role in ["rs1", "rs2", "rs3"] {
            routed.run(role, &["ip", "address", "add", &format!("{VIP}/32"), "dev", "lo"]);
        }
        Some(routed)
    }

    fn network(&self) -> &Network {
        self.network.as_ref().expect("it is there until the end")
    }

    fn run(&self, role: &str, words: &[&str]) -> String {
        self.network().run(role, words)
    }

    /// The interface of the announced addresses, pollvsd, the director's addresses, and bird.
    fn prepare(&mut self, at: usize) {
        // A TUN device stands in for a dummy, which not every kernel has.
        self.run(ROLES[at], &["ip", "tuntap", "add", "vips", "mode", "tun"]);
        self.run(ROLES[at], &["ip", "link", "set", "vips", "up"]);
        self.start_director(at);
        let (id, local) = (format!("router id 192.0.2.{};", at + 2), format!("local 192.0.2.{} ", at + 2));
        self.bird(ROLES[at], "bird.conf", &[("router id 192.0.2.2;", &id), ("local 192.0.2.2 ", &local)]);
    }

    fn start_director(&mut self, at: usize) {
        let network = self.network.as_ref().expect("it is there until the end");
        self.directors[at].start(network);
        for (lan, address) in [("outside", "192.0.2"), ("inside", "198.51.100")] {
            let (twin, address) = (format!("twin-{lan}"), format!("{address}.{}/24", at + 2));
            network.run(ROLES[at], &["ip", "link", "set", &twin, "up"]);
            network.run(ROLES[at], &["ip", "address", "replace", &address, "dev", &twin]);
        }
        network.run(ROLES[at], &["ip", "route", "replace", "default", "via", "192.0.2.254"]);
    }

    /// Starts bird with an example, less hasty than that is, for the machine may be busy.
    fn bird(&mut self, role: &str, example: &str, changes: &[(&str, &str)]) {
        let folder = self.network().folder().join(format!("bird-{role}"));
        fs::create_dir(&folder).unwrap();
        let hasty = [
            ("interval 200 ms", "interval 400 ms"),
            ("multiplier 5", "multiplier 15"),
            ("hold time 3", "hold time 12"),
            ("keepalive time 1", "keepalive time 4"),
        ];
        let text = fs::read_to_string(format!("{EXAMPLES}{example}")).unwrap();
        let text = hasty.iter().chain(changes).fold(text, |text, (from, to)| {
            assert!(text.contains(from), "{example}: {from}");
            text.replace(from, to)
        });
        let (config, socket) = (folder.join("bird.conf"), folder.join("bird.ctl"));
        fs::write(&config, text).unwrap();
        let words = ["bird", "-f", "-c", config.to_str().unwrap(), "-s", socket.to_str().unwrap()];
        let log = fs::File::create(folder.join("log")).unwrap();
        let child = self.network().inside(role, &words).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.birds.push(child);
    }

    /// What bird says of its protocols.
    fn sessions(&self, role: &str) -> String {
        let socket = self.network().folder().join(format!("bird-{role}")).join("bird.ctl");
        let output = Command::new("birdc").arg("-s").arg(socket).args(["show", "protocols", "all"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The directors that the router sends the virtual address to, by the last number of their addresses.
    fn next_hops(&self) -> Vec<String> {
        let shown = self.run("router", &["ip", "-o", "route", "show", VIP]);
        let after_via = shown.split("via 192.0.2.").skip(1);
        let mut hops: Vec<_> = after_via.filter_map(|rest| rest.split_whitespace().next()).map(String::from).collect();
        hops.sort();
        hops
    }

    /// Waits until the router knows these directors. Returns how long that took.
    fn await_next_hops(&self, want: &[&str]) -> Duration {
        let begun = Instant::now();
        let there = within(SOON, || self.next_hops() == want);
        assert!(there, "the router has {:?} and not {want:?}\n{}", self.next_hops(), self.words());
        begun.elapsed()
    }

    /// The same rules on both, in the same order, as a table of Maglev hashing depends on it.
    fn rules(&self, rules: &[String]) {
        let rules: Vec<_> = rules.iter().map(String::as_str).collect();
        self.directors.iter().for_each(|director| director.rules(&rules));
    }

    fn setting(&self, name: &str, value: &str) {
        for director in &self.directors {
            director.pollvs(&["settings", name, value]);
        }
    }

    /// Each tells the other.
    fn synchronise(&self) {
        for (at, director) in self.directors.iter().enumerate() {
            for (role, id) in [("master", at + 1), ("backup", 2 - at)] {
                director.rules(&[&format!("--start-daemon {role} --mcast-interface twin-inside --syncid {id}")]);
            }
        }
    }

    /// How many connections a director has scheduled since it started.
    fn scheduled(&self, at: usize) -> usize {
        let stats = self.directors[at].pollvs(&["ipvsadm", "-Ln", "--stats", "--exact"]);
        let line = stats.lines().find(|line| line.contains(VIP)).unwrap();
        line.split_whitespace().nth(2).unwrap().parse().unwrap()
    }

    fn hold(&self) -> Held {
        let sources: Vec<_> = (100..120).map(|host| format!("198.18.0.{host}")).collect();
        let count = CONNECTIONS.to_string();
        let words = ["python3", HOLD, VIP, "80", &count].into_iter().chain(sources.iter().map(String::as_str));
        let words: Vec<_> = words.collect();
        let mut command = self.network().inside("client", &words);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        assert_eq!(line, "open\n", "{}", self.words());
        Held { child, out }
    }

    fn words(&self) -> String {
        let directors =
            self.directors.iter().map(|d| format!("--- {}\n{}{}", d.role, d.words(), self.sessions(d.role)));
        directors.chain([self.sessions("router")]).collect()
    }
}

impl Drop for Routed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.words());
        }
        self.network = None;
        self.birds.iter_mut().for_each(|bird| drop(bird.wait()));
        self.directors.iter_mut().for_each(Director::end);
    }
}

/// Open connections of the client.
struct Held {
    child: Child,
    out: std::io::BufReader<std::process::ChildStdout>,
}

impl Held {
    /// Asks on each once more: how many go on with their server, are answered by another, and are lost.
    fn finish(mut self) -> [usize; 3] {
        drop(self.child.stdin.take());
        let mut text = String::new();
        std::io::Read::read_to_string(&mut self.out, &mut text).unwrap();
        self.child.wait().unwrap();
        let numbers: Vec<_> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        numbers.try_into().unwrap_or_else(|_| panic!("{text}"))
    }
}

/// The rules of a service with this scheduler.
fn service(scheduler: &str) -> Vec<String> {
    let server = |last: u32| format!("-a -t {VIP}:80 -r 192.0.2.{last} -g");
    [format!("-A -t {VIP}:80 -s {scheduler}")].into_iter().chain((21..24).map(server)).collect()
}

/// What became of connections that were open when one of two directors died.
struct Fate {
    /// Those that the director had which died.
    of_dead: usize,
    same: usize,
    other: usize,
    lost: usize,
}

/// Opens connections by both directors, kills the first, and starts it again when they have been asked once more.
fn kill_one(routed: &mut Routed, what: &str) -> Fate {
    routed.await_next_hops(&["2", "3"]);
    let before = routed.scheduled(0);
    let held = routed.hold();
    let of_dead = routed.scheduled(0) - before;
    std::thread::sleep(TOLD);
    routed.directors[0].kill();
    let noticed = routed.await_next_hops(&["3"]);
    let [same, other, lost] = held.finish();
    println!(
        "{what}: {CONNECTIONS} open connections, {of_dead} of them by the director that dies, which the router notices after {} ms: \
         {same} go on, {other} by another server, {lost} are lost",
        noticed.as_millis()
    );
    routed.start_director(0);
    Fate { of_dead, same, other, lost }
}

#[test]
fn a_director_dies_and_its_connections_go_on_by_the_other() {
    let Some(mut routed) = Routed::start() else { return };
    routed.rules(&service("mh"));
    let fate = kill_one(&mut routed, "mh alone");
    // The survivor knows nothing of them, and the client is told so.
    assert_eq!((fate.lost, fate.other), (fate.of_dead, 0));
    assert!((1..CONNECTIONS).contains(&fate.of_dead), "the router uses both directors");

    routed.setting("sloppy_tcp", "1");
    let fate = kill_one(&mut routed, "mh, sloppy_tcp");
    assert_eq!((fate.same, fate.other, fate.lost), (CONNECTIONS, 0, 0));

    routed.setting("sloppy_tcp", "0");
    routed.synchronise();
    let fate = kill_one(&mut routed, "mh, synchronisation both ways");
    // Messages of the synchronisation are datagrams, and a busy machine may lose one.
    assert!(fate.lost <= CONNECTIONS / 100 && fate.other == 0, "{} are lost", fate.lost);

    for director in &routed.directors {
        director.rules(&["--stop-daemon master", "--stop-daemon backup", &format!("-E -t {VIP}:80 -s rr")]);
    }
    routed.setting("sloppy_tcp", "1");
    let fate = kill_one(&mut routed, "rr, sloppy_tcp");
    assert!(fate.lost > 0, "round robin does not know where a connection belongs");
}

#[test]
fn a_director_without_a_server_is_left_and_one_that_stops_takes_leave() {
    let Some(mut routed) = Routed::start() else { return };
    routed.setting("sloppy_tcp", "1");
    assert_eq!(routed.next_hops(), Vec::<String>::new());
    routed.rules(&service("mh"));
    routed.await_next_hops(&["2", "3"]);
    let held = routed.hold();
    let mut events = routed.directors[0].listen();
    // The first director sees no server any more; the other does.
    for last in 21..24 {
        routed.directors[0].rules(&[&format!("-e -t {VIP}:80 -r 192.0.2.{last} -g -w 0")]);
    }
    let withdrawn = routed.await_next_hops(&["3"]);
    println!("withdrawn after {} ms", withdrawn.as_millis());
    events.await_kind("withdrawn", SOON);
    assert_eq!(held.finish(), [CONNECTIONS, 0, 0]);
    routed.directors[0].rules(&[&format!("-e -t {VIP}:80 -r 192.0.2.21 -g -w 1")]);
    events.await_kind("announced", SOON);
    routed.await_next_hops(&["2", "3"]);
    // One that is stopped says so, and nobody waits for a session to time out.
    assert!(routed.directors[1].stop().success());
    assert_eq!(routed.next_hops(), ["2"], "it was withdrawn before pollvsd ended");
}
