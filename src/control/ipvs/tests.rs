//! The codec both ways, and messages as the kernel takes them apart.

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST};
use nix::errno::Errno;
use proptest::prelude::*;

use super::attribute::Writer;
use super::daemon::DaemonAttributes;
use super::dest::DestAttributes;
use super::message::Request;
use super::service::{Flags, ServiceAttributes};
use super::stats::Stats;
use super::translate::{self, WholeService};
use crate::control::reply::{DestinationView, PersistenceView, ServiceView};
use crate::control::request::{DestinationSpec, SchedulerFlag, ServiceSpec};
use crate::destination::{Method, Tunnel};
use crate::netmask::Netmask;
use crate::service::{Engine, Protocol, SchedulerName, ServiceKey};
use crate::stats::Traffic;

fn written(fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    fill(&mut Writer(&mut bytes));
    bytes
}

fn stats() -> impl Strategy<Value = Option<Stats>> {
    prop::option::of(any::<[u64; 10]>().prop_map(Stats))
}

fn some<T: Arbitrary + Clone>() -> impl Strategy<Value = Option<T>> {
    any::<Option<T>>()
}

fn service() -> impl Strategy<Value = ServiceAttributes> {
    let name = |most| prop::option::of(prop::string::string_regex(&format!("[a-z]{{0,{most}}}")).unwrap());
    let numbers = (some::<u16>(), some::<u16>(), some::<[u8; 16]>(), some::<u16>(), some::<u32>());
    let rest = (name(15), name(16), some::<(u32, u32)>(), some::<u32>(), some::<[u8; 4]>(), stats());
    (numbers, rest).prop_map(
        |((af, protocol, address, port, mark), (scheduler, engine, flags, timeout, netmask, stats))| {
            ServiceAttributes {
                af,
                protocol,
                address,
                port,
                mark,
                scheduler: scheduler.map(Into::into),
                engine: engine.map(Into::into),
                flags: flags.map(|(flags, mask)| Flags { flags, mask }),
                timeout,
                netmask,
                stats,
            }
        },
    )
}

fn dest() -> impl Strategy<Value = DestAttributes> {
    let tunnel = (some::<u8>(), some::<u16>(), some::<u16>());
    let numbers = prop::array::uniform7(some::<u32>());
    (some::<[u8; 16]>(), some::<u16>(), tunnel, numbers, some::<u16>(), stats()).prop_map(
        |(address, port, (tunnel_type, tunnel_port, tunnel_flags), n, af, stats)| {
            let [method, weight, upper, lower, active, inactive, persistent] = n;
            DestAttributes {
                address,
                port,
                method,
                weight,
                tunnel_type,
                tunnel_port,
                tunnel_flags,
                upper,
                lower,
                active,
                inactive,
                persistent,
                af,
                stats,
            }
        },
    )
}

fn daemon() -> impl Strategy<Value = DaemonAttributes> {
    let name = prop::option::of("[a-z0-9]{0,15}");
    let group = (some::<[u8; 4]>(), some::<[u8; 16]>());
    (some::<u32>(), name, some::<u32>(), some::<u16>(), some::<u16>(), some::<u8>(), group).prop_map(
        |(state, interface, syncid, maxlen, port, ttl, (group, group6))| DaemonAttributes {
            state,
            interface,
            syncid,
            maxlen,
            port,
            ttl,
            group,
            group6,
        },
    )
}

fn key() -> impl Strategy<Value = ServiceKey> {
    let protocol = any::<u8>().prop_map(Protocol::any);
    let address = (protocol, any::<std::net::IpAddr>(), any::<u16>())
        .prop_map(|(protocol, address, port)| ServiceKey::Address { protocol, address, port });
    let mark = (1..=u32::MAX, any::<bool>()).prop_map(|(mark, v6)| ServiceKey::Mark { mark, v6 });
    prop_oneof![address, mark]
}

fn service_view() -> impl Strategy<Value = ServiceView> {
    let flags = [SchedulerFlag::Flag1, SchedulerFlag::Flag2, SchedulerFlag::Flag3];
    (
        key(),
        prop::sample::select(SchedulerName::ALL),
        prop::option::of((1_u32..1_000_000, 1_u8..=32, any::<u32>())),
        prop::option::of(prop::sample::select(Engine::ALL)),
        any::<bool>(),
        prop::sample::subsequence(flags.to_vec(), 0..=3),
    )
        .prop_map(|(service, scheduler, persistence, pe, one_packet, flags)| ServiceView {
            service,
            scheduler,
            persistence: persistence.map(|(timeout_secs, prefix, holes)| {
                let prefix = Netmask::Prefix(prefix);
                let netmask = if service.v6() { prefix } else { Netmask::of((prefix.bits4() & holes).into()) };
                PersistenceView { timeout_secs, netmask }
            }),
            pe,
            one_packet,
            flags,
            traffic: Traffic::default(),
            rates: Default::default(),
            destinations: Vec::new(),
            policy: Default::default(),
            weight_up: 0,
            quorum: true,
            sorry: None,
        })
}

fn tunnel() -> impl Strategy<Value = Tunnel> {
    prop_oneof![
        Just(Tunnel::Ipip),
        (1..=u16::MAX, any::<bool>(), any::<bool>()).prop_map(|(port, checksum, remote_checksum)| Tunnel::Gue {
            port,
            checksum,
            remote_checksum
        }),
        any::<bool>().prop_map(|checksum| Tunnel::Gre { checksum }),
    ]
}

fn destination_view() -> impl Strategy<Value = DestinationView> {
    let method = (0_u32..8).prop_map(Method::from_number);
    (any::<std::net::SocketAddr>(), method, tunnel(), any::<[u32; 3]>(), any::<[u32; 3]>()).prop_map(
        |(address, method, tunnel, [weight, upper, lower], counts)| {
            let [active, inactive, persistent] = counts.map(u64::from);
            DestinationView {
                // The zone and the flow of an IPv6 socket are no part of it.
                address: (address.ip(), address.port()).into(),
                method,
                tunnel,
                weight,
                configured_weight: weight,
                standing: Default::default(),
                reason: String::new(),
                removed: false,
                upper,
                lower,
                active,
                inactive,
                persistent,
                overloaded: false,
                traffic: Traffic::default(),
                rates: Default::default(),
                next_hop: Default::default(),
            }
        },
    )
}

proptest! {
    #[test]
    fn a_service_is_read_as_it_was_written(attributes in service()) {
        prop_assert_eq!(ServiceAttributes::parse(&written(|w| attributes.write(w))), Ok(attributes));
    }

    #[test]
    fn a_destination_is_read_as_it_was_written(attributes in dest()) {
        prop_assert_eq!(DestAttributes::parse(&written(|w| attributes.write(w))), Ok(attributes));
    }

    #[test]
    fn a_daemon_is_read_as_it_was_written(attributes in daemon()) {
        prop_assert_eq!(DaemonAttributes::parse(&written(|w| attributes.write(w))), Ok(attributes));
    }

    #[test]
    fn what_is_shown_of_a_service_asks_for_the_same_service(view in service_view()) {
        let shown = translate::show_service(&view);
        let read = ServiceAttributes::parse(&written(|w| shown.write(w))).unwrap();
        let spec = WholeService::of(&read).unwrap().spec(None).unwrap();
        let full = Netmask::full(view.service.v6());
        prop_assert_eq!(spec.service, view.service);
        prop_assert_eq!(spec.scheduler, view.scheduler.name());
        prop_assert_eq!(spec.pe, view.pe.map(|engine| engine.name().to_owned()));
        prop_assert_eq!((spec.one_packet, spec.flags), (view.one_packet, view.flags));
        let persistence = spec.persistence.map(|p| (p.timeout_secs, p.netmask.unwrap_or(full)));
        prop_assert_eq!(persistence, view.persistence.map(|p| (p.timeout_secs, p.netmask)));
    }

    #[test]
    fn what_is_shown_of_a_destination_asks_for_the_same_destination(view in destination_view()) {
        let shown = translate::show_destination(&view);
        let read = DestAttributes::parse(&written(|w| shown.write(w))).unwrap();
        let v6 = view.address.is_ipv6();
        let spec = translate::destination(&read, &ServiceKey::Mark { mark: 1, v6 }).unwrap();
        let DestinationView { address, method, weight, tunnel, upper, lower, .. } = view;
        prop_assert_eq!(spec, DestinationSpec { address, method, weight, tunnel, upper, lower });
    }

    #[test]
    fn no_bytes_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(super::reads_back(&bytes));
    }
}

#[test]
fn a_partial_mask_changes_the_flags_that_it_names() {
    let mut attributes = translate::show_service(&ServiceView {
        service: "tcp:192.0.2.1:80".parse().unwrap(),
        scheduler: SchedulerName::Sh,
        persistence: None,
        pe: None,
        one_packet: false,
        flags: vec![],
        traffic: Traffic::default(),
        rates: Default::default(),
        destinations: Vec::new(),
        policy: Default::default(),
        weight_up: 0,
        quorum: true,
        sorry: None,
    });
    attributes.flags = Some(Flags { flags: 0x30, mask: 0x18 });
    let old = ServiceSpec {
        service: "tcp:192.0.2.1:80".parse().unwrap(),
        scheduler: "sh".into(),
        persistence: None,
        pe: None,
        one_packet: true,
        flags: vec![SchedulerFlag::Flag1],
    };
    let new = WholeService::of(&attributes).unwrap().spec(Some(&old)).unwrap();
    assert_eq!((new.one_packet, new.flags), (true, vec![SchedulerFlag::Flag2]));
}

#[test]
fn masks_are_judged_by_family() {
    let with = |af: u16, persistent: bool, netmask: [u8; 4]| {
        let attributes = ServiceAttributes {
            af: Some(af),
            mark: Some(7),
            scheduler: Some("rr".into()),
            flags: Some(Flags { flags: persistent.into(), mask: u32::MAX }),
            timeout: Some(60),
            netmask: Some(netmask),
            ..ServiceAttributes::default()
        };
        let spec = WholeService::of(&attributes).unwrap().spec(None);
        spec.map(|spec| spec.persistence.and_then(|p| p.netmask))
    };
    assert_eq!(with(2, true, [255, 255, 255, 0]), Ok(Some(Netmask::Prefix(24))));
    assert_eq!(with(2, true, [255, 0, 255, 0]), Ok("255.0.255.0".parse().ok()));
    assert_eq!(with(2, false, [255, 0, 255, 0]), Ok(None));
    assert_eq!(with(10, true, 64_u32.to_ne_bytes()), Ok(Some(Netmask::Prefix(64))));
    for wrong in [0_u32, 129, u32::MAX] {
        assert_eq!(with(10, false, wrong.to_ne_bytes()), Err(Errno::EINVAL), "{wrong}");
    }
}

#[test]
fn a_mark_of_zero_is_none() {
    let attributes = ServiceAttributes { af: Some(2), mark: Some(0), ..ServiceAttributes::default() };
    assert_eq!(translate::key(&attributes), Ok("tcp:0.0.0.0:0".parse().unwrap()));
}

/// A message: length, type, flags, sequence, port, and its payload.
fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + payload.len()).unwrap();
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(7_u32.to_ne_bytes());
    bytes.extend(99_u32.to_ne_bytes());
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

#[test]
fn a_datagram_holds_messages_until_one_is_cut_short() {
    let mut datagram = message(0x4956, NLM_F_REQUEST, &[15, 1, 0, 0, 1]);
    datagram.extend(message(0x10, NLM_F_REQUEST, &[3, 1, 0, 0]));
    let whole = datagram.len();
    datagram.extend(message(0x4956, NLM_F_REQUEST, &[17, 1, 0, 0]));
    let commands = |bytes: &[u8]| Request::all(bytes).map(|r| r.command().unwrap().0).collect::<Vec<_>>();
    assert_eq!(commands(&datagram), [15, 3, 17]);
    assert_eq!(commands(&datagram[..whole + 19]), [15, 3]);
    assert_eq!(commands(&datagram[..whole + 3]), [15, 3]);
    assert_eq!(Request::all(&message(0x4956, NLM_F_REQUEST, &[])).next().unwrap().command(), None);
}

#[test]
fn an_outcome_carries_what_the_kernel_puts_in_it() {
    let bytes = message(0x4956, NLM_F_REQUEST | NLM_F_ACK, &[15, 1, 0, 0]);
    let request = Request::all(&bytes).next().unwrap();
    let said = |outcome| {
        let mut to = Vec::new();
        request.outcome(&mut to, outcome);
        to
    };
    assert_eq!(said(Ok(())).len(), 36);
    assert_eq!(&said(Ok(()))[4..8], &[2, 0, 0, 1]);
    let refused = said(Err(Errno::EEXIST));
    assert_eq!((refused.len(), &refused[16..20], &refused[20..]), (40, &(-17_i32).to_ne_bytes()[..], &bytes[..]));
    let silent = message(0x4956, NLM_F_REQUEST, &[15, 1, 0, 0]);
    let mut to = Vec::new();
    Request::all(&silent).next().unwrap().outcome(&mut to, Ok(()));
    assert!(to.is_empty(), "nobody asked for an acknowledgement");
}
