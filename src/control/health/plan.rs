//! What is done for a check of one destination: the keys of its [`CheckSpec`] checked, with what they left out. A plan that is equal to
//! another does the same, so that a reload keeps the checks that did not change.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use regex::bytes::{Regex, RegexBuilder};

use super::spec::{CheckSpec, Kind, Start, Target, Transport};
use super::value::{Bytes, Seconds, StatusRange};
use crate::control::key::word;
use crate::destination::{Destination, Method, Tunnel};
use crate::kernel::Way;
use crate::service::ServiceKey;

const INTERVAL: Seconds = Seconds::new(5);
const TIMEOUT: Seconds = Seconds::new(2);
/// `fall` unless given.
pub const FALL: u32 = 3;
/// `rise` unless given.
pub const RISE: u32 = 1;
/// Bounds of the interval, the time-out, and of `fall` and `rise`.
const INTERVALS: [Seconds; 2] = [Seconds::millis(100), Seconds::new(86_400)];
/// The longest time-out.
pub const LONGEST_TIMEOUT: Duration = Duration::from_secs(600);
const TIMEOUTS: [Seconds; 2] = [Seconds::millis(10), Seconds::new(600)];
const COUNTS: [u32; 2] = [1, 1000];
/// Bytes that a compiled regular expression may take.
const REGEX_ROOM: usize = 1 << 20;
/// Good statuses, unless given.
const STATUSES: StatusRange = StatusRange::new(200, 399);

/// The keys that only some kinds have.
const ONLY: [(&str, &[Kind]); 20] = [
    ("target", &[Kind::Tcp, Kind::Udp, Kind::Http, Kind::Https, Kind::Dns]),
    ("port", &[Kind::Tcp, Kind::Udp, Kind::Http, Kind::Https, Kind::Dns, Kind::Command]),
    ("send", &[Kind::Tcp, Kind::Udp]),
    ("expect", &[Kind::Tcp, Kind::Udp]),
    ("method", &[Kind::Http, Kind::Https]),
    ("path", &[Kind::Http, Kind::Https]),
    ("host", &[Kind::Http, Kind::Https]),
    ("request_headers", &[Kind::Http, Kind::Https]),
    ("status", &[Kind::Http, Kind::Https]),
    ("headers", &[Kind::Http, Kind::Https]),
    ("body", &[Kind::Http, Kind::Https]),
    ("body_regex", &[Kind::Http, Kind::Https]),
    ("tls_name", &[Kind::Https]),
    ("verify", &[Kind::Https]),
    ("ca_file", &[Kind::Https]),
    ("name", &[Kind::Dns]),
    ("record", &[Kind::Dns]),
    ("answer", &[Kind::Dns]),
    ("transport", &[Kind::Dns]),
    ("command", &[Kind::Command]),
];
const ALL: [Kind; 7] = [Kind::Icmp, Kind::Tcp, Kind::Udp, Kind::Http, Kind::Https, Kind::Dns, Kind::Command];

/// What is wrong with a check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The key.
    pub key: &'static str,
    /// What is wrong, and what to do.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "check.{}: {}", self.key, self.text)
    }
}

/// What is done for a check of one destination.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// From one check to the next.
    pub interval: Duration,
    /// After that a check has failed.
    pub timeout: Duration,
    /// Failures in a row that take the destination out.
    pub fall: u32,
    /// Successes in a row that bring it back.
    pub rise: u32,
    /// What it is taken for until then.
    pub start: Start,
    /// The way that is taken, if it is not that of all packets.
    pub way: Option<Way>,
    /// What is tried.
    pub probe: Probe,
}

/// What is tried.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Probe {
    /// ICMP echo.
    Icmp(IpAddr),
    /// A TCP connection.
    Tcp(Exchange),
    /// A datagram.
    Udp(Exchange),
    /// HTTP, with TLS or without.
    Http(Box<Http>),
    /// A question to a name server.
    Dns(Question),
    /// A program.
    Command(Program),
}

/// What is sent, and what is expected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exchange {
    /// To whom.
    pub to: SocketAddr,
    /// Sent first; nothing if empty.
    pub send: Vec<u8>,
    /// What the answer must hold, if an answer is expected.
    pub expect: Option<Vec<u8>>,
}

/// An HTTP request and what is expected of its answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Http {
    /// To whom.
    pub to: SocketAddr,
    /// The method.
    pub method: hyper::Method,
    /// Path and query.
    pub path: hyper::Uri,
    /// Headers of the request.
    pub request: hyper::HeaderMap,
    /// Good statuses.
    pub status: Vec<StatusRange>,
    /// Headers of the answer, with what each must hold.
    pub headers: Vec<(hyper::header::HeaderName, String)>,
    /// What the body must hold.
    pub body: Option<String>,
    /// What it must match.
    pub body_regex: Option<Pattern>,
    /// TLS, if any.
    pub tls: Option<Tls>,
}

/// How TLS is spoken.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Tls {
    /// The server's name.
    pub name: rustls::pki_types::ServerName<'static>,
    /// Is the certificate verified?
    pub verify: bool,
    /// Against these authorities; the system's if not given.
    pub ca_file: Option<PathBuf>,
}

/// A question to a name server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// To whom.
    pub to: SocketAddr,
    /// How.
    pub transport: Transport,
    /// The name.
    pub name: hickory_proto::rr::Name,
    /// The type of record.
    pub record: hickory_proto::rr::RecordType,
    /// A record that the answer must hold.
    pub answer: Option<String>,
}

/// A program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program {
    /// It and its arguments.
    pub command: Vec<String>,
    /// Its environment, beside the director's own.
    pub environment: BTreeMap<&'static str, String>,
}

/// A regular expression; equal if its text is.
#[derive(Clone, Debug)]
pub struct Pattern(pub Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

/// What is checked: the destinations of a service, or one of them.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The service.
    pub service: &'a ServiceKey,
    /// The destination; none for what is to do for all that there may be.
    pub destination: Option<Place>,
}

/// A destination, and how packets reach it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Its address and port.
    pub at: SocketAddr,
    /// How packets reach it.
    pub method: Method,
    /// The encapsulation, if by tunnel.
    pub tunnel: Tunnel,
}

impl From<&Destination> for Place {
    fn from(d: &Destination) -> Self {
        Self { at: (d.address, d.port).into(), method: d.method, tunnel: d.tunnel }
    }
}

impl Subject<'_> {
    fn address(&self) -> IpAddr {
        self.destination.map_or(Ipv4Addr::UNSPECIFIED.into(), |d| d.at.ip())
    }
}

impl Plan {
    /// The plan for a check of that destination.
    ///
    /// # Errors
    /// The key that is wrong, what is wrong with it, and what to do.
    pub fn new(spec: &CheckSpec, of: Subject<'_>) -> Result<Self, Fault> {
        let kind = kind(spec)?;
        let interval = within("interval", spec.interval.unwrap_or(INTERVAL), INTERVALS)?;
        let timeout = within("timeout", spec.timeout.unwrap_or(TIMEOUT.min(interval)), TIMEOUTS)?;
        if timeout > interval {
            let text = format!("{timeout} s is longer than the interval of {interval} s; give at most that");
            return Err(Fault { key: "timeout", text });
        }
        Ok(Self {
            interval: interval.duration(),
            timeout: timeout.duration(),
            fall: within("fall", spec.fall.unwrap_or(FALL), COUNTS)?,
            rise: within("rise", spec.rise.unwrap_or(RISE), COUNTS)?,
            start: spec.start.unwrap_or_default(),
            way: way(spec, of)?,
            probe: probe(spec, kind, of)?,
        })
    }
}

/// The way to the virtual address on the destination, if that is the one to be checked, and the one that packets have which reach it:
/// those by NAT have the destination's own, and a tunnel of another family leaves no address to answer to.
fn way(spec: &CheckSpec, of: Subject<'_>) -> Result<Option<Way>, Fault> {
    if spec.target.unwrap_or_default() == Target::Server {
        return Ok(None);
    }
    let wrong = |text: String| Err(Fault { key: "target", text });
    if spec.address.is_some() {
        return wrong("the virtual address is checked, not `address`; take one of them away".to_owned());
    }
    let ServiceKey::Address { address, .. } = *of.service else {
        return wrong(format!("{} has no virtual address to be checked; take it away", word(of.service)));
    };
    Ok(of.destination.and_then(|Place { at, method, tunnel }| {
        let by = at.ip();
        match method {
            Method::Dr => Some(Way { address, by, tunnel: None }),
            Method::Tun if by.is_ipv6() == address.is_ipv6() => Some(Way { address, by, tunnel: Some(tunnel) }),
            _ => None,
        }
    }))
}

/// The address that is checked.
fn address(spec: &CheckSpec, of: Subject<'_>) -> IpAddr {
    let by_way = way(spec, of).ok().flatten().map(|way| way.address);
    by_way.or(spec.address).unwrap_or(of.address())
}

/// The kind of the check; keys of other kinds are refused.
fn kind(spec: &CheckSpec) -> Result<Kind, Fault> {
    let missing = || Fault { key: "type", text: format!("it is missing; give {}", list(&ALL)) };
    let kind = spec.kind.ok_or_else(missing)?;
    let members = spec.members();
    match ONLY.iter().find(|(key, kinds)| members.contains_key(*key) && !kinds.contains(&kind)) {
        None => Ok(kind),
        Some((key, kinds)) => {
            let text = format!("it is of no use with type {kind}, but with {}; take it away", list(kinds));
            Err(Fault { key, text })
        }
    }
}

fn list(kinds: &[Kind]) -> String {
    kinds.iter().map(Kind::to_string).collect::<Vec<_>>().join(", ")
}

fn within<T: PartialOrd + fmt::Display>(key: &'static str, number: T, [least, most]: [T; 2]) -> Result<T, Fault> {
    if number < least || number > most {
        return Err(Fault { key, text: format!("{number} cannot be; give {least} to {most}") });
    }
    Ok(number)
}

fn probe(spec: &CheckSpec, kind: Kind, of: Subject<'_>) -> Result<Probe, Fault> {
    let address = address(spec, of);
    Ok(match kind {
        Kind::Icmp => Probe::Icmp(address),
        Kind::Tcp => Probe::Tcp(exchange(spec, target(spec, of)?)),
        Kind::Udp => Probe::Udp(exchange(spec, target(spec, of)?)),
        Kind::Http => Probe::Http(Box::new(http(spec, target(spec, of)?)?)),
        Kind::Https => {
            let to = target(spec, of)?;
            Probe::Http(Box::new(Http { tls: Some(tls(spec, to)?), ..http(spec, to)? }))
        }
        Kind::Dns => Probe::Dns(question(spec, target(spec, of)?)?),
        Kind::Command => Probe::Command(program(spec, SocketAddr::new(address, port(spec, of).unwrap_or(0)), of)?),
    })
}

fn port(spec: &CheckSpec, of: Subject<'_>) -> Option<u16> {
    let ports = [spec.port, of.destination.map(|d| d.at.port()), Some(of.service.port())];
    ports.into_iter().flatten().find(|port| *port != 0)
}

fn target(spec: &CheckSpec, of: Subject<'_>) -> Result<SocketAddr, Fault> {
    let missing = || Fault { key: "port", text: format!("it is missing, and {} has none; give it", word(of.service)) };
    port(spec, of).map(|port| SocketAddr::new(address(spec, of), port)).ok_or_else(missing)
}

fn exchange(spec: &CheckSpec, to: SocketAddr) -> Exchange {
    let send = spec.send.as_ref().map(Bytes::bytes).unwrap_or_default();
    Exchange { to, send, expect: spec.expect.as_ref().map(Bytes::bytes) }
}

fn http(spec: &CheckSpec, to: SocketAddr) -> Result<Http, Fault> {
    let method = spec.method.as_deref().unwrap_or("GET");
    let bad = |key, text: String| Fault { key, text };
    let method =
        method.parse().map_err(|_| bad("method", format!("{method:?} is no method; give GET or HEAD, say")))?;
    let path = spec.path.as_deref().unwrap_or("/");
    let uri: hyper::Uri =
        path.parse().map_err(|e| bad("path", format!("{path:?} is no path: {e}; it begins with /")))?;
    if !path.starts_with('/') {
        return Err(bad(
            "path",
            format!("{path:?} does not begin with /; give only path and query, the rest is `host`"),
        ));
    }
    let statuses = spec.status.clone().unwrap_or_else(|| vec![STATUSES]);
    if statuses.is_empty() {
        return Err(bad("status", "no status would be good; name one, or take the key away".to_owned()));
    }
    Ok(Http {
        to,
        method,
        path: uri,
        request: request_headers(spec, to)?,
        status: statuses,
        headers: expected_headers(spec)?,
        body: spec.body.clone(),
        body_regex: spec.body_regex.as_deref().map(pattern).transpose()?,
        tls: None,
    })
}

fn request_headers(spec: &CheckSpec, to: SocketAddr) -> Result<hyper::HeaderMap, Fault> {
    let mut headers = hyper::HeaderMap::new();
    let host = spec.host.clone().unwrap_or_else(|| to.to_string());
    let value = |key, text: &str| {
        let bad = |e| Fault { key, text: format!("{text:?} cannot be the value of a header: {e}") };
        text.parse::<hyper::header::HeaderValue>().map_err(bad)
    };
    headers.insert(hyper::header::HOST, value("host", &host)?);
    headers.insert(hyper::header::USER_AGENT, value("host", "pollvs")?);
    for (name, text) in spec.request_headers.iter().flatten() {
        headers.insert(header_name("request_headers", name)?, value("request_headers", text)?);
    }
    Ok(headers)
}

fn expected_headers(spec: &CheckSpec) -> Result<Vec<(hyper::header::HeaderName, String)>, Fault> {
    let pairs = spec.headers.iter().flatten();
    pairs.map(|(name, text)| Ok((header_name("headers", name)?, text.clone()))).collect()
}

fn header_name(key: &'static str, name: &str) -> Result<hyper::header::HeaderName, Fault> {
    name.parse().map_err(|_| Fault { key, text: format!("{name:?} is no name of a header") })
}

fn pattern(text: &str) -> Result<Pattern, Fault> {
    let built = RegexBuilder::new(text).size_limit(REGEX_ROOM).build();
    let bad = |e: regex::Error| Fault { key: "body_regex", text: e.to_string().replace('\n', " ") };
    built.map(Pattern).map_err(bad)
}

fn tls(spec: &CheckSpec, to: SocketAddr) -> Result<Tls, Fault> {
    let named = spec.tls_name.clone().or_else(|| spec.host.as_deref().map(without_port));
    let (key, name) = match &spec.tls_name {
        Some(_) => ("tls_name", named),
        None => ("host", named),
    };
    let name = name.unwrap_or_else(|| to.ip().to_string());
    let bad = |_| Fault { key, text: format!("{name:?} is no name of a server; give one as tls_name") };
    let verify = spec.verify.unwrap_or(false);
    if !verify && spec.ca_file.is_some() {
        return Err(Fault { key: "ca_file", text: "it is of no use without verify = true; add that".to_owned() });
    }
    let name = rustls::pki_types::ServerName::try_from(name.clone()).map_err(bad)?;
    Ok(Tls { name, verify, ca_file: spec.ca_file.clone() })
}

/// A host without the port that may follow it, and without the brackets of an IPv6 address.
fn without_port(host: &str) -> String {
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    };
    host.trim_start_matches('[').trim_end_matches(']').to_owned()
}

fn question(spec: &CheckSpec, to: SocketAddr) -> Result<Question, Fault> {
    let name = spec.name.as_deref().ok_or_else(|| Fault {
        key: "name",
        text: "it is missing; give the name that is to be asked for, such as \"www.example.org\"".to_owned(),
    })?;
    let mut name: hickory_proto::rr::Name =
        name.parse().map_err(|e| Fault { key: "name", text: format!("{name:?} is no name: {e}") })?;
    name.set_fqdn(true);
    let record = spec.record.as_deref().unwrap_or("A").to_ascii_uppercase();
    let unknown =
        |_| Fault { key: "record", text: format!("no type of record {record:?}; give A, AAAA, SOA, NS, say") };
    let record = record.parse().map_err(unknown)?;
    Ok(Question { to, transport: spec.transport.unwrap_or_default(), name, record, answer: spec.answer.clone() })
}

/// The program, what is in braces replaced, and the environment that scripts for other directors expect.
fn program(spec: &CheckSpec, at: SocketAddr, of: Subject<'_>) -> Result<Program, Fault> {
    let missing = |text: &str| Fault { key: "command", text: text.to_owned() };
    let words = spec.command.as_deref().unwrap_or_default();
    let path = words.first().ok_or_else(|| missing("it is missing; give [\"/path/of/program\", \"argument\"]"))?;
    if !path.starts_with('/') {
        return Err(missing("the program is not named by its whole path; begin it with /"));
    }
    if words.iter().any(|word| word.contains('\0')) {
        return Err(missing("a word holds a NUL, which no program can be given"));
    }
    let (vip, vport, mark) = match *of.service {
        ServiceKey::Address { address, port, .. } => (address.to_string(), port.to_string(), String::new()),
        ServiceKey::Mark { mark, .. } => (String::new(), String::new(), mark.to_string()),
    };
    let protocol = match of.service {
        ServiceKey::Address { protocol, .. } => protocol.to_string().to_ascii_lowercase(),
        ServiceKey::Mark { .. } => String::new(),
    };
    let values = [
        ("POLLVS_SERVICE", "{service}", word(of.service)),
        ("POLLVS_PROTOCOL", "{protocol}", protocol),
        ("POLLVS_VIP", "{vip}", vip),
        ("POLLVS_VPORT", "{vport}", vport),
        ("POLLVS_MARK", "{mark}", mark),
        ("POLLVS_ADDRESS", "{address}", at.ip().to_string()),
        ("POLLVS_PORT", "{port}", at.port().to_string()),
    ];
    let filled = |word: &String| {
        let fill = |text: String, (_, name, value): &(_, &str, String)| text.replace(name, value);
        values.iter().fold(word.clone(), fill)
    };
    let command = words.iter().map(filled).collect();
    Ok(Program { command, environment: values.into_iter().map(|(name, _, value)| (name, value)).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(at: &str, method: Method) -> Place {
        Place { at: at.parse().unwrap(), method, tunnel: Tunnel::default() }
    }

    fn plan(json: &str, service: &str) -> Result<Plan, String> {
        let spec: CheckSpec = serde_json::from_str(json).unwrap();
        let subject =
            Subject { service: &service.parse().unwrap(), destination: Some(place("198.51.100.11:8080", Method::Dr)) };
        Plan::new(&spec, subject).map_err(|fault| fault.to_string())
    }

    #[test]
    #[allow(clippy::too_many_lines, reason = "a table")]
    fn what_is_wrong_is_told_with_key_and_remedy() {
        for (json, says) in [
            ("{}", "check.type: it is missing; give icmp, tcp, udp, http, https, dns, command"),
            (r#"{"type":"tcp","interval":0.05}"#, "check.interval: 0.05 cannot be; give 0.1 to 86400"),
            (
                r#"{"type":"tcp","timeout":6}"#,
                "check.timeout: 6 s is longer than the interval of 5 s; give at most that",
            ),
            (r#"{"type":"tcp","timeout":0}"#, "check.timeout: 0 cannot be; give 0.01 to 600"),
            (r#"{"type":"tcp","fall":0}"#, "check.fall: 0 cannot be; give 1 to 1000"),
            (r#"{"type":"tcp","rise":1001}"#, "check.rise: 1001 cannot be; give 1 to 1000"),
            (
                r#"{"type":"tcp","path":"/"}"#,
                "check.path: it is of no use with type tcp, but with http, https; take it away",
            ),
            (
                r#"{"type":"icmp","port":1}"#,
                "check.port: it is of no use with type icmp, but with tcp, udp, http, https, dns, command; take it away",
            ),
            (
                r#"{"type":"http","verify":true}"#,
                "check.verify: it is of no use with type http, but with https; take it away",
            ),
            (r#"{"type":"http","method":"a b"}"#, "check.method: \"a b\" is no method; give GET or HEAD, say"),
            (
                r#"{"type":"http","path":"http://x/"}"#,
                "check.path: \"http://x/\" does not begin with /; give only path and query, the rest is `host`",
            ),
            (
                r#"{"type":"http","path":"/ä b"}"#,
                "check.path: \"/ä b\" is no path: invalid uri character; it begins with /",
            ),
            (r#"{"type":"http","status":[]}"#, "check.status: no status would be good; name one, or take the key away"),
            (
                r#"{"type":"http","host":"a\nb"}"#,
                "check.host: \"a\\nb\" cannot be the value of a header: failed to parse header value",
            ),
            (r#"{"type":"http","headers":{"a b":""}}"#, "check.headers: \"a b\" is no name of a header"),
            (
                r#"{"type":"https","tls_name":"a b"}"#,
                "check.tls_name: \"a b\" is no name of a server; give one as tls_name",
            ),
            (r#"{"type":"https","ca_file":"/x"}"#, "check.ca_file: it is of no use without verify = true; add that"),
            (
                r#"{"type":"icmp","target":"vip"}"#,
                "check.target: it is of no use with type icmp, but with tcp, udp, http, https, dns; take it away",
            ),
            (
                r#"{"type":"tcp","target":"vip","address":"192.0.2.1"}"#,
                "check.target: the virtual address is checked, not `address`; take one of them away",
            ),
            (
                r#"{"type":"dns"}"#,
                "check.name: it is missing; give the name that is to be asked for, such as \"www.example.org\"",
            ),
            (
                r#"{"type":"dns","name":"x","record":"Q"}"#,
                "check.record: no type of record \"Q\"; give A, AAAA, SOA, NS, say",
            ),
            (r#"{"type":"command"}"#, "check.command: it is missing; give [\"/path/of/program\", \"argument\"]"),
            (
                r#"{"type":"command","command":["true"]}"#,
                "check.command: the program is not named by its whole path; begin it with /",
            ),
        ] {
            assert_eq!(plan(json, "tcp:192.0.2.10:80"), Err(says.to_owned()), "{json}");
        }
        let regex = plan(r#"{"type":"http","body_regex":"("}"#, "mark:7").unwrap_err();
        assert!(regex.starts_with("check.body_regex: ") && regex.contains("unclosed group"), "{regex}");
        let huge = plan(r#"{"type":"http","body_regex":"\\w{1000}{1000}"}"#, "mark:7").unwrap_err();
        assert!(huge.contains("size limit"), "{huge}");
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        let plan = plan(r#"{"type":"http"}"#, "tcp:192.0.2.10:80").unwrap();
        assert_eq!((plan.fall, plan.rise, plan.start), (3, 1, Start::Up));
        assert_eq!((plan.interval, plan.timeout), (Duration::from_secs(5), Duration::from_secs(2)));
        let Probe::Http(http) = plan.probe else { panic!() };
        assert_eq!((http.to.to_string().as_str(), http.path.path()), ("198.51.100.11:8080", "/"));
        assert_eq!(http.request["host"], "198.51.100.11:8080");
        assert!(http.status[0].holds(399) && !http.status[0].holds(400));
    }

    #[test]
    fn the_target_is_the_destination_unless_another_is_named() {
        for (json, target) in [
            (r#"{"type":"tcp"}"#, "198.51.100.11:8080"),
            (r#"{"type":"tcp","port":81}"#, "198.51.100.11:81"),
            (r#"{"type":"tcp","address":"2001:db8::5"}"#, "[2001:db8::5]:8080"),
        ] {
            let Probe::Tcp(exchange) = plan(json, "tcp:192.0.2.10:80").unwrap().probe else { panic!() };
            assert_eq!(exchange.to.to_string(), target, "{json}");
        }
        let spec = CheckSpec { kind: Some(Kind::Tcp), ..CheckSpec::default() };
        let (service, destination) = ("mark:7".parse().unwrap(), Some(place("198.51.100.11:0", Method::Dr)));
        let fault = Plan::new(&spec, Subject { service: &service, destination }).unwrap_err();
        assert_eq!(fault.to_string(), "check.port: it is missing, and mark:7 has none; give it");
    }

    #[test]
    fn the_virtual_address_is_checked_on_the_destination_if_packets_have_it_there() {
        let spec = serde_json::from_str(r#"{"type":"tcp","target":"vip"}"#).unwrap();
        let plan = |service: &str, destination| {
            Plan::new(&spec, Subject { service: &service.parse().unwrap(), destination: Some(destination) })
        };
        let ip = |text: &str| text.parse().unwrap();
        let server = "198.51.100.11:8080";
        let gre = Tunnel::Gre { checksum: false };
        let of = |method, tunnel| Place { tunnel, ..place(server, method) };
        for (service, destination, tunnel, to) in [
            ("tcp:192.0.2.10:80", of(Method::Dr, gre), Some(None), "192.0.2.10:8080"),
            ("tcp:192.0.2.10:80", of(Method::Tun, gre), Some(Some(gre)), "192.0.2.10:8080"),
            ("tcp:192.0.2.10:80", of(Method::Nat, gre), None, server),
            ("tcp:[2001:db8::10]:80", of(Method::Tun, gre), None, server),
        ] {
            let Plan { way, probe: Probe::Tcp(exchange), .. } = plan(service, destination).unwrap() else { panic!() };
            let want = tunnel.map(|tunnel| Way { address: ip("192.0.2.10"), by: ip("198.51.100.11"), tunnel });
            assert_eq!((way, exchange.to.to_string().as_str()), (want, to), "{service} {destination:?}");
        }
        let late = plan("tcp:192.0.2.10:80", of(Method::Dr, gre)).unwrap().timed_out().unwrap_err();
        assert_eq!(late, "no answer within 2000 ms (is accept_local set for the twin? docs/health.md)");
        let fault = plan("mark:7", of(Method::Dr, gre)).unwrap_err();
        assert_eq!(fault.to_string(), "check.target: mark:7 has no virtual address to be checked; take it away");
    }

    #[test]
    fn the_servers_name_is_that_of_the_host_unless_given() {
        for (json, name) in [
            (r#"{"type":"https"}"#, "198.51.100.11"),
            (r#"{"type":"https","host":"www.example.org:444"}"#, "www.example.org"),
            (r#"{"type":"https","host":"[2001:db8::1]:444"}"#, "2001:db8::1"),
            (r#"{"type":"https","host":"www.example.org","tls_name":"other.example.org"}"#, "other.example.org"),
        ] {
            let Probe::Http(http) = plan(json, "tcp:192.0.2.10:80").unwrap().probe else { panic!() };
            assert_eq!(http.tls.unwrap().name.to_str(), name, "{json}");
        }
    }

    #[test]
    fn a_program_is_told_what_it_checks() {
        let json = r#"{"type":"command","command":["/x","{vip}","{vport}","{address}:{port}"]}"#;
        let Probe::Command(program) = plan(json, "udp:192.0.2.10:53").unwrap().probe else { panic!() };
        assert_eq!(program.command, ["/x", "192.0.2.10", "53", "198.51.100.11:8080"]);
        assert_eq!(program.environment["POLLVS_PROTOCOL"], "udp");
        let Probe::Command(program) = plan(json, "mark:7").unwrap().probe else { panic!() };
        assert_eq!(program.command, ["/x", "", "", "198.51.100.11:8080"]);
        assert_eq!(program.environment["POLLVS_MARK"], "7");
    }
}
