ipvsadm -A -u 192.0.2.10:53 -s rr
ipvsadm -a -u 192.0.2.10:53 -r 198.51.100.11:53 -m
sysctl -w net.ipv4.vs.am_droprate=2
