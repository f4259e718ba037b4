//! keepalived: a scenario in which real servers come and go, held against what it does with the kernel, and directors that die
//! under it.
use std::fs;
use std::time::Duration;

use super::bed::{Bed, INTERFACES, LOOPBACK, Running, within};

const KERNEL: &str = include_str!("keepalived/kernel.txt");
/// How long a step of the scenario may take.
const STEP: Duration = Duration::from_secs(40);

/// keepalived on a configuration of the bed.
struct Keepalived {
    process: Running,
    log: String,
    checker: String,
}

impl Keepalived {
    /// `part` is `--check` for the health checks or `--vrrp` for VRRP.
    fn start(bed: &Bed, part: &str, config: &str) -> Self {
        let log = bed.file("keepalived.log");
        let [parent, checker, vrrp] = ["keepalived.pid", "checkers.pid", "vrrp.pid"].map(|name| bed.file(name));
        let files = ["-f", config, "-p", &parent, "-c", &checker, "-r", &vrrp];
        let words = [&["--dont-fork", "--log-console", "--log-detail", part], &files[..]].concat();
        let mut command = bed.command("keepalived", &words);
        let file = fs::File::create(&log).unwrap();
        let process = Running(command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap());
        Self { process, log, checker }
    }

    /// What it logs.
    fn words(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Ticks of the processor that the process with the checks has used.
    fn ticks(&self) -> u64 {
        let id = fs::read_to_string(&self.checker).unwrap();
        let status = fs::read_to_string(format!("/proc/{}/stat", id.trim())).unwrap();
        status.split_whitespace().skip(13).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }

    /// Ends it, as systemd would; its exit code.
    fn stop(self) -> Option<i32> {
        self.process.signal("TERM");
        self.process.code()
    }
}

/// What stands in the kernel's transcript between a title and the next.
fn block(title: &str) -> &'static str {
    let start = KERNEL.split_once(&format!("##### {title}\n")).unwrap_or_else(|| panic!("no step {title:?}")).1;
    start.find("##### ").map_or(start, |end| &start[..end])
}

/// The table after a step: the kernel's, if it comes to be that.
fn settled(bed: &Bed, title: &str) -> String {
    let expected = block(title);
    let mut rules = String::new();
    within(STEP, || {
        rules = bed.rules();
        expected.starts_with(&rules) && !rules.is_empty()
    });
    format!("##### {title}\n{rules}")
}

/// The lines that have a word in them, and so many after each.
fn near(text: &str, word: &str, after: usize) -> String {
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    let found = lines.iter().position(|line| line.contains(word)).unwrap();
    lines[found..].iter().take(after + 1).copied().collect()
}

#[test]
fn real_servers_come_and_go_as_with_the_kernel() {
    let Some(bed) = Bed::new(LOOPBACK) else { return };
    fs::write(bed.file("scripts.log"), "").unwrap();
    let config = bed.write("keepalived.conf", include_str!("keepalived/scenario.conf"));
    let mut said = format!("##### empty\n{}", bed.rules());
    let keepalived = Keepalived::start(&bed, "--check", &config);
    said += &settled(&bed, "after start (nothing up)");
    let mut first = bed.web_server("127.0.0.11");
    let _sixth = bed.web_server("::1");
    said += &settled(&bed, "127.0.0.11 and ::1 up");
    let second = bed.web_server("127.0.0.12");
    fs::write(bed.file("rs13"), "").unwrap();
    said += &settled(&bed, "127.0.0.12 up too, misc check ok (quorum 2 reached)");
    said += &near(&bed.printed("ipvsadm", &["-Ln", "--thresholds"]), "10.10.0.1:80", 3);
    said += &bed.printed("ipvsadm", &["-L", "--timeout"]);
    said += &near(&bed.printed("ipvsadm", &["-Ln", "--tun-info"]), "FWM  9", 2);
    drop(second);
    said += &settled(&bed, "127.0.0.12 down (inhibit_on_failure: weight 0)");
    let _second = bed.web_server("127.0.0.12");
    said += &settled(&bed, "127.0.0.12 up again");
    drop(first);
    fs::remove_file(bed.file("rs13")).unwrap();
    said += &settled(&bed, "127.0.0.11 down, misc check failing");
    first = bed.web_server("127.0.0.11");
    fs::write(bed.file("rs13"), "").unwrap();
    said += &settled(&bed, "all up");
    let changed = fs::read_to_string(&config)
        .unwrap()
        .replace("weight 5\n", "weight 50\n")
        .replace("lb_algo lc\n", "lb_algo sed\n");
    fs::write(&config, changed).unwrap();
    keepalived.process.signal("HUP");
    said += &settled(&bed, "after SIGHUP (weight 5->50, udp lc->sed)");
    let words = keepalived.words();
    said += &format!("keepalived rc={}\n", keepalived.stop().unwrap());
    said += &format!("##### after SIGTERM\n{}", bed.rules());
    drop(first);
    let scripts = fs::read_to_string(bed.file("scripts.log")).unwrap();
    let mut scripts: Vec<_> = scripts.split_inclusive('\n').collect();
    scripts.sort_unstable();
    said += &format!("##### scripts.log\n{}", scripts.concat());
    assert_eq!(said, KERNEL, "keepalived says:\n{words}");
}

/// Directors die, with the table kept; keepalived's checks go on, and its changes reach the director that came back.
#[test]
fn a_director_is_killed_under_keepalived_and_started_again() {
    let Some(mut bed) = Bed::new(LOOPBACK) else { return };
    let (there, alone) = (
        "TCP  10.10.0.1:80 rr\n  -> 127.0.0.11:8081              Masq    1      0          0         \n",
        "TCP  10.10.0.1:80 rr\n",
    );
    let up = bed.file("f11");
    fs::write(&up, "").unwrap();
    let config = bed.write("keepalived.conf", include_str!("keepalived/restart.conf"));
    let keepalived = Keepalived::start(&bed, "--check", &config);
    assert!(within(STEP, || bed.rules() == there), "{}", keepalived.words());
    bed.kill_director();
    bed.start_director();
    assert_eq!(bed.rules(), there, "the rules are not back");
    fs::remove_file(&up).unwrap();
    assert!(within(STEP, || bed.rules() == alone), "{}", keepalived.words());
    // This time a change is wanted while there is no director: it is tried again until it succeeds.
    bed.kill_director();
    fs::write(&up, "").unwrap();
    let before = keepalived.ticks();
    assert!(within(STEP, || keepalived.words().contains("Resource temporarily unavailable")), "{}", keepalived.words());
    let spent = keepalived.ticks() - before;
    assert!(spent < 100, "the checks have used {spent} ticks while they waited");
    bed.start_director();
    assert!(within(STEP, || bed.rules() == there), "{}", keepalived.words());
    assert_eq!(keepalived.stop(), Some(0));
    assert_eq!(bed.rules(), "");
}

/// It asks for the daemon of a backup, and for that of a master once nobody else is one.
#[test]
fn the_daemons_of_synchronisation_follow_vrrp() {
    let Some(bed) = Bed::new(INTERFACES) else { return };
    let config = bed.write("keepalived.conf", include_str!("keepalived/daemons.conf"));
    let daemons = || bed.printed("ipvsadm", &["-L", "--daemon"]);
    let expected = |role: &str| {
        format!("{role} sync daemon (mcast=eth0, syncid=77, maxlen=1400, group=224.0.0.99, port=9000, ttl=2)\n")
    };
    let keepalived = Keepalived::start(&bed, "--vrrp", &config);
    let follows = |role| assert!(within(STEP, || daemons() == expected(role)), "{}{}", daemons(), keepalived.words());
    follows("backup");
    follows("master");
    assert_eq!(keepalived.stop(), Some(0));
    assert_eq!(daemons(), "");
}
