//! The first packets of flows, many in a burst, against the general way: the same packets, rules and time, and never a difference in what
//! leaves, is counted or is remembered.

use std::time::Duration;

use pollvs::burst::BURST;
use pollvs::destination::DestId;
use pollvs::director::{Director, Limits};
use pollvs::steering::Steering;
use pollvs::verdict::{Origin, PortId, WorkerId};
use pollvs::wire::sample::{Sample, at, tcp, udp};
use proptest::prelude::*;

use super::{OUTSIDE, ROOMY, World};

/// Too small for all of the flows below.
const SMALL: Limits = Limits { connections: 96, connections6: 96, ..ROOMY };

const RULES: [&str; 26] = [
    "-A -t 192.0.2.10:80 -s rr",
    "-a -t 192.0.2.10:80 -r 198.51.100.11:80 -m",
    "-a -t 192.0.2.10:80 -r 198.51.100.12:8080 -g",
    "-a -t 192.0.2.10:80 -r 198.51.100.14:80 -i",
    "-A -t 192.0.2.11:80 -s wlc",
    "-a -t 192.0.2.11:80 -r 198.51.100.13:80 -g -w 2",
    "-a -t 192.0.2.11:80 -r 198.51.100.19:80 -g -w 1",
    "-A -t 192.0.2.11:443 -s wrr",
    "-a -t 192.0.2.11:443 -r 198.51.100.13:443 -g -w 3 -x 9 -y 4",
    "-a -t 192.0.2.11:443 -r 198.51.100.14:443 -m -w 1 -x 5",
    "-A -t 192.0.2.10:21 -s rr",
    "-a -t 192.0.2.10:21 -r 198.51.100.11:21 -m",
    "-A -u 192.0.2.10:53 -s sh",
    "-a -u 192.0.2.10:53 -r 198.51.100.11:53 -m",
    "-a -u 192.0.2.10:53 -r 198.51.100.12:53 -g",
    "-A -u 192.0.2.11:53 -s rr -o",
    "-a -u 192.0.2.11:53 -r 198.51.100.12:53 -m",
    "-A -t 192.0.2.11:0 -s rr -p 60",
    "-a -t 192.0.2.11:0 -r 198.51.100.15:0 -g",
    "-A -t [2001:db8:1::10]:80 -s rr",
    "-a -t [2001:db8:1::10]:80 -r [2001:db8:2::11]:80 -m",
    "-a -t [2001:db8:1::10]:80 -r [2001:db8:2::12]:8080 -g",
    "-a -t [2001:db8:1::10]:80 -r [2001:db8:2::14]:80 -i",
    "-A -u [2001:db8:1::10]:53 -s mh",
    "-a -u [2001:db8:1::10]:53 -r [2001:db8:2::11]:53 -m",
    "-a -u [2001:db8:1::10]:53 -r [2001:db8:2::13]:53 -g",
];
/// What happens to the rules meanwhile.
const CHANGES: [&str; 8] = [
    "-d -t 192.0.2.11:80 -r 198.51.100.13:80",
    "-e -t 192.0.2.10:80 -r 198.51.100.11:80 -m -w 0",
    "-d -t 192.0.2.11:443 -r 198.51.100.13:443",
    "-E -t 192.0.2.10:80 -s wrr",
    "-E -t 192.0.2.10:80 -s rr -p 60",
    "-e -t 192.0.2.11:443 -r 198.51.100.14:443 -i",
    "-d -u 192.0.2.10:53 -r 198.51.100.11:53",
    "-D -t [2001:db8:1::10]:80",
];
const VIRTUAL: [&str; 10] = [
    "192.0.2.10:80",
    "192.0.2.11:80",
    "192.0.2.11:443",
    "192.0.2.10:21",
    "192.0.2.10:53",
    "192.0.2.11:53",
    "192.0.2.11:8443",
    "192.0.2.10:8443",
    "[2001:db8:1::10]:80",
    "[2001:db8:1::10]:53",
];

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    Frames(Vec<(PortId, Origin, Vec<u8>)>),
    Wait(u32),
    Change(usize),
    Flush,
}

/// What may be odd about a packet, mostly nothing.
fn odd(sample: Sample, oddity: u8) -> Vec<u8> {
    let sample = match oddity {
        1 => sample.ttl(1),
        2 => sample.ttl(2),
        3 => sample.bad_checksum(),
        4 => sample.no_checksum(),
        5 => sample.data(vec![7; 1460]),
        6 => sample.data(vec![7; 1461]),
        _ => sample,
    };
    let mut frame = sample.frame();
    frame.resize(frame.len().max(60), 0);
    frame
}

fn frame() -> impl Strategy<Value = (PortId, Origin, Vec<u8>)> {
    let letters = prop_oneof![9 => Just("S"), 1 => Just("A"), 1 => Just("SA"), 1 => Just("SR"), 1 => Just("F")];
    let oddity = prop_oneof![15 => Just(0_u8), 1 => 1_u8..7];
    let port = prop_oneof![9 => 1000_u16..1040, 1 => Just(20_u16)];
    let flow = (0_u8..4, port, 0..VIRTUAL.len());
    (flow, letters, oddity, 0_u8..20).prop_map(|((host, port, service), letters, oddity, twin)| {
        let vip = at(VIRTUAL[service]);
        let client = match (VIRTUAL[service].starts_with('['), host) {
            (true, _) => at(&format!("[2001:db8:3::{host}]:{port}")),
            // No client has that address.
            (false, 0) => at(&format!("192.0.2.1:{port}")),
            (false, _) => at(&format!("203.0.113.{host}:{port}")),
        };
        let datagram = vip.port() == 53;
        let sample = if datagram { udp(client, vip).data([1, 2]) } else { tcp(client, vip).letters(letters) };
        let origin = if twin == 0 { Origin::Twin } else { Origin::Wire };
        (OUTSIDE, origin, odd(sample, oddity))
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => prop::collection::vec(frame(), 1..BURST).prop_map(Step::Frames),
        2 => (1_u32..400).prop_map(Step::Wait),
        1 => (0..CHANGES.len()).prop_map(Step::Change),
        1 => Just(Step::Flush),
    ]
}

/// Everything that can be seen of a world but its frames.
fn seen(world: &World) -> String {
    let counted = (0..world.director.destinations()).map(DestId);
    let of = |id| (world.director.traffic(id), world.director.load(id), world.director.lent(id));
    let counted: Vec<_> = counted.map(of).collect();
    let serial = world.director.serial();
    format!("{:?} {:?} {:?} {counted:?} {serial}", world.connections(), world.templates(), world.director.counters())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn a_flow_begins_as_it_does_the_general_way(
        steps in prop::collection::vec(step(), 1..40),
        (sloppy, drops, secure) in (any::<bool>(), prop::option::weighted(0.2, 1_i32..9), 0_u8..5),
        (marks, tells, small) in (0_u8..8, 0_u8..8, any::<bool>()),
    ) {
        let limits = if small { SMALL } else { ROOMY };
        let mut plainly = World::with(&limits, &RULES);
        let mut general = World::with(&limits, &RULES);
        general.director = Director::new(&limits, 7, WorkerId(0), Steering::default()).without_express();
        general.apply();
        for world in [&mut plainly, &mut general] {
            world.sysctl(|s| {
                s.sloppy_tcp = sloppy;
                (s.drop_packet, s.am_droprate) = drops.map_or((0, s.am_droprate), |rate| (3, rate));
                s.secure_tcp = if secure == 0 { 3 } else { 0 };
            });
            if marks == 0 {
                world.control.run("iptables -t mangle -A PREROUTING -p tcp --dport 8443 -j MARK --set-mark 7");
                world.ipvsadm("-A -f 7 -s rr");
                world.ipvsadm("-a -f 7 -r 198.51.100.16:0 -g");
            }
            if tells == 0 {
                world.ipvsadm("--start-daemon master --mcast-interface lo");
            }
            world.director.take_told(Vec::with_capacity(4096));
            // The defences are looked at once a second.
            world.sleep(1);
        }
        for step in steps {
            for world in [&mut plainly, &mut general] {
                match &step {
                    Step::Frames(_) => world.now = world.now + Duration::from_millis(20),
                    Step::Wait(seconds) => world.sleep(*seconds),
                    // A rule that has gone already cannot change again.
                    Step::Change(index) => drop(world.try_ipvsadm(CHANGES[*index])),
                    Step::Flush => world.director.flush(),
                }
            }
            if let Step::Frames(frames) = step {
                prop_assert_eq!(plainly.burst(frames.clone()), general.burst(frames));
            }
            prop_assert_eq!(seen(&plainly), seen(&general));
            let told = |world: &mut World| world.director.take_told(Vec::with_capacity(4096));
            prop_assert_eq!(told(&mut plainly), told(&mut general));
        }
    }
}
