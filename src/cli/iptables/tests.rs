use super::*;
use crate::control::store::{Limits, Store};

/// A director with a store and nothing else.
struct Director(Store);

impl Director {
    fn run(&mut self, line: &str) -> Outcome {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let mut ask = |request| match request {
            Request::Marks {} => Reply::Marks(self.0.marks().clone()),
            edit => self.0.edit(&edit).map_or_else(Reply::Error, |()| Reply::Done {}),
        };
        let family = applet(&words[0]).unwrap();
        run(family, &words[1..], &mut Host { ask: &mut ask, names: &Names::default() })
    }

    fn says(&mut self, line: &str) -> String {
        let outcome = self.run(line);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{line}");
        outcome.stdout
    }
}

fn director() -> Director {
    Director(Store::new(Limits::default()))
}

#[test]
fn rules_are_added_put_in_replaced_and_taken_out() {
    let mut director = director();
    let marks = |director: &mut Director| -> Vec<String> {
        let saved = director.says("iptables -t mangle -S PREROUTING");
        let mark = |line: &str| line.split("--set-xmark ").nth(1).unwrap().split('/').next().unwrap().to_owned();
        saved.lines().skip(1).map(mark).collect()
    };
    for (line, after) in [
        ("iptables -t mangle -A PREROUTING -j MARK --set-mark 1", "0x1"),
        ("iptables -A PREROUTING -j MARK --set-mark 2 -t mangle -w 5", "0x1 0x2"),
        ("iptables -t mangle -I PREROUTING -j MARK --set-mark 3", "0x3 0x1 0x2"),
        ("iptables -t mangle -I PREROUTING 4 -p tcp --dport http -j MARK --set-mark 4", "0x3 0x1 0x2 0x4"),
        ("iptables -t mangle --replace PREROUTING 2 -j MARK --set-mark 5", "0x3 0x5 0x2 0x4"),
        ("iptables -t mangle -D PREROUTING 1", "0x5 0x2 0x4"),
        ("iptables -t mangle -D PREROUTING -p tcp --dport 80 -j MARK --set-mark 4", "0x5 0x2"),
        ("iptables -t mangle -C PREROUTING -j MARK --set-mark 2", "0x5 0x2"),
        ("ip6tables -t mangle -F", "0x5 0x2"),
        ("iptables -t mangle -F INPUT", "0x5 0x2"),
        ("iptables -t mangle -P PREROUTING ACCEPT", "0x5 0x2"),
        ("iptables -t mangle -F PREROUTING", ""),
    ] {
        assert_eq!(director.says(line), "", "{line}");
        assert_eq!(marks(&mut director).join(" "), after, "{line}");
    }
}

#[test]
fn what_cannot_be_done_is_refused_with_iptables_words_and_status() {
    let usage = |text: &str| {
        (2, format!("iptables (pollvs): {text}\nTry `iptables -h' or 'iptables --help' for more information.\n"))
    };
    let refused = |text: &str| (1, format!("iptables: {text}\n"));
    let table = [
        ("iptables -t mangle", usage("no command specified")),
        ("iptables -t mangle -A", usage("option \"-A\" requires an argument")),
        ("iptables -t mangle -A PREROUTING -D PREROUTING", usage("Cannot use -D with -A")),
        ("iptables -t mangle -A PREROUTING --dport 80", usage("unknown option \"--dport\"")),
        ("iptables -t mangle -A PREROUTING -i", usage("option \"-i\" requires an argument")),
        ("iptables -t mangle -N mine", usage("there are no chains of one's own here")),
        (
            "iptables -t mangle -A OUTPUT -j ACCEPT",
            usage("OUTPUT: only rules in PREROUTING set marks for the director"),
        ),
        ("iptables -t mangle -L -nv", usage("-v: rules have no counters here")),
        ("iptables -t mangle -A nosuch -j ACCEPT", refused("No chain/target/match by that name.")),
        ("iptables -t mangle -D PREROUTING -j ACCEPT", refused("No chain/target/match by that name.")),
        ("iptables -t mangle -C PREROUTING -j ACCEPT", refused("No chain/target/match by that name.")),
        ("iptables -t mangle -D PREROUTING 1", refused("Index of deletion too big.")),
        ("iptables -t mangle -I PREROUTING 2 -j ACCEPT", refused("Index of insertion too big.")),
        ("iptables -t mangle -R PREROUTING 1 -j ACCEPT", refused("Index of replacement too big.")),
        (
            "iptables -t mangle -A PREROUTING 1.2.3.4",
            (2, "Bad argument `1.2.3.4'\nTry `iptables -h' or 'iptables --help' for more information.\n".to_owned()),
        ),
        ("iptables -t nat -S", (3, "iptables (pollvs): ".to_owned() + NO_NAT)),
    ];
    for (line, (code, words)) in table {
        let outcome = director().run(line);
        assert_eq!((outcome.code, outcome.stderr, outcome.stdout.as_str()), (code, words, ""), "{line}");
    }
}

const NO_NAT: &str = "can't initialize iptables table `nat': there is only mangle here; give -t mangle\n";

#[test]
fn a_director_that_cannot_be_reached_is_another_matter() {
    let mut ask = |_| Reply::Error(Failure::new(ErrorCode::Unsupported, "nobody listens"));
    let words = ["-t", "mangle", "-S"].map(str::to_owned);
    let outcome = run(MarkFamily::Ipv4, &words, &mut Host { ask: &mut ask, names: &Names::default() });
    assert_eq!((outcome.code, outcome.stderr.as_str()), (4, "iptables: nobody listens\n"));
}

#[test]
fn rules_of_the_families_are_listed_apart() {
    let mut director = director();
    director.says("ip6tables -t mangle -A PREROUTING -d 2001:db8::10 -p tcp --dport 80 -j MARK --set-mark 2");
    assert_eq!(
        director.says("ip6tables -t mangle -L PREROUTING -n"),
        "Chain PREROUTING (policy ACCEPT)\n\
         target     prot opt source               destination         \n\
         MARK       6    --  ::/0                 2001:db8::10         tcp dpt:80 MARK set 0x2\n"
    );
    assert_eq!(director.says("iptables -t mangle -S PREROUTING"), "-P PREROUTING ACCEPT\n");
    assert!(director.says("ip6tables -h").contains("Usage: ip6tables -t mangle -A|-D|-C PREROUTING rule"));
}
