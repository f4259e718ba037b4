#!/usr/bin/env python3
"""Takes packets out of IPIP (RFC 2003) for a real server behind a TUN service.

Stands in for the kernel's own tunnel (`ip link add type ipip`), which is a module that not every kernel has: reads what
arrives as IP protocol 4 and hands the inner packet to the kernel through a TUN device. decapsulate.py [INTERFACE]
"""

import fcntl
import os
import socket
import struct
import subprocess
import sys

IPPROTO_IPIP = 4
TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x1001
SO_RCVBUFFORCE = 33


def main():
    interface = sys.argv[1] if len(sys.argv) > 1 else "decapsulated"
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", interface.encode(), IFF_TUN_NO_PI))
    subprocess.run(["ip", "link", "set", interface, "up"], check=True)
    arriving = socket.socket(socket.AF_INET, socket.SOCK_RAW, IPPROTO_IPIP)
    arriving.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
    while True:
        packet = arriving.recv(65535)
        header_length = (packet[0] & 0x0F) * 4
        os.write(tun, packet[header_length:])


main()
