//! Names of ports, as `getservbyport` gives them: a listing without `-n` shows `http` for 80, a rule may say `192.0.2.10:http`.
//! Addresses are never turned into names: a reverse look-up for every address of a listing hangs where no resolver answers.

use std::net::{IpAddr, ToSocketAddrs};
use std::path::Path;

use crate::service::Protocol;

/// Ports whose names one meets, as IANA registered them.
const WELL_KNOWN: &str = "\
ftp-data 20/tcp
ftp 21/tcp
ssh 22/tcp
telnet 23/tcp
smtp 25/tcp
domain 53/tcp
domain 53/udp
tftp 69/udp
http 80/tcp
kerberos 88/tcp
kerberos 88/udp
pop3 110/tcp
sunrpc 111/tcp
sunrpc 111/udp
ntp 123/udp
imap2 143/tcp imap
snmp 161/udp
ldap 389/tcp
ldap 389/udp
https 443/tcp
https 443/udp
syslog 514/udp
submission 587/tcp
ldaps 636/tcp
imaps 993/tcp
pop3s 995/tcp
openvpn 1194/udp
radius 1812/udp
nfs 2049/tcp
mysql 3306/tcp
postgresql 5432/tcp
sip 5060/tcp
sip 5060/udp
sip-tls 5061/tcp
sip-tls 5061/udp
http-alt 8080/tcp webcache
http-alt 8080/udp
tproxy 8081/tcp
";

/// The names of ports, and of hosts in rules.
#[derive(Clone, Debug)]
pub struct Names {
    /// Name, port, protocol; the first that fits wins.
    entries: Vec<(String, u16, Protocol)>,
    /// May names of hosts be asked for?
    hosts: bool,
}

impl Default for Names {
    fn default() -> Self {
        Self::parse(WELL_KNOWN)
    }
}

impl Names {
    /// The names of this machine (`/etc/services`), or the well-known ones where it has no such file.
    pub fn system() -> Self {
        let file = std::fs::read_to_string(Path::new("/etc/services"));
        let names = file.map_or_else(|_| Self::default(), |text| Self::parse(&text));
        Self { hosts: true, ..names }
    }

    /// Reads the format of `/etc/services`.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().map(|l| l.split('#').next().unwrap_or_default());
        Self { entries: lines.filter_map(entries).flatten().collect(), hosts: false }
    }

    /// The IPv4 address of a host, where hosts may be asked for. What cannot be a name is not asked for.
    pub fn host(&self, name: &str) -> Option<IpAddr> {
        let letters = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        let plausible = name.contains(|c: char| c.is_ascii_alphabetic()) && name.chars().all(letters);
        if !self.hosts || !plausible || name.contains("..") {
            return None;
        }
        (name, 0).to_socket_addrs().ok()?.map(|a| a.ip()).find(IpAddr::is_ipv4)
    }

    /// The name of a port, for listings.
    pub fn name(&self, protocol: Protocol, port: u16) -> Option<&str> {
        self.entries.iter().find(|e| e.1 == port && e.2 == protocol).map(|e| e.0.as_str())
    }

    /// The port of that name, for rules.
    pub fn port(&self, protocol: Protocol, name: &str) -> Option<u16> {
        self.entries.iter().find(|e| e.0 == name && e.2 == protocol).map(|e| e.1)
    }
}

/// `name port/protocol alias...`: an entry for each name.
fn entries(line: &str) -> Option<Vec<(String, u16, Protocol)>> {
    let mut words = line.split_whitespace();
    let name = words.next()?;
    let (port, protocol) = words.next()?.split_once('/')?;
    let port = port.parse().ok()?;
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return None,
    };
    Some(std::iter::once(name).chain(words).map(|n| (n.to_owned(), port, protocol)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_has_the_name_of_its_protocol() {
        let names = Names::default();
        assert_eq!(names.name(Protocol::Tcp, 80), Some("http"));
        assert_eq!(names.name(Protocol::Udp, 80), None);
        assert_eq!(names.port(Protocol::Tcp, "webcache"), Some(8080));
        assert_eq!(names.port(Protocol::Tcp, "nosuch"), None);
    }

    #[test]
    fn comments_and_other_protocols_are_skipped() {
        let names = Names::parse("# x\nweb 80/tcp www # the web\nodd 7/dccp\nbad line\n");
        assert_eq!(names.name(Protocol::Tcp, 80), Some("web"));
        assert_eq!(names.port(Protocol::Tcp, "www"), Some(80));
    }
}
