use std::collections::BTreeSet;

use super::*;
use crate::control::store::{Limits, Store};
use proptest::prelude::*;

const SERVICE: &str = "[[service]]\nprotocol = \"tcp\"\naddress = \"192.0.2.10\"\nport = 80\n";
const DESTINATION: &str = "[[service.destination]]\naddress = \"198.51.100.11\"\n";
const PORT: &str = "[[port]]\nname = \"a\"\ndevice = \"net_null0\"\n";

fn error(text: &str) -> String {
    Config::parse("f.toml", text).expect_err(text).to_string()
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn errors_name_file_line_and_key_and_say_what_to_do() {
    let s = |more: &str| format!("{SERVICE}{more}");
    let d = |more: &str| format!("{SERVICE}{DESTINATION}{more}");
    let p = |more: &str| format!("{PORT}{more}");
    let table: Vec<(String, &str)> = vec![
        ("[director]\nworkers = 0".into(), "f.toml:2: director.workers: 0 cannot be; give 1 to 64"),
        ("[director]\nworkers = -1".into(), "f.toml:2: director.workers: -1 cannot be; give 1 to 64"),
        (
            "[director]\nworkers = \"two\"".into(),
            "f.toml:2: director.workers: invalid type: string \"two\", expected i64",
        ),
        (
            "\n[director]\nidle = \"nap\"".into(),
            "f.toml:3: director.idle: unknown variant `nap`, expected `spin` or `sleep`",
        ),
        (
            "[director]\nseed = \"dice\"".into(),
            "f.toml:2: director.seed: invalid value: string \"dice\", expected \"auto\" or a number of 64 bits",
        ),
        (
            "[director]\nworkers = 2\ncpus = [1]".into(),
            "f.toml:3: director.cpus: 1 cores for 2 workers; name 2, or set allow_fewer = true",
        ),
        ("[dpdk]\nmemory_mb = 1".into(), "f.toml:2: dpdk.memory_mb: 1 cannot be; give 16 to 16777216"),
        (
            "[dpdk]\nhugh = 1".into(),
            "f.toml:2: dpdk.hugh: unknown field `hugh`, expected one of `memory_mb`, `huge`, `extra_args`",
        ),
        (
            "[nosuch]".into(),
            "f.toml:1: nosuch: unknown field `nosuch`, expected one of `director`, `dpdk`, `sync`, `metrics`, `announce`, `port`, `vs`, `marks`, `service`",
        ),
        (
            "[metrics]\nlisten = \"localhost\"".into(),
            "f.toml:2: metrics.listen: \"localhost\" is nothing to listen on; write \"127.0.0.1:9731\", \"[::1]:9731\", the \
             path of a unix socket, or \"\" for none",
        ),
        (
            "[marks]\nipv4 = [\n  \"-d 192.0.2.10 -j MARK --set-mark 1\",\n  \"-p tcp --dprot 80\",\n]".into(),
            "f.toml:4: marks.ipv4: unknown option \"--dprot\"",
        ),
        (
            "[marks]\nipv6 = [\"-d 192.0.2.10 -j MARK --set-mark 1\"]".into(),
            "f.toml:2: marks.ipv6: host/network `192.0.2.10' not found",
        ),
        ("[[port]]\nname = \"a\"".into(), "f.toml:1: port: missing field `device`"),
        (
            p("queues = 70000"),
            "f.toml:4: port.queues: invalid value: integer `70000`, expected \"auto\" or a number of 16 bits",
        ),
        (
            format!("[director]\nworkers = 2\n{}", p("queues = 1")),
            "f.toml:3: port.queues: 1 queues for 2 workers; each worker needs one of its own on every port",
        ),
        (
            p("queues = 2"),
            "f.toml:1: port.queues: 2 queues for 1 workers; nobody would poll the rest: write queues = \"auto\"",
        ),
        (
            p("role = \"both\""),
            "f.toml:4: port.role: unknown variant `both`, expected one of `auto`, `outside`, `inside`",
        ),
        (
            p("addresses = [\"192.0.2.1\"]"),
            "f.toml:4: port.addresses: \"192.0.2.1\" is no address with prefix length; write \"192.0.2.1/24\" or \
             \"2001:db8::1/64\"",
        ),
        (p(PORT), "f.toml:4: port.name: \"a\" shares its name, its device or its twin with another port"),
        (
            p("twin = \"much too long for it\""),
            "f.toml:1: port.twin: \"much too long for it\" cannot be a twin; give 1 to 15 letters and digits, as the kernel \
             takes for an interface",
        ),
        (
            "[announce]\ninterface = \"much too long for it\"".into(),
            "f.toml:2: announce.interface: \"much too long for it\" cannot be an interface; give 1 to 15 letters and digits, as the \
             kernel takes for an interface",
        ),
        (
            "[announce]\nnetworks = [\"203.0.113.0\"]".into(),
            "f.toml:2: announce.networks: \"203.0.113.0\" is no address with prefix length; write \"192.0.2.1/24\" or \
             \"2001:db8::1/64\"",
        ),
        ("[vs.timeouts]\ntcp = 0".into(), "f.toml:2: vs.timeouts.tcp: 0 s cannot be; give 1 to 2678400"),
        (
            "[vs]\nexpire_nodest_conn = \"on\"".into(),
            "f.toml:2: vs.expire_nodest_conn: invalid type: string \"on\", expected true or false, or 1 or 0",
        ),
        ("[vs]\ndrop_entry = 4".into(), "f.toml:2: vs.drop_entry: 4 cannot be; give 0 to 3"),
        (
            "[vs]\nsync_threshold = [50, 3]".into(),
            "f.toml:2: vs.sync_threshold: [50, 3] cannot be; the first is less than the second, or the second is 0",
        ),
        (
            "[[service]]\nport = 80".into(),
            "f.toml:1: service: a service needs protocol, address and port, or mark, or mark6",
        ),
        (
            s("mark = 3"),
            "f.toml:1: service: a service has either protocol, address and port, or mark, or mark6; keep one",
        ),
        ("[[service]]\nmark = 0".into(), "f.toml:1: service.mark: 0 is no mark; a mark is 1 or more"),
        (
            s("scheduler = \"fast\""),
            "f.toml:5: service.scheduler: no scheduler \"fast\"; there are rr, wrr, lc, wlc, sh, sed, nq, fo, ovf, dh, \
             mh, lblc, lblcr, twos, none",
        ),
        (s("persistent = 0"), "f.toml:1: service.persistent: a persistence of 0 s cannot be; give 1 to 2678400"),
        (
            s("persistent = 5\nnetmask = 33"),
            "f.toml:1: service.netmask: a client prefix of 33 bits cannot be; give 0 to 32",
        ),
        (
            s("persistent = 5\nnetmask = \"255.0.256.0\""),
            "f.toml:6: service.netmask: invalid value: string \"255.0.256.0\", expected a prefix length such as 24, or a mask \
             such as \"255.255.255.0\"",
        ),
        (
            s("persistent = 5\nnetmask = \"255.0.255.0\"").replace("192.0.2.10", "2001:db8::10"),
            "f.toml:1: service.netmask: 255.0.255.0 is no mask of IPv6 clients; give 1 to 128 bits",
        ),
        (
            s("netmask = 24"),
            "f.toml:1: service.netmask: netmask is of use only with persistent; add persistent = SECONDS or take netmask away",
        ),
        (s("one_packet = true"), "f.toml:1: service.one_packet: one-packet scheduling is only for UDP and marks"),
        (SERVICE.replace("80", "0"), "f.toml:1: service.port: a service of all ports (port 0) must be persistent"),
        (SERVICE.replace("192.0.2.10", "192.0.2.300"), "f.toml:3: service.address: invalid IP address syntax"),
        (s(SERVICE), "f.toml:5: service: tcp:192.0.2.10:80 is already in line 1; keep one of them"),
        (
            s("flags = [\"fast\"]"),
            "f.toml:5: service.flags: unknown variant `fast`, expected one of `flag-1`, `mh-fallback`, `sh-fallback`, `flag-2`, \
             `mh-port`, `sh-port`, `flag-3`",
        ),
        (
            d("").replace("198.51.100.11", "localhost"),
            "f.toml:5: service.destination.address: \"localhost\" is no address; write \"198.51.100.11:80\", \
             \"[2001:db8::11]:80\" or an address alone",
        ),
        (
            d("").replace("198.51.100.11", "224.0.0.1"),
            "f.toml:5: service.destination.address: 224.0.0.1 is not a unicast address",
        ),
        (
            d("").replace("198.51.100.11", "2001:db8::1"),
            "f.toml:5: service.destination.address: 2001:db8::1 is of another family than the service; only tunnels allow that",
        ),
        (
            d("weight = 2147483648"),
            "f.toml:5: service.destination.weight: a weight of 2147483648 is out of range; the greatest is 2147483647",
        ),
        (d("weight = -1"), "f.toml:7: service.destination.weight: invalid value: integer `-1`, expected u32"),
        (
            d("lower = 2\nupper = 1"),
            "f.toml:5: service.destination.lower: the lower threshold (2) is above the upper (1)",
        ),
        (
            d(&format!("method = \"dr\"\n{DESTINATION}")),
            "f.toml:8: service.destination: 198.51.100.11:80 is already in line 5; keep one of them",
        ),
        (
            d("method = \"fnat\""),
            "f.toml:7: service.destination.method: unknown variant `fnat`, expected one of `nat`, `dr`, `tun`, `local`, `bypass`, `method-5`, `method-6`, `method-7`",
        ),
        (
            s("[service.check]\ntype = \"ping\""),
            "f.toml:6: service.check.type: unknown variant `ping`, expected one of `icmp`, `tcp`, `udp`, `http`, `https`, `dns`, \
             `command`",
        ),
        (
            s("[service.check]\ntype = \"tcp\"\ninterval = \"5s\""),
            "f.toml:7: service.check.interval: invalid type: string \"5s\", expected seconds, such as 5 or 0.5",
        ),
        (
            s("[service.check]\ninterval = 1"),
            "f.toml:5: service.check.type: it is missing; give icmp, tcp, udp, http, https, dns, command",
        ),
        (
            s("[service.check]\ntype = \"tcp\"\ntimeout = 9"),
            "f.toml:7: service.check.timeout: 9 s is longer than the interval of 5 s; give at most that",
        ),
        (
            s("check = { type = \"http\", path = \"x\" }"),
            "f.toml:5: service.check.path: \"x\" does not begin with /; give only path and query, the rest is `host`",
        ),
        (
            format!(
                "{SERVICE}[service.check]\ntype = \"tcp\"\n{DESTINATION}[service.destination.check]\n\nbody = \"a\""
            ),
            "f.toml:11: service.destination.check.body: it is of no use with type tcp, but with http, https; take it away",
        ),
        (
            "[[service]]\nmark = 7\n[service.check]\ntype = \"tcp\"".into(),
            "f.toml:3: service.check.port: it is missing, and mark:7 has none; give it",
        ),
        (
            d("tunnel = { type = \"gue\", port = 0, checksum = true }"),
            "f.toml:5: service.destination.tunnel: a gue tunnel needs the real server's UDP port",
        ),
    ];
    let wrong: Vec<_> =
        table.iter().map(|(text, want)| (error(text), *want)).filter(|(got, want)| got != want).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn broken_toml_is_located() {
    let text = error("[director]\nworkers = = 1\n");
    assert!(text.starts_with("f.toml:2: "), "{text}");
}

#[test]
fn a_ports_role_follows_from_its_addresses_unless_it_is_given() {
    let port = |name: &str, more: &str| format!("[[port]]\nname = \"{name}\"\ndevice = \"net_null{name}\"\n{more}\n");
    let nat = format!("{SERVICE}{DESTINATION}method = \"nat\"\n");
    let [out, back] = ["addresses = [\"192.0.2.1/24\"]", "addresses = [\"198.51.100.1/24\"]"];
    let [both, given] = ["addresses = [\"192.0.2.1/24\", \"198.51.100.1/24\"]", "role = \"inside\""];
    let roles = |text: String| {
        let config = Config::parse("f.toml", &text).unwrap();
        config.ports.iter().map(|port| config.role(port)).collect::<Vec<_>>()
    };
    let (o, i) = (Role::Outside, Role::Inside);
    let table = [
        (roles(port("a", out) + &port("b", back) + &nat), vec![o, i]),
        (roles(port("a", out) + &port("b", back) + SERVICE + DESTINATION), vec![o, o]),
        (roles(port("a", out) + &port("b", both) + &nat), vec![o, o]),
        (roles(port("a", back) + &nat), vec![o]),
        (roles(port("a", "") + &port("b", given)), vec![o, i]),
        (
            roles(port("a", given) + &port("b", "role = \"outside\"\naddresses = [\"198.51.100.1/24\"]") + &nat),
            vec![i, o],
        ),
    ];
    for (index, (got, want)) in table.into_iter().enumerate() {
        assert_eq!(got, want, "row {index}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::load(std::path::Path::new("/nonexistent/a.toml")).unwrap_err().to_string();
    assert!(error.starts_with("/nonexistent/a.toml: cannot be read: "), "{error}");
}

#[test]
fn the_embedded_file_says_the_defaults_but_for_what_operators_ask_for() {
    let embedded = Config::embedded();
    let mut expected = Config::default();
    let settings = &mut expected.rules.settings;
    (settings.expire_nodest_conn, settings.expire_quiescent_template) = (true, true);
    assert_eq!(Config { ports: Vec::new(), ..embedded.clone() }, expected);
    let short =
        Config::parse("f.toml", "[[port]]\nname = \"outside\"\ndevice = \"net_af_packet0,iface=eth1\"").unwrap();
    let twin = Some("outside".to_owned());
    let port = PortConfig { twin, ..short.ports[0].clone() };
    assert_eq!(embedded.ports, [port]);
}

/// The embedded file with its examples in force, but for those of other services.
fn uncommented() -> String {
    let mut services = 0;
    let mut text = String::new();
    for line in EMBEDDED.lines() {
        let line = line.strip_prefix('#').filter(|l| !l.starts_with(' ')).unwrap_or(line);
        services += usize::from(line == "[[service]]");
        text += line;
        text += "\n";
    }
    assert_eq!(services, 4);
    text
}

#[test]
fn every_example_of_the_embedded_file_is_taken() {
    let config = Config::parse("director.toml", &uncommented()).unwrap();
    assert_eq!(config.rules.services.len(), 4);
    assert_eq!(config.rules.services[0].destinations.len(), 1);
}

/// The keys of a section, out of the message on one that does not exist.
fn keys(section: &str) -> BTreeSet<String> {
    let text = error(&format!("{section}\nnosuch = 1"));
    let list = text.split_once("expected").expect("the message lists the keys").1;
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_embedded_file_names_every_key_with_a_comment() {
    let text = uncommented();
    let lines: Vec<_> = text.lines().collect();
    for section in [
        "[director]",
        "[dpdk]",
        "[sync]",
        "[announce]",
        "[[port]]",
        "[vs]",
        "[vs.timeouts]",
        "[marks]",
        "[[service]]",
        "[[service]]\n[[service.destination]]",
        "[[service]]\n[service.check]",
    ] {
        let header = section.lines().last().unwrap();
        let keys = keys(section);
        assert!(keys.len() >= 2, "{section}: {keys:?}");
        for key in keys.iter().filter(|k| !["timeouts", "destination", "check"].contains(&k.as_str())) {
            let found = lines.iter().enumerate().any(|(i, line)| {
                let here = lines[..i].iter().rev().find(|l| l.starts_with('[')) == Some(&header);
                let explained = lines[i.saturating_sub(1)].starts_with("# ") || key.starts_with("mark");
                here && explained && line.split(" = ").next() == Some(key)
            });
            assert!(found, "config/director.toml does not explain {key} of {section}");
        }
    }
}

#[test]
fn a_switch_may_be_written_as_the_kernel_has_it() {
    let settings = |text: &str| Config::parse("f.toml", text).unwrap().rules.settings;
    let (one, zero) = (settings("[vs]\nexpire_nodest_conn = 1"), settings("[vs]\npmtu_disc = 0"));
    assert!(one.expire_nodest_conn && !zero.pmtu_disc);
}

#[test]
fn the_minimal_file_has_the_kernels_defaults() {
    let config = Config::parse("minimal.toml", include_str!("../../config/minimal.toml")).unwrap();
    assert_eq!((config.ports.len(), config.rules.services[0].destinations.len()), (1, 2));
    assert_eq!(config.ports[0].twin_name(), Some("outside"));
    assert_eq!(config.rules.settings, Settings::default());
}

#[test]
fn what_needs_a_restart_is_named() {
    let running = Config::default();
    let mut new = running.clone();
    (new.director.workers, new.dpdk.memory_mb) = (2, 512);
    new.rules.settings.timeouts.tcp = 5;
    assert_eq!(new.needs_restart(&running), ["director.workers", "dpdk.memory_mb"]);
}

#[test]
fn the_report_adds_up_what_will_be_used() {
    let text = "[director]\nworkers = 2\nconnections = 1000\n[[port]]\nname = \"a\"\ndevice = \"net_null0\"\naddresses = [\"192.0.2.1/24\"]\n";
    let config = Config::parse("f.toml", text).unwrap();
    let table = |entries: u32| u64::from(entries) * 100;
    let sizes = Sizes {
        connections: &table,
        connections6: &table,
        templates: &table,
        templates6: &table,
        frames: &|n| u64::from(n) << 20,
    };
    let report = config.check_report(&sizes);
    for line in [
        "workers   2 cores chosen at start, control beside them, idle: sleep, bursts of 32",
        "port      a: net_null0, 2 queues of 1024 (rx) and 1024 (tx) frames, MTU the device's, twin a",
        "          192.0.2.1/24 on the twin",
        "table     IPv4 connections: 1000 on each worker, 100000 bytes (0.1 MiB) each",
        "pool      10496 frames, 11005853696 bytes (10496.0 MiB) of the 268435456 bytes (256.0 MiB) of [dpdk] memory_mb",
        "warning   the pool does not fit; set memory_mb to 10512 or more",
        "rules     0 services, 0 destinations",
    ] {
        assert!(report.lines().any(|l| l == line), "no line {line:?} in\n{report}");
    }
}

#[test]
fn the_report_says_what_is_announced_by_which_interface() {
    let report = |announce: &str| {
        let service = |address: &str, port: u16| {
            format!("[[service]]\nprotocol = \"tcp\"\naddress = \"{address}\"\nport = {port}\n")
        };
        let many: String = (1..=5).map(|port| service("2001:db8:1::10", port)).collect();
        let services = service("203.0.113.10", 80) + &service("203.0.113.10", 443) + &service("192.0.2.10", 80) + &many;
        let text =
            format!("{announce}\n[[port]]\nname = \"a\"\ndevice = \"net_null0\"\n{services}[[service]]\nmark = 7\n");
        let none = |_: u32| 0;
        let sizes =
            Sizes { connections: &none, connections6: &none, templates: &none, templates6: &none, frames: &|_| 0 };
        let report = Config::parse("f.toml", &text).unwrap().check_report(&sizes);
        report.lines().filter_map(|l| l.strip_prefix("announce  ")).map(str::to_owned).collect::<Vec<_>>()
    };
    let one = "192.0.2.10 by vips while tcp:192.0.2.10:80 has a usable destination";
    let two = |any_or_all: &str| {
        format!("203.0.113.10 by vips while {any_or_all} of tcp:203.0.113.10:80, tcp:203.0.113.10:443")
    };
    for (announce, want) in [
        ("", vec!["off".to_owned()]),
        (
            "[announce]\ninterface = \"vips\"",
            vec![
                one.to_owned(),
                two("any") + " has a usable destination",
                "2001:db8:1::10 by vips while any of 5 services has a usable destination".to_owned(),
            ],
        ),
        (
            "[announce]\ninterface = \"vips\"\nrequire = \"all\"\nnetworks = [\"203.0.113.0/24\"]",
            vec![two("all") + " have a usable destination"],
        ),
        (
            "[announce]\ninterface = \"vips\"\nnetworks = [\"198.18.0.0/15\", \"2001:db8:9::/64\"]",
            vec![
                "nothing by vips: no service of the file has an address of 198.18.0.0/15 or 2001:db8:9::/64".to_owned(),
            ],
        ),
    ] {
        assert_eq!(report(announce), want, "{announce}");
    }
}

#[test]
fn rules_written_are_rules_read() {
    let config = Config::parse("director.toml", &uncommented()).unwrap();
    let text = write_rules(&config.rules);
    assert!(!config.rules.marks.ipv4.is_empty() && !config.rules.marks.ipv6.is_empty());
    let Given { settings, marks, services } = parse_rules("saved", &text).unwrap();
    let read = RuleSet { settings: settings.unwrap(), marks, services, daemons: Vec::new() };
    assert_eq!(read, config.rules, "{text}");
}

/// keepalived enters such ports as they are.
#[test]
fn ports_that_packets_do_not_get_are_written_and_read_too() {
    for (method, address, port) in [
        ("dr", "10.0.0.1:8080", 8080),
        ("tun", "10.0.0.1:0", 0),
        ("dr", "10.0.0.1", 80),
        ("nat", "10.0.0.1:8080", 8080),
    ] {
        let service = "[[service]]\nprotocol = \"tcp\"\naddress = \"192.0.2.1\"\nport = 80\n";
        let destination = format!("[[service.destination]]\naddress = {address:?}\nmethod = {method:?}\n");
        let rules = Config::parse("f", &format!("{service}{destination}")).unwrap().rules;
        assert_eq!(rules.services[0].destinations[0].address.port(), port, "{method} {address}");
        assert_eq!(parse_rules("saved", &write_rules(&rules)).unwrap().services, rules.services);
    }
}

#[test]
fn what_the_configuration_takes_the_store_takes() {
    let config = Config::parse("director.toml", &uncommented()).unwrap();
    Store::new(Limits::default()).apply(&config.rules).unwrap();
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "[\\[\\]a-z_0-9=\".#\n -]{0,200}", cut in 0_usize..4000, junk: u8) {
        let _ = Config::parse("f", &text);
        let mut bytes = uncommented().into_bytes();
        let at = cut % bytes.len();
        bytes[at] = junk;
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let _ = Config::parse("f", text);
        }
    }
}
