"""Takes packets out of GRE (RFC 2784), GUE on UDP port 6080, or IPv6 in IPv6 (RFC 2473), as a real server's kernel would: unwrap.py gre|gue|ip6"""

import fcntl
import os
import socket
import struct
import subprocess
import sys

IPPROTO_GRE = 47
GRE_CHECKSUM = 0x80
TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x1001


def gre(packet):
    header = (packet[0] & 0x0F) * 4
    return packet[header + (8 if packet[header] & GRE_CHECKSUM else 4) :]


def main():
    kind = sys.argv[1]
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", kind.encode(), IFF_TUN_NO_PI))
    subprocess.run(["ip", "link", "set", kind, "up"], check=True)
    if kind == "gre":
        arriving = socket.socket(socket.AF_INET, socket.SOCK_RAW, IPPROTO_GRE)
        inner = gre
    elif kind == "ip6":
        arriving = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_IPV6)
        # A raw socket of IPv6 gives no header.
        inner = bytes
    else:
        arriving = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        arriving.bind(("", 6080))

        def inner(datagram):
            return datagram[4:]

    while True:
        os.write(tun, inner(arriving.recv(65535)))


main()
