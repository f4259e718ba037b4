//! Addresses as ipvsadm takes and shows them: `192.0.2.10:80`, `192.0.2.10`, `[2001:db8::1]:80`, a bare IPv6 address, a port by name.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::cli::ipvsadm::names::Names;
use crate::service::{Protocol, ServiceKey};

/// An address and the port, if one was typed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Endpoint {
    /// The address.
    pub(crate) address: IpAddr,
    /// The port.
    pub(crate) port: Option<u16>,
}

/// Reads `host[:port]`. An address in brackets must carry a port.
pub(crate) fn parse(text: &str, protocol: Protocol, names: &Names) -> Option<Endpoint> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once("]:")?;
        let address = IpAddr::V6(address.parse().ok()?);
        return Some(Endpoint { address, port: Some(port_of(port, protocol, names)?) });
    }
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Some(Endpoint { address: IpAddr::V6(address), port: None });
    }
    let (name, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let address = name.parse().ok().map(IpAddr::V4).or_else(|| names.host(name))?;
    let port = match port {
        Some(port) => Some(port_of(port, protocol, names)?),
        None => None,
    };
    Some(Endpoint { address, port })
}

fn port_of(text: &str, protocol: Protocol, names: &Names) -> Option<u16> {
    text.parse().ok().or_else(|| names.port(protocol, text))
}

/// Writes `address:port`, the port by name unless `numeric`.
pub(crate) fn show(address: SocketAddr, protocol: Protocol, names: Option<&Names>) -> String {
    let port =
        names.and_then(|n| n.name(protocol, address.port())).map_or_else(|| address.port().to_string(), str::to_owned);
    match address.ip() {
        IpAddr::V4(a) => format!("{a}:{port}"),
        IpAddr::V6(a) => format!("[{a}]:{port}"),
    }
}

/// The protocol by which ports of a service's listing are named.
pub(crate) fn protocol_of(key: &ServiceKey) -> Protocol {
    match key {
        ServiceKey::Address { protocol, .. } => *protocol,
        ServiceKey::Mark { .. } => Protocol::Tcp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_ipvsadm_reads_them() {
        let names = Names::default();
        let read = |text| parse(text, Protocol::Tcp, &names).map(|e| (e.address.to_string(), e.port));
        for (text, address, port) in [
            ("192.0.2.10:80", "192.0.2.10", Some(80)),
            ("192.0.2.10", "192.0.2.10", None),
            ("192.0.2.10:http", "192.0.2.10", Some(80)),
            ("[2001:db8::1]:443", "2001:db8::1", Some(443)),
            ("2001:db8::1", "2001:db8::1", None),
        ] {
            assert_eq!(read(text), Some((address.to_owned(), port)), "{text}");
        }
        for text in
            ["", "300.1.1.1:80", "192.0.2.10:99999", "192.0.2.10:1x", "[2001:db8::7]", "nonsense..name:80", ":80"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
