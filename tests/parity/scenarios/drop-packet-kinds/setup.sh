sysctl -w net.ipv4.vs.am_droprate=2
sysctl -w net.ipv4.vs.drop_packet=3
ipvsadm -A -t 192.0.2.10:80 -s rr -p 60
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.11:80 -m
ipvsadm -A -u 192.0.2.10:53 -s rr -o
ipvsadm -a -u 192.0.2.10:53 -r 198.51.100.12:53 -m
ipvsadm -A -t 192.0.2.10:81 -s rr
ipvsadm -A --sctp-service 192.0.2.10:9 -s rr
ipvsadm -a --sctp-service 192.0.2.10:9 -r 198.51.100.13:9 -m
