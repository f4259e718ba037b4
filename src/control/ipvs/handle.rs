//! From request to answer: the commands of the family over the rules that control has.

use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::errno::Errno;

use super::attribute::Writer;
use super::command::{self, Body, Command, SET_INFO};
use super::dest::DestAttributes;
use super::errno;
use super::family::{self, CONTROLLER, CONTROLLER_VERSION, FAMILY, GET_FAMILY, NEW_FAMILY, VERSION};
use super::message;
use super::proc::TEXT;
use super::service::ServiceAttributes;
use super::timeouts::{self, TimeoutAttributes};
use super::translate::{self, WholeService};
use crate::control::daemon::DaemonSpec;
use crate::control::reply::{DestinationView, Failure, Reply, ServiceView};
use crate::control::request::Request;
use crate::control::store::service_rules;
use crate::control::{Control, Inner};
use crate::service::ServiceKey;
use crate::settings::Timeouts;

/// Bytes of a datagram of a dump, unless a single entry is longer: room for the receivers that have little.
const DATAGRAM: usize = 4000;

/// A listing of destinations takes counters of this age: ipvsadm asks for the services first, which asks the workers, and then for
/// the destinations of each.
const FRESH: Duration = Duration::from_millis(200);

/// What is listed.
#[derive(Debug)]
enum Entry {
    Service(Box<ServiceView>),
    Dest(DestinationView),
    Daemon(DaemonSpec),
}

impl Entry {
    fn command(&self) -> Command {
        match self {
            Self::Service(_) => Command::NewService,
            Self::Dest(_) => Command::NewDest,
            Self::Daemon(_) => Command::NewDaemon,
        }
    }

    fn write(&self, to: &mut Vec<u8>) {
        let mut w = Writer(to);
        match self {
            Self::Service(service) => {
                w.nest(command::SERVICE, |w| ServiceAttributes::write(&translate::show_service(service), w));
            }
            Self::Dest(dest) => {
                w.nest(command::DEST, |w| DestAttributes::write(&translate::show_destination(dest), w));
            }
            Self::Daemon(daemon) => w.nest(command::DAEMON, |w| translate::show_daemon(daemon).write(w)),
        }
    }
}

/// What one request is answered with.
enum Answer {
    /// It is done.
    Done,
    /// One message, and then that it is done.
    Message(u8, Vec<u8>),
    /// A list.
    List(Vec<Entry>),
    /// A text to be read from a file.
    File(OwnedFd),
}

/// The datagrams that answer one request. A list was taken at one moment, whatever changes while it is read.
pub(super) struct Answers<'a> {
    request: message::Request<'a>,
    /// The message, if there is one.
    message: Vec<u8>,
    /// The outcome, if it is to be told.
    outcome: Vec<u8>,
    /// What goes with the outcome.
    pub(super) file: Option<OwnedFd>,
    list: Option<std::vec::IntoIter<Entry>>,
}

impl Answers<'_> {
    /// The next datagram; `None` after the last.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        for single in [&mut self.message, &mut self.outcome] {
            if !single.is_empty() {
                return Some(std::mem::take(single));
            }
        }
        let list = self.list.as_mut()?;
        let mut datagram = Vec::with_capacity(DATAGRAM);
        let mut longest = 0;
        while datagram.len() + longest <= DATAGRAM
            && let Some(entry) = list.next()
        {
            let start = datagram.len();
            self.request.answer(&mut datagram, true, entry.command() as u8, VERSION, |to| entry.write(to));
            longest = longest.max(datagram.len() - start);
        }
        if datagram.is_empty() {
            self.list = None;
            self.request.done(&mut datagram);
        }
        Some(datagram)
    }
}

impl Control {
    /// Answers a request of a client that may do everything, if `allowed`, or may only ask whether the family is there.
    pub(super) async fn ipvs<'a>(&self, request: message::Request<'a>, allowed: bool) -> Answers<'a> {
        let answer = if request.is_request() { self.ipvs_answer(&request, allowed).await } else { Ok(Answer::Done) };
        let mut answers = Answers { request, message: Vec::new(), outcome: Vec::new(), file: None, list: None };
        match answer {
            Ok(Answer::Done) => request.outcome(&mut answers.outcome, Ok(())),
            Ok(Answer::Message(command, attributes)) => {
                let version = if request.kind == CONTROLLER { CONTROLLER_VERSION } else { VERSION };
                let fill = |to: &mut Vec<u8>| to.extend_from_slice(&attributes);
                request.answer(&mut answers.message, false, command, version, fill);
                request.outcome(&mut answers.outcome, Ok(()));
            }
            Ok(Answer::File(file)) => {
                answers.file = Some(file);
                request.acknowledge(&mut answers.outcome);
            }
            Ok(Answer::List(list)) => answers.list = Some(list.into_iter()),
            Err(error) => request.outcome(&mut answers.outcome, Err(error)),
        }
        answers
    }

    async fn ipvs_answer(&self, request: &message::Request<'_>, allowed: bool) -> Result<Answer, Errno> {
        match request.kind {
            CONTROLLER => controller(request),
            FAMILY => {
                let (number, attributes) = request.command().ok_or(Errno::EINVAL)?;
                let command = Command::from_number(number).ok_or(Errno::EOPNOTSUPP)?;
                if !allowed {
                    return Err(Errno::EPERM);
                }
                let can = if request.is_dump() { command.can_dump() } else { command.can_do() };
                if !can {
                    return Err(Errno::EOPNOTSUPP);
                }
                self.ipvs_command(command, attributes, request.is_dump()).await
            }
            TEXT if allowed => self.ipvs_text(request.name().ok_or(Errno::EINVAL)?).await.map(Answer::File),
            TEXT => Err(Errno::EPERM),
            _ => Err(Errno::ENOENT),
        }
    }

    async fn ipvs_command(&self, command: Command, attributes: &[u8], dump: bool) -> Result<Answer, Errno> {
        let body = Body::parse(attributes);
        let mut inner = self.inner.lock().await;
        match command {
            // A list of nothing is what the kernel makes of a request for a list that is wrong.
            Command::GetService if dump => inner.list_services().await,
            Command::GetDest => Ok(Answer::List(inner.list_dests(body).await?)),
            Command::GetDaemon => Ok(Answer::List(inner.store.daemons().iter().cloned().map(Entry::Daemon).collect())),
            Command::GetService => inner.one_service(&body?).await,
            Command::GetConfig => Ok(inner.timeouts()),
            Command::GetInfo => {
                let mut to = Vec::new();
                timeouts::write_info(&mut Writer(&mut to));
                Ok(Answer::Message(SET_INFO, to))
            }
            change => inner.ipvs_change(change, &body?).await.map(|()| Answer::Done),
        }
    }
}

fn controller(request: &message::Request<'_>) -> Result<Answer, Errno> {
    let (number, attributes) = request.command().ok_or(Errno::EINVAL)?;
    if number != GET_FAMILY || request.is_dump() {
        return Err(Errno::EOPNOTSUPP);
    }
    family::asked_for(attributes)?;
    let mut to = Vec::new();
    family::describe(&mut to);
    Ok(Answer::Message(NEW_FAMILY, to))
}

fn refused(failure: impl Into<Failure>) -> Errno {
    errno::of(&failure.into())
}

impl Inner {
    async fn list_services(&mut self) -> Result<Answer, Errno> {
        self.ask_totals().await.map_err(refused)?;
        let (services, picture) = (self.store.services_in_kernels_order(), self.picture());
        Ok(Answer::List(services.into_iter().map(|s| Entry::Service(Box::new(picture.service_head(s)))).collect()))
    }

    async fn list_dests(&mut self, body: Result<Body, Errno>) -> Result<Vec<Entry>, Errno> {
        let key = body.and_then(|body| translate::key(body.service()?));
        let Some(key) = key.ok().filter(|key| self.store.find(key).is_some()) else { return Ok(Vec::new()) };
        self.ask_totals_before(FRESH).await.map_err(refused)?;
        let views = self.picture().service_views(Some(key));
        Ok(views.iter().flat_map(ServiceView::in_force).cloned().map(Entry::Dest).collect())
    }

    async fn one_service(&mut self, body: &Body) -> Result<Answer, Errno> {
        let key = self.known_service(body)?;
        self.ask_totals().await.map_err(refused)?;
        let view = self.picture().service_views(Some(key)).into_iter().next().ok_or(Errno::ESRCH)?;
        let mut to = Vec::new();
        Entry::Service(Box::new(view)).write(&mut to);
        Ok(Answer::Message(Command::NewService as u8, to))
    }

    fn known_service(&self, body: &Body) -> Result<ServiceKey, Errno> {
        let key = translate::key(body.service()?)?;
        self.store.find(&key).map(|service| service.key).ok_or(Errno::ESRCH)
    }

    fn timeouts(&self) -> Answer {
        let Timeouts { tcp, tcp_fin, udp } = self.store.settings().timeouts;
        let mut to = Vec::new();
        TimeoutAttributes { tcp: Some(tcp), tcp_fin: Some(tcp_fin), udp: Some(udp) }.write(&mut Writer(&mut to));
        Answer::Message(Command::SetConfig as u8, to)
    }

    async fn ipvs_change(&mut self, command: Command, body: &Body) -> Result<(), Errno> {
        let request = self.ipvs_request(command, body)?;
        let outcome = match self.rules(request).await {
            Ok(Reply::Error(failure)) | Err(failure) => Err(refused(failure)),
            Ok(_) => Ok(()),
        };
        match command {
            Command::NewDest | Command::SetDest => outcome,
            _ => outcome.map_err(errno::invalid_for_range),
        }
    }

    fn ipvs_request(&self, command: Command, body: &Body) -> Result<Request, Errno> {
        Ok(match command {
            Command::NewService => Request::AddService(self.new_service(body)?),
            Command::SetService => {
                let whole = WholeService::of(body.service()?)?;
                let old = self.store.find(&whole.key()).ok_or(Errno::ESRCH)?;
                Request::EditService(whole.spec(Some(&service_rules(old).service))?)
            }
            Command::DelService => Request::DeleteService { service: self.known_service(body)? },
            Command::NewDest | Command::SetDest => {
                let service = self.known_service(body)?;
                let destination = translate::destination(body.dest()?, &service)?;
                match command {
                    Command::NewDest => Request::AddDestination { service, destination },
                    _ => Request::EditDestination { service, destination },
                }
            }
            Command::DelDest => {
                let service = self.known_service(body)?;
                Request::DeleteDestination { service, address: translate::address(body.dest()?, &service)? }
            }
            Command::NewDaemon => Request::StartDaemon(translate::daemon(body.daemon()?)?),
            Command::DelDaemon => Request::StopDaemon { role: translate::role(body.daemon()?)? },
            Command::SetConfig => {
                let TimeoutAttributes { tcp, tcp_fin, udp } = body.timeouts;
                let [tcp, tcp_fin, udp] = [tcp, tcp_fin, udp].map(Option::unwrap_or_default);
                Request::SetTimeouts { tcp, tcp_fin, udp }
            }
            Command::Zero if body.has_service() => Request::Zero { service: Some(self.known_service(body)?) },
            Command::Zero => Request::Zero { service: None },
            Command::Flush => Request::Flush {},
            Command::GetService | Command::GetDest | Command::GetDaemon | Command::GetConfig | Command::GetInfo => {
                return Err(Errno::EOPNOTSUPP);
            }
        })
    }

    fn new_service(&self, body: &Body) -> Result<crate::control::request::ServiceSpec, Errno> {
        let whole = WholeService::of(body.service()?)?;
        if self.store.find(&whole.key()).is_some() {
            return Err(Errno::EEXIST);
        }
        whole.spec(None)
    }
}
