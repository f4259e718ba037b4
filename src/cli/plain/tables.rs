//! Answers as people read them.

use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use crate::cli::figure::short_time;
use crate::cli::plain::args::{Listed, SyncArgs, Verb};
use crate::cli::plain::table::{pairs, table};
use crate::cli::plain::tree;
use crate::control::daemon::DaemonSpec;
use crate::control::event::Told;
use crate::control::health::plan;
use crate::control::health::view::CheckView;
use crate::control::key::word;
use crate::control::reply::{
    ConnectionView, CounterView, DestinationView, DrainView, FrameView, HopView, NextHopView, OldestView, PortSteering,
    PortView, Reply, ServiceView, StatusView, TraceView, WhyView, WorkerView,
};
use crate::control::request::SchedulerFlag;
use crate::control::standing::Standing;
use crate::control::sync::SyncView;
use crate::destination::{Method, Tunnel};
use crate::mark::{MarkRules, Rule};
use crate::netmask::Netmask;
use crate::service::SchedulerName;
use crate::time::HZ;

/// The text of an answer to a verb.
pub(super) fn text(reply: &Reply, verb: &Verb) -> String {
    match reply {
        Reply::Status(view) => status(view),
        Reply::Services { services: all, .. } => match verb {
            Verb::Stats(_) => stats(all),
            Verb::Rates(_) => rates(all),
            Verb::Services(Listed { tree: true, .. }) => tree::services(all),
            _ => services(all),
        },
        Reply::Checks { checks: all, .. } => checks(all),
        Reply::Workers { workers: all, steering: ports } => workers(all) + &steering(ports),
        Reply::Ports { ports: all } => ports(all),
        Reply::Counters { drops, events } => counters(drops, events, matches!(verb, Verb::Counters { all: true })),
        Reply::NextHops { next_hops: all } => next_hops(all),
        Reply::Why(view) => why(view),
        Reply::Frames { frames, .. } => frames.iter().map(frame).collect(),
        Reply::Trace { packets, lost, more } => trace(packets, *lost, *more),
        Reply::Rules { rules } => rules.clone(),
        Reply::Sync(view) => synchronisation(view, verb),
        Reply::Marks(rules) => marks(rules),
        Reply::Applied { changes, restart } => applied(changes, restart),
        Reply::Timeouts(_) | Reply::Settings(_) => members(reply),
        Reply::Error(failure) => format!("{failure}\n"),
        Reply::Event(told) => event(told),
        Reply::Drains { drains: all } => drains(all),
        Reply::Hello { .. } | Reply::Done {} | Reply::Connections { .. } | Reply::Daemons { .. } => String::new(),
    }
}

fn drains(all: &[DrainView]) -> String {
    let row = |d: &DrainView| {
        let left = d.left_secs.map_or("-".to_owned(), |secs| format!("{secs} s"));
        let then = if d.remove { "removed" } else { "stays" };
        let state = if d.over { "drained" } else { "draining" };
        let oldest = d.oldest.as_ref().map_or("-".to_owned(), oldest);
        let [active, inactive, persistent] = [d.active, d.inactive, d.persistent].map(|n| n.to_string());
        let names = [d.destination.to_string(), word(&d.service), state.to_owned()];
        let [destination, service, state] = names;
        [destination, service, state, active, inactive, persistent, left, then.to_owned(), oldest]
    };
    let headings =
        ["DESTINATION", "SERVICE", "STATE", ">ACTIVE", ">INACTIVE", ">TEMPLATES", ">TIME LEFT", "THEN", "OLDEST"];
    table(headings, all.iter().map(row))
}

/// A connection as it is shown when it is the last that is waited for.
pub(super) fn oldest(oldest: &OldestView) -> String {
    format!("{} {}, {}", oldest.client, oldest.state, duration(oldest.age_secs))
}

/// A line for an event, with its moment.
pub(super) fn event(told: &Told) -> String {
    let at = UNIX_EPOCH + Duration::from_millis(told.at_ms);
    format!("{} {}\n", humantime::format_rfc3339_millis(at), told.event)
}

/// The mark rules as iptables-save has them, each with its program before it.
fn marks(rules: &MarkRules) -> String {
    let line = |program: &str, rule: &Rule| format!("{program} -t mangle -A PREROUTING {rule}\n");
    let ipv4 = rules.ipv4.iter().map(|rule| line("iptables", rule));
    ipv4.chain(rules.ipv6.iter().map(|rule| line("ip6tables", rule))).collect()
}

fn status(s: &StatusView) -> String {
    let or = |text: &str, none: &str| if text.is_empty() { none.to_owned() } else { text.to_owned() };
    let of = |used: u64, room: u64| format!("{used} of {room}");
    let draining = if s.draining { ", draining" } else { "" };
    let rows = [
        ("director", format!("pollvsd {}, process {}, up {}{draining}", s.version, s.pid, duration(s.uptime_secs))),
        ("configuration", or(&s.config, "embedded")),
        ("state file", or(&s.state, "off")),
        ("workers", s.workers.to_string()),
        ("ports", or(&s.ports.join(", "), "none")),
        ("rules", format!("{} services, {} destinations (version {})", s.services, s.destinations, s.snapshot)),
        ("connections", of(s.connections, s.connections_max)),
        ("templates", of(s.templates, s.templates_max)),
    ];
    let warnings = s.warnings.iter().map(|w| ("warning".to_owned(), w.clone()));
    pairs(rows.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(warnings))
}

pub(in crate::cli) fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// Rows of a service and, under branches, of its destinations.
fn branches<const N: usize>(
    all: &[ServiceView],
    service: impl Fn(&ServiceView) -> [String; N],
    destination: impl Fn(&DestinationView) -> [String; N],
) -> Vec<[String; N]> {
    let mut rows = Vec::new();
    for s in all {
        rows.push(service(s));
        for (index, d) in s.destinations.iter().enumerate() {
            let mut row = destination(d);
            let branch = if index + 1 == s.destinations.len() { "└─" } else { "├─" };
            row[0] = format!("{branch} {}", row[0]);
            rows.push(row);
        }
    }
    rows
}

fn services(all: &[ServiceView]) -> String {
    let service = |s: &ServiceView| {
        let sum = |field: fn(&DestinationView) -> u64| s.destinations.iter().map(field).sum::<u64>().to_string();
        let active = [sum(|d| d.active), sum(|d| d.inactive), sum(|d| d.persistent)];
        let [a, i, p] = active;
        [word(&s.service), options(s), String::new(), a, i, p, s.traffic.connections.to_string(), String::new()]
    };
    let destination = |d: &DestinationView| {
        [
            d.address.to_string(),
            method(d),
            d.weight.to_string(),
            d.active.to_string(),
            d.inactive.to_string(),
            d.persistent.to_string(),
            d.traffic.connections.to_string(),
            state(d),
        ]
    };
    let headings = ["SERVICE", "BY", ">WEIGHT", ">ACTIVE", ">INACTIVE", ">TEMPLATES", ">CONNECTIONS", "STATE"];
    table(headings, branches(all, service, destination))
}

pub(super) fn options(s: &ServiceView) -> String {
    let mut text = s.scheduler.name().to_owned();
    if !s.flags.is_empty() {
        let name = |f: &SchedulerFlag| serde_json::to_value(f).ok().and_then(|v| v.as_str().map(str::to_owned));
        let names: Vec<_> = s.flags.iter().filter_map(name).collect();
        text += &format!(" ({})", names.join(","));
    }
    if let Some(p) = s.persistence {
        text += &format!(", persistent {} s", p.timeout_secs);
        if p.netmask != Netmask::full(s.service.v6()) {
            text += &format!(" by /{}", p.netmask);
        }
    }
    if let Some(engine) = s.pe {
        text += &format!(", pe {}", engine.name());
    }
    if s.one_packet {
        text += ", one packet";
    }
    text
}

pub(in crate::cli) fn method(d: &DestinationView) -> String {
    match (d.method, d.tunnel) {
        (Method::Nat, _) => "nat".to_owned(),
        (Method::Dr, _) => "dr".to_owned(),
        (Method::Tun, Tunnel::Ipip) => "tun ipip".to_owned(),
        (Method::Tun, Tunnel::Gue { port, .. }) => format!("tun gue to {port}"),
        (Method::Tun, Tunnel::Gre { .. }) => "tun gre".to_owned(),
        (Method::Local, _) => "local".to_owned(),
        (Method::Bypass, _) => "bypass".to_owned(),
        (Method::Five | Method::Six | Method::Seven, _) => format!("method-{}", d.method.number()),
    }
}

fn frame(view: &FrameView) -> String {
    let way = if view.out { "out" } else { "in" };
    format!("{} {way} {} bytes {}\n", view.port, view.length, view.data)
}

/// Packets as they came, what was done with each, and as they were sent.
fn trace(packets: &[TraceView], lost: u64, more: bool) -> String {
    let step = |step: &String| format!("    {step}\n");
    let one = |packet: &TraceView| {
        let steps: String = packet.steps.iter().map(step).collect();
        let after = packet.after.as_ref().map_or_else(String::new, |after| format!("    as {after}\n"));
        format!("{}\n    worker {}\n{steps}{after}", packet.packet, packet.worker)
    };
    let end = if more || lost == 0 { String::new() } else { format!("{lost} more came too fast to be shown\n") };
    packets.iter().map(one).chain([end]).collect()
}

/// Where a packet would go.
fn why(view: &WhyView) -> String {
    let seconds = view.expires_ticks.map_or_else(String::new, |ticks| format!(", {} s left", ticks / HZ));
    let phase = view.state.as_ref().map_or_else(String::new, |state| format!(" in {state}"));
    let by = match view.by.as_str() {
        "connection" => format!("its connection{phase}{seconds}"),
        "template" => format!("its template{seconds}"),
        "scheduler" => format!("the scheduler, {}", view.scheduler.map(SchedulerName::name).unwrap_or_default()),
        "bypass" => "no destination: it goes to the address that it asks for".to_owned(),
        "kernel" => "nothing: the kernel gets it".to_owned(),
        _ => "nothing".to_owned(),
    };
    let server = view.destination.as_ref().map_or_else(
        || "none".to_owned(),
        |d| format!("{}, {}, weight {}, {}", d.address, method(d), d.weight, state(d)),
    );
    let service = view.service.as_ref().map_or_else(|| "none".to_owned(), word);
    let mark = (view.mark != 0).then(|| ("mark".to_owned(), view.mark.to_string()));
    let head = [("server", server), ("by", by), ("service", service), ("worker", view.worker.to_string())];
    let head = head.map(|(name, value)| (name.to_owned(), value));
    let reasons = view.reasons.iter().map(|reason| ("note".to_owned(), reason.clone()));
    pairs(head.into_iter().chain(mark).chain(reasons))
}

/// What keeps a destination from new connections, or where it is.
pub(super) fn state(d: &DestinationView) -> String {
    let hop = hop(&d.next_hop);
    match (d.standing, d.weight, d.overloaded) {
        (Standing::Draining, ..) if d.reason.is_empty() => format!("draining, {hop}"),
        (Standing::Draining, ..) => format!("draining, down ({}), {hop}", d.reason),
        (Standing::Down, ..) if d.removed => format!("down, removed ({}), {hop}", d.reason),
        (Standing::Down, ..) => format!("down ({}), {hop}", d.reason),
        (Standing::Warming, ..) => format!("warming up to {}, {hop}", d.configured_weight),
        (_, 0, _) => format!("quiesced, {hop}"),
        (_, _, true) => format!("overloaded, {hop}"),
        (Standing::Up, ..) => format!("up, {hop}"),
        (Standing::Unknown, ..) => hop,
    }
}

pub(super) fn hop(hop: &HopView) -> String {
    match hop {
        HopView::Resolved { port, .. } => format!("by {port}"),
        HopView::Unresolved { port, neighbour } => format!("by {port}, asking for {neighbour}"),
        HopView::Local => "local".to_owned(),
        HopView::Kernel => "by an interface that is no port".to_owned(),
        HopView::Unreachable => "no route".to_owned(),
    }
}

fn stats(all: &[ServiceView]) -> String {
    let row = |name: String, t: crate::stats::Traffic| {
        let numbers = [t.connections, t.in_packets, t.out_packets, t.in_bytes, t.out_bytes].map(|n| n.to_string());
        let [a, b, c, d, e] = numbers;
        [name, a, b, c, d, e]
    };
    let rows = branches(all, |s| row(word(&s.service), s.traffic), |d| row(d.address.to_string(), d.traffic));
    table(["SERVICE", ">CONNECTIONS", ">PACKETS IN", ">PACKETS OUT", ">BYTES IN", ">BYTES OUT"], rows)
}

fn rates(all: &[ServiceView]) -> String {
    let row = |name: String, r: crate::control::reply::Rates| {
        let numbers = [r.connections, r.in_packets, r.out_packets, r.in_bytes, r.out_bytes].map(|n| n.to_string());
        let [a, b, c, d, e] = numbers;
        [name, a, b, c, d, e]
    };
    let rows = branches(all, |s| row(word(&s.service), s.rates), |d| row(d.address.to_string(), d.rates));
    table(["SERVICE", ">CONNECTIONS/S", ">PACKETS/S IN", ">OUT", ">BYTES/S IN", ">OUT"], rows)
}

/// Lines of a listing of connections, of which there may be too many for a table.
pub(super) fn connections(all: &[ConnectionView], heading: bool, to: &mut impl Write) -> io::Result<()> {
    if heading {
        writeln!(to, "{:5} {:>9} {:12} {:24} {:24} DESTINATION", "PROTO", "EXPIRES", "STATE", "CLIENT", "VIRTUAL")?;
    }
    for c in all {
        let (client, vip) = (c.client.to_string(), c.vip.to_string());
        let expires = format!("{}.{:02} s", c.expires_ticks / HZ, c.expires_ticks % HZ);
        writeln!(to, "{:5} {expires:>9} {:12} {client:24} {vip:24} {}", c.protocol, c.state, c.destination)?;
    }
    Ok(())
}

fn checks(all: &[CheckView]) -> String {
    let row = |c: &CheckView| {
        let state = match (c.up, c.against) {
            (up, 0) => if up { "up" } else { "down" }.to_owned(),
            (true, failed) => format!("up, {failed} of {} failed", c.check.fall.unwrap_or(plan::FALL)),
            (false, good) => format!("down, {good} of {} good", c.check.rise.unwrap_or(plan::RISE)),
        };
        let latency =
            c.last.as_ref().map_or("-".to_owned(), |l| format!("{}.{:03}", l.latency_us / 1000, l.latency_us % 1000));
        [
            word(&c.service),
            c.destination.to_string(),
            c.check.kind.map_or("-".to_owned(), |kind| kind.to_string()),
            state,
            duration(c.since_secs),
            c.checks.to_string(),
            c.failed.to_string(),
            latency,
            c.last.as_ref().map_or("not checked yet".to_owned(), |last| last.text.clone()),
        ]
    };
    let headings = ["SERVICE", "DESTINATION", "BY", "STATE", "SINCE", ">CHECKS", ">FAILED", ">MS", "LAST"];
    table(headings, all.iter().map(row))
}

fn workers(all: &[WorkerView]) -> String {
    let row = |w: &WorkerView| {
        [
            w.worker.to_string(),
            w.cpu.map_or("-".to_owned(), |c| c.to_string()),
            format!("{}/{}", w.connections, w.connections_max),
            format!("{}/{}", w.templates, w.templates_max),
            w.received.to_string(),
            w.transmitted.to_string(),
            w.passed.to_string(),
            w.handed_off.to_string(),
            w.dropped.to_string(),
            format!("{} %", w.busy_turns.saturating_mul(100).checked_div(w.turns).unwrap_or(0)),
            w.frames.checked_div(w.busy_turns).unwrap_or(0).to_string(),
            short_time(w.bursts.p50_ns),
            short_time(w.bursts.p99_ns),
            short_time(w.bursts.max_ns),
        ]
    };
    let headings = [
        ">WORKER",
        ">CORE",
        ">CONNECTIONS",
        ">TEMPLATES",
        ">RECEIVED",
        ">TRANSMITTED",
        ">PASSED",
        ">HANDED OFF",
        ">DROPPED",
        ">BUSY TURNS",
        ">BURST",
        ">50 %",
        ">99 %",
        ">MOST",
    ];
    table(headings, all.iter().map(row))
}

/// By which worker packets come, a line for each port.
fn steering(ports: &[PortSteering]) -> String {
    let line = |p: &PortSteering| {
        let astray = if p.astray > 0 {
            format!(", {} of them against what the device was told", p.astray)
        } else {
            String::new()
        };
        format!("port {} ({}): {}; handed over {}{astray}\n", p.port, p.report.role, p.report.text, p.handed_over)
    };
    ports.iter().map(line).collect()
}

fn ports(all: &[PortView]) -> String {
    let mut text = String::new();
    for p in all {
        let twin = if p.twin.is_empty() { "none".to_owned() } else { p.twin.clone() };
        let link = if !p.gone.is_empty() {
            "gone"
        } else if p.up {
            "up"
        } else {
            "down"
        };
        text += &format!(
            "{}: {}, link {link}, {}, MTU {}, {} queues, twin {twin}\n",
            p.name, p.device, p.mac, p.mtu, p.queues
        );
        let counters = serde_json::to_value(p.counters).unwrap_or_default();
        let rows = counters.as_object().into_iter().flatten();
        if !p.gone.is_empty() {
            text += &format!("  gone: {}\n", p.gone);
        }
        text += &format!("  steering: {}\n", p.steering.text);
        let handed = [("handed over", p.handed_over), ("astray", p.astray), ("removals", p.removals)];
        let handed = handed.map(|(name, count)| (format!("  {name}"), count.to_string()));
        let rows = rows.map(|(name, count)| (format!("  {}", name.replace('_', " ")), count.to_string()));
        text += &pairs(rows.chain(handed));
    }
    if text.is_empty() { "none\n".to_owned() } else { text }
}

fn counters(drops: &[CounterView], events: &[CounterView], all: bool) -> String {
    let part = |title: &str, part: &[CounterView]| {
        let shown = part.iter().filter(|c| all || c.count > 0);
        let rows: Vec<_> = shown.map(|c| [c.name.clone(), c.count.to_string(), c.text.clone()]).collect();
        if rows.is_empty() { format!("{title}: none\n") } else { table([title, ">COUNT", "MEANING"], rows) }
    };
    format!("{}\n{}", part("EVENT", events), part("DROPPED", drops))
}

fn synchronisation(view: &SyncView, verb: &Verb) -> String {
    let all = matches!(verb, Verb::Sync(SyncArgs { all: true, .. }));
    let daemon = |d: &DaemonSpec| {
        let text = format!("{} on {}, group {}, port {}, syncid {}", d.role, d.interface, d.group, d.port, d.syncid);
        ("daemon".to_owned(), text)
    };
    let ready = if view.ready { "yes" } else { "no" };
    let signed = if view.signed { "yes" } else { "no; whoever is on the link can tell connections" };
    let state = [
        ("ready", format!("{ready}, {} % of the connections are here", view.percent)),
        ("state", view.state.clone()),
        ("signed", signed.to_owned()),
    ];
    let state = state.into_iter().map(|(name, text)| (name.to_owned(), text));
    let waits = view.waits.iter().map(|wait| ("warning".to_owned(), wait.clone()));
    let shown = view.counters.iter().filter(|c| all || c.count > 0);
    let rows: Vec<_> = shown.map(|c| [c.name.clone(), c.count.to_string(), c.text.clone()]).collect();
    let counters = if rows.is_empty() { String::new() } else { table(["COUNTED", ">COUNT", "MEANING"], rows) };
    pairs(view.daemons.iter().map(daemon).chain(state).chain(waits)) + &counters
}

fn next_hops(all: &[NextHopView]) -> String {
    let row = |n: &NextHopView| {
        let (mac, mtu) = match &n.next_hop {
            HopView::Resolved { mac, mtu, .. } => (mac.clone(), mtu.to_string()),
            _ => ("-".to_owned(), "-".to_owned()),
        };
        let source = n.source.map_or("-".to_owned(), |s| s.to_string());
        [n.address.to_string(), hop(&n.next_hop), mac, mtu, source]
    };
    table(["ADDRESS", "REACHED", "MAC", ">MTU", "SOURCE"], all.iter().map(row))
}

fn applied(changes: &[String], restart: &[String]) -> String {
    let all: Vec<_> = changes.iter().chain(restart).map(|line| format!("{line}\n")).collect();
    if all.is_empty() { "nothing differs\n".to_owned() } else { all.concat() }
}

/// The members of an answer that is a flat list of names and values.
fn members(reply: &Reply) -> String {
    let tree = serde_json::to_value(reply).unwrap_or_default();
    let simple = tree.as_object().into_iter().flatten().filter(|(name, value)| *name != "reply" && !value.is_object());
    pairs(simple.map(|(name, value)| {
        let value = value.as_bool().map_or_else(|| value.to_string(), |on| u8::from(on).to_string());
        (name.clone(), value)
    }))
}
