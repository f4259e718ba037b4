#!/usr/bin/env python3
"""Opens HTTP connections that stay open (hold.py ADDRESS PORT COUNT [SOURCE...], from these addresses in turn), asks once on each and says
so; when stdin ends it asks on each once more and says how many were answered by the server that answered first, and how many were not."""

import contextlib
import resource
import socket
import sys
import time

PATIENCE = 20


def ask(connection):
    connection.sendall(b"GET / HTTP/1.1\r\nHost: held\r\n\r\n")


def answered(connection):
    """The body of the answer: the server's name."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += receive(connection)
    head, body = answer.split(b"\r\n\r\n", 1)
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    while len(body) < length:
        body += receive(connection)
    return body


def receive(connection):
    data = connection.recv(4096)
    if not data:
        raise OSError("closed")
    return data


def main():
    address = (sys.argv[1], int(sys.argv[2]))
    count, sources = int(sys.argv[3]), sys.argv[4:]
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    held = []
    for number in range(count):
        source = (sources[number % len(sources)], 0) if sources else None
        connection = socket.create_connection(address, PATIENCE, source)
        ask(connection)
        held.append((connection, answered(connection)))
    print("open", flush=True)
    sys.stdin.read()
    same, other, lost = 0, 0, 0
    for connection, _ in held:
        with contextlib.suppress(OSError):
            ask(connection)
    deadline = time.monotonic() + PATIENCE
    for connection, before in held:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            if answered(connection) == before:
                same += 1
            else:
                other += 1
        except OSError:
            lost += 1
    print(f"{same} go on, {other} by another server, {lost} are lost")


main()
