#!/usr/bin/env python3
"""Tries to connect to an address and port every millisecond until stdin ends, then says how the tries ended."""

import errno
import select
import socket
import sys


def start(address):
    knock = socket.socket()
    knock.setblocking(False)
    knock.connect_ex(address)
    return knock


def outcomes(knocks):
    ended = [knock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) for knock in knocks]
    for knock in knocks:
        knock.close()
    return ended.count(errno.ECONNREFUSED) + ended.count(errno.ECONNRESET)


def main():
    address = (sys.argv[1], int(sys.argv[2]))
    knocks, tried, refused = [], 0, 0
    print("knocking", flush=True)
    while not select.select([sys.stdin], [], [], 0.001)[0]:
        knocks.append(start(address))
        tried += 1
        if len(knocks) == 500:
            refused += outcomes(knocks)
            knocks = []
    refused += outcomes(knocks)
    print(f"{tried} tries, {refused} refused")


main()
