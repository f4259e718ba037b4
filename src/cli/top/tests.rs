//! Screens as they are drawn, for scripted replies and keys.

use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::{Color, Modifier};

use super::draw::{Look, draw, list_height};
use super::model::{Action, Key, Link, Sample, Top};
use crate::control::reply::{CounterView, ServiceView, StatusView, WorkerView};

const PLAIN: Look = Look { colours: false };
const COLOURED: Look = Look { colours: true };

/// A destination, as the director would say it, but for what is given.
fn destination(address: &str, given: serde_json::Value) -> serde_json::Value {
    let mut all = serde_json::json!({
        "address": address, "method": "nat", "tunnel": {"type": "ipip"}, "weight": 1, "configured_weight": 1, "upper": 0, "lower": 0,
        "active": 2, "inactive": 1, "persistent": 0, "overloaded": false,
        "traffic": {"connections": 10, "in_packets": 60, "out_packets": 50, "in_bytes": 4200, "out_bytes": 90000},
        "rates": {"connections": 1, "in_packets": 6, "out_packets": 5, "in_bytes": 420, "out_bytes": 9000},
        "next_hop": {"state": "resolved", "port": "inside", "mac": "02:00:00:00:00:0b", "mtu": 1500},
    });
    for (name, value) in given.as_object().unwrap() {
        all[name] = value.clone();
    }
    all
}

fn service(name: &str, connections: u64, destinations: &[serde_json::Value]) -> ServiceView {
    serde_json::from_value(serde_json::json!({
        "service": name, "scheduler": "wrr", "one_packet": false, "flags": [], "destinations": destinations,
        "traffic": {"connections": 10, "in_packets": 60, "out_packets": 50, "in_bytes": 4200, "out_bytes": 90000},
        "rates": {"connections": connections, "in_packets": 6, "out_packets": 5, "in_bytes": 12_345, "out_bytes": 2_500_000},
    }))
    .unwrap()
}

fn worker(index: u16, seconds: u64) -> WorkerView {
    WorkerView {
        worker: index,
        cpu: Some(u32::from(index) + 2),
        turns: 100_000 * seconds,
        busy_turns: 50_000 * seconds,
        busy_ns: 250_000_000 * seconds * (1 + u64::from(index)),
        frames: 600_000 * seconds,
        bursts: crate::control::reply::BurstView {
            p50_ns: 4500,
            p99_ns: 31_000,
            max_ns: 1_200_000,
            ..Default::default()
        },
        connections: 41,
        connections_max: 1_048_576,
        received: 600_000 * seconds,
        transmitted: 599_000 * seconds,
        handed_off: 500 * seconds * u64::from(index),
        dropped: 10 * seconds * u64::from(index),
        ..WorkerView::default()
    }
}

/// The director so many seconds after its start.
fn sample(seconds: u64) -> Sample {
    let web = [
        destination(
            "198.51.100.13:8080",
            serde_json::json!({"weight": 0, "standing": "down", "reason": "connection refused"}),
        ),
        destination("198.51.100.12:8080", serde_json::json!({"weight": 0, "configured_weight": 0, "active": 7})),
        destination("198.51.100.11:8080", serde_json::json!({"weight": 3, "configured_weight": 3, "standing": "up"})),
    ];
    let mail =
        [destination("[2001:db8:2::11]:25", serde_json::json!({"next_hop": {"state": "unreachable"}, "method": "dr"}))];
    let drop = |name: &str, count| CounterView { name: name.into(), text: format!("what {name} means"), count };
    Sample {
        status: StatusView {
            version: "0.1.0".into(),
            pid: 4711,
            uptime_secs: 86_400 + seconds,
            services: 2,
            destinations: 4,
            snapshot: 17,
            connections: 41,
            connections_max: 2_097_152,
            warnings: vec!["there is no route to 2001:db8:2::11".into()],
            ..StatusView::default()
        },
        services: Some(vec![
            service("tcp:192.0.2.10:80", 10 * seconds, &web),
            service("tcp:[2001:db8:1::10]:25", 3, &mail),
        ]),
        workers: Some(vec![worker(0, seconds), worker(1, seconds)]),
        drops: Some(vec![drop("no_route", 5 * seconds), drop("bad_header", 3), drop("never", 0)]),
        refused: Vec::new(),
    }
}

/// A screen that has seen the director for some seconds.
fn seen(seconds: u64) -> Top {
    let mut top = Top::default();
    top.set_height(18);
    (1..=seconds).for_each(|second| top.heard(sample(second), Duration::from_secs(second)));
    top
}

fn keys(top: &mut Top, keys: &str) -> Vec<Action> {
    keys.chars().filter_map(|letter| top.key(if letter == '\n' { Key::Enter } else { Key::Char(letter) })).collect()
}

fn terminal(top: &mut Top, width: u16, height: u16, look: Look) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    top.set_height(list_height(height));
    terminal.draw(|frame| draw(frame, top, look)).unwrap();
    terminal
}

/// The text of the screen, without the blanks at the ends of lines and empty lines at the end.
fn text(top: &mut Top, width: u16, height: u16) -> String {
    let terminal = terminal(top, width, height, PLAIN);
    let buffer = terminal.backend().buffer();
    let line = |y: u16| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(|y| line(y) + "\n").collect()
}

/// The screen as a picture.
fn svg(top: &mut Top, width: u16, height: u16) -> String {
    let terminal = terminal(top, width, height, COLOURED);
    let buffer = terminal.backend().buffer();
    let (across, down) = (width * 8 + 16, height * 18 + 16);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {across} {down}\" font-family=\"monospace\" font-size=\"13\" \
         xml:space=\"preserve\">\n<rect width=\"100%\" height=\"100%\" fill=\"#1c1c1c\"/>\n"
    );
    for y in 0..height {
        let mut x = 0;
        while x < width {
            let style = |x: u16| (buffer[(x, y)].fg, buffer[(x, y)].modifier);
            let end = (x..width).find(|other| style(*other) != style(x)).unwrap_or(width);
            let words: String = (x..end).map(|x| buffer[(x, y)].symbol()).collect();
            text += &run(&words, style(x), (x, y));
            x = end;
        }
    }
    text + "</svg>\n"
}

/// Some characters of one style in a picture; nothing for blanks.
fn run(words: &str, (colour, modifier): (Color, Modifier), (x, y): (u16, u16)) -> String {
    let colour = match colour {
        Color::Red => "#ff6b6b",
        Color::Yellow => "#e5c07b",
        _ => "#d0d0d0",
    };
    let (left, top, width) = (8 + x * 8, 8 + y * 18, words.chars().count() * 8);
    let reversed = modifier.contains(Modifier::REVERSED);
    let ground = format!("<rect x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"18\" fill=\"{colour}\"/>\n");
    let words = words.trim_end().replace('&', "&amp;").replace('<', "&lt;");
    let length = words.chars().count() * 8;
    let ink = if reversed { "#1c1c1c" } else { colour };
    let line = if modifier.contains(Modifier::UNDERLINED) { " text-decoration=\"underline\"" } else { "" };
    let base = top + 13;
    let letters =
        format!("<text x=\"{left}\" y=\"{base}\" fill=\"{ink}\" textLength=\"{length}\"{line}>{words}</text>\n");
    match (reversed, words.trim().is_empty()) {
        (true, true) => ground,
        (true, false) => ground + &letters,
        (false, true) => String::new(),
        (false, false) => letters,
    }
}

/// The file of that name, which POLLVS_GOLDEN=write renews.
fn golden(name: &str, got: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/top/tests").join(name);
    if std::env::var("POLLVS_GOLDEN").as_deref() == Ok("write") {
        std::fs::write(&path, got).unwrap();
    }
    assert_eq!(got, std::fs::read_to_string(path).unwrap(), "\n{got}");
}

#[test]
fn the_panes_are_drawn_as_before() {
    let mut top = seen(12);
    golden("services-80.txt", &text(&mut top, 80, 24));
    golden("services-140.txt", &text(&mut top, 140, 14));
    keys(&mut top, "2");
    golden("workers-80.txt", &text(&mut top, 80, 12));
    keys(&mut top, "3");
    golden("drops-80.txt", &text(&mut top, 80, 12));
    keys(&mut top, "1?");
    golden("help-80.txt", &text(&mut top, 80, 24));
}

#[test]
fn the_document_and_the_picture_show_the_screen_as_it_is() {
    let document = include_str!("../../../docs/top.md");
    assert!(document.contains(include_str!("tests/services-80.txt").trim_end()), "docs/top.md shows another screen");
    for line in super::draw::HELP.iter().take_while(|line| !line.is_empty()) {
        assert!(document.contains(line.trim_end()), "docs/top.md does not have: {line}");
    }
    golden("../../../../docs/top.svg", &svg(&mut seen(12), 134, 12));
}

#[test]
fn every_size_is_drawn_without_a_panic() {
    let mut top = seen(3);
    for pane in ["1", "2", "3", "1?"] {
        keys(&mut top, pane);
        for (width, height) in [(1, 1), (2, 3), (10, 5), (20, 7), (79, 23), (300, 100)] {
            text(&mut top, width, height);
        }
        keys(&mut top, "x");
    }
}

#[test]
fn before_the_first_answer_and_after_the_last_it_says_so() {
    let mut top = Top::default();
    assert!(text(&mut top, 80, 24).starts_with("waiting for pollvsd\n"));
    let mut top = seen(2);
    top.lost("pollvsd cannot be reached".into(), Duration::from_secs(3));
    top.lost("pollvsd cannot be reached".into(), Duration::from_secs(9));
    assert_eq!(top.link, Link::Lost(Duration::from_secs(3), "pollvsd cannot be reached".into()));
    let screen = text(&mut top, 80, 24);
    assert!(screen.starts_with("NO ANSWER for 6 s: pollvsd cannot be reached\n"), "{screen}");
    assert!(screen.contains("198.51.100.11:8080"), "what was known is still shown:\n{screen}");
    let mut again = sample(1);
    again.status.pid = 4712;
    top.heard(again, Duration::from_secs(10));
    let screen = text(&mut top, 80, 24);
    assert!(
        screen.contains("process 4712, up") && screen.contains("pollvsd was started again: process 4712"),
        "{screen}"
    );
    assert_eq!(top.loads[0].busy, None, "the counters of another process are not compared");
}

#[test]
fn what_the_director_cannot_tell_is_shown_as_it_was() {
    let mut top = seen(2);
    let silent =
        Sample { services: None, workers: None, refused: vec!["worker 1 does not answer".into()], ..sample(3) };
    top.heard(silent, Duration::from_secs(3));
    let screen = text(&mut top, 80, 24);
    assert!(screen.contains("198.51.100.11:8080"), "{screen}");
    keys(&mut top, "2");
    let screen = text(&mut top, 80, 24);
    assert!(screen.contains("warning: worker 1 does not answer"), "{screen}");
}

fn names(top: &Top) -> Vec<String> {
    top.lines().into_iter().map(|line| line.name.trim().to_owned()).collect()
}

#[test]
fn services_are_sorted_with_their_destinations_below_them() {
    let mut top = seen(2);
    let web = ["198.51.100.13:8080", "198.51.100.12:8080", "198.51.100.11:8080"];
    assert_eq!(names(&top)[1..4], web);
    keys(&mut top, "s");
    assert_eq!(names(&top)[0], "▾ tcp:192.0.2.10:80", "20 new connections before 3");
    keys(&mut top, "r");
    assert_eq!(names(&top)[0], "▾ tcp:[2001:db8:1::10]:25");
    keys(&mut top, "rs");
    assert_eq!(names(&top)[1], "198.51.100.12:8080", "the one with most active connections");
    keys(&mut top, "ss");
    assert_eq!(
        names(&top),
        ["▾ tcp:[2001:db8:1::10]:25", "[2001:db8:2::11]:25", "▾ tcp:192.0.2.10:80", web[0], web[1], web[2]]
    );
}

#[test]
fn a_filter_leaves_what_has_it() {
    let mut top = seen(2);
    keys(&mut top, "/REFUSED");
    assert_eq!(names(&top), ["▾ tcp:192.0.2.10:80", "198.51.100.13:8080"]);
    assert!(text(&mut top, 80, 24).contains("/REFUSED_"));
    (0..7).for_each(|_| drop(top.key(Key::Backspace)));
    keys(&mut top, ":25\n");
    assert_eq!(names(&top), ["▾ tcp:[2001:db8:1::10]:25", "[2001:db8:2::11]:25"]);
    keys(&mut top, "q/nonsense\n");
    assert_eq!(keys(&mut seen(1), "/q\n"), [], "a letter of the filter is no command");
    assert_eq!((names(&top).len(), top.cursor()), (0, None));
    top.key(Key::Esc);
    assert_eq!(names(&top).len(), 6);
}

#[test]
fn services_are_folded_and_the_cursor_stays_on_what_it_was_on() {
    let mut top = seen(2);
    top.key(Key::Down);
    top.key(Key::Down);
    let on = top.cursor().unwrap();
    keys(&mut top, "ss");
    assert_eq!(top.cursor(), Some(on), "sorted, but the same line");
    keys(&mut top, "sss\n");
    assert_eq!(names(&top), ["▸ tcp:192.0.2.10:80", "▾ tcp:[2001:db8:1::10]:25", "[2001:db8:2::11]:25"]);
    assert_eq!(top.cursor().unwrap().destination, None);
    keys(&mut top, "e");
    assert_eq!(names(&top).len(), 6);
    keys(&mut top, "e");
    assert_eq!(names(&top).len(), 2);
    let gone = Sample { services: Some(Vec::new()), ..sample(3) };
    top.heard(gone, Duration::from_secs(3));
    assert_eq!(top.cursor(), None);
}

#[test]
fn a_long_list_is_scrolled_so_that_the_cursor_is_seen() {
    let many: Vec<_> = (1..=200).map(|n| destination(&format!("10.0.0.{n}:80"), serde_json::json!({}))).collect();
    let mut top = Top::default();
    top.heard(Sample { services: Some(vec![service("mark:7", 1, &many)]), ..sample(1) }, Duration::from_secs(1));
    let shown = |top: &mut Top| {
        let screen = text(top, 80, 16);
        let name = |l: &str| l.split_whitespace().next().unwrap_or_default().to_owned();
        let all: Vec<_> = screen.lines().skip(5).take(10).map(name).collect();
        (all[0].clone(), all[9].clone())
    };
    assert_eq!(shown(&mut top), ("▾".into(), "10.0.0.9:80".into()));
    (0..10).for_each(|_| drop(top.key(Key::Down)));
    assert_eq!(shown(&mut top), ("10.0.0.1:80".into(), "10.0.0.10:80".into()));
    top.key(Key::PageDown);
    assert_eq!(shown(&mut top).1, "10.0.0.20:80");
    top.key(Key::End);
    assert_eq!(shown(&mut top), ("10.0.0.191:80".into(), "10.0.0.200:80".into()));
    top.key(Key::PageUp);
    assert_eq!(shown(&mut top).0, "10.0.0.190:80");
    top.key(Key::Home);
    assert_eq!(shown(&mut top).0, "▾");
}

#[test]
fn a_destination_is_drained_only_after_a_question() {
    let mut top = seen(2);
    assert_eq!(keys(&mut top, "d"), [], "a service is no destination");
    assert!(text(&mut top, 80, 24).contains("choose a destination first"));
    (0..3).for_each(|_| drop(top.key(Key::Down)));
    assert_eq!(keys(&mut top, "d"), []);
    let screen = text(&mut top, 80, 24);
    assert!(
        screen.contains("y/n  Drain 198.51.100.11:8080 of tcp:192.0.2.10:80, then remove it? 2 active."),
        "{screen}"
    );
    assert_eq!(keys(&mut top, "n"), []);
    assert!(text(&mut top, 80, 24).contains("nothing is changed"));
    let asked = keys(&mut top, "dy");
    let [Action::Change(wish)] = &asked[..] else { panic!("{asked:?}") };
    let line = serde_json::to_value(&*wish.request).unwrap();
    assert_eq!((&line["request"], &line["destination"]), (&"drain".into(), &"198.51.100.11:8080".into()));
    assert_eq!(line["remove"], true);
    let asked = keys(&mut top, "Dy");
    let [Action::Change(wish)] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!(serde_json::to_value(&*wish.request).unwrap()["remove"], false);
    assert_eq!(keys(&mut top, "u"), []);
    assert!(text(&mut top, 80, 24).contains("198.51.100.11:8080 is not drained"));
    let mut drained = sample(3);
    drained.services.as_mut().unwrap()[0].destinations[2].standing = crate::control::standing::Standing::Draining;
    top.heard(drained, Duration::from_secs(3));
    assert_eq!(keys(&mut top, "d"), []);
    assert!(text(&mut top, 80, 24).contains("198.51.100.11:8080 is drained already"));
    let asked = keys(&mut top, "uy");
    let [Action::Change(wish)] = &asked[..] else { panic!("{asked:?}") };
    let line = serde_json::to_value(&*wish.request).unwrap();
    let want =
        serde_json::json!({"request": "undrain", "destination": "198.51.100.11:8080", "service": "tcp:192.0.2.10:80"});
    assert_eq!(line, want);
}

#[test]
fn the_end_is_asked_for_by_q_and_by_control_c_whatever_is_typed() {
    assert_eq!(keys(&mut seen(1), "q"), [Action::Quit]);
    let mut top = seen(1);
    keys(&mut top, "/x");
    assert_eq!(top.key(Key::Interrupt), Some(Action::Quit));
}

#[test]
fn colours_are_only_where_something_is_wrong_and_none_without_them() {
    let coloured = |look: Look| {
        let mut top = seen(2);
        let terminal = terminal(&mut top, 80, 24, look);
        let buffer = terminal.backend().buffer().clone();
        let cells = buffer.content.iter().filter(|cell| cell.fg != Color::Reset);
        cells.map(|cell| cell.symbol().to_owned()).collect::<String>()
    };
    assert_eq!(coloured(PLAIN), "");
    let words = coloured(COLOURED);
    assert!(words.contains("down: connec") && words.contains("quiesced") && words.contains("dropped 5/s"), "{words}");
    assert!(!words.contains("reachable") && !words.contains("198.51.100.11"), "{words}");
    let mut top = seen(2);
    let terminal = terminal(&mut top, 80, 24, PLAIN);
    let reversed = terminal.backend().buffer().content.iter().filter(|cell| cell.modifier.contains(Modifier::REVERSED));
    assert!(reversed.count() >= 80, "the cursor is seen without colours");
}
