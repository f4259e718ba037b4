//! What an interface of the host is: its index, its own addresses and networks.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::SockaddrStorage;

/// An address and its netmask.
type Own = (IpAddr, IpAddr);

/// The number of an interface.
///
/// # Errors
/// There is none of that name.
pub(super) fn index(name: &str) -> io::Result<u32> {
    Ok(if_nametoindex(name)?)
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|a| a.ip().into());
    v4.or_else(|| address.as_sockaddr_in6().map(|a| a.ip().into()))
}

/// The addresses of an interface; none when they cannot be read.
pub(super) fn own(name: &str) -> Vec<Own> {
    let all = getifaddrs().into_iter().flatten().filter(|i| i.interface_name == name);
    all.filter_map(|i| Some((ip(i.address.as_ref()?)?, ip(i.netmask.as_ref()?)?))).collect()
}

/// The IPv4 address that an interface sends to groups from.
pub(super) fn first4(name: &str) -> Ipv4Addr {
    let v4 = |(address, _): &Own| if let IpAddr::V4(a) = address { Some(*a) } else { None };
    own(name).iter().find_map(v4).unwrap_or(Ipv4Addr::UNSPECIFIED)
}

/// Is the address in one of these networks?
pub(super) fn is_near(own: &[Own], address: IpAddr) -> bool {
    let within = |(own, mask): &Own| match (own, mask, address) {
        (IpAddr::V4(own), IpAddr::V4(mask), IpAddr::V4(a)) => (own.to_bits() ^ a.to_bits()) & mask.to_bits() == 0,
        (IpAddr::V6(own), IpAddr::V6(mask), IpAddr::V6(a)) => (own.to_bits() ^ a.to_bits()) & mask.to_bits() == 0,
        _ => false,
    };
    own.iter().any(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_is_what_shares_a_network() {
        let own: [Own; 2] = [
            ("192.0.2.1".parse().unwrap(), "255.255.255.0".parse().unwrap()),
            ("fe80::1".parse().unwrap(), "ffff:ffff:ffff:ffff::".parse().unwrap()),
        ];
        for (address, near) in [("192.0.2.99", true), ("192.0.3.1", false), ("fe80::9", true), ("2001:db8::1", false)] {
            assert_eq!(is_near(&own, address.parse().unwrap()), near, "{address}");
        }
    }

    #[test]
    fn the_loopback_has_an_address_and_a_number() {
        assert!(index("lo").is_ok() && index("nosuch0").is_err());
        assert_eq!(first4("lo"), Ipv4Addr::LOCALHOST);
        assert_eq!(first4("nosuch0"), Ipv4Addr::UNSPECIFIED);
    }
}
