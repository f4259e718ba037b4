//! Which destination a client would get, and why: the worker that the client belongs to says what it would do, here it is put into
//! words (`pollvs why`).

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::control::reply::{DestinationView, ErrorCode, Failure, HopView, Reply, WhyView};
use crate::control::standing::Standing;
use crate::control::{Control, Inner};
use crate::destination::DestId;
use crate::director::{By, Explanation, Question, Remark};
use crate::mailbox::Command;
use crate::service::{Protocol, Service};

/// One end of a flow: an address, with or without a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct End {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: Option<u16>,
}

impl FromStr for End {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = |address: IpAddr| Self { address, port: None };
        let whole = |end: SocketAddr| Self { address: end.ip(), port: Some(end.port()) };
        let wrong =
            || format!("{text:?} is no address; write 192.0.2.1, 192.0.2.1:80, 2001:db8::1 or [2001:db8::1]:80");
        text.parse().map(bare).or_else(|_| text.parse().map(whole)).map_err(|_| wrong())
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.address, port).fmt(f),
            None => self.address.fmt(f),
        }
    }
}

impl Serialize for End {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for End {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Control {
    /// Asks the worker that owns the client; any worker knows which that is.
    pub(super) async fn why(&self, client: End, vip: End, protocol: Protocol) -> Result<Reply, Failure> {
        let question = Question {
            protocol: protocol.number(),
            client: client.address,
            cport: client.port,
            vip: vip.address,
            vport: vip.port.unwrap_or_default(),
        };
        let nobody = || Failure::new(ErrorCode::Unsupported, "this director forwards nothing: it has no workers");
        let mut worker = self.workers.iter().next().ok_or_else(nobody)?;
        let mut said = worker.ask(|answer| Command::Why(question, answer)).await?;
        if said.by == By::OtherWorker {
            worker = self.workers.iter().find(|other| other.id == said.owner).ok_or_else(nobody)?;
            said = worker.ask(|answer| Command::Why(question, answer)).await?;
        }
        let mut inner = self.inner.lock().await;
        inner.ask_totals().await?;
        Ok(Reply::Why(Box::new(inner.explain(&question, &said))))
    }
}

impl Inner {
    pub(super) fn explain(&self, question: &Question, said: &Explanation) -> WhyView {
        let service = said.service.and_then(|id| self.current.rules.service(id));
        let destination = said.dest.and_then(|id| self.destination_by(id));
        let mut reasons = Vec::new();
        reasons.extend(obstacle(question, said.by));
        reasons.extend(said.remarks.iter().flatten().map(|remark| self.remark(remark)));
        if said.by == By::NoDestination {
            reasons.extend(service.into_iter().flat_map(|service| self.unusable(service)));
        }
        reasons.extend(destination.as_ref().and_then(unreached));
        let (state, left) = said.entry.unzip();
        WhyView {
            worker: said.owner.0,
            by: by(said.by).to_owned(),
            service: service.map(|service| service.key),
            scheduler: service.map(|service| service.scheduler),
            mark: said.mark,
            state: state.filter(|_| said.by == By::Connection).map(|state| state.name().to_owned()),
            expires_ticks: left,
            destination,
            reasons,
        }
    }

    fn destination_by(&self, id: DestId) -> Option<DestinationView> {
        self.current.rules.destination(id).map(|destination| self.picture().destination_view(destination))
    }

    fn address_of(&self, id: DestId) -> String {
        let of = |d: &std::sync::Arc<crate::destination::Destination>| SocketAddr::new(d.address, d.port).to_string();
        self.current.rules.destination(id).map_or_else(|| "one that is forgotten".to_owned(), of)
    }

    fn remark(&self, remark: &Remark) -> String {
        match remark {
            Remark::OpensAnew(state) => {
                format!("its connection is in {}: a packet that opens a new one ends it and is scheduled", state.name())
            }
            Remark::LostConnection(dest) => {
                format!(
                    "it has a connection to {}, which was removed: that ends (expire_nodest_conn)",
                    self.address_of(*dest)
                )
            }
            Remark::LostTemplate(dest) => {
                format!("its template is to {}, which takes no clients any more", self.address_of(*dest))
            }
            Remark::Unbound => {
                "another director told of its connection, which goes on without a destination, as it came".to_owned()
            }
            Remark::CallId => "templates of this service are known by a Call-ID, which was not given".to_owned(),
            Remark::NewTemplate => "it has no template yet, and gets one".to_owned(),
            Remark::Defended => "the defence drop_packet drops some of the packets that open connections".to_owned(),
        }
    }

    /// What keeps each destination of a service from new connections.
    fn unusable(&self, service: &Service) -> Vec<String> {
        // Those that their standing has taken out, too.
        let views = self.picture().service_views(Some(service.key)).into_iter().flat_map(|view| view.destinations);
        let sentences: Vec<_> = views.map(|view| format!("{} {}", view.address, unusable(&view))).collect();
        if sentences.is_empty() { vec!["the service has no destinations".to_owned()] } else { sentences }
    }
}

fn by(by: By) -> &'static str {
    match by {
        By::Connection => "connection",
        By::Template => "template",
        By::Scheduler => "scheduler",
        By::Bypass => "bypass",
        By::NoService | By::NoClient | By::DataOfFtp => "kernel",
        By::OtherWorker | By::Families | By::DestinationGone | By::NoDestination => "nothing",
    }
}

/// Why there is no destination.
fn obstacle(question: &Question, by: By) -> Option<String> {
    let Question { client, vip, vport, .. } = question;
    Some(match by {
        By::Connection | By::Template | By::Scheduler | By::OtherWorker => return None,
        By::Bypass => format!("no destination can be had: it is sent on to {vip} itself (cache_bypass)"),
        By::Families => format!("{client} and {vip} are of two families"),
        By::NoService => format!("there is no service at {}: it is left to the kernel", SocketAddr::new(*vip, *vport)),
        By::NoClient => format!("{client} can be no client's address: it is left to the kernel"),
        By::DataOfFtp => {
            "FTP's data connections are expected or led by a template: it is left to the kernel".to_owned()
        }
        By::DestinationGone => {
            "the destination of its connection was removed: it is dropped (destination_gone)".to_owned()
        }
        By::NoDestination => "no destination can be had: it is refused (no_destination)".to_owned(),
    })
}

fn unusable(view: &DestinationView) -> String {
    match view.standing {
        Standing::Down => format!("is down: {}", view.reason),
        Standing::Draining => "is drained".to_owned(),
        _ if view.weight == 0 => "has weight 0".to_owned(),
        _ if view.overloaded => format!("is at its threshold of {} connections", view.upper),
        _ => "is not chosen by this scheduler".to_owned(),
    }
}

/// What is wrong with the way to a destination.
fn unreached(view: &DestinationView) -> Option<String> {
    let address = view.address.ip();
    Some(match &view.next_hop {
        HopView::Unreachable => format!("there is no route to {address}: it is dropped (no_route)"),
        HopView::Kernel => format!("the way to {address} is by an interface that is no port: it is dropped (no_route)"),
        HopView::Unresolved { neighbour, .. } => format!("{neighbour}, the next hop, has not answered yet"),
        HopView::Resolved { .. } | HopView::Local => return None,
    })
}
