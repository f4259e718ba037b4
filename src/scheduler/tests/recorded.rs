//! The kernel's own picks.

use std::net::SocketAddr;

use super::*;
use crate::time::HZ;

const RECORDED: &str = include_str!("recorded.txt");

fn service(words: &[&str]) -> World {
    let name = SchedulerName::from_name(words[0]).expect("a scheduler");
    let has = |flag: &str| words.get(1).is_some_and(|flags| flags.split(',').any(|f| f.ends_with(flag)));
    let flags = ServiceFlags { sched1: has("-fallback"), sched2: has("-port"), ..ServiceFlags::default() };
    World::new(name, flags, WorkerStart::default())
}

fn place(world: &World, address: &str) -> usize {
    world.destinations.iter().position(|d| d.address.to_string() == address).expect("a destination")
}

/// The flow of `CLIENT:PORT`, or to `DESTINATION`, or any.
fn flow(words: Option<&str>) -> Flow {
    let any = flow_from(IpAddr::from([203, 0, 113, 5]), 1000);
    let Some(text) = words else { return any };
    match text.parse::<SocketAddr>() {
        Ok(client) => flow_from(client.ip(), client.port()),
        Err(_) => Flow { destination: text.parse().expect("an address"), ..any },
    }
}

fn assert_pick(world: &mut World, word: &str, line: usize) {
    let (text, expected) = word.rsplit_once('=').map_or((None, word), |(f, e)| (Some(f), e));
    let pick = world.pick(&flow(text));
    let name = |id| world.destinations.iter().find(|d| d.id == id).map(|d| d.address.to_string());
    let pick = pick.and_then(name).map_or("-".to_owned(), |a| a.rsplit(['.', ':']).next().unwrap_or("").to_owned());
    assert_eq!(pick, expected, "line {line}: {word}");
}

fn step(world: &mut World, words: &[&str], line: usize) {
    let number = |i: usize| words[i].parse::<u32>().expect("a number");
    match words[0] {
        "service" => *world = service(&words[1..]),
        "add" => {
            let port = u16::try_from(number(2)).expect("a port");
            world.add(words[1].parse().expect("an address"), port, number(3));
        }
        "edit" => world.edit(place(world, words[1]), number(2)),
        "remove" => world.remove(place(world, words[1])),
        "pick" => words[1..].iter().for_each(|word| assert_pick(world, word, line)),
        "close" => {
            let id = world.destinations[place(world, words[1])].id;
            let load = &mut world.loads[id.index()];
            load.active -= number(2);
            load.inactive += number(2);
        }
        "gone" => {
            let id = world.destinations[place(world, words[1])].id;
            world.loads[id.index()].active -= number(2);
        }
        "wait" => world.now = world.now.plus(number(1) * HZ),
        "expiration" => {
            let seconds = number(1);
            let seconds = i32::try_from(seconds).expect("few seconds");
            let settings = Settings { lblc_expiration: seconds, lblcr_expiration: seconds, ..Settings::default() };
            world.scheduler.inner_mut().tune(&settings);
        }
        "count" => {
            let load = world.loads[world.destinations[place(world, words[1])].id.index()];
            assert_eq!((load.active, load.inactive), (number(2), number(3)), "line {line}: {}", words[1]);
        }
        other => panic!("line {line}: {other}"),
    }
}

#[test]
fn every_pick_is_the_one_recorded_from_the_kernel() {
    let mut world = service(&["rr"]);
    let mut picks = 0;
    for (line, text) in (1..).zip(RECORDED.lines()) {
        let words: Vec<_> = text.split_whitespace().collect();
        if !words.is_empty() && words[0] != "#" {
            step(&mut world, &words, line);
            picks += if words[0] == "pick" { words.len() - 1 } else { 0 };
        }
    }
    assert!(picks > 700, "only {picks} picks");
}
