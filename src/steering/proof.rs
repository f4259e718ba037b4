//! The proof that a device which hashes as it is told brings every client to its owner: what such a device does is written down here once
//! more, bit by bit as Microsoft's "RSS hashing functions" has it and sharing nothing with what computes owners, and the queue that it
//! chooses is compared with the owner.

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;

use super::*;
use crate::verdict::WorkerId;

/// `ComputeHash`: for each bit of the input that is set, the leftmost 32 bits of the key, which moves on by a bit each time.
fn reference_hash(key: &[u8], input: &[u8]) -> u32 {
    let bits = |bytes: &[u8]| bytes.iter().flat_map(|byte| (0..8).rev().map(move |n| byte >> n & 1 == 1)).collect();
    let (mut key, input): (Vec<bool>, Vec<bool>) = (bits(key), bits(input));
    let mut result = [false; 32];
    for set in input {
        if set {
            result.iter_mut().zip(&key).for_each(|(bit, of_key)| *bit ^= of_key);
        }
        key.remove(0);
        key.push(false);
    }
    result.iter().fold(0, |hash, bit| hash << 1 | u32::from(*bit))
}

/// What of a packet is hashed.
#[derive(Clone, Copy, Debug)]
enum Hashed {
    /// Addresses: a fragment, ICMP, or a device that looks no further.
    Addresses,
    /// Addresses and ports.
    Ports,
}

fn concatenated(from: SocketAddr, to: SocketAddr, hashed: Hashed) -> Vec<u8> {
    let mut input = Vec::new();
    for end in [from, to] {
        match end.ip() {
            IpAddr::V4(address) => input.extend(address.octets()),
            IpAddr::V6(address) => input.extend(address.octets()),
        }
    }
    if matches!(hashed, Hashed::Ports) {
        [from, to].iter().for_each(|end| input.extend(end.port().to_be_bytes()));
    }
    input
}

/// A device that was told a plan.
struct Card(Plan);

impl Card {
    fn queue(&self, from: SocketAddr, to: SocketAddr, hashed: Hashed) -> WorkerId {
        let hash = reference_hash(&self.0.key, &concatenated(from, to, hashed));
        WorkerId(self.0.redirection[hash as usize & (self.0.redirection.len() - 1)])
    }
}

#[test]
fn the_reference_gives_the_published_hashes() {
    for (source, destination, addresses, all) in tests::PUBLISHED {
        let parse = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let hash = |hashed| reference_hash(&tests::MICROSOFT, &concatenated(parse(source), parse(destination), hashed));
        assert_eq!((hash(Hashed::Addresses), hash(Hashed::Ports)), (addresses, all), "{source}");
    }
}

fn shape() -> impl Strategy<Value = (Steering, Rss)> {
    let workers = prop_oneof![Just(2_u16), Just(4), Just(8), Just(16), 1_u16..=64];
    let v4 = prop_oneof![Just(32_u8), 8_u8..=32, 0_u8..=32];
    let v6 = prop_oneof![Just(128_u8), Just(64), 96_u8..=128, 0_u8..=128];
    let key = prop_oneof![Just(40_usize), Just(52)];
    let card = (prop_oneof![Just(128_usize), Just(256), Just(512)], key);
    (workers, 1..=MAX_BITS, v4, v6, any::<u64>(), card).prop_map(|(workers, bits, v4, v6, seed, (size, key))| {
        let rss = Rss { queues: 64, key, redirection: size, v4: true, v6: true };
        // As the ports are opened: no more bits than the smallest table has.
        let bits = bits.min(rss.bits().expect("it can steer"));
        (Steering::new(workers, bits, Prefixes { v4, v6 }, seed), rss)
    })
}

fn end4() -> impl Strategy<Value = SocketAddr> {
    any::<([u8; 4], u16)>().prop_map(SocketAddr::from)
}

fn end6() -> impl Strategy<Value = SocketAddr> {
    any::<([u8; 16], u16)>().prop_map(SocketAddr::from)
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Outside), Just(Role::Inside)]
}

fn hashed() -> impl Strategy<Value = Hashed> {
    prop_oneof![Just(Hashed::Addresses), Just(Hashed::Ports)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(600) })]

    #[test]
    fn a_card_brings_both_directions_of_ipv4_to_the_owner(
        (steering, rss) in shape(), client in end4(), vip in end4(), server in end4(), there in hashed(), back in hashed(),
    ) {
        let [outside, inside] =
            [Role::Outside, Role::Inside].map(|role| Card(rss.plan(&steering, role).expect("it can steer")));
        let owner = steering.owner(client.ip());
        prop_assert_eq!(outside.queue(client, vip, there), owner);
        prop_assert_eq!(inside.queue(server, client, back), owner);
        // So what the card has computed may be used instead of computing it again.
        let hash = reference_hash(&outside.0.key, &concatenated(client, vip, there));
        prop_assert_eq!(steering.owner_of_hash(hash), owner);
    }

    #[test]
    fn a_card_brings_requests_of_ipv6_to_the_owner_and_promises_no_replies(
        (steering, rss) in shape(), client in end6(), vip in end6(), there in hashed(),
    ) {
        let outside = Card(rss.plan(&steering, Role::Outside).expect("it can steer"));
        prop_assert_eq!(outside.queue(client, vip, there), steering.owner(client.ip()));
        let promised = |role| SteeringReport::new(role, 2, &rss, Ok(())).promise(&rss, true).is_some_and(|p| p.v6);
        prop_assert_eq!([Role::Outside, Role::Inside].map(promised), [true, false]);
    }

    #[test]
    fn what_a_proven_card_has_hashed_gives_the_owner_that_software_finds_or_nobody(
        (steering, rss) in shape(), clients in (end4(), end6()), others in (end4(), end6()), kind in hashed(),
        roles in (role(), role()), v6: bool, proven: bool, steers: bool,
    ) {
        let (port_role, packet_role) = roles;
        let (client, other) = if v6 { (clients.1, others.1) } else { (clients.0, others.0) };
        let plan = rss.plan(&steering, port_role).expect("it can steer");
        let outcome = if steers { Ok(()) } else { Err(&Unable::NoHash) };
        let promise = SteeringReport::new(port_role, 2, &rss, outcome).promise(&rss, proven);
        let steering = steering.with_promises(vec![None, promise]);
        let (from, to) = if packet_role == Role::Outside { (client, other) } else { (other, client) };
        let hash = reference_hash(&plan.key, &concatenated(from, to, kind));
        let found = steering.owner_by_device(PortId(1), packet_role, v6, Some(hash));
        let trusted = steers && proven && port_role == packet_role && !(v6 && port_role == Role::Inside);
        prop_assert_eq!(found, trusted.then(|| steering.owner(client.ip())));
        prop_assert_eq!(steering.owner_by_device(PortId(1), packet_role, v6, None), None);
        prop_assert_eq!(steering.owner_by_device(PortId(0), packet_role, v6, Some(hash)), None, "it has promised nothing");
    }

    #[test]
    fn fragments_and_whole_packets_of_a_client_come_to_one_queue(
        (steering, rss) in shape(), client in end4(), vip in end4(), other in end4(),
    ) {
        let outside = Card(rss.plan(&steering, Role::Outside).expect("it can steer"));
        let whole = outside.queue(client, vip, Hashed::Ports);
        prop_assert_eq!(outside.queue(client, vip, Hashed::Addresses), whole);
        prop_assert_eq!(outside.queue(client, other, Hashed::Ports), whole, "whatever it asks for");
    }
}
