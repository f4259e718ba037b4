//! The sections `[vs]`, `[marks]` and `[[service]]`: from TOML to a [`RuleSet`] and back.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use toml::Spanned;

use super::error::Place;
use super::{ConfigError, File, checks, marks};
use crate::control::check;
use crate::control::health::rules::ServiceChecks;
use crate::control::health::spec::CheckSpec;
use crate::control::key::word;
use crate::control::reply::Failure;
use crate::control::request::{DestinationSpec, PersistenceSpec, SchedulerFlag, ServiceSpec};
use crate::control::rule_set::{RuleSet, ServiceRules};
use crate::control::standing::sorry::{OnReturn, SorrySpec};
use crate::control::standing::{OnFail, Policy};
use crate::destination::{Method, Tunnel};
use crate::mark::MarkRules;
use crate::netmask::Netmask;
use crate::service::{Protocol, ServiceKey};
use crate::settings::Settings;

/// `[[service]]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceSection {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    protocol: Option<Protocol>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mark: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mark6: Option<u32>,
    #[serde(default = "wlc", deserialize_with = "scheduler")]
    scheduler: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    persistent: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    netmask: Option<Netmask>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "engine")]
    pe: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    flags: Vec<SchedulerFlag>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    one_packet: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    on_fail: OnFail,
    #[serde(default, skip_serializing_if = "is_default")]
    slow_start: u32,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    quorum: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    hysteresis: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sorry: Option<SorrySection>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    check: Option<Spanned<CheckSpec>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    destination: Vec<Spanned<DestinationSection>>,
}

/// `sorry` of `[[service]]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SorrySection {
    address: String,
    #[serde(default)]
    method: Method,
    #[serde(default, skip_serializing_if = "is_default")]
    tunnel: Tunnel,
    #[serde(default, skip_serializing_if = "is_default")]
    on_return: OnReturn,
}

/// `[[service.destination]]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DestinationSection {
    address: String,
    #[serde(default)]
    method: Method,
    #[serde(default = "one")]
    weight: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    upper: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    lower: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    tunnel: Tunnel,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    check: Option<Spanned<CheckSpec>>,
}

fn wlc() -> String {
    "wlc".to_owned()
}

fn one() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_one(number: &u32) -> bool {
    *number == 1
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn scheduler<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    check::scheduler(&name).map_err(|e| D::Error::custom(e.message))?;
    Ok(name)
}

/// The rules of a text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Given {
    /// `[vs]`, if there is one.
    pub settings: Option<Settings>,
    /// `[marks]`.
    pub marks: MarkRules,
    /// `[[service]]`, in order.
    pub services: Vec<ServiceRules>,
}

fn engine<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let name = String::deserialize(deserializer)?;
    check::engine(&name).map_err(|e| D::Error::custom(e.message))?;
    Ok(Some(name))
}

/// Reads the rules of a text: a whole configuration, or only `[vs]`, `[marks]` and `[[service]]`.
/// Never panics, whatever the text is.
///
/// # Errors
/// What is wrong, where, and what to do.
pub fn parse_rules(name: &str, text: &str) -> Result<Given, ConfigError> {
    let place = Place { name, text };
    let file: File = toml::from_str(text).map_err(|e| place.toml(e))?;
    let marks = marks::convert(&place, &file.marks)?;
    Ok(Given { settings: file.vs, marks, services: convert(&place, file.service)? })
}

/// Services of the file, checked as the store will check them.
pub(super) fn convert(
    place: &Place<'_>,
    sections: Vec<Spanned<ServiceSection>>,
) -> Result<Vec<ServiceRules>, ConfigError> {
    let mut lines = HashMap::new();
    let mut services = Vec::with_capacity(sections.len());
    for section in sections {
        let offset = section.span().start;
        let service = service(place, offset, section.into_inner())?;
        let key = service.service.service;
        if let Some(first) = lines.insert(key, offset) {
            let first = place.key("", first, "").line;
            let text = format!("{} is already in line {first}; keep one of them", word(&key));
            return Err(place.key("service", offset, text));
        }
        services.push(service);
    }
    Ok(services)
}

fn service(place: &Place<'_>, offset: usize, section: ServiceSection) -> Result<ServiceRules, ConfigError> {
    let key = key(&section).map_err(|(name, text)| place.key(name, offset, text))?;
    let at = |name: &str, failure: Failure| place.key(name, offset, failure.message);
    let persistence = persistence(&section, key.v6()).map_err(|(name, failure)| at(name, failure))?;
    let tcp = matches!(key, ServiceKey::Address { protocol, .. } if protocol != Protocol::Udp);
    if section.one_packet && tcp {
        return Err(place.key("service.one_packet", offset, "one-packet scheduling is only for UDP and marks"));
    }
    if key.port() == 0 && matches!(key, ServiceKey::Address { .. }) && persistence.is_none() {
        return Err(place.key("service.port", offset, "a service of all ports (port 0) must be persistent"));
    }
    let policy = policy(&key, &section).map_err(|text| place.key("service.sorry", offset, text))?;
    policy.check(&key).map_err(|(name, failure)| at(&format!("service.{name}"), failure))?;
    let (destinations, own_checks) = destinations(place, &key, section.destination)?;
    let checks = checks::convert(place, &key, section.check, own_checks, &destinations)?;
    let ServiceSection { scheduler, pe, one_packet, flags, .. } = section;
    Ok(ServiceRules {
        service: ServiceSpec { service: key, scheduler, persistence, pe, one_packet, flags },
        policy,
        checks,
        destinations,
        draining: Vec::new(),
    })
}

fn key(s: &ServiceSection) -> Result<ServiceKey, (&'static str, String)> {
    let with_mark = |mark, v6| match mark {
        0 => Err(("service.mark", "0 is no mark; a mark is 1 or more".to_owned())),
        mark => Ok(ServiceKey::Mark { mark, v6 }),
    };
    match (s.protocol, s.address, s.port, s.mark, s.mark6) {
        (None, None, None, Some(mark), None) => with_mark(mark, false),
        (None, None, None, None, Some(mark)) => with_mark(mark, true),
        (Some(protocol), Some(address), Some(port), None, None) => Ok(ServiceKey::Address { protocol, address, port }),
        (_, _, _, None, None) => {
            Err(("service", "a service needs protocol, address and port, or mark, or mark6".into()))
        }
        _ => Err(("service", "a service has either protocol, address and port, or mark, or mark6; keep one".into())),
    }
}

fn policy(key: &ServiceKey, section: &ServiceSection) -> Result<Policy, String> {
    let sorry = |s: &SorrySection| {
        let SorrySection { address, method, tunnel, on_return } = s;
        let spec = |address| SorrySpec { address, method: *method, tunnel: *tunnel, on_return: *on_return };
        place_of(address, key).map(spec)
    };
    let ServiceSection { on_fail, slow_start, quorum, hysteresis, .. } = *section;
    let sorry = section.sorry.as_ref().map(sorry).transpose()?;
    Ok(Policy { on_fail, slow_start_secs: slow_start, quorum, hysteresis, sorry })
}

fn persistence(section: &ServiceSection, v6: bool) -> Result<Option<PersistenceSpec>, (&'static str, Failure)> {
    let netmask = section.netmask;
    let Some(timeout_secs) = section.persistent else {
        let text = "netmask is of use only with persistent; add persistent = SECONDS or take netmask away";
        let failure = || Failure::new(crate::control::reply::ErrorCode::InvalidArgument, text);
        return if netmask.is_some() { Err(("service.netmask", failure())) } else { Ok(None) };
    };
    let spec = PersistenceSpec { timeout_secs, netmask };
    let name = |s: &PersistenceSpec| check::persistence(&PersistenceSpec { netmask: None, ..*s }, v6).is_err();
    let wrong = |failure| (if name(&spec) { "service.persistent" } else { "service.netmask" }, failure);
    check::persistence(&spec, v6).map_err(wrong)?;
    Ok(Some(spec))
}

/// Destinations, and the checks of single ones.
type Destinations = (Vec<DestinationSpec>, Vec<(SocketAddr, Spanned<CheckSpec>)>);

fn destinations(
    place: &Place<'_>,
    key: &ServiceKey,
    sections: Vec<Spanned<DestinationSection>>,
) -> Result<Destinations, ConfigError> {
    let mut lines: HashMap<SocketAddr, usize> = HashMap::new();
    let (mut all, mut checks) = (Vec::with_capacity(sections.len()), Vec::new());
    for section in sections {
        let offset = section.span().start;
        let at = |name: &str, text: String| place.key(name, offset, text);
        let mut section = section.into_inner();
        let own_check = section.check.take();
        let spec = destination(key, section).map_err(|text| at("service.destination.address", text))?;
        check::numbers(&spec).map_err(|f| at(number_key(&spec), f.message))?;
        check::address(key, &spec).map_err(|f| at("service.destination.address", f.message))?;
        let address = spec.address;
        if let Some(first) = lines.insert(address, offset) {
            let first = place.key("", first, "").line;
            let text = format!("{address} is already in line {first}; keep one of them");
            return Err(at("service.destination", text));
        }
        checks.extend(own_check.map(|check| (address, check)));
        all.push(spec);
    }
    Ok((all, checks))
}

fn number_key(spec: &DestinationSpec) -> &'static str {
    if spec.weight > check::MAX_WEIGHT {
        "service.destination.weight"
    } else if spec.lower > spec.upper {
        "service.destination.lower"
    } else {
        "service.destination.tunnel"
    }
}

fn destination(key: &ServiceKey, section: DestinationSection) -> Result<DestinationSpec, String> {
    let DestinationSection { address, method, weight, upper, lower, tunnel, .. } = section;
    Ok(DestinationSpec { address: place_of(&address, key)?, method, weight, tunnel, upper, lower })
}

/// Address and port; the service's port where only an address is given.
fn place_of(text: &str, key: &ServiceKey) -> Result<SocketAddr, String> {
    let alone = || Some(SocketAddr::new(text.parse().ok()?, key.port()));
    let parsed = text.parse().ok().filter(|_| !text.contains('%')).or_else(alone);
    let wrong =
        || format!("{text:?} is no address; write \"198.51.100.11:80\", \"[2001:db8::11]:80\" or an address alone");
    parsed.ok_or_else(wrong)
}

#[derive(Serialize)]
struct Rules<'a> {
    vs: &'a Settings,
    #[serde(skip_serializing_if = "MarkRules::is_empty")]
    marks: &'a MarkRules,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    service: Vec<ServiceSection>,
}

/// The rules as TOML, which [`parse_rules`] reads.
pub fn write_rules(rules: &RuleSet) -> String {
    let service = rules.services.iter().map(section).collect();
    toml::to_string(&Rules { vs: &rules.settings, marks: &rules.marks, service }).expect("rules have a TOML form")
}

fn section(rules: &ServiceRules) -> ServiceSection {
    let Policy { on_fail, slow_start_secs, quorum, hysteresis, sorry } = rules.policy;
    let ServiceSpec { service, scheduler, persistence, pe, one_packet, flags } = rules.service.clone();
    let mut section = ServiceSection {
        scheduler,
        pe,
        one_packet,
        flags,
        on_fail,
        slow_start: slow_start_secs,
        quorum,
        hysteresis,
        sorry: sorry.map(sorry_section),
        persistent: persistence.map(|p| p.timeout_secs),
        netmask: persistence.and_then(|p| p.netmask),
        check: rules.checks.service.clone().map(unplaced),
        destination: rules.destinations.iter().map(|d| unplaced(destination_section(d, &rules.checks))).collect(),
        ..ServiceSection::default()
    };
    match service {
        ServiceKey::Address { protocol, address, port } => {
            (section.protocol, section.address, section.port) = (Some(protocol), Some(address), Some(port));
        }
        ServiceKey::Mark { mark, v6: false } => section.mark = Some(mark),
        ServiceKey::Mark { mark, v6: true } => section.mark6 = Some(mark),
    }
    section
}

fn sorry_section(sorry: SorrySpec) -> SorrySection {
    let SorrySpec { address, method, tunnel, on_return } = sorry;
    SorrySection { address: address.to_string(), method, tunnel, on_return }
}

/// What stands in no text.
fn unplaced<T>(section: T) -> Spanned<T> {
    Spanned::new(0..0, section)
}

fn destination_section(d: &DestinationSpec, checks: &ServiceChecks) -> DestinationSection {
    let DestinationSpec { address, method, weight, tunnel, upper, lower } = d.clone();
    let check = checks.destinations.get(&address).cloned().map(unplaced);
    DestinationSection { address: address.to_string(), method, weight, upper, lower, tunnel, check }
}
