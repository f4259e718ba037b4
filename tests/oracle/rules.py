"""Random services and destinations, and random changes of them, as ipvsadm commands."""
from network import SERVERS, V4, V6

SCHEDULERS = "rr wrr lc wlc sed nq sh dh lblc lblcr mh fo ovf".split()
SCHEDULER_FLAGS = {"sh": ["sh-fallback", "sh-port"], "mh": ["mh-fallback", "mh-port"]}
TUNNELS = ["", "--tun-type ipip", "--tun-type gue --tun-port 6080", "--tun-type gue --tun-port 6080 --tun-csum",
           "--tun-type gue --tun-port 6080 --tun-remcsum", "--tun-type gre", "--tun-type gre --tun-csum"]
WEIGHTS = [0, 1, 1, 1, 1, 2, 2, 3, 4, 5, 10, 100]
PROTOCOLS = {"-t": 6, "-u": 17, "--sctp-service": 132}
NETMASKS = {4: ["", "", "-M 255.255.255.255", "-M 255.255.255.0", "-M 255.255.0.0"],
            6: ["", "", "-M 128", "-M 64", "-M 48"]}


class Destination:
    """One destination as a command describes it."""

    def __init__(self, rng, service, server):
        self.service, self.server = service, server
        self.family = service.family
        # A server keeps its method: the kernel lets connections of two methods to one destination share a route, and then asks the
        # servers' side for the virtual address.
        self.method = service.methods[server % len(service.methods)]
        if self.method == "-i" and rng.random() < 0.1:
            self.family = V6 if self.family is V4 else V4
        # Only NAT maps ports; what a port of the service's own does on DR and TUN is for the kernel to say.
        self.port = service.port if rng.random() < 0.7 else rng.choice([service.port, 8080, 0])
        self.vary(rng)

    def vary(self, rng):
        self.weight = rng.choice(WEIGHTS)
        self.upper = self.lower = 0
        if rng.random() < 0.15:
            self.upper = rng.randint(1, 6)
            self.lower = rng.choice([0, 0, rng.randint(1, self.upper + 1)])
        self.tunnel = rng.choice(TUNNELS) if self.method == "-i" else ""

    @property
    def address(self):
        return self.family.server(self.server)

    def name(self):
        return "-r " + self.family.text(self.address, self.port)

    def words(self):
        words = [self.name(), self.method, "-w %d" % self.weight, self.tunnel]
        if self.upper:
            words.append("-x %d -y %d" % (self.upper, self.lower))
        return " ".join(w for w in words if w)


class Service:
    """One virtual service as a command describes it, with its destinations, those removed among them too."""

    def __init__(self, rng, switches):
        self.kind = rng.choice(["-t"] * 6 + ["-u"] * 3 + ["--sctp-service"] * (2 if "sctp" in switches else 0))
        self.family = V6 if "ipv6" in switches and rng.random() < 0.25 else V4
        self.vip = rng.choice(self.family.vips)
        self.port = rng.choice([80, 80, 443, 53])
        self.methods = rng.choice([["-m"]] * 4 + [["-g"]] * 2 + [["-i"]] * 2 + [["-m", "-g", "-i"]])
        self.destinations, self.mark, self.marks, self.ranges = [], 0, [], []
        self.sip = "sip" in switches and self.kind == "-u" and rng.random() < 0.3
        self.ftp = "ftp" in switches and self.kind == "-t" and rng.random() < 0.15
        if self.ftp:
            self.port, self.methods = 21, rng.choice([["-m"]] * 3 + [["-g"], ["-i"]])
        if "marks" in switches and not self.sip and rng.random() < 0.2:
            self.be_marked(rng, switches)
        self.vary(rng)
        if self.persistence and rng.random() < 0.2:
            self.port = 0

    def be_marked(self, rng, switches):
        """Becomes a service of a firewall mark, over addresses, ports and protocols of its own."""
        self.kind, self.family, self.port, self.mark = "-f", V4, 0, rng.randint(1, 9)
        if self.ftp or "ftp" in switches and rng.random() < 0.3:
            self.be_marked_by_range(rng)
            return
        if rng.random() < 0.4:
            # A whole network that the director takes for its own: many addresses for dh, lblc and lblcr.
            self.marks = [(6, "198.18.0.%d" % n, 80) for n in range(1, 40, 3)]
            return
        ports = rng.sample([80, 443, 8080, 5353], 2)
        self.marks = [(p, vip, port) for p in rng.choice([[6], [17], [6, 17]]) for vip in V4.vips[:2] for port in ports]

    def be_marked_by_range(self, rng):
        """All ports of an address, or FTP's and those of its data: a range in the rule."""
        self.vip = rng.choice(V4.vips)
        ports = [20, 21, 30000, 30001, 30002] if self.ftp else rng.choice([[80, 443, 8080, 2000], [1000, 1500, 1999]])
        self.ranges = ["--dport 20:21", "--dport 30000:30009"] if self.ftp else rng.choice([["--dport 1:65535"], ["--dport 80:8080"], [""]])
        self.marks = [(6, self.vip, port) for port in ([21] * 3 if self.ftp else []) + ports]

    def mark_rules(self):
        if self.ranges:
            rule = "iptables -t mangle -A PREROUTING -d %s -p tcp %s -j MARK --set-mark %d"
            return [rule % (self.vip, "-m tcp " + match if match else "", self.mark) for match in self.ranges]
        rule = "iptables -t mangle -A PREROUTING -d %s -p %s -m %s -j MARK --set-mark %d"
        if self.marks and self.marks[0][1].startswith("198.18"):
            return ["ip route replace local 198.18.0.0/24 dev lo", rule % ("198.18.0.0/24", "tcp", "tcp --dport 80", self.mark)]
        name = {6: "tcp", 17: "udp"}
        ports = {(p, vip): "multiport --dports " + ",".join(str(port) for q, v, port in self.marks if (q, v) == (p, vip))
                 for p, vip, _ in self.marks}
        return [rule % (vip, name[p], match, self.mark) for (p, vip), match in ports.items()]

    def targets(self):
        """What a client of the service may ask for: protocol, address, port."""
        return self.marks or [(PROTOCOLS[self.kind], self.vip, port) for port in self.ports()]

    def vary(self, rng):
        self.scheduler = rng.choice(SCHEDULERS)
        offered = SCHEDULER_FLAGS.get(self.scheduler, [])
        self.flags = [f for f in offered if rng.random() < 0.5]
        self.timeout = rng.choice([10, 30, 60, 100, 360, 600])
        self.persistence = ""
        if rng.random() < 0.35:
            self.persistence = ("-p %d %s" % (self.timeout, rng.choice(NETMASKS[self.family.version]))).strip()
        self.one_packet = self.kind == "-u" and rng.random() < 0.2
        if self.sip:
            self.persistence = "-p %d --pe sip" % self.timeout

    def name(self):
        return "-f %d" % self.mark if self.mark else "%s %s" % (self.kind, self.family.text(self.vip, self.port))

    def words(self):
        words = [self.name(), "-s " + self.scheduler, self.persistence]
        if self.flags:
            words.append("-b " + ",".join(self.flags))
        if self.one_packet:
            words.append("-o")
        return " ".join(w for w in words if w)

    def ports(self):
        """Ports that a client of the service may ask for."""
        return [self.port] if self.port else [80, 443, 8080, 20, 21, 53]


class Rules:
    """The rules as far as the generator keeps count of them."""

    def __init__(self, rng, switches):
        self.rng, self.switches, self.services = rng, switches, []

    def begin(self):
        commands = []
        for _ in range(self.rng.choice([1, 1, 2, 2, 3, 4])):
            commands += self.add_service()
        return commands

    def add_service(self):
        service = Service(self.rng, self.switches)
        twin = next((s for s in self.services if s.name() == service.name()), None)
        if twin is None:
            self.services.append(service)
        commands = (service.mark_rules() if twin is None else []) + ["ipvsadm -A " + service.words()]
        for server in self.rng.sample(SERVERS, self.rng.choice([0, 1, 2, 2, 3, 3, 3, 4, 5])):
            commands.append(self.add_destination(twin or service, server))
        return commands

    def add_destination(self, service, server):
        destination = Destination(self.rng, service, server)
        service.destinations.append(destination)
        return "ipvsadm -a %s %s" % (service.name(), destination.words())

    def change(self):
        """Commands that change something; some of them are refused, which is as good."""
        rng = self.rng
        service = rng.choice(self.services)
        destinations = service.destinations
        kind = rng.choices(["edit", "add", "delete", "again", "service", "new", "drop", "clear"],
                           [30, 15, 20, 8, 12, 5, 4, 1])[0]
        if kind == "add" or not destinations:
            return [self.add_destination(service, rng.choice(SERVERS))]
        destination = rng.choice(destinations)
        if kind == "edit":
            if "methods" in self.switches and destination.family is service.family and rng.random() < 0.1:
                destination.method = rng.choice(["-m", "-g", "-i"])
            destination.vary(rng)
            return ["ipvsadm -e %s %s" % (service.name(), destination.words())]
        if kind == "delete":
            return ["ipvsadm -d %s %s" % (service.name(), destination.name())]
        if kind == "again":
            return ["ipvsadm -d %s %s" % (service.name(), destination.name()),
                    "ipvsadm -a %s %s" % (service.name(), destination.words())]
        return self.change_service(kind, service)

    def change_service(self, kind, service):
        if kind == "service":
            service.vary(self.rng)
            return ["ipvsadm -E " + service.words()]
        if kind == "new":
            return self.add_service()
        if kind == "drop":
            return ["ipvsadm -D " + service.name()] + self.maybe_restore([service])
        return ["ipvsadm -C"] + self.maybe_restore(self.services)

    def maybe_restore(self, services):
        if self.rng.random() < 0.2:
            return []
        commands = []
        for service in services:
            commands.append("ipvsadm -A " + service.words())
            kept = [d for d in service.destinations if self.rng.random() < 0.8]
            commands += ["ipvsadm -a %s %s" % (service.name(), d.words()) for d in kept]
        return commands
