ipvsadm --start-daemon master --mcast-interface eth1 --syncid 7
sysctl -w net.ipv4.vs.sync_threshold="2 0"
ipvsadm -A -u 192.0.2.10:53 -s rr
ipvsadm -a -u 192.0.2.10:53 -r 198.51.100.11:5353 -m -w 1
ipvsadm -a -u 192.0.2.10:53 -r 198.51.100.12:5353 -m -w 1
