"""FTP's clients and servers (RFC 959, RFC 2428): a control connection and the data connections that are announced on it. They keep to
their sequence numbers, which the director shifts: a netfilter that finds a segment out of its window does not translate it."""
from flows import Flow
from network import V4, from_client, from_server
from pkt import tcp

FTP = 21
# What nobody rewrites, said by the client, and the server's word for it.
SMALL_TALK = [(b"USER anonymous\r\n", b"331 Password?\r\n"), (b"SYST\r\n", b"215 UNIX\r\n"), (b"PORT 1,2,3\r\n", b"501 What?\r\n"),
              (b"NOOP", b"227 is no answer\r\n"), (b"XPASV \r\n", b"500 What?\r\n"), (b"EPRT |3|x|9|\r\n", b"522 Use 1 or 2\r\n"),
              (b"LIST -l\r\n", b"150 Here\r\n226 Done\r\n")]


class Side:
    """One connection between a client's port and a port of the servers, as both ends number their bytes."""

    def __init__(self, flow, cport, vport, sport_of):
        self.flow, self.cport, self.vport, self.sport_of = flow, cport, vport, sport_of
        self.cseq, self.sseq = (flow.rng.randint(0, 2**32 - 1) for _ in "cs")
        # What the client has received more, or less, than the servers have sent.
        self.shift = 0

    def client(self, flags, data=b""):
        flow = self.flow
        ack = self.sseq + self.shift if "A" in flags else 0
        body = tcp(flow.client, flow.vip, self.cport, self.vport, flags, self.cseq, ack, data)
        self.cseq += len(data) + ("S" in flags) + ("F" in flags)
        return [from_client(piece) for piece in flow.pieces(flow.client, flow.vip, body)]

    def server(self, flags, text=lambda _: b""):
        """The same packet of each server that it may be, from its own address."""
        flow, frames, length = self.flow, [], 0
        for destination in flow.possible():
            data = text(destination)
            length = len(data)
            ack = self.cseq if "A" in flags else 0
            body = tcp(destination.address, flow.client, self.sport_of(destination), self.cport, flags, self.sseq, ack, data)
            frames += [from_server(destination.server, piece) for piece in flow.pieces(destination.address, flow.client, body)]
        self.sseq += length + ("S" in flags) + ("F" in flags)
        return frames


class FtpFlow(Flow):
    def __init__(self, rng, service, client, cport, target, switches):
        super().__init__(rng, service, client, cport, target, switches)
        self.life, self.script = ["talk"], self.talk()

    def begin_again(self):
        return FtpFlow(self.rng, self.service, self.client, self.cport, (self.protocol, self.vip, self.vport), self.switches)

    def next(self):
        self.last = next(self.script, None)
        if self.last is None:
            self.life = []
        return self.last or []

    def odd(self):
        return self.next()

    def possible(self):
        """Every one of them: a segment that its receiver never saw is out of the window ever after."""
        return list({d.server: d for d in self.service.destinations if d.family is self.family and d.method == "-m"}.values())

    def talk(self):
        rng = self.rng
        control = Side(self, self.cport, self.vport, self.server_port)
        yield control.client("S")
        yield control.server("SA")
        yield control.client("A")
        yield from self.answered(control, b"220 Ready\r\n")
        for _ in range(rng.choice([1, 1, 2, 3, 5])):
            yield from rng.choice([self.passive, self.passive, self.active, self.chat])(control)
        yield from rng.choice([self.end, self.end, self.abort, lambda _: ()])(control)

    def answered(self, side, text):
        yield side.server("PA", lambda _: text)
        yield side.client("A")

    def chat(self, control):
        said, answer = self.rng.choice(SMALL_TALK)
        yield control.client("PA", said)
        yield from self.answered(control, answer)

    def end(self, side):
        first, second = self.rng.choice([(side.client, side.server), (side.server, side.client)])
        yield first("FA")
        yield second("FA")
        yield first("A")

    def abort(self, side):
        yield self.rng.choice([side.client, side.server])("RA")

    # ------------------------------------------------------ data connections
    def passive(self, control):
        rng, port = self.rng, self.rng.choice([30000, 30001, 30002, self.rng.randint(1024, 65535)])
        extended = self.family is not V4 or rng.random() < 0.4
        command = [b"EPSV\r\n", b"EPSV %d\r\n" % (1 if self.family is V4 else 2), b"epsv\r\n"] if extended else [b"PASV\r\n", b"pasv\r\n"]
        yield control.client("PA", rng.choice(command))
        says, heard = self.announcement(port, extended, rng.random() < 0.3)
        yield control.server("PA", says)
        control.shift += heard - len(says(self.possible()[0])) if self.possible() else 0
        yield control.client("A")
        data = Side(self, rng.randint(1024, 65535), port, lambda _: port)
        yield data.client("S")
        yield data.server("SA")
        yield from self.transfer(control, data)

    def announcement(self, port, extended, named):
        """What a server says, and how long it is when the client hears it."""
        if not extended:
            form = b"227 Entering Passive Mode (%b,%d,%d).\r\n"
            text = lambda address: form % (address.replace(".", ",").encode(), port >> 8, port & 255)
            return lambda d: text(d.address), len(text(self.vip))
        form = b"229 Entering Extended Passive Mode (%b%d|)\r\n"
        family = b"1" if self.family is V4 else b"2"
        head = lambda d: b"|%b|%b|" % (family, d.address.encode()) if named else b"|||"
        return lambda d: form % (head(d), port), len(form % (b"|||", port))

    def active(self, control):
        rng, port = self.rng, self.rng.choice([1028, self.rng.randint(1024, 65535)])
        if self.family is V4 and rng.random() < 0.6:
            command = b"PORT %b,%d,%d\r\n" % (self.client.replace(".", ",").encode(), port >> 8, port & 255)
        else:
            command = b"EPRT |%d|%b|%d|\r\n" % (1 if self.family is V4 else 2, self.client.encode(), port)
        yield control.client("PA", command)
        yield from self.answered(control, b"200 Okay\r\n")
        data = Side(self, port, self.vport - 1, lambda d: self.server_port(d) - 1)
        yield data.server("S")
        yield data.client("SA")
        yield from self.transfer(control, data)

    def transfer(self, control, data):
        rng = self.rng
        kind = rng.random()
        if kind < 0.15:
            yield data.client("RA")
            return
        opener = data.client if data.vport != self.vport - 1 else data.server
        yield opener("A")
        for _ in range(rng.randint(0, 2)):
            yield data.server("PA", lambda _: b"a line of the file\r\n")
            yield data.client("A")
        if kind < 0.6:
            yield from self.end(data)
            yield from self.answered(control, b"226 Done\r\n")
