//! Golden texts: what ipvsadm 1.31 on a kernel said.

use super::*;
use crate::control::reply::{DestinationView, ErrorCode, HopView, PersistenceView, Rates};
use crate::control::request::SchedulerFlag;
use crate::destination::{Method, Tunnel};
use crate::netmask::Netmask;
use crate::service::SchedulerName;
use crate::stats::Traffic;

fn run_with(line: &str, mut answer: impl FnMut(Request) -> Reply) -> Outcome {
    let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let names = Names::default();
    run(&args, &mut Host { ask: &mut answer, stdin: &mut String::new, names: &names })
}

fn refusal(line: &str) -> (u8, String) {
    let outcome = run_with(line, |request| panic!("{line}: asked {request:?}"));
    assert_eq!(outcome.stdout, "", "{line}");
    (outcome.code, outcome.stderr)
}

#[test]
fn wrong_command_lines_are_refused_in_ipvsadms_words() {
    for (line, code, words) in [
        ("-A", 2, "You need to supply the 'service-address' option for the 'add-service' command"),
        ("-A -t 192.0.2.10 -s rr", 2, "Zero port specified for non-persistent service"),
        ("-A -t 192.0.2.10:99999 -s rr", 2, "illegal virtual server address[:port] specified"),
        ("-A -f 0 -s rr", 2, "invalid fwmark value `0' specified"),
        ("-A -t 192.0.2.10:82 -s rr -p 99999999", 2, "invalid timeout value `99999999' specified"),
        ("-A -t 192.0.2.10:83 -s sh -b nosuch", 2, "invalid scheduler flag `nosuch'"),
        ("-A -t 192.0.2.10:84 -s rr -b sh-port", 2, "incompatible scheduler flag `sh-port'"),
        ("-A -t 192.0.2.10:85 -s rr -o", 2, "One-Packet Scheduling is only for UDP virtual services"),
        ("-A -t 192.0.2.10:80 -u 192.0.2.10:80", 2, "multiple 'service-address' options specified"),
        ("-a -t 192.0.2.10:80", 2, "You need to supply the 'real-server' option for the 'add-server' command"),
        ("-a -t 192.0.2.10:80 -r 198.51.100.15:80 -m -w -1", 2, "illegal weight specified"),
        ("-a -t 192.0.2.10:80 -r 198.51.100.16:80 -m -g", 2, "multiple 'forwarding-method' options specified"),
        ("-a -t 192.0.2.1:80 -r [2001:db8::7] -i", 2, "illegal real server address[:port] specified"),
        (
            "-a -t 192.0.2.10:80 -r [2001:db8:2::11]:80 -m",
            2,
            "Different address family is allowed only for tunneling servers",
        ),
        (
            "-a -t 192.0.2.10:80 -r 198.51.100.18:80 -i --tun-type gue",
            2,
            "You need to supply the 'tun-port' option for the 'gue' tunnel type",
        ),
        ("-a -t 192.0.2.10:80 -r 198.51.100.18:80 -i --tun-type nosuch", 2, "illegal tunnel type specified"),
        ("-L --nosuch", 255, "--nosuch: unknown option"),
        ("-X", 255, "Try `ipvsadm -h' or 'ipvsadm --help' for more information."),
        ("-A -D", 2, "invalid option `-D'"),
        ("-Ln -w 3", 2, "Illegal 'weight' option with the 'list' command"),
        ("-C -n", 2, "Illegal 'numeric' option with the 'flush' command"),
        ("-Ln -c --stats", 2, "options conflicts in the list command"),
        ("-L --timeout --daemon", 2, "The option 'daemon' conflicts with the 'timeout' option in the 'list' command"),
        ("--set 1", 2, "--set option requires 3 timeout values"),
        ("--set 1 2 x", 2, "invalid timeout value `x' specified"),
        ("--set -1 2 3", 255, "-1: unknown option"),
        ("--start-daemon", 255, "Try `ipvsadm -h' or 'ipvsadm --help' for more information."),
        ("--start-daemon nobody", 2, "illegal start-daemon parameter specified"),
        ("--start-daemon master --syncid 256", 2, "illegal syncid specified"),
        ("--stop-daemon nobody", 2, "illegal start_daemon specified"),
        ("-A -6 -f 1", 2, "-6 used before -f\n"),
        ("-S -t 192.0.2.1:80", 2, "Illegal 'service-address' option with the 'save' command"),
        ("-A -t 192.0.2.1:99 -w 3", 2, "Illegal 'weight' option with the 'add-service' command"),
        ("-C extra", 2, "unexpected argument extra"),
    ] {
        assert_eq!(refusal(line), (code, format!("{words}\n")), "{line}");
    }
}

#[test]
fn refusals_of_the_director_have_the_words_of_the_kernels() {
    let says = |line, code| run_with(line, move |_| Failure::new(code, "in our words").into());
    for (line, code, exit, words) in [
        ("-A -t 192.0.2.10:80", ErrorCode::ServiceExists, 255, "Service already exists"),
        ("-A -t 192.0.2.10:80 -s x", ErrorCode::UnknownScheduler, 255, "Scheduler or persistence engine not found"),
        ("-a -t 192.0.2.10:80 -r 192.0.2.1:80", ErrorCode::ServiceNotDefined, 255, "Service not defined"),
        ("-d -t 192.0.2.10:80 -r 192.0.2.1:80", ErrorCode::NoSuchDestination, 255, "No such destination"),
        ("--start-daemon master", ErrorCode::DaemonRuns, 255, "Daemon has already run"),
        ("--start-daemon master", ErrorCode::NoSuchInterface, 255, "No such device"),
        ("--stop-daemon backup", ErrorCode::NoDaemon, 255, "No daemon is running"),
        ("-a -t 192.0.2.10:80 -r 192.0.2.1:80 -y 3", ErrorCode::OutOfRange, 255, "Numerical result out of range"),
        ("-Ln -t 192.0.2.10:99", ErrorCode::NoSuchService, 1, "No such service"),
        ("-Z -t 192.0.2.10:99", ErrorCode::NoSuchService, 255, "No such service"),
        ("-C", ErrorCode::WorkerSilent, 255, "in our words"),
    ] {
        let outcome = says(line, code);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (exit, format!("{words}\n").as_str()), "{line}");
    }
}

#[test]
fn a_command_line_becomes_a_request() {
    let asked = |line: &str| {
        let mut asked = Vec::new();
        let outcome = run_with(line, |request| {
            asked.push(serde_json::to_string(&request).expect("requests are JSON"));
            Reply::Done {}
        });
        assert_eq!(outcome, Outcome::default(), "{line}");
        asked.concat()
    };
    for (line, request) in [
        (
            "-A -t 192.0.2.10:443 -s wrr -p 600 -M 255.255.0.0",
            r#"{"request":"add_service","service":"tcp:192.0.2.10:443","scheduler":"wrr","persistence":{"timeout_secs":600,"prefix":16},"one_packet":false}"#,
        ),
        (
            "-E -f 8 -6 -s mh -b mh-port,mh-fallback -p",
            r#"{"request":"edit_service","service":"mark6:8","scheduler":"mh","persistence":{"timeout_secs":360},"one_packet":false,"flags":["flag-1","flag-2"]}"#,
        ),
        (
            "-a -t 192.0.2.10:80 -r 198.51.100.11:8080 -g -w 3",
            r#"{"request":"add_destination","service":"tcp:192.0.2.10:80","destination":{"address":"198.51.100.11:80","method":"dr","weight":3,"tunnel":{"type":"ipip"},"upper":0,"lower":0}}"#,
        ),
        (
            "-e -t 192.0.2.10:http -r 198.51.100.11 -m -x 9 -y 4",
            r#"{"request":"edit_destination","service":"tcp:192.0.2.10:80","destination":{"address":"198.51.100.11:80","method":"nat","weight":1,"tunnel":{"type":"ipip"},"upper":9,"lower":4}}"#,
        ),
        (
            "-d -f 7 -r [2001:db8::1]:0",
            r#"{"request":"delete_destination","service":"mark:7","address":"[2001:db8::1]:0"}"#,
        ),
        ("--set 0 0 40", r#"{"request":"set_timeouts","tcp":0,"tcp_fin":0,"udp":40}"#),
    ] {
        assert_eq!(asked(line), request, "{line}");
    }
}

fn destination(address: &str, method: Method, weight: u32) -> DestinationView {
    DestinationView {
        address: address.parse().unwrap(),
        method,
        tunnel: Tunnel::Ipip,
        weight,
        configured_weight: weight,
        standing: Default::default(),
        reason: String::new(),
        removed: false,
        upper: 100,
        lower: 50,
        active: 6,
        inactive: 2,
        persistent: 1,
        overloaded: false,
        traffic: Traffic { connections: 6, in_packets: 100_000_000, out_packets: 0, in_bytes: 240, out_bytes: 0 },
        rates: Rates { connections: 1, in_bytes: 13, ..Rates::default() },
        next_hop: HopView::Unreachable,
    }
}

fn service(key: &str, scheduler: SchedulerName, destinations: Vec<DestinationView>) -> ServiceView {
    ServiceView {
        service: key.parse().unwrap(),
        scheduler,
        persistence: None,
        pe: None,
        one_packet: false,
        flags: vec![],
        traffic: Traffic::default(),
        rates: Rates::default(),
        destinations,
        policy: Default::default(),
        weight_up: 0,
        quorum: true,
        sorry: None,
    }
}

fn table() -> Vec<ServiceView> {
    let sticky = Some(PersistenceView { timeout_secs: 600, netmask: Netmask::Prefix(16) });
    let sticky6 = Some(PersistenceView { timeout_secs: 20, netmask: Netmask::Prefix(64) });
    vec![
        ServiceView { persistence: sticky6, ..service("mark6:8", SchedulerName::Rr, vec![]) },
        ServiceView { one_packet: true, ..service("udp:192.0.2.11:53", SchedulerName::Rr, vec![]) },
        service("tcp:[2001:db8:1::10]:80", SchedulerName::Rr, vec![destination("[2001:db8:2::11]:80", Method::Nat, 1)]),
        ServiceView {
            persistence: sticky,
            flags: vec![SchedulerFlag::Flag1, SchedulerFlag::Flag2],
            ..service(
                "tcp:192.0.2.10:443",
                SchedulerName::Sh,
                vec![
                    destination("198.51.100.12:443", Method::Tun, 10),
                    destination("198.51.100.11:443", Method::Dr, 65536),
                ],
            )
        },
    ]
}

fn listed(line: &str) -> String {
    run_with(line, |_| Reply::Services { services: table(), more: false }).stdout
}

#[test]
fn the_plain_listing_is_sorted_and_padded() {
    assert_eq!(
        listed("-Ln"),
        "IP Virtual Server version 1.2.1 (size=4096)\n\
         Prot LocalAddress:Port Scheduler Flags\n  \
           -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n\
         TCP  192.0.2.10:443 sh (sh-fallback,sh-port) persistent 600 mask 255.255.0.0\n  \
           -> 198.51.100.11:443            Route   65536  6          2         \n  \
           -> 198.51.100.12:443            Tunnel  10     6          2         \n\
         UDP  192.0.2.11:53 rr ops\n\
         TCP  [2001:db8:1::10]:80 rr\n  \
           -> [2001:db8:2::11]:80          Masq    1      6          2         \n\
         FWM  8 IPv6 rr persistent 20 mask 64\n"
    );
}

#[test]
fn big_numbers_are_shortened_unless_exact() {
    let line = |text: String| text.lines().nth(4).unwrap().to_owned();
    assert_eq!(
        line(listed("-Ln --stats")),
        "  -> 198.51.100.11:443                   6  100000K        0      240        0"
    );
    assert_eq!(
        line(listed("-Ln --stats --exact")),
        "  -> 198.51.100.11:443                   6 100000000        0      240        0"
    );
    assert_eq!(
        line(listed("-Ln --rate")),
        "  -> 198.51.100.11:443                   1        0        0       13        0"
    );
}

#[test]
fn saved_rules_are_command_lines() {
    assert_eq!(
        listed("-S"),
        "-A -t 192.0.2.10:https -s sh -p 600 -M 255.255.0.0 -b sh-fallback,sh-port\n\
         -a -t 192.0.2.10:https -r 198.51.100.11:https -g -w 65536\n\
         -a -t 192.0.2.10:https -r 198.51.100.12:https -i -w 10 --tun-type ipip\n\
         -A -u 192.0.2.11:domain -s rr -o\n\
         -A -t [2001:db8:1::10]:http -s rr\n\
         -a -t [2001:db8:1::10]:http -r [2001:db8:2::11]:http -m -w 1\n\
         -A -f 8 -6 -s rr -p 20 -M 64\n"
    );
}

#[test]
fn proc_net_ip_vs_is_in_hex_and_jiffies() {
    assert_eq!(
        proc::services(&table()),
        "IP Virtual Server version 1.2.1 (size=4096)\n\
         Prot LocalAddress:Port Scheduler Flags\n  \
           -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n\
         FWM  00000008 rr persistent 2000 40000000\n\
         UDP  C000020B:0035 rr ops  \n\
         TCP  [2001:0db8:0001:0000:0000:0000:0000:0010]:0050 rr \n  \
           -> [2001:0db8:0002:0000:0000:0000:0000:0011]:0050      Masq    1      6          2         \n\
         TCP  C000020A:01BB sh  persistent 60000 FFFF0000\n  \
           -> C633640C:01BB      Tunnel  10     6          2         \n  \
           -> C633640B:01BB      Route   65536  6          2         \n"
    );
}

#[test]
fn a_connection_is_one_line_in_both_texts() {
    let template = ConnectionView {
        protocol: "IP".into(),
        client: "203.0.113.5:0".parse().unwrap(),
        vip: "0.0.0.7:0".parse().unwrap(),
        destination: "198.51.100.13:0".parse().unwrap(),
        state: "NONE".into(),
        expires_ticks: 58_599,
        template: true,
        pe: None,
        pe_data: String::new(),
        received: true,
        worker: 0,
    };
    assert_eq!(
        proc::connection_origins(std::slice::from_ref(&template)).lines().nth(1),
        Some("IP  CB007105 0000 00000007 0000 C633640D 0000 NONE        SYNC       585")
    );
    assert_eq!(
        listing::connections(std::slice::from_ref(&template), false, None).lines().nth(2),
        Some("IP  09:45  NONE        203.0.113.5:0      0.0.0.7:0          198.51.100.13:0")
    );
    assert_eq!(
        proc::connections(&[template]).lines().nth(1),
        Some("IP  CB007105 0000 00000007 0000 C633640D 0000 NONE            585")
    );
}

#[test]
fn restore_stops_at_the_first_line_that_is_refused() {
    let names = Names::default();
    let mut asked = 0;
    let mut ask = |_| {
        asked += 1;
        if asked == 2 { Failure::new(ErrorCode::ServiceExists, "").into() } else { Reply::Done {} }
    };
    let mut stdin = || "-A -t 192.0.2.1:80\n\n-A -t 192.0.2.1:80\n-A -t 192.0.2.1:81\n".to_owned();
    let outcome = run(&["-R".to_owned()], &mut Host { ask: &mut ask, stdin: &mut stdin, names: &names });
    assert_eq!((outcome.code, outcome.stderr.as_str(), asked), (255, "Service already exists\n", 2));
}
