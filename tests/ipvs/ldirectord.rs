//! ldirectord, which runs ipvsadm and reads what it prints: its checks, its fallback and its end.
use std::fs;
use std::time::Duration;

use super::bed::{Bed, LOOPBACK, Running, within};

const STEP: Duration = Duration::from_secs(40);
const SERVICE: &str = "TCP  10.20.0.1:80 wrr persistent 60\n";

fn destination(address: &str, weight: u32) -> String {
    format!("  -> {address:<28} Masq    {weight:<6} 0          0         \n")
}

#[test]
fn servers_are_checked_and_a_fallback_stands_in() {
    let Some(bed) = Bed::new(LOOPBACK) else { return };
    let config = bed.write("ldirectord.cf", include_str!("ldirectord/ldirectord.cf"));
    let log = fs::File::create(bed.file("ldirectord.out")).unwrap();
    let mut command = bed.command("ldirectord", &["-d", &config, "start"]);
    let ldirectord = Running(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    let words = || fs::read_to_string(bed.file("ldirectord.out")).unwrap();
    let becomes = |destinations: &[(&str, u32)]| {
        let listed: String = destinations.iter().map(|(address, weight)| destination(address, *weight)).collect();
        let expected = format!("{SERVICE}{listed}");
        let settled = within(STEP, || bed.rules() == expected);
        assert!(settled, "{}instead of\n{expected}\n{}", bed.rules(), words());
    };
    becomes(&[("127.0.0.9:8089", 1)]);
    let first = bed.web_server("127.0.0.11");
    let _second = bed.web_server("127.0.0.12");
    becomes(&[("127.0.0.11:8081", 3), ("127.0.0.12:8081", 5)]);
    drop(first);
    becomes(&[("127.0.0.12:8081", 5)]);
    ldirectord.signal("TERM");
    assert!(within(STEP, || bed.rules().is_empty()), "{}{}", bed.rules(), words());
}
