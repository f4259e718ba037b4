use super::*;
use crate::cli::plain::args::{Chosen, Listed};

/// The lines of the document on the protocol that are such a reply, as text for people.
fn shown(reply: &str, verb: &Verb) -> String {
    let document = include_str!("../../../docs/control.md");
    let line = document.lines().find(|l| l.starts_with(&format!("{{\"reply\":\"{reply}\""))).unwrap();
    tables::text(&serde_json::from_str(line).unwrap(), verb)
}

const ALL: Chosen = Chosen { service: None };

#[test]
fn answers_are_aligned_tables() {
    let table = [
        (
            shown("status", &Verb::Status),
            "\
director       pollvsd 0.1.0, process 4711, up 1 d 0 h
configuration  /etc/pollvs/director.toml
state file     /var/lib/pollvs/state.json
workers        2
ports          outside, inside
rules          1 services, 2 destinations (version 17)
connections    41 of 2097152
templates      0 of 262144
warning        there is no route to 198.51.100.12
",
        ),
        (
            shown("services", &Verb::Services(Listed { chosen: ALL, tree: false })),
            "\
SERVICE                BY                            WEIGHT  ACTIVE  INACTIVE  TEMPLATES  CONNECTIONS  STATE
tcp:192.0.2.10:80      wrr, persistent 600 s by /24               2         1          1           10
└─ 198.51.100.11:8080  nat                                3       2         1          1           10  up, by inside
",
        ),
        (
            shown("services", &Verb::Stats(ALL)),
            "\
SERVICE                CONNECTIONS  PACKETS IN  PACKETS OUT  BYTES IN  BYTES OUT
tcp:192.0.2.10:80               10          60           50      4200      90000
└─ 198.51.100.11:8080           10          60           50      4200      90000
",
        ),
        (
            shown("services", &Verb::Rates(ALL)),
            "\
SERVICE                CONNECTIONS/S  PACKETS/S IN  OUT  BYTES/S IN   OUT
tcp:192.0.2.10:80                  1             6    5         420  9000
└─ 198.51.100.11:8080              1             6    5         420  9000
",
        ),
        (
            shown("workers", &Verb::Workers),
            "\
WORKER  CORE  CONNECTIONS  TEMPLATES  RECEIVED  TRANSMITTED  PASSED  HANDED OFF  DROPPED  BUSY TURNS  BURST  50 %  99 %  MOST
     0     1   41/1048576   0/131072     12000        11900      90           0       10         0 %      3  9.0u   30u  250u
port outside (outside): the device steers by the source (outside), with our key and its RETA of 512 entries; handed over 3
",
        ),
        (
            shown("counters", &Verb::Counters { all: false }),
            "\
EVENT     COUNT  MEANING
received  12000  frames received

DROPPED   COUNT  MEANING
no_route     10  no route to the destination; the sender was told (ICMP host unreachable)
",
        ),
        (
            shown("next_hops", &Verb::NextHops),
            "\
ADDRESS        REACHED                              MAC  MTU  SOURCE
198.51.100.11  by inside, asking for 198.51.100.11  -      -  198.51.100.1
127.0.0.1      local                                -      -  -
",
        ),
        (shown("timeouts", &Verb::Save), "tcp      900\ntcp_fin  120\nudp      300\n"),
        (shown("done", &Verb::Reload), ""),
        (
            shown("applied", &Verb::Reload),
            "service mark:7 added\ndirector.workers differs; restart the director to apply it\n",
        ),
    ];
    for (got, want) in table {
        assert_eq!(got, want, "\n{got}");
    }
    assert!(shown("settings", &Verb::Save).contains("pmtu_disc                  1\n"));
    assert!(
        shown("ports", &Verb::Ports)
            .contains("outside: 0000:01:00.0, link up, 02:00:00:00:00:01, MTU 1500, 2 queues, twin outside\n")
    );
}

#[test]
fn an_event_is_a_line_with_its_moment() {
    let line =
        "2026-11-21T19:52:00.123Z destination 198.51.100.11:80 of tcp:192.0.2.10:80 is down: connection refused\n";
    assert_eq!(shown("event", &Verb::Events), line);
}

#[test]
fn checks_are_a_table_with_what_they_saw() {
    let text = shown("checks", &Verb::Checks(ALL));
    let want = "\
SERVICE            DESTINATION         BY    STATE  SINCE    CHECKS  FAILED     MS  LAST
tcp:192.0.2.10:80  198.51.100.11:8080  http  up     1 d 0 h   17280       3  0.734  status 200
";
    assert_eq!(text, want, "\n{text}");
}

#[test]
fn a_tree_has_all_that_is_known_of_a_service() {
    let tree = shown("services", &Verb::Services(Listed { chosen: ALL, tree: true }));
    assert_eq!(
        tree,
        "\
tcp:192.0.2.10:80  wrr, persistent 600 s by /24, 1 of 1 usable
│    new 1/s; packets/s in 6, out 5; bytes/s in 420, out 9000
└─ 198.51.100.11:8080  nat, weight 3, up, by inside
     active 2, inactive 1, templates 1
     new 1/s; packets/s in 6, out 5; bytes/s in 420, out 9000
     by inside, MAC 02:00:00:00:00:0b, MTU 1500
"
    );
}

#[test]
fn why_is_answered_in_lines() {
    let expected = "\
server   198.51.100.11:8080, nat, weight 0, quiesced, no route
by       its connection in ESTABLISHED, 899 s left
service  tcp:192.0.2.10:80
worker   0
note     there is no route to 198.51.100.11: it is dropped (no_route)
";
    assert_eq!(shown("why", &Verb::Workers), expected);
}

#[test]
fn connections_are_lines_that_need_no_table() {
    let document = include_str!("../../../docs/control.md");
    let line = document.lines().find(|l| l.starts_with("{\"reply\":\"connections\"")).unwrap();
    let Ok(Reply::Connections { connections, .. }) = serde_json::from_str(line) else { panic!() };
    let mut text = Vec::new();
    tables::connections(&connections, true, &mut text).unwrap();
    assert_eq!(
        String::from_utf8(text).unwrap(),
        "\
PROTO   EXPIRES STATE        CLIENT                   VIRTUAL                  DESTINATION
TCP    899.90 s ESTABLISHED  203.0.113.5:40312        192.0.2.10:80            198.51.100.11:8080
"
    );
}

/// What a command line asks, as the protocol has it.
fn asked(line: &str) -> Result<serde_json::Value, String> {
    let words = std::iter::once("pollvs").chain(line.split_whitespace());
    let typed = Typed::try_parse_from(words).map_err(|e| e.to_string())?;
    let request = requests::request(typed.verb).map_err(|e| e.to_string())?;
    Ok(serde_json::to_value(request).unwrap())
}

#[test]
fn a_command_line_is_one_request() {
    let table = [
        ("status", r#"{"request":"status"}"#),
        ("--json services tcp:192.0.2.10:80", r#"{"request":"services","service":"tcp:192.0.2.10:80"}"#),
        ("stats", r#"{"request":"services"}"#),
        ("connections --client 203.0.113.5 --limit 3", r#"{"request":"connections","client":"203.0.113.5","limit":3}"#),
        ("flush", r#"{"request":"flush"}"#),
        ("flush --connections", r#"{"request":"flush_connections"}"#),
        ("timeouts", r#"{"request":"timeouts"}"#),
        ("timeouts --udp 5", r#"{"request":"set_timeouts","tcp":0,"tcp_fin":0,"udp":5}"#),
        ("settings sloppy_tcp 1", r#"{"request":"set_setting","name":"sloppy_tcp","value":1}"#),
        ("shutdown", r#"{"request":"shutdown","drain_secs":0}"#),
        ("shutdown --drain", r#"{"request":"shutdown","drain_secs":60}"#),
        ("shutdown --drain 5", r#"{"request":"shutdown","drain_secs":5}"#),
        (
            "drain 198.51.100.11",
            r#"{"request":"drain","destination":"198.51.100.11","templates":"keep","remove":true}"#,
        ),
        (
            "drain 198.51.100.11 --keep",
            r#"{"request":"drain","destination":"198.51.100.11","templates":"keep","remove":false}"#,
        ),
        (
            "drain 198.51.100.11:80 --service mark:7 --templates drop --timeout 60 --remove --wait",
            r#"{"request":"drain","destination":"198.51.100.11:80","service":"mark:7","templates":"drop","remove":true,
                "timeout_secs":60}"#,
        ),
        ("undrain 198.51.100.11:80", r#"{"request":"undrain","destination":"198.51.100.11:80"}"#),
        ("drains", r#"{"request":"drains","oldest":true}"#),
        (
            "service add udp:[2001:db8::1]:53 -s sh -p 60 --netmask 64 --flags sh-port,sh-fallback",
            r#"{"request":"add_service","service":"udp:[2001:db8::1]:53","scheduler":"sh","one_packet":false,
                "persistence":{"timeout_secs":60,"prefix":64},"flags":["flag-2","flag-1"]}"#,
        ),
        (
            "service policy mark:7 --on-fail remove --slow-start 30",
            r#"{"request":"set_policy","service":"mark:7","policy":{"on_fail":"remove","slow_start_secs":30,"quorum":1,
                "hysteresis":0}}"#,
        ),
        (
            "service policy mark:7 --quorum 9 --hysteresis 2 --sorry 198.51.100.9:80 --sorry-method nat --on-return end",
            r#"{"request":"set_policy","service":"mark:7","policy":{"on_fail":"quiesce","slow_start_secs":0,"quorum":9,
                "hysteresis":2,"sorry":{"address":"198.51.100.9:80","method":"nat","on_return":"end"}}}"#,
        ),
        ("checks mark:7", r#"{"request":"checks","service":"mark:7"}"#),
        (
            "check set mark:7 type=http port=80 path=/a?b=c interval=0.5 verify=true status=[200,\"300-399\"] body=7",
            r#"{"request":"set_check","service":"mark:7","check":{"type":"http","port":80,"path":"/a?b=c","interval":0.5,
                "verify":true,"status":[200,"300-399"],"body":"7"}}"#,
        ),
        (
            "check set mark:7 --destination 198.51.100.11:0 type=command command=[\"/x\",\"{port}\"]",
            r#"{"request":"set_check","service":"mark:7","destination":"198.51.100.11:0",
                "check":{"type":"command","command":["/x","{port}"]}}"#,
        ),
        (
            "check remove mark:7 --destination 198.51.100.11:0",
            r#"{"request":"remove_check","service":"mark:7","destination":"198.51.100.11:0"}"#,
        ),
        (
            "destination edit mark:7 198.51.100.11:0 -m tun --tunnel gue --tunnel-port 6080 -w 0",
            r#"{"request":"edit_destination","service":"mark:7","destination":{"address":"198.51.100.11:0","method":"tun",
                "weight":0,"tunnel":{"type":"gue","port":6080,"checksum":false},"upper":0,"lower":0}}"#,
        ),
        (
            "destination delete tcp:192.0.2.10:80 198.51.100.11:80",
            r#"{"request":"delete_destination","service":"tcp:192.0.2.10:80","address":"198.51.100.11:80"}"#,
        ),
    ];
    for (line, want) in table {
        assert_eq!(asked(line).unwrap(), serde_json::from_str::<serde_json::Value>(want).unwrap(), "{line}");
    }
}

#[test]
fn wrong_command_lines_say_why() {
    for (line, want) in [
        ("services icmp:192.0.2.1:80", "names no virtual service"),
        ("settings sloppy_tcp", "required"),
        ("service add mark:7 --netmask 24", "--persistent"),
        ("service add mark:7 --flags fast", "unknown variant `fast`"),
        ("destination add mark:7 198.51.100.11:0 --tunnel gue", "--tunnel-port"),
        ("destination add mark:7 198.51.100.11", "invalid socket address"),
        ("check set mark:7 type", "write KEY=VALUE"),
        ("check set mark:7 kind=http", "unknown field `kind`"),
        ("check set mark:7 type=ping", "unknown variant `ping`"),
        ("check set mark:7 interval=often", "expected seconds"),
        ("check set mark:7", "KEY=VALUE"),
        ("shutdown --drain 0", "0 is not in"),
        ("drain web1", "is no address; write 198.51.100.11:80"),
        ("apply /nonexistent", "/nonexistent cannot be read"),
    ] {
        let said = asked(line).unwrap_err();
        assert!(said.contains(want), "{line}: {said}");
    }
}
