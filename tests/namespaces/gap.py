#!/usr/bin/env python3
"""Asks a web server by HTTP, one request after the other, until stdin ends; then says how many were answered, how many failed, and
the longest time without an answer in milliseconds. A request that takes longer than 100 ms is given up."""

import select
import socket
import sys
import time

PATIENCE = 0.1


def ask(address):
    with socket.create_connection(address, PATIENCE) as connection:
        connection.sendall(b"GET /gap HTTP/1.0\r\n\r\n")
        answer = connection.recv(4096)
        return answer.startswith(b"HTTP/1.1 200")


def main():
    address = (sys.argv[1], int(sys.argv[2]))
    answered, failed, longest, last = 0, 0, 0.0, time.monotonic()
    while not select.select([sys.stdin], [], [], 0.01)[0]:
        try:
            success = ask(address)
        except OSError:
            success = False
        if success:
            answered += 1
            longest = max(longest, time.monotonic() - last)
            last = time.monotonic()
        else:
            failed += 1
    longest = max(longest, time.monotonic() - last)
    print(f"{answered} answered, {failed} failed, {longest * 1000:.0f} ms without an answer")


main()
