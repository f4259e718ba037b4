//! The common packet's way against the general way: the same packets, rules and time, and never a difference in what leaves, is
//! counted or is remembered.

use std::time::Duration;

use pollvs::burst::BURST;
use pollvs::destination::DestId;
use pollvs::director::Director;
use pollvs::steering::Steering;
use pollvs::verdict::{Origin, PortId, WorkerId};
use pollvs::wire::sample::{Sample, at, tcp, udp};
use proptest::prelude::*;

use super::{INSIDE, INSIDE_MAC, OUTSIDE, ROOMY, World, server_mac};

const RULES: [&str; 24] = [
    "-A -t 192.0.2.10:80 -s rr",
    "-a -t 192.0.2.10:80 -r 198.51.100.11:80 -m",
    "-a -t 192.0.2.10:80 -r 198.51.100.12:8080 -m",
    "-A -t 192.0.2.11:80 -s rr",
    "-a -t 192.0.2.11:80 -r 198.51.100.13:80 -g",
    "-a -t 192.0.2.11:80 -r 198.51.100.14:80 -i",
    "-A -u 192.0.2.10:53 -s rr -p 60",
    "-a -u 192.0.2.10:53 -r 198.51.100.11:53 -m",
    "-a -u 192.0.2.10:53 -r 198.51.100.14:53 -g",
    "-A -t 192.0.2.11:443 -s rr -p 60",
    "-a -t 192.0.2.11:443 -r 198.51.100.13:443 -i",
    "-a -t 192.0.2.11:443 -r 198.51.100.19:443 -g",
    "-A -u 192.0.2.11:53 -s rr -o",
    "-a -u 192.0.2.11:53 -r 198.51.100.12:53 -m",
    "-A -t [2001:db8:1::10]:80 -s rr",
    "-a -t [2001:db8:1::10]:80 -r [2001:db8:2::11]:80 -m",
    "-a -t [2001:db8:1::10]:80 -r [2001:db8:2::12]:8080 -g",
    "-a -t [2001:db8:1::10]:80 -r [2001:db8:2::14]:80 -i",
    "-A -u [2001:db8:1::10]:53 -s rr -p 60",
    "-a -u [2001:db8:1::10]:53 -r [2001:db8:2::11]:53 -m",
    "-a -u [2001:db8:1::10]:53 -r [2001:db8:2::13]:53 -g",
    "-a -u [2001:db8:1::10]:53 -r [2001:db8:2::14]:53 -i",
    "-A -t [2001:db8:1::10]:443 -s rr",
    "-a -t [2001:db8:1::10]:443 -r [2001:db8:2::14]:443 -i",
];
/// What happens to the rules meanwhile.
const CHANGES: [&str; 12] = [
    "-d -t 192.0.2.11:80 -r 198.51.100.13:80",
    "-e -t 192.0.2.10:80 -r 198.51.100.11:80 -m -w 0",
    "--set 30 0 0",
    "--set 900 0 300",
    "-E -t 192.0.2.11:443 -s wlc -p 60",
    "-e -t 192.0.2.11:80 -r 198.51.100.14:80 -g",
    "-d -t [2001:db8:1::10]:80 -r [2001:db8:2::11]:80",
    "-e -t [2001:db8:1::10]:80 -r [2001:db8:2::12]:8080 -m",
    "-e -t [2001:db8:1::10]:80 -r [2001:db8:2::14]:80 -g",
    "-d -t [2001:db8:1::10]:443 -r [2001:db8:2::14]:443",
    // Tunnels over the other family, which are refused while a daemon of the synchronisation runs.
    "-a -t [2001:db8:1::10]:443 -r 198.51.100.14:443 -i",
    "-a -t 192.0.2.11:80 -r [2001:db8:2::14]:80 -i",
];

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    Frames(Vec<(PortId, Origin, Vec<u8>)>),
    Wait(u32),
    Change(usize),
}

/// What may be odd about a packet, mostly nothing.
fn oddity() -> impl Strategy<Value = u8> {
    prop_oneof![12 => Just(0_u8), 1 => 1_u8..18]
}

fn odd(sample: Sample, oddity: u8) -> Vec<u8> {
    let sample = match oddity {
        1 => sample.ttl(1),
        2 => sample.ttl(2),
        3 => sample.bad_checksum(),
        4 => sample.no_checksum(),
        5 => sample.bad_header_checksum(),
        6 => sample.ip_options(&[1, 1, 1, 1]),
        7 => sample.data(vec![7; 1460]),
        8 => sample.data(vec![7; 1461]),
        9 => sample.data(vec![7; 1446]).dont_fragment(true),
        10 => sample.tos(3).dont_fragment(true),
        // The longest that fits IPv6 in IPv6, and a byte more.
        16 => sample.data(vec![7; 1400]),
        17 => sample.data(vec![7; 1401]),
        _ => sample.data(vec![0xff; usize::from(oddity % 4)]),
    };
    let mut frame = sample.frame();
    match oddity {
        14 => frame.truncate(50),
        15 => frame[5] ^= 1,
        _ => frame.resize(frame.len().max(60), 0),
    }
    frame
}

fn frame() -> impl Strategy<Value = (PortId, Origin, Vec<u8>)> {
    let letters =
        prop_oneof![3 => Just("S"), 8 => Just("A"), 2 => Just("PA"), 1 => Just("FA"), 1 => Just("R"), 1 => Just("")];
    let flow = (1_u8..5, 1000_u16..1003, 0_usize..8, 0_usize..9);
    (flow, letters, any::<bool>(), oddity(), 0_u8..20).prop_map(
        |((host, port, service, server), letters, out, wrong, twin)| {
            let vip = [
                "192.0.2.10:80",
                "192.0.2.11:80",
                "192.0.2.10:53",
                "192.0.2.11:443",
                "192.0.2.11:53",
                "[2001:db8:1::10]:80",
                "[2001:db8:1::10]:53",
                "[2001:db8:1::10]:443",
            ][service];
            let real = [
                "198.51.100.11:80",
                "198.51.100.12:8080",
                "198.51.100.13:80",
                "198.51.100.11:53",
                "198.51.100.14:53",
                "198.51.100.12:53",
                "[2001:db8:2::11]:80",
                "[2001:db8:2::12]:8080",
                "[2001:db8:2::11]:53",
            ][server];
            let v6 = if out { real } else { vip }.starts_with('[');
            let client = if v6 { format!("[2001:db8:3::{host}]:{port}") } else { format!("203.0.113.{host}:{port}") };
            let client = at(&client);
            let origin = if twin == 0 { Origin::Twin } else { Origin::Wire };
            let packet = |from, to, datagram: bool| {
                if datagram { udp(from, to).data([1, 2]) } else { tcp(from, to).letters(letters) }
            };
            // Options and header checksums are IPv4's.
            let wrong = if v6 && matches!(wrong, 5 | 6) { 0 } else { wrong };
            if out {
                let sample = packet(at(real), client, real.ends_with(":53")).macs(server_mac(0), INSIDE_MAC);
                (INSIDE, origin, odd(sample, wrong))
            } else {
                (OUTSIDE, origin, odd(packet(client, at(vip), vip.ends_with(":53")), wrong))
            }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => prop::collection::vec(frame(), 1..BURST).prop_map(Step::Frames),
        2 => (1_u32..70).prop_map(Step::Wait),
        1 => (0..CHANGES.len()).prop_map(Step::Change),
    ]
}

/// Everything that can be seen of a world but its frames.
fn seen(world: &World) -> String {
    let counted = (0..world.director.destinations()).map(DestId);
    let counted: Vec<_> = counted.map(|id| (world.director.traffic(id), world.director.load(id))).collect();
    format!("{:?} {:?} {:?} {counted:?}", world.connections(), world.templates(), world.director.counters())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn the_common_packets_way_is_the_general_way(
        steps in prop::collection::vec(step(), 1..40),
        tells in prop::option::of((0_i32..4, 0_i32..6)),
    ) {
        let mut express = World::new(&RULES);
        let mut general = World::new(&RULES);
        general.director = Director::new(&ROOMY, 7, WorkerId(0), Steering::default()).without_express();
        general.apply();
        for world in [&mut express, &mut general] {
            let Some((threshold, period)) = tells.filter(|(a, b)| a < b || *b == 0) else { continue };
            world.ipvsadm("--start-daemon master --mcast-interface lo");
            world.sysctl(|s| s.sync_threshold = [threshold, period]);
            world.director.take_told(Vec::with_capacity(4096));
        }
        for step in steps {
            for world in [&mut express, &mut general] {
                match &step {
                    Step::Frames(_) => world.now = world.now + Duration::from_millis(20),
                    Step::Wait(seconds) => world.sleep(*seconds),
                    // A rule that has gone already cannot change again.
                    Step::Change(index) => drop(world.try_ipvsadm(CHANGES[*index])),
                }
            }
            if let Step::Frames(frames) = step {
                prop_assert_eq!(express.burst(frames.clone()), general.burst(frames));
            }
            prop_assert_eq!(seen(&express), seen(&general));
            let told = |world: &mut World| world.director.take_told(Vec::with_capacity(4096));
            prop_assert_eq!(told(&mut express), told(&mut general));
        }
    }
}
