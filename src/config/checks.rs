//! `[service.check]` and `[service.destination.check]`: how real servers are checked.

use std::net::SocketAddr;

use toml::Spanned;

use super::ConfigError;
use super::error::Place;
use crate::control::health::plan;
use crate::control::health::rules::ServiceChecks;
use crate::control::health::spec::CheckSpec;
use crate::control::request::DestinationSpec;
use crate::service::ServiceKey;

/// The checks of a service and of its destinations, checked as the store will check them.
pub(super) fn convert(
    place: &Place<'_>,
    key: &ServiceKey,
    service: Option<Spanned<CheckSpec>>,
    own: Vec<(SocketAddr, Spanned<CheckSpec>)>,
    destinations: &[DestinationSpec],
) -> Result<ServiceChecks, ConfigError> {
    let of_service = service.as_ref().map_or(0, |check| check.span().start);
    let starts: Vec<_> = own.iter().map(|(address, check)| (*address, check.span().start)).collect();
    let checks = ServiceChecks {
        service: service.map(Spanned::into_inner),
        destinations: own.into_iter().map(|(address, check)| (address, check.into_inner())).collect(),
    };
    let places = destinations.iter().map(|d| plan::Place { at: d.address, method: d.method, tunnel: d.tunnel });
    checks.check(key, places).map_err(|(destination, fault)| {
        let start = starts.iter().find(|(address, _)| Some(*address) == destination).map(|(_, start)| *start);
        let section = if start.is_some() { "service.destination.check" } else { "service.check" };
        let offset = place.find_in(start.unwrap_or(of_service), fault.key);
        place.key(&format!("{section}.{}", fault.key), offset, fault.text)
    })?;
    Ok(checks)
}
