ip link set eth0 mtu 1300
sysctl -w net.ipv4.vs.nat_icmp_send=1
ipvsadm -A -t 192.0.2.10:80 -s rr
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.11:80 -m
