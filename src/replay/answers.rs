//! Control requests, as the machine answers them: what ipvsadm needs, over the store and the one director.

use std::net::SocketAddr;

use crate::conn::ConnFlags;
use crate::control::reply::{ConnectionView, DestinationView, ErrorCode, Failure, Reply, ServiceView};
use crate::control::request::Request;
use crate::destination::Destination;
use crate::director::{ConnectionInfo, Listing};
use crate::replay::machine::Machine;
use crate::service::{Engine, Protocol, Service, ServiceKey};
use crate::settings::{Settings, Timeouts};

impl Machine {
    /// Answers a request.
    pub(crate) fn ask(&mut self, request: Request) -> Reply {
        match self.answer(request) {
            Ok(reply) => reply,
            Err(failure) => failure.into(),
        }
    }

    fn answer(&mut self, request: Request) -> Result<Reply, Failure> {
        self.absorb();
        match request {
            Request::Services { service } => return self.services(service),
            Request::Connections(_) => return Ok(self.connections(false)),
            Request::Templates(_) => return Ok(self.connections(true)),
            Request::Timeouts {} => return Ok(Reply::Timeouts(self.store.settings().timeouts)),
            Request::Daemons {} => return Ok(Reply::Daemons { daemons: self.store.daemons().to_vec() }),
            Request::StartDaemon(spec) => self.store.start_daemon(&spec, self.topology.mtu(&spec.interface))?,
            Request::StopDaemon { role } => self.store.stop_daemon(role)?,
            Request::Marks {} => return Ok(Reply::Marks(self.store.marks().clone())),
            Request::Zero { service } => return self.zero_shown(service),
            Request::AddService(spec) => {
                self.store.add_service(&spec)?;
            }
            Request::EditService(spec) => {
                self.store.edit_service(&spec)?;
            }
            Request::DeleteService { service } => self.store.delete_service(&service)?,
            Request::AddDestination { service, destination } => {
                self.store.add_destination(&service, &destination)?;
            }
            Request::EditDestination { service, destination } => {
                self.store.edit_destination(&service, &destination)?;
            }
            Request::DeleteDestination { service, address } => self.store.delete_destination(&service, address)?,
            Request::Flush {} => self.store.flush(),
            Request::SetTimeouts { tcp, tcp_fin, udp } => self.set_timeouts(tcp, tcp_fin, udp)?,
            Request::AddMark { .. }
            | Request::ReplaceMark { .. }
            | Request::DeleteMark { .. }
            | Request::FlushMarks { .. } => self.store.edit(&request)?,
            other => {
                let text = format!("replay has no answer to {other:?}");
                return Err(Failure::new(ErrorCode::Unsupported, text));
            }
        }
        self.rules_changed();
        if !self.store.take_revived().is_empty() {
            self.absorb();
        }
        Ok(Reply::Done {})
    }

    fn set_timeouts(&mut self, tcp: u32, tcp_fin: u32, udp: u32) -> Result<(), Failure> {
        let old = self.store.settings();
        let or = |new: u32, old: u32| if new == 0 { old } else { new };
        let Timeouts { tcp: a, tcp_fin: b, udp: c } = old.timeouts;
        let timeouts = Timeouts { tcp: or(tcp, a), tcp_fin: or(tcp_fin, b), udp: or(udp, c) };
        self.store.set_settings(Settings { timeouts, ..old })
    }

    fn chosen(&self, key: Option<ServiceKey>) -> Result<Vec<&Service>, Failure> {
        let Some(key) = key else { return Ok(self.in_kernels_order()) };
        let missing = || Failure::new(ErrorCode::NoSuchService, format!("there is no service {key}"));
        Ok(vec![self.store.find(&key).ok_or_else(missing)?])
    }

    /// As the kernel lists them. The recordings' kernel has no random key in it.
    fn in_kernels_order(&self) -> Vec<&Service> {
        self.store.services_in_kernels_order().into_iter().map(|s| &**s).collect()
    }

    fn zero_shown(&mut self, key: Option<ServiceKey>) -> Result<Reply, Failure> {
        match key {
            Some(_) => {
                let uid = self.chosen(key)?.first().map(|s| s.uid);
                self.statistics.zero(uid);
            }
            None => {
                self.statistics.zero(None);
                self.all.zero();
            }
        }
        Ok(Reply::Done {})
    }

    fn services(&self, key: Option<ServiceKey>) -> Result<Reply, Failure> {
        let services = self.chosen(key)?.into_iter().map(|s| self.service_view(s)).collect();
        Ok(Reply::Services { services, more: false })
    }

    fn service_view(&self, service: &Service) -> ServiceView {
        let meter = self.statistics.service(service.uid);
        ServiceView {
            destinations: service.destinations.iter().map(|d| self.destination_view(d)).collect(),
            ..ServiceView::of(service, meter.sampled(), meter.rates())
        }
    }

    fn destination_view(&self, destination: &Destination) -> DestinationView {
        let load = self.director.load(destination.id);
        let meter = self.statistics.destination(destination.uid);
        DestinationView {
            active: load.active.into(),
            inactive: load.inactive.into(),
            persistent: load.persistent.into(),
            overloaded: load.overloaded,
            ..DestinationView::of(destination, meter.sampled(), meter.rates())
        }
    }

    /// Every service, for the texts of `/proc`.
    pub(crate) fn service_views(&self) -> Vec<ServiceView> {
        self.in_kernels_order().into_iter().map(|s| self.service_view(s)).collect()
    }

    fn connections(&self, templates: bool) -> Reply {
        Reply::Connections { connections: self.connection_views(templates), more: false }
    }

    /// Connections and templates, for the texts of `/proc`.
    pub(crate) fn all_connections(&self) -> Vec<ConnectionView> {
        let mut all = self.connection_views(false);
        all.extend(self.connection_views(true));
        all
    }

    /// Connections that an application helper reads.
    pub(crate) fn helped(&self) -> usize {
        let mut helped = 0;
        for v6 in [false, true] {
            let count = |info: ConnectionInfo| helped += usize::from(info.flags.contains(ConnFlags::HELPED));
            self.director.list(Listing { v6, templates: false }, 0, usize::MAX, self.now, count);
        }
        helped
    }

    /// Connections, or templates, in the order of the tables.
    pub(crate) fn connection_views(&self, templates: bool) -> Vec<ConnectionView> {
        let mut views = Vec::new();
        for v6 in [false, true] {
            let mut cursor = Some(0);
            while let Some(from) = cursor {
                let which = Listing { v6, templates };
                cursor =
                    self.director.list(which, from, usize::MAX, self.now, |info| views.push(view(&info, templates)));
            }
        }
        views
    }
}

fn view(info: &ConnectionInfo, template: bool) -> ConnectionView {
    let protocol = match Protocol::from_number(info.protocol) {
        Some(protocol) => protocol.to_string(),
        None => "IP".to_owned(),
    };
    ConnectionView {
        protocol,
        client: SocketAddr::new(info.caddr, info.cport),
        vip: SocketAddr::new(info.vaddr, info.vport),
        destination: SocketAddr::new(info.daddr, info.dport),
        state: info.state.to_owned(),
        expires_ticks: info.expires,
        template,
        pe: (!info.call_id.is_empty()).then_some(Engine::Sip),
        pe_data: info.call_id.to_string(),
        received: info.received,
        worker: 0,
    }
}
