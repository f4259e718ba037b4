ipvsadm -A --sctp-service 192.0.2.10:80 -s wlc
ipvsadm -a --sctp-service 192.0.2.10:80 -r 198.51.100.11:8080 -m
ipvsadm -a --sctp-service 192.0.2.10:80 -r 198.51.100.12:80 -m -w 2
ipvsadm -A --sctp-service 192.0.2.11:80 -s rr -p 30
ipvsadm -a --sctp-service 192.0.2.11:80 -r 198.51.100.13:80 -g
ipvsadm -a --sctp-service 192.0.2.11:80 -r 198.51.100.14:80 -i
