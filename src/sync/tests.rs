//! The codec both ways, what it refuses, the pace and the sender.

use std::net::IpAddr;

use proptest::prelude::*;

use super::entry::EntryError as E;
use super::message::Pushed;
use super::*;
use crate::app::sequence::{Sequences, Shift};
use crate::app::sip::CallId;
use crate::proto::State;
use crate::service::Engine;
use crate::settings::Settings;
use crate::time::{HZ, Tick};

/// What a kernel backup took every kind of entry in it.
const VERSION_1: &str = "\
000500fc05010000000600240000000000019c4000501f900000000000000384c6336407c000020a0a0000010006003e0000060000019c4100501f90\
00000000000002bcc6336408c000020a0a0000010118000003e80000000a00000005000007d0000000140000000f0000001100240000000300009c42\
00350035000000000000012cc6336409c000020a0a00000300060024000010000001000000501f900000000000000168c6336400c000020a0a000001\
01060048000000000001000500500051000000000000038420010db800090000000000000000000120010db800000000000000000000000120010db8\
000000000000000000000002";
const VERSION_0: &str = "0105001c0006022b00501f90cb007101c000020a0a00000100000002";
/// What a kernel master sent: a template and a connection.
const OF_A_MASTER: &str = "\
00070050020100000006002400000100000703e800500050000000000000003ccb007105c000020ac633640c00060024000011000001000000500050\
000000000000003ccb007105c000020ac633640c";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().map(|c| c.to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn plain() -> Entry {
    Entry {
        client: ip("198.51.100.7"),
        vip: ip("192.0.2.10"),
        dest: ip("10.0.0.1"),
        cport: 40_000,
        vport: 80,
        dport: 8080,
        protocol: 6,
        state: State::Established,
        flags: Flags(0),
        mark: 0,
        timeout_secs: 900,
        sequences: None,
        engine: None,
        call: CallId::NONE,
    }
}

fn read(bytes: &[u8]) -> Vec<Result<Entry, EntryError>> {
    Message::read(bytes).unwrap().entries().collect()
}

fn message(version: Version, entries: &[Entry]) -> Vec<u8> {
    let mut builder = Builder::new(version, 5, 65_535);
    entries.iter().for_each(|entry| assert_eq!(builder.push(entry), Ok(Pushed::In)));
    builder.finish()
}

fn entries_of_version_1() -> Vec<Entry> {
    let shift = |init_seq, delta, previous_delta| Shift { init_seq, delta, previous_delta };
    let sequences = Sequences { input: shift(1000, 10, 5), output: shift(2000, 20, 15) };
    vec![
        plain(),
        Entry {
            client: ip("198.51.100.8"),
            cport: 40_001,
            flags: Flags::SEQ,
            timeout_secs: 700,
            sequences: Some(sequences),
            ..plain()
        },
        Entry {
            client: ip("198.51.100.9"),
            dest: ip("10.0.0.3"),
            cport: 40_002,
            vport: 53,
            dport: 53,
            protocol: 17,
            state: State::Udp,
            flags: Flags::DR,
            timeout_secs: 300,
            ..plain()
        },
        Entry {
            client: ip("198.51.100.0"),
            cport: 0,
            state: State::Assured,
            flags: Flags::TEMPLATE,
            timeout_secs: 360,
            ..plain()
        },
        Entry {
            client: ip("2001:db8:9::1"),
            vip: ip("2001:db8::1"),
            dest: ip("2001:db8::2"),
            cport: 5,
            dport: 81,
            ..plain()
        },
    ]
}

#[test]
fn messages_that_the_kernel_took_are_written_and_read() {
    let entries = entries_of_version_1();
    assert_eq!(message(Version::V1, &entries), bytes(VERSION_1));
    assert_eq!(read(&bytes(VERSION_1)), entries.into_iter().map(Ok).collect::<Vec<_>>());
    let old = Entry { client: ip("203.0.113.1"), cport: 555, state: State::SynSent, timeout_secs: 0, ..plain() };
    assert_eq!(message(Version::V0, &[old]), bytes(VERSION_0));
    assert_eq!(read(&bytes(VERSION_0)), [Ok(old)]);
}

#[test]
fn a_message_of_a_kernel_master_is_read() {
    let message = bytes(OF_A_MASTER);
    let read: Vec<Entry> = read(&message).into_iter().map(Result::unwrap).collect();
    assert_eq!(Message::read(&message).unwrap().syncid(), 7);
    assert_eq!((read[0].state, read[0].flags, read[0].timeout_secs), (State::CloseWait, Flags::INACTIVE, 60));
    assert!(read[1].is_template());
    assert_eq!((read[1].state, read[1].cport, read[1].dest), (State::Assured, 0, ip("198.51.100.12")));
    let mut builder = Builder::new(Version::V1, 7, 1472);
    read.iter().for_each(|entry| assert_eq!(builder.push(entry), Ok(Pushed::In)));
    assert_eq!(builder.finish(), message);
}

#[test]
fn sequence_numbers_of_version_0_are_in_the_order_of_the_machine() {
    let shifted = Entry { timeout_secs: 0, ..entries_of_version_1()[1] };
    let written = message(Version::V0, &[shifted]);
    assert_eq!(written.len(), 4 + 48);
    assert_eq!(written[28..32], 1000_u32.to_ne_bytes());
    assert_eq!(read(&written), [Ok(shifted)]);
}

#[test]
fn entries_of_which_the_length_is_odd_are_followed_by_padding_that_counts() {
    let call =
        Entry { engine: Some(Engine::Sip), call: CallId::new(b"a@b").unwrap(), flags: Flags::TEMPLATE, ..plain() };
    let call = Entry { state: State::None, ..call };
    let written = message(Version::V1, &[call, plain()]);
    assert_eq!(written.len(), 8 + 46 + 2 + 36);
    assert_eq!(written[8 + 2..8 + 4], [0, 46]);
    assert_eq!(written[8 + 36..8 + 46], *b"\x02\x03a@b\x03\x03sip");
    assert_eq!(read(&written), [Ok(call), Ok(plain())]);
    // One that ends with padding was taken, too.
    let mut padded = message(Version::V1, &[call]);
    padded.extend([0, 0]);
    padded[3] += 2;
    assert_eq!(read(&padded), [Ok(call)]);
}

/// The message of one entry, with changes to its bytes, the length that the header says mended.
fn mutilated(entry: &Entry, change: impl FnOnce(&mut Vec<u8>)) -> Vec<Result<Entry, EntryError>> {
    let mut bytes = message(Version::V1, &[*entry, plain()]);
    change(&mut bytes);
    let length = (bytes.len() as u16).to_be_bytes();
    bytes[2..4].copy_from_slice(&length);
    read(&bytes)
}

#[test]
fn what_cannot_be_made_out_ends_the_message_and_what_is_not_known_is_passed_over() {
    let call = Entry { engine: Some(Engine::Sip), call: CallId::new(b"12345").unwrap(), ..plain() };
    let shifted = entries_of_version_1()[1];
    let (first, options) = (8, 8 + 36);
    let set = |at: usize, value: u8| move |bytes: &mut Vec<u8>| bytes[at] = value;
    for (entry, change, error) in [
        (plain(), set(first, 2), E::Type(2)),
        (plain(), set(first + 2, 0x10), E::Version(1)),
        (plain(), set(first + 3, 35), E::Truncated),
        (plain(), set(first + 3, 200), E::Truncated),
        (plain(), set(first, 1), E::Truncated),
        (call, set(options + 1, 0), E::OptionLength(2)),
        (call, set(options + 1, 200), E::OptionLength(2)),
        (shifted, set(options + 1, 23), E::OptionLength(1)),
    ] {
        assert_eq!(mutilated(&entry, change), [Err(error)]);
    }
    let sip = call;
    for (entry, change, error) in [
        (sip, set(options, 0x3f), E::UnknownOption(0x3f)),
        (sip, set(options + 9, b'x'), E::Engine),
        (plain(), set(first + 1, 99), E::Protocol(99)),
        (plain(), set(first + 9, 11), E::State(6, 11)),
        (plain(), set(first + 6, 0x20), E::Flags(0x2000)),
        (plain(), set(first + 6, 0x18), E::Flags(0x1800)),
    ] {
        assert_eq!(mutilated(&entry, change), [Err(error), Ok(plain())]);
    }
    let unnamed = |bytes: &mut Vec<u8>| bytes[options + 7] |= 0x40 | 0x20;
    assert_eq!(mutilated(&sip, unnamed), [Err(E::Engine), Ok(plain())]);
    let template = Entry { flags: Flags::TEMPLATE, state: State::Assured, ..plain() };
    assert_eq!(mutilated(&template, set(first + 9, 2))[0], Err(E::State(6, 2)));
    assert_eq!(mutilated(&plain(), |bytes| bytes.truncate(first + 30)), [Err(E::Truncated)]);
    let twice = |bytes: &mut Vec<u8>| {
        let option = bytes[options..options + 7].to_vec();
        bytes.splice(options..options, option);
        bytes[first + 3] += 7;
    };
    assert_eq!(mutilated(&call, twice), [Err(E::OptionTwice(2))]);
    let may_be_passed_over = mutilated(&call, |bytes| {
        bytes.splice(options..options, [0x7f, 2, 9, 9]);
        bytes[first + 3] += 4;
    });
    assert_eq!(may_be_passed_over, [Ok(call), Ok(plain())]);
}

#[test]
fn a_message_of_another_length_than_it_says_is_none() {
    assert_eq!(Message::read(&[1, 2, 0]), Err(MessageError::Truncated));
    let mut long = bytes(VERSION_0);
    long.push(0);
    assert_eq!(Message::read(&long), Err(MessageError::Length { is: 29, says: 28 }));
    let count = |mut bytes: Vec<u8>| {
        bytes[0] = 3;
        read(&bytes)
    };
    assert!(matches!(count(bytes(VERSION_0))[..], [Ok(_), Err(E::Truncated)]));
}

#[test]
fn a_message_is_full_by_bytes_or_by_number_and_refused_entries_leave_no_trace() {
    let mut small = Builder::new(Version::V1, 0, 8 + 2 * 36);
    assert_eq!([small.push(&plain()), small.push(&plain())], [Ok(Pushed::In); 2]);
    assert_eq!(small.push(&plain()), Ok(Pushed::Full));
    assert_eq!(small.finish().len(), 80);
    let mut large = Builder::new(Version::V1, 0, 65_507);
    (0..255).for_each(|_| assert_eq!(large.push(&plain()), Ok(Pushed::In)));
    assert_eq!(large.push(&plain()), Ok(Pushed::Full));
    let mut tiny = Builder::new(Version::V1, 0, 1);
    assert_eq!(tiny.push(&plain()), Ok(Pushed::In));
    for (version, entry, error) in [
        (Version::V0, entries_of_version_1()[4], Unencodable::Version0),
        (Version::V1, Entry { dest: ip("::1"), ..plain() }, Unencodable::MixedFamilies),
        (Version::V0, Entry { vip: ip("::1"), ..plain() }, Unencodable::MixedFamilies),
    ] {
        let mut builder = Builder::new(version, 0, 1472);
        let empty = builder.clone();
        assert_eq!(builder.push(&entry), Err(error));
        assert_eq!(builder, empty);
    }
}

fn any_state() -> impl Strategy<Value = (u8, State)> {
    prop_oneof![
        (0_u16..11).prop_map(|n| (6, State::from_number(6, n).unwrap())),
        Just((17, State::Udp)),
        (0_u16..14).prop_map(|n| (132, State::from_number(132, n).unwrap())),
    ]
}

fn any_shift() -> impl Strategy<Value = Shift> {
    any::<(u32, u32, u32)>().prop_map(|(init_seq, delta, previous_delta)| Shift { init_seq, delta, previous_delta })
}

prop_compose! {
    fn any_entry()(
        v6: bool, ends: [u128; 3], (protocol, state) in any_state(), ports: [u16; 3], flags in 0_u32..0x800,
        template in prop::option::of(any::<(u8, bool)>()), mark: u32, timeout_secs: u32,
        shifts in (any_shift(), any_shift()), call in prop::option::of(prop::collection::vec(any::<u8>(), 1..=255)),
    ) -> Entry {
        let end = |bits: u128| if v6 { IpAddr::V6(bits.into()) } else { IpAddr::V4((bits as u32).into()) };
        let flags = Flags(flags).only(Flags::TAKEN).with(Flags::TEMPLATE, template.is_some());
        let (protocol, state) = match template {
            Some((protocol, assured)) => (protocol, if assured { State::Assured } else { State::None }),
            None => (protocol, state),
        };
        let shifted = flags.intersects(Flags::SEQ);
        Entry {
            client: end(ends[0]), vip: end(ends[1]), dest: end(ends[2]),
            cport: ports[0], vport: ports[1], dport: ports[2],
            protocol, state, flags, mark, timeout_secs,
            sequences: shifted.then_some(Sequences { input: shifts.0, output: shifts.1 }),
            engine: call.is_some().then_some(Engine::Sip),
            call: call.map_or(CallId::NONE, |call| CallId::new(&call).unwrap()),
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(entries in prop::collection::vec(any_entry(), 0..40)) {
        let written = message(Version::V1, &entries);
        prop_assert_eq!(read(&written), entries.into_iter().map(Ok).collect::<Vec<_>>());
    }

    #[test]
    fn what_version_0_can_tell_is_read(entries in prop::collection::vec(any_entry(), 1..40)) {
        let simple = |e: &Entry| Entry { mark: 0, timeout_secs: 0, engine: None, call: CallId::NONE, ..*e };
        let entries: Vec<Entry> = entries.iter().filter(|e| e.client.is_ipv4()).map(simple).collect();
        let written = message(Version::V0, &entries);
        prop_assert_eq!(read(&written), entries.into_iter().map(Ok).collect::<Vec<_>>());
    }

    #[test]
    fn any_bytes_are_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..400), honest: bool, new: bool) {
        if honest && bytes.len() >= 8 {
            let length = (bytes.len() as u16).to_be_bytes();
            bytes[2..4].copy_from_slice(&length);
            if new {
                (bytes[0], bytes[5], bytes[6], bytes[7]) = (0, 1, 0, 0);
            }
        }
        if let Ok(message) = Message::read(&bytes) {
            let read: Vec<_> = message.entries().collect();
            prop_assert!(read.len() <= message.count().into());
            for entry in read.into_iter().flatten() {
                let mut builder = Builder::new(message.version(), 0, 1472);
                prop_assert_eq!(builder.push(&entry), Ok(Pushed::In));
            }
        }
    }

    #[test]
    fn the_quick_look_is_the_remainder(threshold in 0_i32..60, period in 0_i32..60, packets: u32) {
        prop_assume!(threshold < period || period == 0);
        let pace = Pace::new(&Settings { sync_threshold: [threshold, period], ..Settings::default() });
        let expected = match period {
            0 => packets == threshold as u32,
            _ => packets % period as u32 == threshold as u32,
        };
        prop_assert_eq!(pace.may_tell(packets), expected);
        let connection = Subject::Connection { state: State::Established, persistent: false };
        prop_assert_eq!(pace.needs(connection, &mut Memo::default(), 90_000, packets, Tick(7)), expected);
    }

    #[test]
    fn the_sender_loses_nothing_and_keeps_to_the_length(
        entries in prop::collection::vec(any_entry(), 0..200), ports in 0_u32..3, maxlen in 400_u16..1500,
    ) {
        let settings = Settings { sync_ports: 1 << ports, ..Settings::default() };
        let mut sender = Sender::new(Setup::new(&settings, 9, maxlen));
        entries.iter().for_each(|entry| sender.push(entry, Tick(0)));
        sender.flush();
        let mut got = Vec::new();
        while let Some((port, message)) = sender.take() {
            prop_assert!(message.len() <= maxlen.into() && port < 1 << ports);
            got.extend(read(&message).into_iter().map(Result::unwrap));
        }
        let key = |e: &Entry| format!("{e:?}");
        let mut expected = entries;
        expected.sort_by_key(key);
        got.sort_by_key(key);
        prop_assert_eq!(got, expected);
    }
}

const FIN_WAIT: Subject = Subject::Connection { state: State::FinWait, persistent: false };
const ESTABLISHED: Subject = Subject::Connection { state: State::Established, persistent: false };

fn pace(settings: impl FnOnce(&mut Settings)) -> Pace {
    let mut all = Settings::default();
    settings(&mut all);
    Pace::new(&all)
}

#[test]
fn a_change_of_state_is_told_once_and_most_states_are_not() {
    let (pace, mut memo) = (pace(|_| ()), Memo::default());
    for state in [State::SynRecv, State::SynSent, State::LastAck, State::Listen, State::SctpInit, State::SynAck] {
        let subject = Subject::Connection { state, persistent: false };
        assert!((0..60).all(|n| !pace.needs(subject, &mut memo, 1000, n, Tick(5))), "{state:?}");
    }
    assert!(!pace.needs(ESTABLISHED, &mut memo, 90_000, 2, Tick(5)));
    assert!(pace.needs(ESTABLISHED, &mut memo, 90_000, 3, Tick(5)));
    assert!(pace.needs(FIN_WAIT, &mut memo, 12_000, 4, Tick(6)));
    assert!(!pace.needs(FIN_WAIT, &mut memo, 12_000, 5, Tick(7)));
    assert!(pace.needs(FIN_WAIT, &mut memo, 12_000, 53, Tick(7)));
}

#[test]
fn templates_are_told_with_every_packet_unless_time_says_otherwise() {
    let every = pace(|_| ());
    let mut memo = Memo::default();
    assert!((0..9).all(|n| every.needs(Subject::Template, &mut memo, 6000, n, Tick(5))));
    let refreshed = pace(|s| s.sync_refresh_period = 10);
    let mut memo = Memo::default();
    let told = |memo: &mut Memo, at: u32| refreshed.needs(Subject::Template, memo, 6000, 1, Tick(at));
    assert!(told(&mut memo, 100));
    assert!([101, 500, 1099].iter().all(|at| !told(&mut memo, *at)));
    assert!(told(&mut memo, 1104) && !told(&mut memo, 1105));
}

#[test]
fn what_was_told_is_repeated_an_eighth_of_the_period_apart() {
    let pace = pace(|s| (s.sync_refresh_period, s.sync_retries, s.sync_threshold) = (8, 2, [0, 0]));
    let mut memo = Memo::default();
    let mut at = Vec::new();
    for now in 400..1500 {
        if pace.needs(Subject::Template, &mut memo, 60 * HZ, 1, Tick(now)) {
            at.push(now);
        }
    }
    assert_eq!(at, [400, 500, 601, 1404]);
}

#[test]
fn with_only_templates_connections_of_templates_are_not_told() {
    let pace = pace(|s| s.sync_persist_mode = 1);
    let persistent = Subject::Connection { state: State::Established, persistent: true };
    assert!(!pace.needs(persistent, &mut Memo::default(), 90_000, 3, Tick(5)));
    assert!(pace.needs(ESTABLISHED, &mut Memo::default(), 90_000, 3, Tick(5)));
}

#[test]
fn a_message_leaves_when_it_is_full_or_two_seconds_old() {
    let mut sender = Sender::new(Setup::new(&Settings::default(), 1, 8 + 36 * 2));
    (0..3).for_each(|_| sender.push(&plain(), Tick(100)));
    assert_eq!(sender.take().unwrap().1.len(), 80);
    sender.age(Tick(299));
    assert!(sender.take().is_none());
    sender.age(Tick(300));
    assert_eq!(sender.take().unwrap().1.len(), 44);
    assert_eq!(sender.counted(), sender::Sent { entries: 3, messages: 2, ..Default::default() });
}

#[test]
fn too_many_messages_in_line_are_dropped_and_counted_and_versions_do_not_mix() {
    let settings = Settings { sync_qlen_max: 2, ..Settings::default() };
    let mut sender = Sender::new(Setup::new(&settings, 1, 8 + 36));
    (0..5).for_each(|_| sender.push(&plain(), Tick(0)));
    sender.flush();
    assert_eq!((sender.counted().overflowed, sender.is_waiting()), (3, true));
    sender.set_up(Setup::new(&Settings { sync_version: 0, ..Settings::default() }, 1, 1472));
    sender.push(&entries_of_version_1()[4], Tick(0));
    assert_eq!(sender.counted().unencodable, 1);
    sender.push(&plain(), Tick(0));
    sender.flush();
    let messages: Vec<_> = std::iter::from_fn(|| sender.take()).map(|(_, m)| m).collect();
    let versions: Vec<_> = messages.iter().map(|m| Message::read(m).unwrap().version()).collect();
    assert_eq!(versions, [Version::V1, Version::V1, Version::V0]);
}
