#!/usr/bin/env python3
"""A UDP service and its client.

datagrams.py answer ADDRESS PORT NAME   answers every datagram with NAME
datagrams.py ask ADDRESS PORT COUNT     asks so often, each time from another port, and prints the answers
"""

import socket
import sys
import time


def answer(address, port, name):
    service = socket.socket(type=socket.SOCK_DGRAM)
    service.bind((address, int(port)))
    while True:
        _, client = service.recvfrom(2048)
        service.sendto(name.encode(), client)


def ask(address, port, count):
    for _ in range(int(count)):
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.settimeout(1)
            client.connect((address, int(port)))
            print(answered(client))


def answered(client):
    """The answer to one question, asked again for some seconds: the service may be about to start."""
    for _ in range(10):
        try:
            client.send(b"who?")
            return client.recv(2048).decode()
        except (TimeoutError, ConnectionRefusedError):
            time.sleep(0.5)
    return "nobody"


{"answer": answer, "ask": ask}[sys.argv[1]](*sys.argv[2:])
