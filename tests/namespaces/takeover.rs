//! The standby knows the open connections and the templates, and goes on with them when the master dies; and the one that comes back
//! learns them all, and goes on with them when the other dies.
use super::network::within;
use super::pair::{Pair, VIP};
use super::rules::ab_says;
use std::fmt::Write;
use std::process::{Child, Stdio};
use std::time::Duration;

/// Connections that stay open.
const HELD: usize = 500;
/// What is told of a connection waits up to two seconds for company; everything is slow on a busy machine.
const TOLD: Duration = Duration::from_secs(15);
/// Requests that ab has under way.
const AT_A_TIME: usize = 10;
/// Clients of the persistent service.
const CLIENTS: [&str; 3] = ["192.0.2.100", "192.0.2.101", "192.0.2.102"];

/// A service by masquerading with connections that stay open, beside those of the example.
fn with_echo(mut text: String) -> String {
    let server = |last| format!("real_server 198.51.100.{last} 7000 {{\nTCP_CHECK {{\nconnect_timeout 1\n}}\n}}\n");
    let (one, two) = (server(11), server(12));
    let _ = write!(
        text,
        "virtual_server {VIP} 7000 {{\nprotocol TCP\nlb_algo rr\nlb_kind NAT\ndelay_loop 2\n{one}{two}}}\n"
    );
    text
}

/// Serves the connections that stay open; ends with the network.
fn serve(pair: &mut Pair) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/namespaces/echoes.py");
    for (role, address) in [("rs1", "198.51.100.11"), ("rs2", "198.51.100.12")] {
        pair.serve(role, &["python3", script, "serve", address, "7000", role]);
    }
}

/// How many connections a member knows that are open and stay so.
fn held(pair: &Pair, at: usize) -> usize {
    let listing = pair.members[at].director.pollvs(&["ipvsadm", "-Lcn"]);
    listing.lines().filter(|line| line.contains(" ESTABLISHED ") && line.contains(":7000 ")).count()
}

/// Which server a client of the persistent service is sent to.
fn server(pair: &Pair, client: &str) -> String {
    pair.network().run("client", &["curl", "-sS", "--max-time", "5", "--interface", client, "http://192.0.2.11/"])
}

/// Asks with every client of the persistent service, in another order than at first, so that turns alone would not give them the same
/// servers again.
fn keep_their_servers(pair: &Pair, given: &[String; 3]) {
    for at in [1, 0, 2] {
        assert_eq!(server(pair, CLIENTS[at]), given[at], "{} has lost its server", CLIENTS[at]);
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
    let templates = || pair.members[at].director.pollvs(&["templates"]).matches(" 192.0.2.11:80 ").count();
    let told = || held(pair, at) == HELD && templates() == CLIENTS.len();
    assert!(within(TOLD, told), "{} connections, {} templates\n{}", held(pair, at), templates(), pair.words());
}

#[test]
fn open_connections_and_templates_outlive_the_death_of_a_director_and_its_return() {
    let Some(mut pair) = Pair::start(2, |text| with_echo(preempting(text))) else { return };
    serve(&mut pair);
    pair.await_master(0);
    for member in &pair.members {
        let table = || member.director.pollvs(&["ipvsadm", "-Ln"]);
        assert!(within(TOLD, || table().matches(":7000").count() == 3), "{}", table());
    }
    let holding = pair.client_script("echoes.py", &["open", VIP, "7000", &HELD.to_string()]);
    let given = CLIENTS.map(|client| server(&pair, client));
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
    assert_eq!(held(&pair, 0), HELD);
    keep_their_servers(&pair, &given);
    let report = holding.finish();
    println!("{report}");
    assert!(report.contains(&format!("{HELD} opened, 0 broken")), "{report}");
}

/// The director of the higher priority takes the addresses back when it is there again and knows the connections.
fn preempting(text: String) -> String {
    assert!(text.contains("    nopreempt\n"));
    text.replace("    nopreempt\n", "")
}
