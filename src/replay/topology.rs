//! The network around the director, kept as `ip` (iproute2) changes it: links, addresses, routes, neighbours; and the snapshot that the
//! data path takes of it.

use std::net::{IpAddr, Ipv4Addr};

use crate::addr::MacAddr;
use crate::family::Address;
use crate::network::{FamilyNetwork, Fib, Network, PortInfo, Route, Target};
use crate::replay::policy::{self, Policies};
use crate::verdict::PortId;

/// The address of the loopback, on which there is no port.
const LOOPBACK: (IpAddr, u8) = (IpAddr::V4(Ipv4Addr::LOCALHOST), 8);

/// The network that a scenario starts from, as `ip` commands: clients behind 192.0.2.254 on eth0, real servers on eth1.
const BASE: &str = include_str!("base.ip");

/// One interface.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its MAC.
    pub(crate) mac: MacAddr,
    /// Largest IP packet in bytes.
    pub(crate) mtu: u16,
}

/// Where a route that somebody added leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Via { port: PortId, gateway: Option<IpAddr>, mtu: u16 },
    Local,
    Unreachable,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Added {
    network: IpAddr,
    prefix: u8,
    way: Way,
    /// Its number, if it is another table than the usual ones.
    table: Option<u32>,
    metric: u32,
}

/// What a command has done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Done {
    /// What was to be done; what it prints.
    All(String),
    /// Nothing: what the kernel says.
    Nothing(&'static str),
}

const EXISTS: &str = "RTNETLINK answers: File exists\n";
const NO_ROUTE: &str = "RTNETLINK answers: No such process\n";
const NO_ADDRESS: &str = "RTNETLINK answers: Cannot assign requested address\n";
/// Metric of a route of IPv6 that names none.
const METRIC_V6: u32 = 1024;

/// Links, addresses, routes and neighbours.
#[derive(Clone, Debug)]
pub(crate) struct Topology {
    links: Vec<Link>,
    addresses: Vec<(IpAddr, u8, PortId)>,
    routes: Vec<Added>,
    neighbours: Vec<(PortId, IpAddr, MacAddr)>,
    policies: Policies,
}

impl Default for Topology {
    fn default() -> Self {
        let mut topology = Self::bare();
        for line in BASE.lines().filter(|l| !l.starts_with('#')) {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            topology.ip(&words).expect("the network to start from is understood");
        }
        topology
    }
}

impl Topology {
    /// The two interfaces and nothing else.
    pub(crate) fn bare() -> Self {
        let link = |name, last| Link { name, mac: MacAddr([2, 0, 0, 0, 0, last]), mtu: 1500 };
        let links = vec![link("eth0", 1), link("eth1", 2)];
        Self { links, addresses: Vec::new(), routes: Vec::new(), neighbours: Vec::new(), policies: Policies::default() }
    }

    /// The interface of that MAC, or the first.
    pub(crate) fn port_of(&self, mac: &[u8]) -> PortId {
        let at = self.links.iter().position(|l| l.mac.0 == mac).unwrap_or(0);
        port_id(at)
    }

    /// The name of an interface.
    pub(crate) fn name(&self, port: PortId) -> &'static str {
        self.links.get(usize::from(port.0)).map_or("?", |l| l.name)
    }

    /// MTU of an interface; `None` if there is none of that name.
    pub(crate) fn mtu(&self, name: &str) -> Option<u32> {
        let link = self.links.iter().find(|l| l.name == name).map(|l| u32::from(l.mtu));
        if name == "lo" { Some(65_536) } else { link }
    }

    /// The port of an interface, its MAC, and the address that it sends to groups from.
    pub(crate) fn multicasts(&self, name: &str, v6: bool) -> Option<(PortId, MacAddr, IpAddr)> {
        let port = self.port(name).ok()?;
        let mac = self.links.get(usize::from(port.0))?.mac;
        let own = |(address, _, at): &&(IpAddr, u8, PortId)| *at == port && address.is_ipv6() == v6;
        Some((port, mac, self.addresses.iter().find(own)?.0))
    }

    fn port(&self, name: &str) -> Result<PortId, String> {
        let at = self.links.iter().position(|l| l.name == name);
        at.map(port_id).ok_or_else(|| format!("there is no interface {name} here"))
    }

    /// Does what `ip WORDS...` does, if the kernel does.
    pub(crate) fn ip(&mut self, words: &[String]) -> Result<Done, String> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (v6, words) = match words.as_slice() {
            ["-4", rest @ ..] => (false, rest),
            ["-6", rest @ ..] => (true, rest),
            all => (false, all),
        };
        match words {
            ["link" | "l", "set", rest @ ..] => self.link(rest)?,
            ["addr" | "address" | "a", action, rest @ ..] => return self.address(action, rest),
            ["route" | "r", "get", address] => return self.route_get(address).map(Done::All),
            ["route" | "r", action, rest @ ..] => return self.route(action, rest, v6),
            ["neigh" | "neighbour" | "n", action, rest @ ..] => self.neighbour(action, rest)?,
            ["rule" | "ru", action, rest @ ..] => self.policies.change(action, rest, v6)?,
            _ => return Err(format!("ip {} is not supported", words.join(" "))),
        }
        Ok(Done::All(String::new()))
    }

    fn link(&mut self, words: &[&str]) -> Result<(), String> {
        let words = words.strip_prefix(&["dev"]).unwrap_or(words);
        match words {
            ["lo", "up"] => {}
            [name, "up"] => drop(self.port(name)?),
            [name, "mtu", mtu] => {
                let port = self.port(name)?;
                self.links[usize::from(port.0)].mtu = mtu.parse().map_err(|_| format!("{mtu} is no MTU"))?;
            }
            _ => return Err(format!("ip link set {} is not supported", words.join(" "))),
        }
        Ok(())
    }

    fn address(&mut self, action: &str, words: &[&str]) -> Result<Done, String> {
        let [address, "dev", name, rest @ ..] = words else {
            return Err(format!("ip addr {action} {} is not supported", words.join(" ")));
        };
        if !matches!(rest, [] | ["nodad"]) {
            return Err(format!("ip addr ... {} is not supported", rest.join(" ")));
        }
        let (address, prefix) = prefix(address)?;
        let port = if *name == "lo" { PortId(0) } else { self.port(name)? };
        let is_there = self.addresses.contains(&(address, prefix, port));
        match action {
            "add" if is_there => return Ok(Done::Nothing(EXISTS)),
            "add" | "replace" if !is_there => self.addresses.push((address, prefix, port)),
            "replace" => {}
            "del" if self.addresses.iter().all(|a| a.0 != address) => return Ok(Done::Nothing(NO_ADDRESS)),
            "del" => self.addresses.retain(|a| a.0 != address),
            _ => return Err(format!("ip addr {action} is not supported")),
        }
        Ok(Done::All(String::new()))
    }

    fn route(&mut self, action: &str, words: &[&str], v6: bool) -> Result<Done, String> {
        let (kind, words) = match words {
            [kind @ ("local" | "unreachable" | "blackhole" | "prohibit" | "unicast"), rest @ ..] => (*kind, rest),
            rest => ("unicast", rest),
        };
        let [to, options @ ..] = words else { return Err("ip route without a network".to_owned()) };
        let options = pairs(options)?;
        let table = policy::table(&options)?;
        let way = match kind {
            "local" => Way::Local,
            "unicast" => self.unicast(&options, action == "del")?,
            _ => Way::Unreachable,
        };
        let (network, prefix) = self.network(to, way, v6)?;
        let metric = metric(&options, network.is_ipv6())?;
        let same = |r: &Added| (r.network, r.prefix, r.table) == (network, prefix, table);
        let added = Added { network, prefix, way, table, metric };
        match action {
            "add" if self.has(&added) => return Ok(Done::Nothing(EXISTS)),
            "add" => self.routes.push(added),
            // That of an address on a link stays as long as that.
            "del" if !self.has(&added) && !self.routes.iter().any(same) => return Ok(Done::Nothing(NO_ROUTE)),
            "del" => self.routes.retain(|r| !same(r)),
            "replace" | "change" => {
                self.routes.retain(|r| !same(r));
                self.routes.push(added);
            }
            _ => return Err(format!("ip route {action} is not supported")),
        }
        Ok(Done::All(String::new()))
    }

    /// Is there such a route, added or that of an address on a link of IPv4?
    fn has(&self, route: &Added) -> bool {
        let key = |r: &Added| (r.network, r.prefix, r.table, r.metric);
        let on_link = |(address, prefix, _): &(IpAddr, u8, PortId)| {
            (*prefix, masked(*address, *prefix)) == (route.prefix, route.network)
        };
        let usual = route.network.is_ipv4() && (route.table, route.metric) == (None, 0) && route.prefix < 32;
        self.routes.iter().any(|r| key(r) == key(route)) || usual && self.addresses.iter().any(on_link)
    }

    /// `default` is of the family of its gateway, or of the option.
    fn network(&self, text: &str, way: Way, v6: bool) -> Result<(IpAddr, u8), String> {
        if text != "default" {
            return prefix(text);
        }
        let v6 = v6 || matches!(way, Way::Via { gateway: Some(IpAddr::V6(_)), .. });
        Ok((if v6 { 0_u128.ip() } else { 0_u32.ip() }, 0))
    }

    fn unicast(&self, options: &[(&str, &str)], lenient: bool) -> Result<Way, String> {
        let (mut port, mut gateway, mut mtu) = (None, None, 0);
        for (key, value) in options {
            match *key {
                "via" => gateway = Some(value.parse().map_err(|_| format!("{value} is no address"))?),
                "dev" => port = Some(self.port(value)?),
                "mtu" => mtu = value.parse().map_err(|_| format!("{value} is no MTU"))?,
                "metric" | "table" => {}
                _ => return Err(format!("ip route ... {key} is not supported")),
            }
        }
        let port = port.or_else(|| gateway.and_then(|g| self.on_link(g)));
        match port {
            Some(port) => Ok(Way::Via { port, gateway, mtu }),
            None if lenient => Ok(Way::Unreachable),
            None => Err("a route needs a device, or a gateway that is on a link".to_owned()),
        }
    }

    fn on_link(&self, gateway: IpAddr) -> Option<PortId> {
        let holds =
            |(address, prefix, _): &&(IpAddr, u8, PortId)| masked(*address, *prefix) == masked(gateway, *prefix);
        self.addresses.iter().filter(|a| a.0.is_ipv4() == gateway.is_ipv4()).find(holds).map(|a| a.2)
    }

    fn neighbour(&mut self, action: &str, words: &[&str]) -> Result<(), String> {
        let [address, options @ ..] = words else { return Err("ip neigh without an address".to_owned()) };
        let address: IpAddr = address.parse().map_err(|_| format!("{address} is no address"))?;
        let options = pairs(options)?;
        let value = |key: &str| options.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
        let port = self.port(value("dev").ok_or("ip neigh needs a device")?)?;
        self.neighbours.retain(|n| (n.0, n.1) != (port, address));
        match action {
            "add" | "replace" | "change" => {
                let mac = mac(value("lladdr").ok_or("ip neigh needs lladdr")?)?;
                self.neighbours.push((port, address, mac));
            }
            "del" => {}
            _ => return Err(format!("ip neigh {action} is not supported")),
        }
        Ok(())
    }

    /// `ip route get`, for an address on a link.
    fn route_get(&self, address: &str) -> Result<String, String> {
        let to: IpAddr = address.parse().map_err(|_| format!("{address} is no address"))?;
        let port = self.on_link(to).ok_or_else(|| format!("ip route get {address}: only of an address on a link"))?;
        let source = self.source(port, to.is_ipv6()).ok_or("no address on that link")?;
        Ok(format!("{to} dev {} src {source} uid 0 \n    cache \n", self.name(port)))
    }

    /// Notes the MAC of a neighbour that answered.
    pub(crate) fn learn(&mut self, port: PortId, address: IpAddr, mac: MacAddr) {
        self.neighbours.retain(|n| (n.0, n.1) != (port, address));
        self.neighbours.push((port, address, mac));
    }

    /// The address that the director uses on a link: the first of IPv4, the newest of IPv6.
    fn source(&self, port: PortId, v6: bool) -> Option<IpAddr> {
        let mut fit = self.addresses.iter().filter(|a| a.2 == port && a.0.is_ipv6() == v6).map(|a| a.0);
        if v6 { fit.next_back() } else { fit.next() }
    }

    /// What the data path needs of it.
    pub(crate) fn network_now(&self) -> Network {
        let info = |l: &Link| PortInfo { name: l.name.to_owned(), mac: l.mac, mtu: l.mtu, twin: true };
        Network { ports: self.links.iter().map(info).collect(), v4: self.family(), v6: self.family() }
    }

    fn family<A: Address>(&self) -> FamilyNetwork<A> {
        let local = self.addresses.iter().filter_map(|a| A::from_ip(a.0));
        let connected =
            self.addresses.iter().filter_map(|&(address, prefix, port)| self.connected(address, prefix, port));
        let added = self.routes.iter().filter(|r| r.table.is_none()).filter_map(|r| self.added(r));
        let neighbours = self.neighbours.iter().filter_map(|n| Some((n.0, A::from_ip(n.1)?, n.2)));
        let on_links = self.addresses.iter().map(|a| (a.0, a.1));
        FamilyNetwork::new(local, connected.chain(added).collect(), neighbours)
            .with_policies(self.policies.of(|table| self.table(table)))
            .with_broadcasts_of(on_links.chain([LOOPBACK]).filter_map(|(a, prefix)| Some((A::from_ip(a)?, prefix))))
    }

    /// A table that only policy routing looks at.
    fn table<A: Address>(&self, number: u32) -> Fib<A> {
        let routes = self.routes.iter().filter(|r| r.table == Some(number));
        Fib::new(routes.filter_map(|r| self.added(r)).collect())
    }

    /// The network of an address on a link; of a single address the address itself.
    fn connected<A: Address>(&self, address: IpAddr, prefix: u8, port: PortId) -> Option<Route<A>> {
        let network = A::from_ip(address)?;
        let source = self.source(port, A::V6).and_then(A::from_ip);
        let target =
            if prefix == A::BITS { Target::Local } else { Target::Via { port, gateway: None, source, mtu: 0 } };
        Some(Route { network, prefix, metric: 0, target })
    }

    fn added<A: Address>(&self, route: &Added) -> Option<Route<A>> {
        let network = A::from_ip(route.network)?;
        let target = match route.way {
            Way::Local => Target::Local,
            Way::Unreachable => Target::Unreachable,
            Way::Via { port, gateway, mtu } => {
                let source = self.source(port, A::V6).and_then(A::from_ip);
                Target::Via { port, gateway: gateway.and_then(A::from_ip), source, mtu }
            }
        };
        Some(Route { network, prefix: route.prefix, metric: route.metric, target })
    }
}

fn metric(options: &[(&str, &str)], v6: bool) -> Result<u32, String> {
    let given = options.iter().find(|(key, _)| *key == "metric").map(|(_, value)| value);
    let usual = if v6 { METRIC_V6 } else { 0 };
    given.map_or(Ok(usual), |text| text.parse().map_err(|_| format!("{text} is no metric")))
}

fn port_id(at: usize) -> PortId {
    PortId(u16::try_from(at).unwrap_or(u16::MAX))
}

/// `key value key value`; words that stand alone are left out.
fn pairs<'a>(words: &[&'a str]) -> Result<Vec<(&'a str, &'a str)>, String> {
    let mut pairs = Vec::new();
    let mut words = words.iter();
    while let Some(key) = words.next() {
        match *key {
            "onlink" | "permanent" => {}
            key => pairs.push((key, *words.next().ok_or_else(|| format!("{key} without a value"))?)),
        }
    }
    Ok(pairs)
}

fn prefix(text: &str) -> Result<(IpAddr, u8), String> {
    let wrong = || format!("{text} is no address or network");
    let (address, bits) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let full = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Ok(full), str::parse).map_err(|_| wrong())?;
    if bits > full { Err(wrong()) } else { Ok((address, bits)) }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(a) => a.to_bits().masked(prefix).ip(),
        IpAddr::V6(a) => a.to_bits().masked(prefix).ip(),
    }
}

fn mac(text: &str) -> Result<MacAddr, String> {
    let wrong = || format!("{text} is no MAC");
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        *byte = u8::from_str_radix(parts.next().ok_or_else(wrong)?, 16).map_err(|_| wrong())?;
    }
    if parts.next().is_some() { Err(wrong()) } else { Ok(MacAddr(mac)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Hop;

    fn hop(topology: &Topology, address: &str) -> Hop {
        topology.network_now().hop(address.parse().expect("an address"))
    }

    fn ip(topology: &mut Topology, line: &str) -> Result<Done, String> {
        topology.ip(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_network_to_start_from_is_the_recordings() {
        let topology = Topology::default();
        for address in ["192.0.2.1", "192.0.2.10", "192.0.2.12", "198.51.100.1", "2001:db8:1::10"] {
            assert_eq!(hop(&topology, address), Hop::Local, "{address}");
        }
        for (address, port, last) in [
            ("203.0.113.5", 0, 0xfe),
            ("198.51.100.18", 1, 0x12),
            ("2001:db8:2::11", 1, 0x0b),
            ("2001:db8:ffff::5", 0, 0xfe),
        ] {
            match hop(&topology, address) {
                Hop::Resolved { port: PortId(p), to, mtu: 1500, .. } => {
                    assert_eq!((p, to.0[5]), (port, last), "{address}")
                }
                other => panic!("{address}: {other:?}"),
            }
        }
        assert!(matches!(hop(&topology, "198.51.100.77"), Hop::Unresolved { port: PortId(1), .. }));
    }

    #[test]
    fn ip_commands_change_it() {
        let mut topology = Topology::default();
        ip(&mut topology, "route add 203.0.113.192/26 via 198.51.100.11").expect("it is supported");
        assert!(matches!(hop(&topology, "203.0.113.200"), Hop::Resolved { port: PortId(1), .. }));
        ip(&mut topology, "route replace unreachable 203.0.113.192/26").expect("it is supported");
        assert_eq!(hop(&topology, "203.0.113.200"), Hop::Unreachable);
        ip(&mut topology, "route add local 198.18.0.0/24 dev lo").expect("it is supported");
        assert_eq!(hop(&topology, "198.18.0.77"), Hop::Local);
        ip(&mut topology, "link set eth1 mtu 1000").expect("it is supported");
        assert!(matches!(hop(&topology, "198.51.100.11"), Hop::Resolved { mtu: 1000, .. }));
        ip(&mut topology, "neigh replace 198.51.100.70 lladdr 02:00:00:00:01:46 dev eth1 nud permanent")
            .expect("supported");
        assert!(matches!(hop(&topology, "198.51.100.70"), Hop::Resolved { .. }));
    }

    #[test]
    fn what_is_there_is_not_added_and_what_is_not_there_is_not_removed() {
        let mut topology = Topology::default();
        for (line, says) in [
            ("addr add 192.0.2.10/32 dev eth0", EXISTS),
            ("addr del 192.0.2.99/32 dev eth0", NO_ADDRESS),
            ("route add default via 192.0.2.254 dev eth0", EXISTS),
            ("route add 198.51.100.0/24 via 192.0.2.254", EXISTS),
            ("route del 198.18.9.0/24", NO_ROUTE),
            ("-6 route add default via 2001:db8:1::254 dev eth0", EXISTS),
        ] {
            let before = format!("{topology:?}");
            assert_eq!(ip(&mut topology, line), Ok(Done::Nothing(says)), "{line}");
            assert_eq!(format!("{topology:?}"), before, "{line}");
        }
        for line in
            ["route add 203.0.113.192/26 via 198.51.100.11", "route add 203.0.113.192/26 via 198.51.100.12 metric 5"]
        {
            assert_eq!(ip(&mut topology, line), Ok(Done::All(String::new())), "{line}");
        }
        assert!(matches!(hop(&topology, "203.0.113.200"), Hop::Resolved { to: MacAddr([.., 0x0b]), .. }));
    }

    #[test]
    fn other_ip_commands_are_refused() {
        for line in ["link set eth9 up", "tunnel add x", "route add 1.2.3.4/99 dev eth0", "addr add x dev eth0"] {
            assert!(ip(&mut Topology::default(), line).is_err(), "{line}");
        }
    }
}
