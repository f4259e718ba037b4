//! Distribution: one worker over a cycle, several workers in sum, and what stays when the list changes.

use super::*;

const WORKERS: u16 = 8;

fn any_flow() -> Flow {
    flow_from(IpAddr::from([203, 0, 113, 5]), 1000)
}

/// A worker's service with destinations of these weights, id 0 first.
fn world(name: SchedulerName, index: u16, weights: &[u32]) -> World {
    let mut world = World::new(name, ServiceFlags::default(), WorkerStart { index, count: WORKERS });
    weights.iter().for_each(|w| world.add(IpAddr::from([198, 51, 100, 11]), 80, *w));
    world
}

/// All workers' services.
fn worlds(name: SchedulerName, weights: &[u32]) -> Vec<World> {
    (0..WORKERS).map(|index| world(name, index, weights)).collect()
}

/// A cheap sequence of workers that favours none.
fn draw(seed: &mut u64) -> usize {
    *seed = crate::hash::mum(*seed ^ 0x9e37_79b9_7f4a_7c15, 0xe703_7ed1_a0b4_28db).wrapping_add(1);
    usize::try_from(*seed >> 61).expect("three bits")
}

/// Connections that each destination got from all workers.
fn totals(worlds: &[World]) -> Vec<u32> {
    let all = |id: usize| worlds.iter().map(|w| w.loads[id].active).sum();
    (0..worlds[0].loads.len()).map(all).collect()
}

fn assert_shares(got: &[u32], weights: &[u32], percent: f64, what: &str) {
    let (picks, total) = (f64::from(got.iter().sum::<u32>()), f64::from(weights.iter().sum::<u32>()));
    for (got, weight) in got.iter().zip(weights) {
        let expected = picks * f64::from(*weight) / total;
        let off = (f64::from(*got) - expected).abs() / expected * 100.0;
        assert!(off <= percent, "{what}: {got} of {expected:.0} for weight {weight}, {off:.1} % off");
    }
}

#[test]
fn wrr_gives_each_its_exact_share_of_a_cycle() {
    for weights in [&[3, 2, 1][..], &[6, 4, 2], &[1, 1, 1, 1], &[100, 1], &[7, 5, 3, 11]] {
        let mut world = world(SchedulerName::Wrr, 0, weights);
        let cycle = weights.iter().sum::<u32>();
        (0..cycle * 5).for_each(|_| assert!(world.pick(&any_flow()).is_some()));
        let counted = world.loads.clone();
        (0..cycle * 5).for_each(|_| assert!(world.pick(&any_flow()).is_some()));
        let gained: Vec<_> = world.loads.iter().zip(&counted).map(|(a, b)| a.active - b.active).collect();
        let expected: Vec<_> = weights.iter().map(|w| w * 5).collect();
        assert_eq!(gained, expected);
    }
}

#[test]
fn eight_workers_together_are_as_even_as_one() {
    let cases: [(SchedulerName, &[u32]); 5] = [
        (SchedulerName::Rr, &[1, 1, 1, 1, 1]),
        (SchedulerName::Wrr, &[3, 2, 1]),
        (SchedulerName::Wrr, &[1, 1, 1, 1, 1]),
        (SchedulerName::Wrr, &[50, 20, 10]),
        (SchedulerName::Wlc, &[3, 2, 1]),
    ];
    for (name, weights) in cases {
        let mut worlds = worlds(name, weights);
        let mut seed = 7;
        for _ in 0..weights.iter().sum::<u32>() * 400 {
            assert!(worlds[draw(&mut seed)].pick(&any_flow()).is_some());
        }
        assert_shares(&totals(&worlds), weights, 3.0, name.name());
    }
}

#[test]
fn the_first_connection_of_each_worker_goes_to_another_destination() {
    for name in [SchedulerName::Rr, SchedulerName::Wrr, SchedulerName::Lc, SchedulerName::Wlc, SchedulerName::Nq] {
        let mut worlds = worlds(name, &[1, 1, 1, 1, 1, 1, 1, 1]);
        worlds.iter_mut().for_each(|w| assert!(w.pick(&any_flow()).is_some()));
        assert_eq!(totals(&worlds), [1; 8], "{}", name.name());
    }
}

#[test]
fn workers_of_a_heavy_and_a_light_destination_reach_the_light_one_at_different_times() {
    let mut worlds = worlds(SchedulerName::Wrr, &[80, 1]);
    // A tenth of a cycle on each: without stagger all eight or none would reach the light one.
    worlds.iter_mut().for_each(|w| (0..8).for_each(|_| assert!(w.pick(&any_flow()).is_some())));
    let light = totals(&worlds)[1];
    assert!((1..=2).contains(&light), "{light} of 64 connections on the light one");
}

#[test]
fn counts_of_the_other_workers_steer_the_least_loaded() {
    let mut worlds = worlds(SchedulerName::Wlc, &[1, 1]);
    worlds[0].loads[0].foreign_active = 10;
    (0..10).for_each(|_| assert_eq!(worlds[0].pick(&any_flow()), Some(DestId(1))));
    assert_eq!(worlds[0].pick(&any_flow()), Some(DestId(1)), "the tie goes to the newest");
    assert_eq!(worlds[0].pick(&any_flow()), Some(DestId(0)));
}

#[test]
fn rr_goes_on_from_the_survivor_before_several_removed_at_once() {
    let mut world = world(SchedulerName::Rr, 0, &[1; 6]);
    // The list is 5 4 3 2 1 0.
    (0..4).for_each(|_| assert!(world.pick(&any_flow()).is_some()));
    // Last was 2; 3 and 2 go, and 6 comes to the head.
    world.change(|list| {
        list.retain(|d| d.id != DestId(2) && d.id != DestId(3));
        list.insert(0, Arc::new(destination(6, IpAddr::from([198, 51, 100, 11]), 80, 1)));
    });
    world.loads.push(Load::default());
    let next: Vec<_> = (0..5).filter_map(|_| world.pick(&any_flow())).map(|id| id.0).collect();
    assert_eq!(next, [1, 0, 6, 5, 4]);
}

/// Where each of 2000 clients goes.
fn homes(world: &mut World) -> Vec<Option<DestId>> {
    let client = |n: u32| flow_from(IpAddr::from((0xcb00_7100_u32 + n * 7919).to_be_bytes()), 1000);
    (0..2000).map(|n| world.pick(&client(n))).collect()
}

#[test]
fn sh_keeps_every_client_where_it_is_while_the_list_stays() {
    for index in [0, 3] {
        let mut world = world(SchedulerName::Sh, index, &[1, 2, 3]);
        let first = homes(&mut world);
        world.loads.iter_mut().for_each(|l| *l = Load { active: l.inactive + 3, ..Load::default() });
        assert_eq!(homes(&mut world), first);
        world.edit(2, 5);
        assert_ne!(homes(&mut world), first);
        world.edit(2, 1);
        assert_eq!(homes(&mut world), first, "every worker has the same table");
    }
}

#[test]
fn mh_moves_few_clients_when_a_destination_leaves() {
    let mut world = World::new(SchedulerName::Mh, ServiceFlags::default(), WorkerStart::default());
    (11..21).for_each(|n| world.add(IpAddr::from([198, 51, 100, n]), 80, 1));
    let first = homes(&mut world);
    world.remove(4);
    let gone = DestId(5);
    let after = homes(&mut world);
    let moved = first.iter().zip(&after).filter(|(a, b)| **a != Some(gone) && a != b).count();
    assert!(!after.contains(&Some(gone)));
    assert!(moved < 160, "{moved} of 2000 clients moved although their destination stayed");
}
