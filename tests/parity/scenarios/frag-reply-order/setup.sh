ipvsadm -A -u 192.0.2.10:80 -s rr
ipvsadm -a -u 192.0.2.10:80 -r 198.51.100.11:80 -m
ipvsadm -A -t 192.0.2.10:80 -s rr
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.11:80 -m
ipvsadm -A --sctp-service 192.0.2.10:80 -s rr
ipvsadm -a --sctp-service 192.0.2.10:80 -r 198.51.100.11:80 -m
