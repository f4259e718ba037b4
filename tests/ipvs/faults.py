"""What a program sees of a director that fails: run with the preload library, POLLVS_IPVS_SOCKET naming a socket that is not there
yet and short times in POLLVS_IPVS_WAIT and POLLVS_IPVS_TIMEOUT. Each case prints its name; the director is a thread of the program."""
import errno, os, select, signal, socket, struct, threading, time

PATH = os.environ["POLLVS_IPVS_SOCKET"]
FAMILY, CONTROLLER, ERROR, DONE = 0x4956, 0x10, 2, 3
REQUEST, ACK, DUMP = 1, 4, 0x300
GET_SERVICE, GET_INFO, FLUSH = 4, 15, 17


def message(kind, flags, sequence, port, rest):
    return struct.pack("=IHHII", 16 + len(rest), kind, flags, sequence, port) + rest + bytes(-len(rest) % 4)


CASES = []


def case(function):
    CASES.append(function)
    return function


class Director:
    """Answers every command with success, but that it does with some what `faults` says: "close" or "hang", so many times."""

    def __init__(self, faults=None):
        self.faults, self.seen, self.clients = dict(faults or {}), [], []
        if os.path.exists(PATH):
            os.unlink(PATH)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(PATH)
        self.listener.listen()
        self.accepting = threading.Thread(target=self.accept, daemon=True)
        self.accepting.start()

    def accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            self.clients.append(client)
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        while request := client.recv(65536):
            _, kind, flags, sequence, port = struct.unpack_from("=IHHII", request)
            command = request[16] if kind == FAMILY else 0
            self.seen.append((command, port))
            fault, times = self.faults.get(command, (None, 0))
            if times:
                self.faults[command] = (fault, times - 1)
                if fault == "hang":
                    continue
                if fault == "begin":
                    client.send(message(FAMILY, 2, sequence, port, bytes(4)))
                client.close()
                return
            if flags & DUMP == DUMP:
                client.send(message(FAMILY, 2, sequence, port, bytes(4)))
                client.send(message(DONE, 2, sequence, port, bytes(4)))
            else:
                client.send(message(ERROR, 0x100, sequence, port, bytes(4) + request[:16]))

    def stop(self):
        # The thread ends first: it would go on with the next socket under this descriptor.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.accepting.join()
        self.listener.close()
        for client in self.clients:
            try:
                client.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def count(self, command):
        return [seen for seen, _ in self.seen].count(command)


class Client:
    """A socket of generic netlink."""

    def __init__(self, flags=0):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | flags, 16)
        self.socket.bind((0, 0))
        self.port, self.sequence = self.socket.getsockname()[0], 0

    def send(self, command, flags=ACK):
        self.sequence += 1
        self.socket.send(message(FAMILY, REQUEST | flags, self.sequence, 0, bytes([command, 1, 0, 0])))

    def receive(self):
        """Type and error number of the next message, which must be for this socket and from the kernel."""
        data, sender = self.socket.recvfrom(65536)
        _, kind, _, sequence, port = struct.unpack_from("=IHHII", data)
        assert (sender, sequence, port) == ((0, 0), self.sequence, self.port), (sender, sequence, port)
        return kind, -struct.unpack_from("=i", data, 16)[0] if kind == ERROR else 0

    def ask(self, command, flags=ACK):
        self.send(command, flags)
        return self.receive()


def same(found, expected):
    assert found == expected, f"{found} instead of {expected}"


@case
def a_request_in_flight_is_sent_again():
    director, client = Director({FLUSH: ("close", 1)}), Client()
    same(client.ask(FLUSH), (ERROR, 0))
    same(director.count(FLUSH), 2)
    same(director.seen, [(FLUSH, client.port)] * 2)
    director.stop()


@case
def but_once():
    director, client = Director({FLUSH: ("close", 9)}), Client()
    same(client.ask(FLUSH), (ERROR, errno.EAGAIN))
    same(director.count(FLUSH), 2)
    same(client.ask(GET_INFO), (ERROR, 0))
    director.stop()


@case
def an_answer_that_stops_in_the_middle_ends_with_an_error():
    director, client = Director({GET_SERVICE: ("begin", 1)}), Client()
    same(client.ask(GET_SERVICE, DUMP), (FAMILY, 0))
    same(client.receive(), (ERROR, errno.EAGAIN))
    same(director.count(GET_SERVICE), 1)
    same(client.ask(GET_SERVICE, DUMP), (FAMILY, 0))
    same(client.receive(), (DONE, 0))
    director.stop()


@case
def a_director_that_hangs_is_given_up():
    director, client = Director({FLUSH: ("hang", 1)}), Client()
    start = time.monotonic()
    same(client.ask(FLUSH), (ERROR, errno.ETIMEDOUT))
    assert 0.5 < time.monotonic() - start < 5
    same(client.ask(FLUSH), (ERROR, 0))
    director.stop()


@case
def a_time_that_the_program_has_set_is_kept():
    director, client = Director({FLUSH: ("hang", 1)}), Client()
    same(client.ask(GET_INFO), (ERROR, 0))
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, 100000))
    client.send(FLUSH)
    try:
        same(client.receive(), "nothing")
    except BlockingIOError:
        pass
    director.stop()


@case
def a_director_that_ends_is_not_seen_while_nothing_is_owed():
    director, client = Director(), Client(socket.SOCK_NONBLOCK)
    client.send(FLUSH)
    select.select([client.socket], [], [])
    same(client.receive(), (ERROR, 0))
    director.stop()
    time.sleep(0.1)
    try:
        same(client.receive(), "nothing")
    except BlockingIOError:
        pass
    same(client.socket.getsockname(), (client.port, 0))
    director = Director()
    client.send(FLUSH)
    select.select([client.socket], [], [])
    same(client.receive(), (ERROR, 0))
    director.stop()


@case
def without_a_director_a_request_is_refused_and_can_be_waited_for():
    director, client = Director(), Client()
    same(client.ask(FLUSH), (ERROR, 0))
    director.stop()
    os.unlink(PATH)
    start = time.monotonic()
    client.send(FLUSH)
    assert time.monotonic() - start > 0.5, "it did not wait"
    same(select.select([client.socket], [], [], 5)[0], [client.socket])
    same(client.receive(), (ERROR, errno.EAGAIN))
    start = time.monotonic()
    same(client.ask(FLUSH), (ERROR, errno.EAGAIN))
    assert time.monotonic() - start < 0.5, "it waited again"
    director = Director()
    same(client.ask(FLUSH), (ERROR, 0))
    director.stop()


@case
def a_director_that_restarts_is_found_again():
    director, client = Director(), Client()
    same(client.ask(FLUSH), (ERROR, 0))
    director.stop()
    threading.Timer(0.3, lambda: Director()).start()
    same(client.ask(FLUSH), (ERROR, 0))


@case
def duplicates_and_children_have_the_connection_too():
    director, client = Director(), Client()
    same(client.ask(FLUSH), (ERROR, 0))
    os.dup2(client.socket.fileno(), 77)
    client.socket.close()
    client.socket = socket.socket(fileno=77)
    same(client.socket.family, socket.AF_NETLINK)
    same(client.socket.proto, 16)
    same(client.ask(FLUSH), (ERROR, 0))
    child = os.fork()
    if child == 0:
        os._exit(0 if client.ask(FLUSH) == (ERROR, 0) else 1)
    same(os.waitpid(child, 0)[1], 0)
    client.sequence += 1
    same(client.ask(FLUSH), (ERROR, 0))
    same({port for _, port in director.seen}, {client.port})
    director.stop()


@case
def sockets_are_not_mixed_up():
    """Many sockets opened and closed by threads, while signals arrive; every descriptor is used again for something else."""
    director, failures = Director(), []
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)

    def work():
        try:
            for _ in range(100):
                client = Client()
                same(client.ask(FLUSH), (ERROR, 0))
                client.socket.close()
                one, other = socket.socketpair()
                one.send(message(FAMILY, REQUEST, 1, 0, bytes(4)))
                same(len(other.recv(100)), 20)
                one.close(), other.close()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    signal.setitimer(signal.ITIMER_REAL, 0)
    same(failures, [])
    same(director.count(FLUSH), 400)
    director.stop()


for function in CASES:
    function()
    print(function.__name__, flush=True)
