ipvsadm -A --sctp-service 192.0.2.10:9 -s rr
ipvsadm -a --sctp-service 192.0.2.10:9 -r 198.51.100.11:9 -g
