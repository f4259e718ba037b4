#!/usr/bin/env python3
"""A UDP service and its client.

datagrams.py answer ADDRESS PORT NAME   answers every datagram with NAME
datagrams.py ask ADDRESS PORT COUNT     asks so often, each time from another port, and prints the answers
datagrams.py scatter ADDRESS PORT COUNT the same in a hurry; prints how many were answered
datagrams.py echo ADDRESS PORT NAME     sends every datagram back with NAME in front
datagrams.py long ADDRESS PORT LENGTH   sends a datagram of so many bytes and prints who sent it back, if it came as it went
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


def scatter(address, port, count):
    answers = 0
    for _ in range(int(count)):
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.settimeout(0.05)
            client.connect((address, int(port)))
            try:
                client.send(b"who?")
                answers += len(client.recv(2048)) > 0
            except OSError:
                pass
    print(answers)


def answered(client, question=b"who?"):
    """The answer to one question, asked again for some seconds: the service may be about to start."""
    for _ in range(10):
        try:
            client.send(question)
            return client.recv(65536).decode()
        except (TimeoutError, ConnectionRefusedError):
            time.sleep(0.5)
    return "nobody"


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def echo(address, port, name):
    service = socket.socket(family(address), socket.SOCK_DGRAM)
    service.bind((address, int(port)))
    while True:
        data, client = service.recvfrom(65536)
        service.sendto(name.encode() + data, client)


def long(address, port, length):
    with socket.socket(family(address), socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        client.connect((address, int(port)))
        question = "".join(chr(33 + n % 90) for n in range(int(length)))
        answer = answered(client, question.encode())
        print(answer.removesuffix(question))


{"answer": answer, "ask": ask, "scatter": scatter, "echo": echo, "long": long}[sys.argv[1]](*sys.argv[2:])
