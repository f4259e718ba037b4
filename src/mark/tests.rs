use proptest::prelude::*;

use super::*;
use crate::verdict::PortId;

fn rules(v6: bool, texts: &[&str]) -> Vec<Rule> {
    texts.iter().map(|text| Rule::from_text(v6, text).unwrap_or_else(|e| panic!("{text}: {e}"))).collect()
}

/// `PROTOCOL SOURCE:PORT DESTINATION:PORT` in by the port of that number.
fn header(text: &str, port: u16) -> Header<u32> {
    let [protocol, src, dst] = text.split(' ').collect::<Vec<_>>()[..] else { panic!("{text}") };
    let end = |text: &str| -> (u32, u16) {
        let end: std::net::SocketAddrV4 = text.parse().unwrap();
        (end.ip().to_bits(), end.port())
    };
    let protocol = match protocol {
        "tcp" => 6,
        "udp" => 17,
        "icmp" => 1,
        "sctp" => 132,
        other => other.parse().unwrap(),
    };
    let ((src, sport), (dst, dport)) = (end(src), end(dst));
    Header { src, dst, protocol, sport, dport, port: PortId(port) }
}

const PORTS: [&str; 2] = ["eth0", "eth1"];

fn mark(texts: &[&str], packet: &str, port: u16) -> u32 {
    let marks = Marks::new(&MarkRules { ipv4: rules(false, texts), ipv6: Vec::new() });
    marks.v4().mark(&header(packet, port), &marks.entrances(PORTS.into_iter()))
}

#[test]
fn each_part_of_a_rule_decides() {
    let web = "tcp 203.0.113.5:1000 192.0.2.10:80";
    let table: [(&str, &str, bool); 34] = [
        ("", web, true),
        ("-p all", web, true),
        ("-p tcp", web, true),
        ("-p udp", web, false),
        ("! -p udp", web, true),
        ("! -p tcp", web, false),
        ("-p 6", web, true),
        ("-p icmp", "icmp 203.0.113.5:0 192.0.2.10:0", true),
        ("-d 192.0.2.10", web, true),
        ("-d 192.0.2.11", web, false),
        ("! -d 192.0.2.10", web, false),
        ("! -d 192.0.2.11", web, true),
        ("-d 192.0.2.99/24", web, true),
        ("-d 192.0.2.0/255.255.255.0", web, true),
        ("-d 192.0.99.10/255.255.0.255", web, true),
        ("-d 192.0.99.11/255.255.0.255", web, false),
        ("-d 0.0.0.0/0", web, true),
        ("! -d 0.0.0.0/0", web, false),
        ("-s 203.0.113.0/24 -d 192.0.2.10", web, true),
        ("-s 198.51.100.0/24 -d 192.0.2.10", web, false),
        ("-i eth0", web, true),
        ("-i eth1", web, false),
        ("! -i eth1", web, true),
        ("-i eth+", web, true),
        ("-i eth", web, false),
        ("-p tcp --dport 80", web, true),
        ("-p tcp --dport 81:", web, false),
        ("-p tcp --dport :80", web, true),
        ("-p tcp ! --dport 80:90", web, false),
        ("-p tcp --sport 1000:1001 -m tcp --dport 79:80", web, true),
        ("-p udp --dport 80", web, false),
        ("-p tcp -m multiport --dports 443,79:81", web, true),
        ("-p tcp -m multiport ! --ports 1000", web, false),
        ("-p sctp -m sctp --dport 5000", "sctp 203.0.113.5:9 192.0.2.10:5000", true),
    ];
    for (conditions, packet, fits) in table {
        let rule = format!("{conditions} -j MARK --set-mark 7");
        assert_eq!(mark(&[&rule], packet, 0), if fits { 7 } else { 0 }, "{conditions}");
    }
}

#[test]
fn later_rules_change_what_earlier_ones_have_set() {
    let table: [(&[&str], u32); 12] = [
        (&["-j MARK --set-mark 1", "-j MARK --set-mark 2"], 2),
        (&["-j MARK --set-mark 0xf0", "-j MARK --or-mark 0x0f"], 0xff),
        (&["-j MARK --set-mark 0xff", "-j MARK --and-mark 0x3c"], 0x3c),
        (&["-j MARK --set-mark 0xff", "-j MARK --xor-mark 0x0f"], 0xf0),
        (&["-j MARK --set-mark 0x1234", "-j MARK --set-mark 0x5600/0xff00"], 0x5634),
        (&["-j MARK --set-mark 0x1234", "-j MARK --set-xmark 0x5600/0xf000"], 0x5434),
        (&["-j MARK --set-mark 5", "-m mark --mark 5 -j MARK --set-mark 6"], 6),
        (&["-j MARK --set-mark 5", "-m mark ! --mark 5 -j MARK --set-mark 6"], 5),
        (&["-j MARK --set-mark 0x15", "-m mark --mark 0x5/0xf -j MARK --or-mark 0x100"], 0x115),
        (&["-j MARK --set-mark 5", "-j ACCEPT", "-j MARK --set-mark 6"], 5),
        (&["-j MARK --set-mark 5", "-p tcp --dport 80 -j RETURN", "-j MARK --set-mark 6"], 5),
        (&["-j MARK --set-mark 5", "-p udp -j ACCEPT", "-p tcp", "-j MARK --set-mark 010"], 8),
    ];
    for (rules, want) in table {
        assert_eq!(mark(rules, "tcp 203.0.113.5:1000 192.0.2.10:80", 0), want, "{rules:?}");
    }
}

#[test]
fn a_fragment_that_a_rule_cannot_read_is_dropped() {
    let web = "tcp 203.0.113.5:1000 192.0.2.10:80";
    let later = "tcp 203.0.113.5:0 192.0.2.10:0";
    let mark = |text: &str, packet: &str, offset, length| {
        let rule = format!("{text} -j MARK --set-mark 7");
        let marks = Marks::new(&MarkRules { ipv4: rules(false, &[&rule]), ipv6: Vec::new() });
        let fragment = Fragment { offset, length };
        marks.v4().mark_of_fragment(&header(packet, 0), &marks.entrances(PORTS.into_iter()), fragment)
    };
    let table = [
        ("-p tcp --dport 80", web, 0, 20, Some(7)),
        ("-p tcp --dport 80", web, 0, 16, None),
        ("-p tcp --dport 81", web, 0, 16, None),
        ("-p tcp --dport 81", web, 0, 24, Some(0)),
        ("-p tcp --dport 80", later, 8, 24, None),
        ("-p tcp --dport 80", later, 16, 24, Some(0)),
        ("-p tcp ! --dport 80", later, 16, 24, Some(0)),
        ("-p tcp -m multiport --dports 80", web, 0, 8, Some(7)),
        ("-p tcp -m multiport --dports 80", later, 8, 8, Some(0)),
        ("-p tcp", later, 8, 8, Some(7)),
        ("-p udp --dport 80", web, 0, 8, Some(0)),
        ("-d 192.0.2.11 -p tcp --dport 80", web, 0, 8, Some(0)),
    ];
    for (text, packet, offset, length, expected) in table {
        assert_eq!(mark(text, packet, offset, length), expected, "{text}: {packet} {offset}+{length}");
    }
}

#[test]
fn rules_are_shown_as_iptables_save_has_them() {
    let table = [
        ("-d 192.0.2.10 -p tcp --dport http0x -j MARK --set-mark 1", ""),
        (
            "-d 192.0.2.10 -p tcp --dport 80 -j MARK --set-mark 1",
            "-d 192.0.2.10/32 -p tcp -m tcp --dport 80 -j MARK --set-xmark 0x1/0xffffffff",
        ),
        (
            "-ptcp -i eth0 --source=10.1.2.3/8 -j MARK --or-mark 0x10",
            "-s 10.0.0.0/8 -i eth0 -p tcp -j MARK --set-xmark 0x10/0x10",
        ),
        ("-j MARK --and-mark 0xff", "-j MARK --set-xmark 0x0/0xffffff00"),
        ("-j MARK --xor-mark 3", "-j MARK --set-xmark 0x3/0x0"),
        ("-j MARK --set-mark 0x1/0xf0", "-j MARK --set-xmark 0x1/0xf1"),
        ("! -s 10.0.0.0/255.0.255.0 ! -p 50", "! -s 10.0.0.0/255.0.255.0 ! -p esp"),
        ("-p 99 -j ACCEPT", "-p 99 -j ACCEPT"),
        (
            "-p udp -m multiport --sports 53,1000:2000 -m comment --comment \"two words\" -m mark ! --mark 7/0xff -j RETURN",
            "-p udp -m multiport --sports 53,1000:2000 -m comment --comment \"two words\" -m mark ! --mark 0x7/0xff -j RETURN",
        ),
        (
            "-p tcp -m tcp ! --sport :1023 -m comment --comment plain-one",
            "-p tcp -m tcp ! --sport 0:1023 -m comment --comment plain-one",
        ),
    ];
    for (typed, shown) in table {
        let rule = Rule::from_text(false, typed).map(|rule| rule.to_string());
        assert_eq!(rule.unwrap_or_default(), shown, "{typed}");
    }
    let v6 = Rule::from_text(true, "-d 2001:db8::10 -p icmpv6 -j MARK --set-mark 2").unwrap();
    assert_eq!(v6.to_string(), "-d 2001:db8::10/128 -p ipv6-icmp -j MARK --set-xmark 0x2/0xffffffff");
}

#[test]
fn a_wrong_rule_is_refused_in_iptables_words() {
    let table = [
        ("--dport 80", "unknown option \"--dport\""),
        ("-p udp --dports 80", "unknown option \"--dports\""),
        ("-m multiport --dports 80", "multiport needs `-p tcp', `-p udp', `-p udplite', `-p sctp' or `-p dccp'"),
        ("-p tcp -m multiport", "multiport expection an option"),
        ("-p tcp -m multiport --dports 1,2,3,4,5,6,7,8,9,10,11,12,13,14:15,16", "too many ports specified"),
        ("-p tcp --dport 70000", "invalid port/service `70000' specified"),
        ("-p tcp --dport 90:80", "invalid portrange (min > max)"),
        ("-p tcp --dport http", "invalid port/service `http' specified"),
        ("-p nosuch", "unknown protocol \"nosuch\" specified"),
        ("! -p all", "rule would never match protocol"),
        ("-d 2001:db8::1", "host/network `2001:db8::1' not found"),
        ("-d 192.0.2.10/33", "invalid mask `33' specified"),
        ("-d 192.0.2.10 -d 192.0.2.11", "multiple -d flags not allowed"),
        ("-o eth0", "Can't use -o with PREROUTING"),
        ("-i longerthanfifteen", "interface name `longerthanfifteen' must be shorter than IFNAMSIZ (15)"),
        ("-j MARK", "MARK: One of the --set-xmark, --{and,or,xor,set}-mark options is required"),
        ("-j MARK --set-mark x", "MARK: bad integer value for option \"--set-mark\", or out of range."),
        ("-j MARK --set-mark 0x100000000", "MARK: bad integer value for option \"--set-mark\", or out of range."),
        ("-j MARK --or-mark 1/2", "MARK: bad value for option \"--or-mark\", or out of range (0-4294967295)."),
        ("-j MARK --set-mark 1 --set-mark 2", "MARK: option \"--set-mark\" can only be used once."),
        ("-p tcp --dport 80 --dport 81", "Only one `--destination-port' allowed"),
        (
            "-p tcp -m multiport --dports 80 --sports 81",
            "multiport: option \"--source-ports\" cannot be used together with \"--destination-ports\".",
        ),
        ("--set-mark 1", "unknown option \"--set-mark\""),
        ("-j DROP", "Couldn't load target `DROP':No such file or directory"),
        ("-m conntrack", "Couldn't load match `conntrack':No such file or directory"),
        ("-p tcp -m udp --dport 80", "the match `udp' needs `-p udp'"),
        ("-d", "option \"-d\" requires an argument"),
        ("!", "nothing appropriate following !"),
        ("! ! -d 1.2.3.4", "multiple consecutive ! not allowed"),
        ("192.0.2.10", "Bad argument `192.0.2.10'"),
        ("-m comment --comment 'open", "a quote is not closed"),
    ];
    for (typed, words) in table {
        assert_eq!(Rule::from_text(false, typed), Err(RuleError(words.to_owned())), "{typed}");
    }
}

/// The plainest walk there is, over the rules as they were typed.
fn slow(rules: &[Rule], header: &Header<u32>) -> u32 {
    let mut mark = 0;
    for rule in rules {
        if !slow_fits(rule, header, mark) {
            continue;
        }
        match rule.target {
            Target::Mark(Bits { value, mask }) => mark = (mark & !mask) ^ value,
            Target::Accept | Target::Return => return mark,
            Target::None => {}
        }
    }
    mark
}

fn slow_fits(rule: &Rule, header: &Header<u32>, mark: u32) -> bool {
    let v4 = |address: IpAddr| u32::from_ip(address).unwrap();
    let address = |sign: &Option<Sign<Masked>>, a: u32| {
        sign.is_none_or(|s| ((a & v4(s.value.mask)) == v4(s.value.address)) != s.not)
    };
    let port = |ranges: &[Range], port: u16| ranges.iter().any(|r| (r.first..=r.last).contains(&port));
    let one = |sign: &Option<Sign<Range>>, p: u16| sign.is_none_or(|s| port(&[s.value], p) != s.not);
    let matching = |m: &Match| match m {
        Match::Transport { source, destination, .. } => one(source, header.sport) && one(destination, header.dport),
        Match::Multiport { side, ranges } => {
            let (s, d) = (port(&ranges.value, header.sport), port(&ranges.value, header.dport));
            let found = match side {
                Side::Source => s,
                Side::Destination => d,
                Side::Both => s || d,
            };
            found != ranges.not
        }
        Match::Mark(bits) => ((mark & bits.value.mask) == bits.value.value) != bits.not,
        Match::Comment(_) => true,
    };
    let name = PORTS[usize::from(header.port.0)];
    address(&rule.source, header.src)
        && address(&rule.destination, header.dst)
        && rule.interface.as_ref().is_none_or(|i| i.value.matches(name) != i.not)
        && rule.protocol.is_none_or(|p| (p.value == header.protocol) != p.not)
        && rule.matches.iter().all(matching)
}

/// Addresses of a few networks, so that rules and packets meet.
fn any_address() -> impl Strategy<Value = u32> {
    prop_oneof![
        prop::sample::select(vec![0, 1, u32::MAX, 0xc000_020a, 0xc000_020b, 0xc000_02ff, 0xcb00_7105, 0x8000_0000]),
        any::<u32>(),
    ]
}

fn any_rule() -> impl Strategy<Value = String> {
    let not = || any::<bool>().prop_map(|not| if not { "! " } else { "" });
    let mask = prop_oneof![
        (0_u8..=32).prop_map(|prefix| prefix.to_string()),
        any::<u32>().prop_map(|mask| std::net::Ipv4Addr::from_bits(mask).to_string()),
    ];
    let side = |option: &'static str| {
        let mask = mask.clone();
        (not(), any_address(), mask).prop_map(move |(not, address, mask)| {
            format!("{not}{option} {}/{mask} ", std::net::Ipv4Addr::from_bits(address))
        })
    };
    let or_none = |strategy: BoxedStrategy<String>| prop_oneof![Just(String::new()), strategy];
    let ports = (not(), any::<bool>(), 0_u16..5, 0_u16..5).prop_map(|(not, source, first, more)| {
        format!("-p tcp {not}{} {first}:{} ", if source { "--sport" } else { "--dport" }, first + more)
    });
    let multi = (not(), 0_usize..3, 0_u16..5, 0_u16..5).prop_map(|(not, side, a, b)| {
        let side = ["--sports", "--dports", "--ports"][side];
        format!("-p udp -m multiport {not}{side} {a},{b}:{} ", b + 2)
    });
    let protocol = (not(), 1_u8..20).prop_map(|(not, protocol)| format!("{not}-p {protocol} "));
    let interface = (not(), 0_usize..3).prop_map(|(not, i)| format!("{not}-i {} ", ["eth0", "eth1", "e+"][i]));
    let mark = (not(), 0_u32..4, 0_u32..4).prop_map(|(not, v, m)| format!("-m mark {not}--mark {v}/{m} "));
    let target = prop_oneof![
        8 => (0_usize..5, 0_u32..8).prop_map(|(option, value)| {
            let option = ["--set-mark", "--set-xmark", "--or-mark", "--and-mark", "--xor-mark"][option];
            format!("-j MARK {option} {value}")
        }),
        1 => (0_u32..8, 0_u32..8).prop_map(|(value, mask)| format!("-j MARK --set-xmark {value}/{mask}")),
        1 => Just("-j ACCEPT".to_owned()),
        1 => Just("-j RETURN".to_owned()),
        1 => Just(String::new()),
    ];
    let transport = prop_oneof![ports.boxed(), multi.boxed(), protocol.boxed(), Just(String::new()).boxed()];
    (
        or_none(side("-s").boxed()),
        or_none(side("-d").boxed()),
        or_none(interface.boxed()),
        transport,
        or_none(mark.boxed()),
        target,
    )
        .prop_map(|(s, d, i, t, m, j)| format!("{s}{d}{i}{t}{m}{j}"))
}

proptest! {
    #[test]
    fn the_chain_is_the_plain_walk(
        texts in prop::collection::vec(any_rule(), 0..24),
        packets in prop::collection::vec((any_address(), any_address(), 0_u8..20, 0_u16..9, 0_u16..9, 0_u16..2), 64),
    ) {
        let rules = MarkRules { ipv4: rules(false, &texts.iter().map(String::as_str).collect::<Vec<_>>()), ipv6: Vec::new() };
        let marks = Marks::new(&rules);
        let entrances = marks.entrances(PORTS.into_iter());
        for (src, dst, protocol, sport, dport, port) in packets {
            let header = Header { src, dst, protocol, sport, dport, port: PortId(port) };
            prop_assert_eq!(marks.v4().mark(&header, &entrances), slow(&rules.ipv4, &header), "{:?}", texts);
        }
    }

    #[test]
    fn what_is_shown_is_read_as_the_same(text in any_rule()) {
        let rule = Rule::from_text(false, &text).unwrap();
        prop_assert_eq!(Rule::from_text(false, &rule.to_string()), Ok(rule));
    }

    #[test]
    fn no_text_makes_it_panic(text: String, words in prop::collection::vec("[-!a-z0-9/:,. \"'\\\\]{0,12}", 0..8)) {
        let _ = Rule::from_text(false, &text);
        let _ = Rule::from_text(true, &words.join(" "));
    }
}

#[test]
fn rules_survive_json() {
    let rules = MarkRules {
        ipv4: rules(false, &["-d 192.0.2.10 -p tcp -j MARK --set-mark 1", "-j RETURN"]),
        ipv6: rules(true, &["-d 2001:db8::/64 -j MARK --set-mark 2"]),
    };
    let json = serde_json::to_string(&rules).unwrap();
    assert_eq!(serde_json::from_str::<MarkRules>(&json).unwrap(), rules);
    let wrong = serde_json::from_str::<MarkRules>(r#"{"ipv4":["-p x"]}"#).unwrap_err().to_string();
    assert!(wrong.starts_with("the mark rule \"-p x\": unknown protocol \"x\" specified"), "{wrong}");
}
