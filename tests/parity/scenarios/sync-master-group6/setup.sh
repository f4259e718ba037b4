ipvsadm --start-daemon master --mcast-interface eth1 --mcast-group ff05::81 --mcast-ttl 3 --sync-maxlen 90
sysctl -w net.ipv4.vs.sync_threshold="1 2"
ipvsadm -A -t 192.0.2.10:80 -s rr
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.11:80 -m -w 1
