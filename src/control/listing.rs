//! Long answers: line after line, each made when the one before has been taken, so that a slow reader holds up nobody and a million
//! connections never stand in memory.

use std::net::SocketAddr;

use crate::control::event::Listener;
use crate::control::health::view::CheckView;
use crate::control::reply::{ConnectionView, Failure, Reply, ServiceView};
use crate::control::request::Filter;
use crate::control::watching::Watch;
use crate::mailbox::{ConnectionRow, WorkerHandle, Workers};
use crate::service::{Engine, Protocol, ServiceKey};

/// Destinations that one line of a service listing may hold, unless a single service has more.
const DESTINATIONS_A_LINE: usize = 256;

/// What a request is answered with.
#[derive(Debug)]
pub enum Answer {
    /// One line.
    One(Box<Reply>),
    /// Several.
    Many(Listing),
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self::One(Box::new(reply))
    }
}

/// A long answer.
#[derive(Debug)]
pub struct Listing {
    kind: Kind,
    done: bool,
}

#[derive(Debug)]
enum Kind {
    Services(std::vec::IntoIter<ServiceView>),
    Checks(std::vec::IntoIter<CheckView>),
    Connections(Box<Connections>),
    Watch(Box<Watch>),
    /// Without end; the flag says that the listener has been told that it listens.
    Events(Listener, bool),
}

#[derive(Debug)]
struct Connections {
    workers: Workers,
    filter: Filter,
    templates: bool,
    /// The worker, family and entry to go on from.
    worker: usize,
    v6: bool,
    cursor: u32,
    listed: u64,
}

impl Listing {
    pub(super) fn services(all: Vec<ServiceView>) -> Self {
        Self { kind: Kind::Services(all.into_iter()), done: false }
    }

    pub(super) fn checks(all: Vec<CheckView>) -> Self {
        Self { kind: Kind::Checks(all.into_iter()), done: false }
    }

    pub(super) fn connections(workers: Workers, filter: Filter, templates: bool) -> Self {
        let kind = Connections { workers, filter, templates, worker: 0, v6: false, cursor: 0, listed: 0 };
        Self { kind: Kind::Connections(Box::new(kind)), done: false }
    }

    pub(super) fn watch(watch: Watch) -> Self {
        Self { kind: Kind::Watch(Box::new(watch)), done: false }
    }

    pub(super) fn events(listener: Listener) -> Self {
        Self { kind: Kind::Events(listener, false), done: false }
    }

    /// Does it go on until nobody listens any more?
    pub(super) fn is_endless(&self) -> bool {
        matches!(self.kind, Kind::Events(..) | Kind::Watch(_))
    }

    /// The next line; `None` after the last.
    pub async fn next(&mut self) -> Option<Reply> {
        if self.done {
            return None;
        }
        let reply = match &mut self.kind {
            Kind::Watch(watch) => return watch.next().await,
            Kind::Services(rest) => Ok(services(rest)),
            Kind::Checks(rest) => {
                let checks = rest.by_ref().take(DESTINATIONS_A_LINE).collect();
                Ok(Reply::Checks { checks, more: !rest.as_slice().is_empty() })
            }
            Kind::Connections(state) => state.next().await,
            Kind::Events(_, told @ false) => {
                *told = true;
                return Some(Reply::Done {});
            }
            Kind::Events(listener, true) => return listener.next().await.map(Reply::Event),
        };
        let reply = reply.unwrap_or_else(Reply::Error);
        self.done = !reply.has_more();
        Some(reply)
    }
}

fn services(rest: &mut std::vec::IntoIter<ServiceView>) -> Reply {
    let mut services = Vec::new();
    let mut lines = 0;
    for service in rest.by_ref() {
        lines += 1 + service.destinations.len();
        services.push(service);
        if lines >= DESTINATIONS_A_LINE {
            break;
        }
    }
    Reply::Services { services, more: !rest.as_slice().is_empty() }
}

impl Connections {
    async fn next(&mut self) -> Result<Reply, Failure> {
        let mut connections = Vec::new();
        // Pages without a fitting row are no line of their own.
        while connections.is_empty()
            && let Some(worker) = self.workers.iter().nth(self.worker).cloned()
        {
            connections = self.page(&worker).await?;
        }
        let left = self.left();
        connections.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        self.listed += connections.len() as u64;
        let more = self.worker < self.workers.iter().len() && self.left() > 0;
        Ok(Reply::Connections { connections, more })
    }

    fn left(&self) -> u64 {
        if self.filter.limit == 0 { u64::MAX } else { self.filter.limit.saturating_sub(self.listed) }
    }

    async fn page(&mut self, worker: &WorkerHandle) -> Result<Vec<ConnectionView>, Failure> {
        let page = worker.connections(self.templates, self.v6, self.cursor).await?;
        match page.next {
            Some(next) => self.cursor = next,
            None => {
                self.cursor = 0;
                self.worker += usize::from(self.v6);
                self.v6 = !self.v6;
            }
        }
        let fits = |row: &&ConnectionRow| fits(&self.filter, row);
        Ok(page.rows.iter().filter(fits).map(|row| view(row, self.templates, worker.id.0)).collect())
    }
}

fn fits(filter: &Filter, row: &ConnectionRow) -> bool {
    filter.client.is_none_or(|c| c == row.caddr)
        && filter.destination.is_none_or(|d| d == row.daddr)
        && filter.service.is_none_or(|key| of_service(&key, row))
}

fn of_service(key: &ServiceKey, row: &ConnectionRow) -> bool {
    match key {
        ServiceKey::Address { protocol, address, port } => {
            row.protocol == protocol.number() && row.vaddr == *address && (*port == 0 || row.vport == *port)
        }
        ServiceKey::Mark { mark, v6 } => {
            row.protocol == 0 && row.vaddr.is_ipv6() == *v6 && row.vaddr == mark_address(*mark, *v6)
        }
    }
}

/// A mark as a template shows it.
fn mark_address(mark: u32, v6: bool) -> std::net::IpAddr {
    if v6 { std::net::Ipv6Addr::from_bits(mark.into()).into() } else { std::net::Ipv4Addr::from_bits(mark).into() }
}

pub(super) fn view(row: &ConnectionRow, template: bool, worker: u16) -> ConnectionView {
    ConnectionView {
        protocol: Protocol::from_number(row.protocol).map_or_else(|| "IP".to_owned(), |p| p.to_string()),
        client: SocketAddr::new(row.caddr, row.cport),
        vip: SocketAddr::new(row.vaddr, row.vport),
        destination: SocketAddr::new(row.daddr, row.dport),
        state: row.state.to_owned(),
        expires_ticks: row.expires,
        template,
        pe: (!row.call_id.is_empty()).then_some(Engine::Sip),
        pe_data: row.call_id.to_string(),
        received: row.received,
        worker,
    }
}
