//! What the tables of a director take: what is said of it, and no more than was promised for a connection, everything counted.
use allocation_counter::measure;
use pollvs::director::{Director, Limits, table_bytes};
use pollvs::steering::Steering;
use pollvs::verdict::WorkerId;

/// Bytes of an IPv4 connection, and of an IPv6 one.
const PROMISED: [usize; 2] = [96, 176];
/// What does not grow with the number of connections: timer wheels, counters, the director itself.
const FIXED: usize = 256 << 10;

fn limits(connections: u32, connections6: u32) -> Limits {
    Limits { connections, connections6, templates: 16, templates6: 16, destinations: 16, ftp: 16, calls: 16 }
}

/// Bytes that a director holds when it has been made.
fn taken(limits: &Limits) -> usize {
    let mut made = None;
    let info = measure(|| made = Some(Director::new(limits, 7, WorkerId(0), Steering::default())));
    drop(made);
    usize::try_from(info.bytes_current).unwrap()
}

#[test]
fn a_million_connections_take_what_is_said_and_no_more_than_was_promised() {
    let million = 1 << 20;
    for (limits, promised) in [limits(million, 16), limits(16, million)].into_iter().zip(PROMISED) {
        let (taken, said) = (taken(&limits), limits.memory_bytes());
        assert!(taken.abs_diff(said) < FIXED, "{taken} bytes taken, {said} said");
        assert!(taken <= promised * million as usize, "{} bytes each", taken / million as usize);
    }
}

#[test]
fn sixteen_million_connections_take_no_more_than_was_promised() {
    for count in [16_000_000, 1 << 24] {
        for (bytes, promised) in [table_bytes::<u32>(count), table_bytes::<u128>(count)].into_iter().zip(PROMISED) {
            let each = (bytes + FIXED) as f64 / f64::from(count);
            assert!(each <= promised as f64, "{each} bytes each of {count}");
        }
    }
}

#[test]
fn the_default_has_room_for_two_million_and_takes_a_fraction_of_a_gigabyte() {
    let limits = pollvs::config::Config::parse("none", "").unwrap().director.limits();
    assert!(limits.connections >= 2_000_000);
    assert!(limits.memory_bytes() < 300 << 20, "{} bytes", limits.memory_bytes());
}
