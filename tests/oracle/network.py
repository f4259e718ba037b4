"""The network around the director (guest/base.sh): who is where, in either family. Documentation addresses only."""
from pkt import eth, icmp, icmp6, ip4, ip6

GATEWAY, ETH0, ETH1 = "02:00:00:00:00:fe", "02:00:00:00:00:01", "02:00:00:00:00:02"
# Real servers have the last byte of their address, or of its text, as a name.
SERVERS = range(11, 19)


def server_mac(server):
    return "02:00:00:00:01:%02x" % server


class Family:
    """IPv4 or IPv6: addresses, and how packets are written."""

    def __init__(self, version, vips, server, clients, outer, inner, router):
        self.version, self.vips, self.clients = version, vips, clients
        # The director's own addresses on both sides, and a router behind which nobody is.
        self.outer, self.inner, self.router = outer, inner, router
        self.server = server.__mod__

    def packet(self, src, dst, protocol, payload, **fields):
        if self.version == 4:
            return ip4(src, dst, protocol, payload, **{k: v for k, v in fields.items() if k != "flow"})
        names = {"ttl": "hlim", "tos": "tc", "flow": "flow"}
        return ip6(src, dst, protocol, payload, **{names[k]: v for k, v in fields.items() if k in names})

    def error(self, src, dst, kind, code, rest, quoted):
        """An ICMP error: protocol and message."""
        if self.version == 4:
            return 1, icmp(kind, code, rest, quoted)
        return 58, icmp6(src, dst, kind, code, rest, quoted)

    def text(self, address, port):
        return ("%s:%d" if self.version == 4 else "[%s]:%d") % (address, port)


V4 = Family(4, ["192.0.2.10", "192.0.2.11", "192.0.2.12"], "198.51.100.%d",
            ["203.0.113.%d" % n for n in (5, 6, 77, 130, 201)] + ["198.18.1.9", "198.18.1.200", "198.18.2.9", "198.19.7.1"],
            "192.0.2.1", "198.51.100.1", "198.18.9.9")
V6 = Family(6, ["2001:db8:1::10", "2001:db8:1::11"], "2001:db8:2::%d",
            ["2001:db8:ffff::5", "2001:db8:ffff::6", "2001:db8:ffff:1::5", "2001:db8:64:3::77", "2001:db8:64:4::1"],
            "2001:db8:1::1", "2001:db8:2::1", "2001:db8:fffe::9")
# What the network needs beside guest/base.sh.
SETUP = ["ip -6 addr add 2001:db8:1::11/128 dev eth0 nodad"]


def from_client(packet):
    return eth(ETH0, GATEWAY, packet)


def from_server(server, packet):
    return eth(ETH1, server_mac(server), packet)
