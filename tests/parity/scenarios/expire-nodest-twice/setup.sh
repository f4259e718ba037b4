sysctl -w net.ipv4.vs.expire_nodest_conn=1
ipvsadm -A -t 192.0.2.10:80 -s rr
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.11:80 -m
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.12:80 -m
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.13:80 -m
