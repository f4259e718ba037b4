//! From a sample to the page.

use super::list::{self as f};
use super::page::{Family, Page, Value};
use super::{Sample, WorkerSample};
use crate::burst_meter::SIZES;
use crate::control::health::board::{Id, Row};
use crate::control::key::word;
use crate::control::reply::{DestinationView, DrainView, HopView, PortView, Rates, ServiceView, SorryView};
use crate::control::standing::Standing;
use crate::io::PortCounters;
use crate::mailbox::WorkerReport;
use crate::stats::{DropReason, Event, Traffic};
use crate::steering::SteeredBy;

/// All families.
pub(super) fn page(sample: &Sample) -> String {
    let mut page = Page::default();
    director(&mut page, sample);
    workers(&mut page, &sample.workers);
    counters(&mut page, &sample.workers);
    bursts(&mut page, &sample.workers);
    ports(&mut page, &sample.ports);
    services(&mut page, &sample.services);
    destinations(&mut page, &sample.services);
    sorry_servers(&mut page, &sample.services);
    drains(&mut page, &sample.drains);
    checks(&mut page, &sample.checks);
    synchronisation(&mut page, sample);
    page.into_text()
}

fn director(page: &mut Page, sample: &Sample) {
    let status = &sample.status;
    let [services_max, destinations_max] = sample.room.map(|n| n as u64);
    page.family(&f::BUILD, std::iter::once(([status.version.clone()], true.into())));
    page.one(&f::START, sample.started_secs);
    page.one(&f::SNAPSHOT, status.snapshot);
    page.one(&f::DRAINING, status.draining);
    page.one(&f::WARNINGS, status.warnings.len() as u64);
    page.one(&f::SERVICES, status.services);
    page.one(&f::SERVICES_MAX, services_max);
    page.one(&f::DESTINATIONS, status.destinations);
    page.one(&f::DESTINATIONS_MAX, destinations_max);
    page.one(&f::DRAINS, sample.drains.len() as u64);
}

/// What a worker reports, by family.
type Reported = (Family, fn(&WorkerReport) -> Value);

const REPORTED: [Reported; 8] = [
    (f::WORKER_SNAPSHOT, |r| r.snapshot.into()),
    (f::WORKER_TURNS, |r| r.turns.into()),
    (f::WORKER_BUSY_TURNS, |r| r.busy_turns.into()),
    (f::WORKER_CONNECTIONS, |r| r.connections.into()),
    (f::WORKER_CONNECTIONS_MAX, |r| r.connections_max.into()),
    (f::WORKER_TEMPLATES, |r| r.templates.into()),
    (f::WORKER_TEMPLATES_MAX, |r| r.templates_max.into()),
    (f::WORKER_SCARCE, |r| r.scarce.into()),
];

fn reports(workers: &[WorkerSample]) -> impl Iterator<Item = (String, &WorkerReport)> {
    workers.iter().filter_map(|w| w.report.as_ref().map(|report| (w.worker.to_string(), report)))
}

fn workers(page: &mut Page, workers: &[WorkerSample]) {
    page.family(&f::WORKER_UP, workers.iter().map(|w| ([w.worker.to_string()], w.report.is_some().into())));
    for (family, value) in REPORTED {
        page.family(&family, reports(workers).map(|(worker, report)| ([worker], value(report))));
    }
}

fn counters(page: &mut Page, workers: &[WorkerSample]) {
    let drops = reports(workers).flat_map(|(worker, report)| {
        let one = move |r: &DropReason| {
            ([worker.clone(), r.name().to_owned()], Value::from(report.counters.drops[*r as usize]))
        };
        DropReason::ALL.iter().map(one)
    });
    page.family(&f::DROPS, drops);
    let events = reports(workers).flat_map(|(worker, report)| {
        let one =
            move |e: &Event| ([worker.clone(), e.name().to_owned()], Value::from(report.counters.events[*e as usize]));
        Event::ALL.iter().map(one)
    });
    page.family(&f::EVENTS, events);
}

#[allow(clippy::cast_precision_loss, reason = "Prometheus' numbers are of this type")]
fn bursts(page: &mut Page, workers: &[WorkerSample]) {
    let seconds = |nanos: u64| nanos as f64 / 1e9;
    let times = |w: &WorkerSample| {
        let b = w.bursts;
        let quantiles = [(0.5, b.p50_ns), (0.9, b.p90_ns), (0.99, b.p99_ns), (0.999, b.p999_ns), (1.0, b.max_ns)];
        Value::Percentiles {
            quantiles: quantiles.map(|(share, nanos)| (share, seconds(nanos))).to_vec(),
            sum: seconds(w.total.nanos),
            count: w.total.sizes.iter().sum(),
        }
    };
    page.family(&f::BURST_SECONDS, workers.iter().map(|w| ([w.worker.to_string()], times(w))));
    let sizes = |w: &WorkerSample| {
        let bound = |class: usize| if class + 1 == SIZES { 1 << class } else { (2_u32 << class) - 1 };
        let classes = w.total.sizes.iter().enumerate().map(|(class, count)| (f64::from(bound(class)), *count));
        Value::Classes { classes: classes.collect(), sum: w.total.frames as f64 }
    };
    page.family(&f::BURST_FRAMES, workers.iter().map(|w| ([w.worker.to_string()], sizes(w))));
}

/// What a port's device counts, by family.
type PortCounted = (Family, fn(&PortCounters) -> u64);

const PORT: [PortCounted; 12] = [
    (f::PORT_RX_PACKETS, |c| c.rx_packets),
    (f::PORT_RX_BYTES, |c| c.rx_bytes),
    (f::PORT_TX_PACKETS, |c| c.tx_packets),
    (f::PORT_TX_BYTES, |c| c.tx_bytes),
    (f::PORT_RX_MISSED, |c| c.rx_missed),
    (f::PORT_RX_ERRORS, |c| c.rx_errors),
    (f::PORT_RX_NO_BUFFER, |c| c.rx_no_buffer),
    (f::PORT_RX_MULTI_SEGMENT, |c| c.rx_multi_segment),
    (f::PORT_CHECKSUMS, |c| c.checksums_finished),
    (f::PORT_TX_FULL, |c| c.tx_full),
    (f::PORT_TX_ERRORS, |c| c.tx_errors),
    (f::PORT_TX_REMOVED, |c| c.tx_removed),
];

fn ports(page: &mut Page, ports: &[PortView]) {
    page.family(&f::PORT_UP, ports.iter().map(|p| ([p.name.clone()], p.up.into())));
    page.family(&f::PORT_LINK_LOSSES, ports.iter().map(|p| ([p.name.clone()], p.link_losses.into())));
    page.family(&f::PORT_REMOVALS, ports.iter().map(|p| ([p.name.clone()], p.removals.into())));
    for (family, count) in PORT {
        page.family(&family, ports.iter().map(|p| ([p.name.clone()], count(&p.counters).into())));
    }
    let steered = |p: &PortView| p.steering.by == SteeredBy::Device;
    page.family(&f::PORT_STEERED, ports.iter().map(|p| ([p.name.clone()], steered(p).into())));
    page.family(&f::PORT_HANDED_OVER, ports.iter().map(|p| ([p.name.clone()], p.handed_over.into())));
    page.family(&f::PORT_ASTRAY, ports.iter().map(|p| ([p.name.clone()], p.astray.into())));
}

fn is_reachable(d: &DestinationView) -> bool {
    matches!(d.next_hop, HopView::Resolved { .. } | HopView::Local)
}

/// Does it count for the quorum?
fn is_up(d: &DestinationView) -> bool {
    !matches!(d.standing, Standing::Down | Standing::Draining)
}

/// What is shown of traffic and rates: a field of each, by the families of services and of destinations.
type Counted = (Family, Family, fn(&Traffic) -> u64);
type Estimated = (Family, Family, fn(&Rates) -> u64);

const COUNTED: [Counted; 5] = [
    (f::SERVICE_CONNECTIONS, f::DEST_CONNECTIONS, |t| t.connections),
    (f::SERVICE_IN_PACKETS, f::DEST_IN_PACKETS, |t| t.in_packets),
    (f::SERVICE_OUT_PACKETS, f::DEST_OUT_PACKETS, |t| t.out_packets),
    (f::SERVICE_IN_BYTES, f::DEST_IN_BYTES, |t| t.in_bytes),
    (f::SERVICE_OUT_BYTES, f::DEST_OUT_BYTES, |t| t.out_bytes),
];
const ESTIMATED: [Estimated; 5] = [
    (f::SERVICE_CPS, f::DEST_CPS, |r| r.connections),
    (f::SERVICE_IN_PPS, f::DEST_IN_PPS, |r| r.in_packets),
    (f::SERVICE_OUT_PPS, f::DEST_OUT_PPS, |r| r.out_packets),
    (f::SERVICE_IN_BPS, f::DEST_IN_BPS, |r| r.in_bytes),
    (f::SERVICE_OUT_BPS, f::DEST_OUT_BPS, |r| r.out_bytes),
];

fn services(page: &mut Page, services: &[ServiceView]) {
    let names: Vec<_> = services.iter().map(|s| word(&s.service)).collect();
    let mut each = |family: &Family, value: &dyn Fn(&ServiceView) -> Value| {
        page.family(family, services.iter().zip(&names).map(|(s, name)| ([name.clone()], value(s))));
    };
    each(&f::SERVICE_DESTINATIONS, &|s| (s.destinations.len() as u64).into());
    each(&f::SERVICE_USABLE, &|s| (s.destinations.iter().filter(|d| d.is_usable()).count() as u64).into());
    each(&f::SERVICE_UP, &|s| (s.destinations.iter().filter(|d| is_up(d)).count() as u64).into());
    each(&f::SERVICE_WEIGHT_UP, &|s| s.weight_up.into());
    each(&f::SERVICE_NEEDED, &|s| s.policy.quorum.into());
    each(&f::SERVICE_QUORUM, &|s| s.quorum.into());
    COUNTED.iter().for_each(|(family, _, field)| each(family, &|s| field(&s.traffic).into()));
    ESTIMATED.iter().for_each(|(family, _, field)| each(family, &|s| field(&s.rates).into()));
    let schedulers = services.iter().zip(&names).map(|(s, name)| ([name.clone(), s.scheduler.name().to_owned()], true));
    page.family(&f::SERVICE_INFO, schedulers.map(|(labels, is)| (labels, is.into())));
}

fn destinations(page: &mut Page, services: &[ServiceView]) {
    let of = |s: &ServiceView| {
        let service = word(&s.service);
        let name = move |d: &DestinationView| [service.clone(), d.address.to_string()];
        s.destinations.iter().map(name).collect::<Vec<_>>()
    };
    let all: Vec<_> = services.iter().flat_map(|s| s.destinations.iter().zip(of(s))).collect();
    let mut each = |family: &Family, value: &dyn Fn(&DestinationView) -> Value| {
        page.family(family, all.iter().map(|(d, names)| (names.clone(), value(d))));
    };
    each(&f::DEST_USABLE, &|d| d.is_usable().into());
    each(&f::DEST_REACHABLE, &|d| is_reachable(d).into());
    each(&f::DEST_WEIGHT, &|d| d.weight.into());
    each(&f::DEST_CONFIGURED, &|d| d.configured_weight.into());
    each(&f::DEST_OVERLOADED, &|d| d.overloaded.into());
    each(&f::DEST_ACTIVE, &|d| d.active.into());
    each(&f::DEST_INACTIVE, &|d| d.inactive.into());
    each(&f::DEST_PERSISTENT, &|d| d.persistent.into());
    COUNTED.iter().for_each(|(_, family, field)| each(family, &|d| field(&d.traffic).into()));
    ESTIMATED.iter().for_each(|(_, family, field)| each(family, &|d| field(&d.rates).into()));
    let standings = all.iter().map(|(d, [service, destination])| {
        ([service.clone(), destination.clone(), d.standing.name().to_owned()], true.into())
    });
    page.family(&f::DEST_STANDING, standings);
}

fn sorry_servers(page: &mut Page, services: &[ServiceView]) {
    let all: Vec<_> = services.iter().filter_map(|s| Some((word(&s.service), s.sorry.as_ref()?))).collect();
    let mut each = |family: &Family, value: &dyn Fn(&SorryView) -> Value| {
        let names = |(service, sorry): &(String, &SorryView)| [service.clone(), sorry.destination.address.to_string()];
        page.family(family, all.iter().map(|one| (names(one), value(one.1))));
    };
    each(&f::SORRY_ON, &|s| s.on.into());
    each(&f::SORRY_REACHABLE, &|s| is_reachable(&s.destination).into());
    each(&f::SORRY_ACTIVE, &|s| s.destination.active.into());
    each(&f::SORRY_CONNECTIONS, &|s| s.destination.traffic.connections.into());
}

fn drains(page: &mut Page, all: &[DrainView]) {
    let mut each = |family: &Family, value: &dyn Fn(&DrainView) -> Option<Value>| {
        let names = |d: &DrainView| [word(&d.service), d.destination.to_string()];
        page.family(family, all.iter().filter_map(|d| Some((names(d), value(d)?))));
    };
    each(&f::DRAIN_OVER, &|d| Some(d.over.into()));
    each(&f::DRAIN_CONNECTIONS, &|d| Some((d.active + d.inactive).into()));
    each(&f::DRAIN_LEFT, &|d| d.left_secs.map(Value::from));
}

fn checks(page: &mut Page, all: &[(Id, Row)]) {
    let mut each = |family: &Family, value: &dyn Fn(&Row) -> Value| {
        let names = |(service, destination): &Id| [word(service), destination.to_string()];
        page.family(family, all.iter().map(|(id, row)| (names(id), value(row))));
    };
    each(&f::CHECK_UP, &|row| row.up.into());
    each(&f::CHECKS, &|row| row.checks.into());
    each(&f::CHECK_FAILURES, &|row| row.failed.into());
    each(&f::CHECK_SECONDS, &|row| Value::Number(row.latency.as_secs_f64()));
}

fn synchronisation(page: &mut Page, sample: &Sample) {
    let sync = &sample.sync;
    page.family(&f::SYNC_DAEMON, sync.daemons.iter().map(|d| ([d.role.to_string()], true.into())));
    page.one(&f::SYNC_READY, sync.ready);
    page.one(&f::SYNC_RATIO, Value::Number(f64::from(sync.percent) / 100.0));
    page.one(&f::SYNC_WAITS, sync.waits.len() as u64);
    page.family(&f::SYNC_EVENTS, sync.counters.iter().map(|c| ([c.name.clone()], c.count.into())));
}
