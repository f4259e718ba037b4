sysctl -w net.ipv4.vs.conntrack=1
ipvsadm -A -t 192.0.2.10:21 -s rr
ipvsadm -a -t 192.0.2.10:21 -r 198.51.100.11:21 -m
