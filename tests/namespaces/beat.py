#!/usr/bin/env python3
"""Sends a datagram every millisecond, all from one port (beat.py ADDRESS PORT), until stdin ends; then says how many answers came, by how
many servers, and the longest time without one in milliseconds. Says "beating" at the first answer."""

import select
import socket
import sys
import time

PERIOD = 0.001


def main():
    client = socket.socket(type=socket.SOCK_DGRAM)
    client.connect((sys.argv[1], int(sys.argv[2])))
    poll = select.poll()
    poll.register(client, select.POLLIN)
    poll.register(sys.stdin, select.POLLIN | select.POLLHUP)
    servers, answers, longest, last = set(), 0, 0.0, None
    over = False
    while not over:
        try:
            client.send(b"?")
            for descriptor, _ in poll.poll(PERIOD * 1000):
                if descriptor == sys.stdin.fileno():
                    over = True
                    continue
                servers.add(client.recv(2048))
                now = time.monotonic()
                if last is None:
                    print("beating", flush=True)
                else:
                    longest = max(longest, now - last)
                answers, last = answers + 1, now
        except ConnectionRefusedError:
            pass
        time.sleep(PERIOD)
    longest = max(longest, time.monotonic() - last)
    print(f"{answers} answers of {len(servers)} servers, {longest * 1000:.0f} ms without one")


main()
