ipvsadm --start-daemon master --mcast-interface eth1 --syncid 7
sysctl -w net.ipv4.vs.sync_threshold="1 2"
ipvsadm -A --sctp-service 192.0.2.10:9 -s rr
ipvsadm -a --sctp-service 192.0.2.10:9 -r 198.51.100.11:9 -m
