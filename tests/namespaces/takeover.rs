//! The standby knows the open connections and the templates, and goes on with them when the master dies; and the one that comes back
//! learns them all, and goes on with them when the other dies.
use super::network::within;
use super::pair::{Pair, VIP};
use super::rules::ab_says;
use std::fmt::Write;
use std::process::{Child, Stdio};
use std::time::Duration;

/// Connections that stay open: IPv4, IPv6.
const HELD: [usize; 2] = [500, 100];
/// The virtual address of IPv6 of the example.
const VIP6: &str = "2001:db8:1::10";
/// What is told of a connection waits up to two seconds for company; everything is slow on a busy machine.
const TOLD: Duration = Duration::from_secs(15);
/// Requests that ab has under way.
const AT_A_TIME: usize = 10;
/// Clients of a persistent service, and its URL: by direct routing, and by masquerading over IPv6.
const PERSISTENT: [([&str; 3], &str); 2] = [
    (["192.0.2.100", "192.0.2.101", "192.0.2.102"], "http://192.0.2.11/"),
    (["2001:db8:1::100", "2001:db8:1::101", "2001:db8:1::102"], "http://[2001:db8:1::10]:8080/"),
];
/// One answer, on a machine where all that runs takes seconds.
const ANSWER: Duration = Duration::from_secs(30);

/// Services by masquerading with connections that stay open, and a persistent one of IPv6, beside those of the example.
fn with_echo(mut text: String) -> String {
    let services = [
        (VIP, 7000, "", ["198.51.100.11", "198.51.100.12"]),
        (VIP6, 7000, "", ["2001:db8:2::11", "2001:db8:2::12"]),
        (VIP6, 8080, "persistence_timeout 300", ["2001:db8:2::11", "2001:db8:2::12"]),
    ];
    for (vip, port, more, servers) in services {
        let check = "TCP_CHECK {\nconnect_timeout 1\n}";
        let [one, two] = servers.map(|server| format!("real_server {server} {port} {{\n{check}\n}}"));
        let kind = "protocol TCP\nlb_algo rr\nlb_kind NAT\ndelay_loop 2";
        let _ = writeln!(text, "virtual_server {vip} {port} {{\n{kind}\n{more}\n{one}\n{two}\n}}");
    }
    text
}

/// Serves the connections that stay open; ends with the network.
fn serve(pair: &mut Pair) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/namespaces/echoes.py");
    for (role, last) in [("rs1", 11), ("rs2", 12)] {
        for address in [format!("198.51.100.{last}"), format!("2001:db8:2::{last}")] {
            pair.serve(role, &["python3", script, "serve", &address, "7000", role]);
        }
    }
}

/// How many connections a member knows that are open and stay so: IPv4, IPv6.
fn held(pair: &Pair, at: usize) -> [usize; 2] {
    let listing = pair.members[at].director.pollvs(&["ipvsadm", "-Lcn"]);
    let open = || listing.lines().filter(|line| line.contains(" ESTABLISHED ") && line.contains(":7000 "));
    [false, true].map(|v6| open().filter(|line| line.contains("[2001:") == v6).count())
}

/// Which server a client of a persistent service is sent to. A request that is lost is made again, for another server than the
/// client's would be as wrong then.
fn server(pair: &Pair, client: &str, url: &str) -> String {
    let words = ["curl", "-gsSf", "--max-time", "5", "--interface", client, url];
    let mut answer = None;
    let answers = within(ANSWER, || {
        let output = pair.inside("client", &words).output().unwrap();
        answer = output.status.success().then(|| String::from_utf8(output.stdout).unwrap());
        answer.is_some()
    });
    assert!(answers, "{client} has no answer from {url}\n{}", pair.words());
    answer.unwrap()
}

/// Asks with every client of the persistent services, in another order than at first, so that turns alone would not give them the same
/// servers again.
fn keep_their_servers(pair: &Pair, given: &[[String; 3]; 2]) {
    for ((clients, url), given) in PERSISTENT.iter().zip(given) {
        for at in [1, 0, 2] {
            assert_eq!(server(pair, clients[at], url), given[at], "{} has lost its server", clients[at]);
        }
    }
}

/// Requests as fast as they are answered, for 6 s. A request whose answer is lost, and with it the connection, is waited for without
/// end by the client, to whom nobody says so; it is not among those complete.
fn ab(pair: &Pair) -> Child {
    let url = format!("http://{VIP}/load");
    let words = ["ab", "-q", "-r", "-s", "30", "-c", &AT_A_TIME.to_string(), "-t", "6", "-n", "1000000", &url];
    pair.inside("client", &words).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// What `event` costs clients, while as many requests as are answered come in: prints it, and returns how many of them failed.
fn under_load(pair: &mut Pair, what: &str, event: impl FnOnce(&mut Pair)) -> usize {
    let (load, asking) = (ab(pair), pair.client_script("gap.py", &[VIP, "80"]));
    std::thread::sleep(Duration::from_secs(1));
    event(pair);
    let report = String::from_utf8(load.wait_with_output().unwrap().stdout).unwrap();
    println!("{what}: {}", asking.finish());
    let of_ab = |what| ab_says(&report, what).and_then(|count| count.parse::<usize>().ok());
    println!("{:?} complete, {:?} failed", of_ab("Complete requests"), of_ab("Failed requests"));
    of_ab("Failed requests").unwrap_or_else(|| panic!("{report}"))
}

/// Waits until a member knows all connections that stay open, and all templates.
fn await_told(pair: &Pair, at: usize) {
    let templates = || {
        let listing = pair.members[at].director.pollvs(&["templates"]);
        [" 192.0.2.11:80 ", " [2001:db8:1::10]:8080 "].map(|vip| listing.matches(vip).count())
    };
    let told = || held(pair, at) == HELD && templates() == [3, 3];
    assert!(within(TOLD, told), "{:?} connections, {:?} templates\n{}", held(pair, at), templates(), pair.words());
}

#[test]
fn open_connections_and_templates_outlive_the_death_of_a_director_and_its_return() {
    let Some(mut pair) = Pair::start(2, |text| with_echo(preempting(text))) else { return };
    serve(&mut pair);
    pair.await_master(0);
    for member in &pair.members {
        let table = || member.director.pollvs(&["ipvsadm", "-Ln"]);
        let ready = || table().matches(":7000").count() == 6 && table().matches("]:8080").count() == 5;
        assert!(within(TOLD, ready), "{}", table());
    }
    let open =
        |(vip, count): (&str, usize)| pair.client_script("echoes.py", &["open", vip, "7000", &count.to_string()]);
    let holding = [(VIP, HELD[0]), (VIP6, HELD[1])].map(open);
    let given = PERSISTENT.map(|(clients, url)| clients.map(|client| server(&pair, client, url)));
    await_told(&pair, 1);

    let failed = under_load(&mut pair, "the machine dies", |pair| {
        pair.die(0);
        pair.await_master(1);
    });
    assert!(failed <= AT_A_TIME * 4, "{failed}");
    keep_their_servers(&pair, &given);

    let failed = under_load(&mut pair, "it returns", |pair| {
        pair.start_director(0);
        pair.start_keepalived(0);
        pair.await_master(0);
    });
    assert!(failed <= AT_A_TIME * 4, "{failed}");
    assert!(within(TOLD, || held(&pair, 0) == HELD), "{:?}", held(&pair, 0));
    keep_their_servers(&pair, &given);
    for (holding, count) in holding.into_iter().zip(HELD) {
        let report = holding.finish();
        println!("{report}");
        assert!(report.contains(&format!("{count} opened, 0 broken")), "{report}");
    }
}

/// The director of the higher priority takes the addresses back when it is there again and knows the connections.
fn preempting(text: String) -> String {
    assert!(text.contains("    nopreempt\n"));
    text.replace("    nopreempt\n", "")
}
