//! Power of two choices, against its definition: the chance of every pair of draws written out.

use super::*;

fn cost(load: &Load) -> u64 {
    u64::from(load.active) * 257 + u64::from(load.inactive)
}

/// The chance of each destination of the list: the sum over all pairs of draws.
fn chances(world: &World) -> Vec<f64> {
    let usable: Vec<_> = (0..world.destinations.len())
        .filter(|i| world.destinations[*i].weight > 0 && !world.loads[world.destinations[*i].id.index()].overloaded)
        .collect();
    let weight = |i: usize| f64::from(world.destinations[i].weight);
    let per_weight = |i: usize| cost(&world.loads[world.destinations[i].id.index()]) as f64 / weight(i);
    let total: f64 = usable.iter().map(|i| weight(*i)).sum();
    let mut chances = vec![0.0; world.destinations.len()];
    for first in &usable {
        for second in &usable {
            let pick = if per_weight(*second) < per_weight(*first) { second } else { first };
            chances[*pick] += weight(*first) * weight(*second) / (total * total);
        }
    }
    chances
}

/// How often each destination of the list is picked while the loads stay as they are.
fn picked(world: &mut World, picks: u32) -> Vec<u32> {
    let loads = world.loads.clone();
    let mut counts = vec![0; world.destinations.len()];
    for _ in 0..picks {
        let pick = world.pick(&flow_from(IpAddr::from([203, 0, 113, 5]), 1000)).expect("a usable destination");
        let place = world.destinations.iter().position(|d| d.id == pick).expect("in the list");
        counts[place] += 1;
        world.loads.clone_from(&loads);
    }
    counts
}

/// Weight, active, inactive, overloaded.
type Row = (u32, u32, u32, bool);

fn world(index: u16, rows: &[Row]) -> World {
    let mut world = World::new(SchedulerName::Twos, ServiceFlags::default(), WorkerStart { index, count: 2 });
    for (weight, active, inactive, overloaded) in rows {
        world.add(IpAddr::from([198, 51, 100, 11]), 80, *weight);
        let id = world.loads.len() - 1;
        world.loads[id] = Load { active: *active, inactive: *inactive, overloaded: *overloaded, ..Load::default() };
    }
    world
}

#[test]
fn every_destination_is_picked_as_often_as_its_pairs_of_draws_say() {
    let cases: [&[Row]; 6] = [
        &[(1, 0, 0, false), (1, 0, 0, false), (1, 0, 0, false)],
        &[(3, 0, 0, false), (1, 0, 0, false)],
        &[(1, 5, 0, false), (1, 4, 0, false), (1, 3, 9, false)],
        &[(4, 8, 0, false), (2, 3, 0, false), (1, 9, 0, false)],
        &[(5, 0, 0, false), (0, 0, 0, false), (7, 0, 0, true), (3, 1, 0, false)],
        &[(i32::MAX as u32, 9, 0, false), (i32::MAX as u32, 3, 0, false)],
    ];
    for index in [0, 1] {
        for rows in cases {
            let mut world = world(index, rows);
            let expected = chances(&world);
            let picks = 40_000;
            for (count, chance) in picked(&mut world, picks).into_iter().zip(&expected) {
                let off = f64::from(count) / f64::from(picks) - chance;
                // Four standard deviations of a share at this many draws are 0.01.
                assert!(off.abs() < 0.012, "{rows:?}: {count} of {picks}, expected {chance:.3}");
                assert!(*chance > 0.0 || count == 0, "{rows:?}: picked an unusable one");
            }
        }
    }
}

#[test]
fn without_a_usable_destination_there_is_no_pick() {
    let flow = flow_from(IpAddr::from([203, 0, 113, 5]), 1000);
    for rows in [&[][..], &[(0, 0, 0, false)], &[(9, 0, 0, true), (0, 3, 0, false)]] {
        assert_eq!(world(0, rows).pick(&flow), None, "{rows:?}");
    }
}

#[test]
fn additions_edits_and_removals_in_the_middle_count_from_the_next_pick_on() {
    let mut world = world(0, &[(1, 0, 0, false), (1, 0, 0, false), (1, 0, 0, false)]);
    world.edit(1, 0);
    assert_eq!(picked(&mut world, 1000)[1], 0);
    world.edit(1, 100);
    assert!(picked(&mut world, 1000)[1] > 950);
    world.remove(1);
    assert_eq!(picked(&mut world, 1000).len(), 2);
    world.add(IpAddr::from([198, 51, 100, 12]), 80, 8);
    assert!(picked(&mut world, 1000)[0] > 750);
}

#[test]
fn the_same_history_gives_the_same_picks_and_another_worker_others() {
    let flow = flow_from(IpAddr::from([203, 0, 113, 5]), 1000);
    let rows = [(1, 0, 0, false); 4];
    let picks = |index| {
        let mut world = world(index, &rows);
        (0..64).map(|_| world.pick(&flow)).collect::<Vec<_>>()
    };
    assert_eq!(picks(0), picks(0));
    assert_ne!(picks(0), picks(1));
}

#[test]
fn loads_stay_closer_together_than_by_drawing_one() {
    let mut world = world(0, &[(1, 0, 0, false); 16]);
    let flow = flow_from(IpAddr::from([203, 0, 113, 5]), 1000);
    (0..16_000).for_each(|_| assert!(world.pick(&flow).is_some()));
    let most = world.loads.iter().map(|l| l.active).max().expect("sixteen");
    // One draw leaves about 1000 +- 60; the best of two stays within a few (log log n).
    assert!(most < 1010, "{most} on the fullest");
}
