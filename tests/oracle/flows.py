"""Flows of clients: what client and server say to each other, in order or not. A flow does not know which server it was given, so a
server's packet is sent by one of those that it may be, or by all of them."""
from fragments import fragments
from network import from_client, from_server
from pkt import ip4, sctp, tcp, udp

# A life of each kind: the packets in order, c from the client and s from a server.
TCP_LIVES = [
    "cS sSA cA cPA sPA cA cFA sA sFA cA",
    "cS sSA cA cPA sPA cA sFA cA cFA sA",
    "cS sSA cA cFA sFA cA",
    "cS sSA cA cPA sRA",
    "cS sSA cA cPA cR",
    "cS cS sSA cA cPA cPA sA sPA",
    "cS sRA",
    "cS cA cPA cPA cFA cA",
    "cS cA cFA",
    "cS cR cS",
    "cS sSA cA",
    "cS",
    "cS cA cPA cR cS cA",
]
TCP_ODD = ["cS", "cA", "cFA", "cR", "cSA", "cSF", "cSR", "c", "cPA", "sS", "sSA", "sA", "sFA", "sRA", "sR", "s", "cSEC"]
SCTP_LIVES = [
    "cINIT sINIT-ACK cCOOKIE sCOOKIE-ACK cDATA sSACK cSHUTDOWN sSHUTDOWN-ACK cSHUTDOWN-COMPLETE",
    "cINIT sINIT-ACK cCOOKIE sCOOKIE-ACK sDATA cSACK sSHUTDOWN cSHUTDOWN-ACK sSHUTDOWN-COMPLETE",
    "cINIT sINIT-ACK cCOOKIE sCOOKIE-ACK cDATA cABORT",
    "cINIT sABORT",
    "cINIT cCOOKIE cDATA cSHUTDOWN",
    "cINIT cINIT sINIT-ACK cCOOKIE sCOOKIE-ACK",
]
CHUNKS = {"DATA": 0, "INIT": 1, "INIT-ACK": 2, "SACK": 3, "ABORT": 6, "SHUTDOWN": 7, "SHUTDOWN-ACK": 8, "ERROR": 9,
          "COOKIE": 10, "COOKIE-ACK": 11, "SHUTDOWN-COMPLETE": 14, "HEARTBEAT": 4, "ASCONF": 193}
# Options of IPv4: none, router alert, source routes (loose, strict, used up), security, one that is not known, two of them, one too long.
# What routers write into on the way (record route, time stamps) is left out: pollvs sends it on as it came.
OPTIONS = [bytes.fromhex(text) for text in [
    "01010100", "94040000", "830704c000026300", "890704c000026300", "830708c000026300", "820b00000000000000000000", "9f040000",
    "9404000001820b000000000000000000", "9f0a0000"]]
UDP_LIVES = ["c s", "c", "c c", "c s c s c s", "c c s", "c s s c"]


def sctp_chunk(name):
    value = {"INIT": b"\0\0\0\5\0\1\0\0\0\x0a\0\x0a\0\0\0\1", "INIT-ACK": b"\0\0\0\6\0\1\0\0\0\x0a\0\x0a\0\0\0\1",
             "COOKIE": b"cookie!!", "DATA": b"\0\0\0\1\0\0\0\0\0\0\0\0data"}.get(name, b"\0\0\0\1")
    return CHUNKS[name], 3 if name == "DATA" else 0, value


class Flow:
    def __init__(self, rng, service, client, cport, target, switches):
        self.rng, self.service, self.client, self.cport, self.switches = rng, service, client, cport, switches
        self.family, (self.protocol, self.vip, self.vport) = service.family, target
        self.ident = rng.randint(1, 60000)
        self.cseq, self.sseq = rng.randint(0, 2**32 - 1), rng.randint(0, 2**32 - 1)
        self.last = None
        lives = {6: TCP_LIVES, 17: UDP_LIVES, 132: SCTP_LIVES}[self.protocol]
        self.life = rng.choice(lives).split()

    def begin_again(self):
        """The same ports once more."""
        target = self.protocol, self.vip, self.vport
        return Flow(self.rng, self.service, self.client, self.cport, target, self.switches)

    def next(self):
        """The frames of the next packet of its life; none when it is over."""
        return self.say(self.life.pop(0)) if self.life else []

    def odd(self):
        """The frames of a packet out of order."""
        words = {6: TCP_ODD, 17: ["c", "s"], 132: [side + c for side in "cs" for c in CHUNKS]}[self.protocol]
        return self.say(self.rng.choice(words))

    def say(self, word):
        side, what = word[0], word[1:]
        frames = self.from_client(what) if side == "c" else self.from_servers(what)
        self.last = frames
        return frames

    def fields(self):
        rng = self.rng
        self.ident = self.ident % 65535 + 1
        fields = {"ident": self.ident, "ttl": rng.choice([64] * 12 + [63, 128, 255, 2, 1])}
        if rng.random() < 0.15:
            fields["tos"] = rng.choice([0x10, 0x1c, 0x02, 0x03, 0x01, 0xb8])
        if rng.random() < 0.1:
            fields["df"] = False
        if rng.random() < 0.1:
            fields["flow"] = rng.randint(1, 0xFFFFF)
        if "options" in self.switches and self.family.version == 4 and rng.random() < 0.03:
            fields["opts"] = rng.choice(OPTIONS)
        return fields

    def from_client(self, what):
        body = self.segment(self.client, self.vip, self.cport, self.vport, what, True)
        pieces = self.pieces(self.client, self.vip, body)
        return [from_client(padded(self.rng, piece)) for piece in pieces]

    def from_servers(self, what):
        return [from_server(d.server, piece) for d in self.possible() for piece in self.from_destination(d, what)]

    def pieces(self, src, dst, body):
        """The packet, or its fragments in some order."""
        fields = self.fields()
        if "fragments" in self.switches:
            return self.many_pieces(src, dst, body, fields)
        if "frag" not in self.switches or self.family.version == 6 or len(body) < 64 or self.rng.random() > 0.1:
            return [self.family.packet(src, dst, self.protocol, body, **fields)]
        cut = self.rng.randrange(48, len(body) - 7, 8)
        whole = {k: v for k, v in fields.items() if k not in ("df", "flow", "opts")}
        first = ip4(src, dst, self.protocol, body[:cut], df=False, mf=True, **whole)
        last = ip4(src, dst, self.protocol, body[cut:], df=False, frag=cut, **whole)
        return self.rng.choice([[first, last], [last, first]])

    def many_pieces(self, src, dst, body, fields):
        """The same in scenarios rich in fragments."""
        overhead = 20 if self.family.version == 4 else 40
        if len(body) + overhead <= 1500 and (len(body) < 24 or self.rng.random() < 0.3):
            return [self.family.packet(src, dst, self.protocol, body, **fields)]
        return fragments(self.rng, self.family, src, dst, self.protocol, body, fields)

    def possible(self):
        """Destinations that may have the flow."""
        unique = {d.server: d for d in self.service.destinations if d.family is self.family and d.method == "-m"}
        every = list(unique.values())
        if len(every) <= 4 and self.rng.random() < 0.6:
            return every
        return self.rng.sample(every, min(1, len(every)))

    def server_port(self, destination):
        own = self.service.mark or self.vport == self.service.port
        return destination.port if destination.port and own else self.vport

    def from_destination(self, destination, what):
        body = self.segment(destination.address, self.client, self.server_port(destination), self.cport, what, False)
        return self.pieces(destination.address, self.client, body)

    def segment(self, src, dst, sport, dport, what, client):
        rng = self.rng
        if self.protocol == 17:
            odd = rng.random()
            data = sip(rng) if self.service.sip else bytes(rng.choices(range(256), k=self.size([0, 1, 5, 20, 100])))
            return udp(src, dst, sport, dport, data, zero_csum=odd < 0.05 and self.family.version == 4, bad_csum=odd > 0.97)
        if self.protocol == 132:
            return sctp(sport, dport, [sctp_chunk(what)], rng.randint(0, 9))
        data = b"d" * self.size([1, 10, 400]) if "P" in what else b""
        seq, ack = (self.cseq, self.sseq) if client else (self.sseq, self.cseq)
        moved = seq + len(data) + ("S" in what) + ("F" in what)
        if client:
            self.cseq = moved & 0xFFFFFFFF
        else:
            self.sseq = moved & 0xFFFFFFFF
        options = b"\x02\x04\x05\xb4" if "S" in what and rng.random() < 0.3 else b""
        return tcp(src, dst, sport, dport, what, seq, ack if "A" in what else 0, data, opts=options,
                   bad_csum=rng.random() < 0.02)

    def size(self, short):
        return self.rng.choice(short + [self.long()] * (len(short) if "fragments" in self.switches else 1))

    def long(self):
        """The size of a packet that may be too long for its way."""
        if "fragments" in self.switches:
            return self.rng.choice([50, 120, 200, 600, 1200, 1420, 2000, 2960, 4000])
        return self.rng.choice([1200, 1245, 1350, 1420]) if "big" in self.switches else 200

    def heard(self):
        """A packet as the client hears it from the virtual address, to be quoted in an error of the client's side."""
        body = self.segment(self.vip, self.client, self.vport, self.cport, "PA" if self.protocol == 6 else "DATA", False)
        return self.family.packet(self.vip, self.client, self.protocol, body, ttl=55)

    def asked(self, destination):
        """A packet as a server of NAT hears it from the client, to be quoted in an error of the server's side."""
        body = self.segment(self.client, destination.address, self.cport, self.server_port(destination),
                            "PA" if self.protocol == 6 else "DATA", True)
        return self.family.packet(self.client, destination.address, self.protocol, body, ttl=55)

    def sent(self):
        """A packet as the client sends it."""
        body = self.segment(self.client, self.vip, self.cport, self.vport, "PA" if self.protocol == 6 else "DATA", True)
        return self.family.packet(self.client, self.vip, self.protocol, body, ttl=55)


SIP = (b"INVITE sip:bob@example.org SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.5:5060\r\nFrom: <sip:a@example.org>;tag=1\r\n"
       b"To: <sip:bob@example.org>\r\nCall-ID: %s@203.0.113.5\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n")


def sip(rng):
    """A request of one of a few calls, or nothing that is SIP."""
    return b"not sip at all" if rng.random() < 0.1 else SIP % rng.choice([b"aaa", b"bbb", b"ccc"])


def padded(rng, packet):
    """Ethernet's padding, on a few of the short ones."""
    return packet + b"\0" * (46 - len(packet)) if len(packet) < 46 and rng.random() < 0.1 else packet
